"""Arrays that NumPy saved: `.npy` files, and archives of them, `.npz`."""
