"""Models as Hugging Face lays them out: weights in several files with an index, and folders of a model."""
