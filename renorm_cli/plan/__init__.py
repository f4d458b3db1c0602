"""From headers and options to a plan."""
