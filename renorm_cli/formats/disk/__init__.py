"""Files on disk: opening inputs, and giving outputs their names safely."""
