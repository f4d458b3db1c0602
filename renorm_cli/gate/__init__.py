"""A checkpoint held against an earlier report."""
