"""The block operations, on NumPy and on TensorFlow."""
