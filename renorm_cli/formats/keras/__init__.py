"""What Keras puts into HDF5 files and archives, and where."""
