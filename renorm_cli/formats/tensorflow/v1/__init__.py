"""Checkpoints of the first TensorFlow saver."""
