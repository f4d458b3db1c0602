"""Checkpoints of Orbax, read and written through tensorstore."""
