"""Models of TensorFlow.js: a `model.json` and the binary files that it names."""
