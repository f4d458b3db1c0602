"""The doors for Python: five verbs for checkpoint files, and the reports that they give."""
