"""Models of TensorFlow Lite: a flatbuffer with subgraphs of tensors and operators."""
