"""Trees of arrays that flax saved as msgpack."""
