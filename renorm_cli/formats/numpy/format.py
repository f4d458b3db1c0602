"""The formats of NumPy, told by a few bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm_cli.formats.base import Format, Found, Head

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_NPY = b"\x93NUMPY"


class NpyFormat(Format):
    """One array."""

    reads = ".npy"
    endings = (".npy",)
    searched = (".npy",)

    def recognises(self, head: Head) -> bool:
        return head.first.startswith(_NPY)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.numpy.checkpoint import open_npy  # each format alone needs its parser

        return open_npy(found)


class NpzFormat(Format):
    """A zip of arrays."""

    reads = ".npz"
    endings = (".npz",)
    searched = (".npz",)

    def recognises(self, head: Head) -> bool:
        """Whether the name of the first member is that of an array."""
        return head.first_member.endswith(b".npy")

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.numpy.checkpoint import open_npz

        return open_npz(found)
