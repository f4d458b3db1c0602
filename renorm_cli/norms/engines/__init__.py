"""Engines: the block operations on NumPy and on TensorFlow."""
