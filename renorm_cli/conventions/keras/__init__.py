"""What the layers of Keras store, and what they tell of a weight."""
