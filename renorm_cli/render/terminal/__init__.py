"""Tables, verdicts and progress in a terminal."""
