"""Spectral norms with a proof, in float64 by blocks: Gram matrix, Lanczos, one Cholesky factorization."""
