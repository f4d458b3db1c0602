"""safetensors: files with a JSON header, and the indexes of several of them."""
