"""Models of ONNX: a protobuf message with the graph, whose tensors lie in it or in files beside it."""
