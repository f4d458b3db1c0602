"""What weights are called in the conventions of public code: one table each, and what a name means in a file."""
