"""Bound the norms of the weights in a checkpoint file, and report them."""

__version__ = "0.1.0"
