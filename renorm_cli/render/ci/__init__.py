"""Reports for continuous integration, and Markdown."""
