"""Lists of ops, written as text."""

from __future__ import annotations


def ops(names: str) -> tuple[str, ...]:
    """The names in a text, which spaces and line ends part."""
    return tuple(names.split())
