"""Files of GGUF, as llama.cpp and others of ggml write them."""
