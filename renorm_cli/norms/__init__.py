"""Norms of units, and the factors that bound them."""
