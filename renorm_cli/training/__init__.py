"""The bound as a TensorFlow function, a Keras constraint and a Keras callback; `renorm_cli.tf` exports them."""
