"""Formats: each tells its files by content, never by name, and offers them as a `Checkpoint`."""

from __future__ import annotations

import os
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats.checkpoint import Checkpoint, Sink
from renorm_cli.formats.files import SourceFile, open_source
from renorm_cli.formats.journal import recover, refuse_half_replaced
from renorm_cli.formats.staging import Staging

__all__ = ["Checkpoint", "Sink", "Staging", "open_checkpoint", "recover"]

_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
_ZIP_END = b"PK\x05\x06"
_ZIP_END_REACH = 22 + 0xFFFF
_KNOWN = "HDF5 (.h5, .weights.h5), .keras and sharded .weights.json are read"


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint of any known format, told by its content.

    Raises FormatError if there is none at `path`, if it is damaged, or if it names files outside itself.
    """
    if path.is_dir():
        raise FormatError(_not_a_file(path))
    refuse_half_replaced(path)
    file = open_source(path)
    try:
        return _open(file)
    except BaseException:
        file.close()
        raise


def _open(file: SourceFile) -> Checkpoint:
    if file.size == 0:
        raise FormatError(f"{file.shown!r} is empty; a checkpoint file was expected")
    head = os.pread(file.fd, 64, 0)
    if _is_hdf5(file):
        from renorm_cli.formats.hdf5 import open_hdf5

        return open_hdf5(file)
    if head.startswith(b"PK") or _ZIP_END in os.pread(file.fd, _ZIP_END_REACH, max(0, file.size - _ZIP_END_REACH)):
        from renorm_cli.formats.keras_zip import open_keras_zip

        return open_keras_zip(file)
    if head.lstrip().startswith(b"{"):
        from renorm_cli.formats.keras_shards import open_keras_shards

        return open_keras_shards(file)
    if os.pread(file.fd, 8, max(0, file.size - 8)) == _TABLE_MAGIC:
        raise FormatError(f"{file.shown!r} is a TensorFlow checkpoint, which is not supported yet; {_KNOWN}")
    raise FormatError(f"{file.shown!r} is no checkpoint of a known format; {_KNOWN}")


def _is_hdf5(file: SourceFile) -> bool:
    """Whether the HDF5 signature stands at 0, or at 512 * 2**k behind a user block."""
    from renorm_cli.formats.hdf5 import SIGNATURE

    offset = 0
    while offset + len(SIGNATURE) <= file.size:
        if os.pread(file.fd, len(SIGNATURE), offset) == SIGNATURE:
            return True
        offset = offset * 2 or 512
    return False


def _not_a_file(path: Path) -> str:
    shown = str(path)
    if (path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists():
        return f"{shown!r} is a SavedModel, which is not supported yet; {_KNOWN}"
    if (path / "model.weights.h5").exists():
        return f"{shown!r} is an unzipped .keras folder; give the model.weights.h5 inside it"
    if any(path.glob("*.index")):
        return f"{shown!r} holds a TensorFlow checkpoint, which is not supported yet; {_KNOWN}"
    return f"{shown!r} is a directory and no checkpoint; {_KNOWN}"
