"""Report formats of continuous integration: annotations, JUnit, SARIF, GitLab, Markdown."""
