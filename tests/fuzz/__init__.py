"""Mutants of real files, given to the parsers: a result or a RenormError, soon and in little memory."""
