"""The formats of PyTorch, told by a few bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renorm_cli.formats.base import Format, Found, Head

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

_PICKLE = b"/data.pkl"
_STREAM = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""A pickle of the number 0x1950a86a20f9469cfc6c."""


class TorchZipFormat(Format):
    """Archives that `torch.save` and `torch.jit.save` write."""

    reads = ".pt of PyTorch"
    endings = (".pth", ".pt", ".bin", ".ckpt")
    searched = (".pth", ".pt", ".ckpt")

    def recognises(self, head: Head) -> bool:
        """Whether the first member is in a folder, and one is the pickle that is in it."""
        folder, slash, _ = head.first_member.partition(b"/")
        return slash == b"/" and (folder + _PICKLE in head.first or folder + _PICKLE in head.last)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.torch.checkpoint import open_torch_zip  # each format alone needs its parser

        return open_torch_zip(found)


class TorchStreamFormat(Format):
    """Files that `torch.save` wrote before PyTorch 1.6."""

    def recognises(self, head: Head) -> bool:
        return head.first.startswith(_STREAM)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.torch.checkpoint import open_torch_stream

        return open_torch_stream(found)
