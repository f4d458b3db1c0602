"""The doors for Python: the verbs for checkpoint files, and the reports that they give."""
