"""Many checkpoints: which there are, and one after the other, or several at once, what a verb makes of each."""
