"""What the stored graph of a model tells of its weights: the op that uses each, so its role and its unit axes."""
