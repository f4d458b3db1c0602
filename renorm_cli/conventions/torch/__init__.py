"""What PyTorch and MLX call their weights, and how the axes of these lie."""
