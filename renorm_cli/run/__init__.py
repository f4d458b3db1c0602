"""From a plan to the rows of a report."""
