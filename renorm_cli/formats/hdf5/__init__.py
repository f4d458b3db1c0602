"""HDF5 images: read and written by a worker process of their own."""
