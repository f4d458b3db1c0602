"""The nouns: frozen facts and decisions."""
