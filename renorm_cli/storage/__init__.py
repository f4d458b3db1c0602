"""Files: opened once, copied, patched, published as a whole."""
