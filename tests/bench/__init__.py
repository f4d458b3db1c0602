"""Whole runs of the tool beside the programs a user would write instead, and the table of what each costs."""
