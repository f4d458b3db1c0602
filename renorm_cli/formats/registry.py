"""Formats: each tells its files by content, never by name, and offers them as a `Checkpoint`."""

from __future__ import annotations

import os
from pathlib import Path

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.location import TABLE_MAGIC, Location, locate
from renorm_cli.storage.files import Opener, SourceFile, open_beside, open_source
from renorm_cli.storage.journal import refuse_half_replaced
from renorm_cli.storage.staging import Staging

_ZIP_END = b"PK\x05\x06"
_ZIP_END_REACH = 22 + 0xFFFF
_KNOWN = "HDF5, .keras, .weights.json, TensorFlow checkpoints and SavedModels are read"


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint of any known format, told by its content.

    Raises FormatError if there is none at `path`, if it is damaged, or if it names files outside itself.
    """
    location = locate(path)
    refuse_half_replaced(location.index)
    return _open_at(location, path, open_source, open_beside)


def open_staged(staging: Staging, output: Location, like: Checkpoint | None = None) -> Checkpoint:
    """Open an output before it has its name, as `open_checkpoint` will open it then.

    Of an output that only differs in its weights from `like`, the input, what is known of that is not built again: what
    the names come from must be compared by the caller.
    Raises FormatError as that does, and OutputError where the output cannot be completed.
    """
    staging.settle()
    return _open_at(output, staging.place(output.path), staging.reopen, staging.reopen, like)


def _open_at(
    location: Location, path: Path, open_first: Opener, open_others: Opener, like: Checkpoint | None = None
) -> Checkpoint:
    if location.kind == "directory":
        from renorm_cli.formats.tensorflow.saved_model import open_saved_model

        return open_saved_model(path)
    if location.kind == "prefix":
        from renorm_cli.formats.tensorflow.checkpoint import open_tf_checkpoint

        return open_tf_checkpoint(path, location, open_others, like)
    file = open_first(path)
    try:
        return _open(file, open_others, like)
    except BaseException:
        file.close()
        raise


def _open(file: SourceFile, open_others: Opener, like: Checkpoint | None) -> Checkpoint:
    if file.size == 0:
        raise FormatError(f"{file.shown!r} is empty; a checkpoint file was expected")
    head = os.pread(file.fd, 64, 0)
    if _is_hdf5(file):
        from renorm_cli.formats.keras.hdf5_files import open_hdf5

        return open_hdf5(file, like)
    if head.startswith(b"PK") or _ZIP_END in os.pread(file.fd, _ZIP_END_REACH, max(0, file.size - _ZIP_END_REACH)):
        from renorm_cli.formats.keras.archive import open_keras_zip

        return open_keras_zip(file, like)
    if head.lstrip().startswith(b"{"):
        from renorm_cli.formats.keras.shards import open_keras_shards

        return open_keras_shards(file, open_others)
    if os.pread(file.fd, 8, max(0, file.size - 8)) == TABLE_MAGIC:
        from renorm_cli.formats.tensorflow.v1.checkpoint import open_v1

        return open_v1(file.path, file)
    raise FormatError(f"{file.shown!r} is no checkpoint of a known format; {_KNOWN}")


def _is_hdf5(file: SourceFile) -> bool:
    """Whether the HDF5 signature stands at 0, or at 512 * 2**k behind a user block."""
    from renorm_cli.formats.keras.hdf5_files import SIGNATURE

    offset = 0
    while offset + len(SIGNATURE) <= file.size:
        if os.pread(file.fd, len(SIGNATURE), offset) == SIGNATURE:
            return True
        offset = offset * 2 or 512
    return False
