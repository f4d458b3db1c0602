"""The formats of PyTorch, told by a few bytes."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.location import Folder
from renorm_cli.storage.files import open_source
from renorm_cli.storage.hub_cache import name_of
from renorm_cli.storage.temporaries import is_temporary

if TYPE_CHECKING:
    from renorm_cli.formats.base import Checkpoint

METADATA = ".metadata"
"""The file that tells of all tensors of a distributed checkpoint."""

_PARTS = ".distcp"
_PICKLE = b"/data.pkl"
_TENSOR = b"/data/"
_BIN = ".bin"
_WEIGHTS = ("pytorch_model", "adapter_model")
"""What is in the names of `.bin` files of weights, whatever is in them."""
_STREAM = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""A pickle of the number 0x1950a86a20f9469cfc6c."""


class TorchZipFormat(Format):
    """Archives that `torch.save` and `torch.jit.save` write."""

    reads = ".pt of PyTorch"
    endings = (".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".pt.tar", ".jit")
    searched = (".pth", ".pt", ".ckpt", ".pth.tar", ".pt.tar", ".jit")

    def recognises(self, head: Head) -> bool:
        """Whether the first member is in a folder, and one is the pickle that is in it."""
        folder, slash, _ = head.first_member.partition(b"/")
        return slash == b"/" and (folder + _PICKLE in head.first or folder + _PICKLE in head.last)

    def among(self, folder: Path, names: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Also the `.bin` files of weights, which are told by their content where their names do not."""
        binary = [name for name in names if name.endswith(_BIN) and _is_of_weights(folder / name)]
        return {**super().among(folder, names), **{name: (name,) for name in binary}}

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.torch.checkpoint import open_torch_zip  # each format alone needs its parser

        return open_torch_zip(found)


class ExportedFormat(Format):
    """Archives that `torch.export.save` writes, of PyTorch 2.8 and later."""

    endings = (".pt2",)
    searched = endings

    def recognises(self, head: Head) -> bool:
        """Whether the members are in one folder, and tell the weights of a model and the format of the archive."""
        folder, slash, _ = head.first_member.partition(b"/")
        marks = (folder + b"/archive_format", folder + b"/data/weights/", b"_weights_config.json")
        return slash == b"/" and all(mark in head.first or mark in head.last for mark in marks)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.torch.checkpoint import open_exported  # each format alone needs its parser

        return open_exported(found)


class TorchStreamFormat(Format):
    """Files that `torch.save` wrote before PyTorch 1.6."""

    def recognises(self, head: Head) -> bool:
        return head.first.startswith(_STREAM)

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.torch.checkpoint import open_torch_stream

        return open_torch_stream(found)


@dataclass(frozen=True, slots=True)
class DistributedFolder(Folder):
    """A distributed checkpoint of PyTorch."""

    def is_such(self, folder: Path) -> bool:
        return _has_parts(folder)

    def kind(self) -> str:
        return "a distributed checkpoint of PyTorch"


class DistributedFormat(Format):
    """Folders that `torch.distributed.checkpoint.save` writes: a `.metadata` file, and files of tensors."""

    reads = "distributed checkpoints of PyTorch"
    places = DistributedFolder
    names_files = True

    def named_by(self, path: Path) -> Path | None:
        return path.parent if path.name == METADATA and path.is_file() and _has_parts(path.parent) else None

    def whole_of(self, path: Path) -> Path | None:
        is_part = path.name.endswith(_PARTS) and path.is_file() and path.with_name(METADATA).is_file()
        return path.parent if is_part else None

    def is_whole(self, names: Collection[str]) -> bool:
        return any(name.endswith(_PARTS) for name in names)

    def locate(self, path: Path) -> DistributedFolder | None:
        return DistributedFolder(path, name_of(path)) if path.is_dir() and _has_parts(path) else None

    def open(self, found: Found) -> Checkpoint:
        from renorm_cli.formats.torch.distributed import open_distributed

        return open_distributed(found)


def _has_parts(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.endswith(_PARTS) and not is_temporary(entry.name) for entry in entries)


def _is_of_weights(path: Path) -> bool:
    """Whether a file is called as weights are, or is one of `torch.save` with a tensor, or cannot be opened."""
    if any(word in path.name for word in _WEIGHTS):
        return True
    try:
        with closing(open_source(path)) as file:
            head = Head(file)
            in_zip = TorchZipFormat().recognises(head) and _TENSOR in head.last
            return in_zip or TorchStreamFormat().recognises(head)
    except FormatError:  # opening it will say what is wrong
        return True
