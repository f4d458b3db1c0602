"""Who may read a checkpoint, and so what is made of it."""

from __future__ import annotations

from typing import NamedTuple

_OF_GROUP = 0o070
_OF_OTHERS = 0o007


class Readers(NamedTuple):
    """Who may read something besides its owner: everyone; or the group of that number alone; or, None, nobody."""

    everyone: bool = True
    group: int | None = None

    def of_both(self, other: Readers) -> Readers:
        """Who may read both."""
        if self.everyone or other.everyone:
            return other if self.everyone else self
        return self if self.group == other.group else Readers(False)

    def narrowed(self, mode: int, group: int) -> int:
        """The mode, for a file or folder of that group, without permissions for anyone else."""
        if self.everyone:
            return mode
        return mode & ~_OF_OTHERS if group == self.group else mode & ~(_OF_OTHERS | _OF_GROUP)


EVERYONE = Readers()
