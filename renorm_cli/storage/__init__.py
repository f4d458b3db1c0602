"""Files: opened once, copied, patched, published whole."""
