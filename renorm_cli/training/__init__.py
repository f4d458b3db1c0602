"""What `renorm_cli.tf` offers is made here: the bound as a TensorFlow function, a Keras constraint and a callback."""
