"""Files of PyTorch: archives and the older stream, read by a machine that imports and calls nothing."""
