"""Hostile checkpoint files, and the frame that runs the real command line on them and watches it."""
