"""What a file or a folder is that is no checkpoint we read, so that the message says it, and what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.formats.base import Format, Found, Head
from renorm_cli.formats.location import Location
from renorm_cli.storage.files import open_beside, open_source

_USUAL = re.compile(
    r"saved_model\.pb|.*model\.json|.*\.(?:h5|hdf5?|keras|index|weights\.json|(?:safetensors|bin)(?:\.index\.json)?|np[yz]|msgpack"
    r"|onnx|pt2|pth?(?:\.tar)?|jit|bin|ckpt|gguf|tflite)",
    re.DOTALL,
)
"""Usual names of checkpoints: a test holds them against the endings of all formats."""

_SHARD = re.compile(r"(?:.*-)?shard[0-9]+(?:of[0-9]+)?(?:\.bin)?", re.DOTALL)

_MOST_ENTRIES = 1_000
_MOST_OPENED = 100
"""Entries of a folder that are listed, and those that are looked into."""

_LISTED = 10
_TEXT_BYTES = 1_000


class Mark(NamedTuple):
    """Bytes at an offset by which a file is known, what it is then, and what to do."""

    offset: int
    bytes: bytes
    what: str
    do: str


_UNPACK = "unpack it first"
_SAVE = "save the weights as HDF5 or .keras"
_NEVER_RUN = f"it could run code, and is never opened; {_SAVE}"

_OLD_TORCH = "a tar archive of PyTorch before 0.1.10"

_MARKS = (
    Mark(0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer to one", "run `git lfs pull`"),
    Mark(0, b"\x1f\x8b", "a file compressed by gzip", _UNPACK),
    Mark(0, b"BZh", "a file compressed by bzip2", _UNPACK),
    Mark(0, b"\xfd7zXZ\0", "a file compressed by xz", _UNPACK),
    Mark(0, b"\x28\xb5\x2f\xfd", "a file compressed by zstd", _UNPACK),
    Mark(0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    *(Mark(at, b"sys_info\0", _OLD_TORCH, "load it with torch.load and save it again") for at in (0, 1024)),
    Mark(257, b"ustar", "a tar archive", _UNPACK),
    *(Mark(0, bytes([0x80, protocol]), "a pickle", _NEVER_RUN) for protocol in range(2, 6)),
)
"""Pickles of joblib, say, begin so; those of protocols below 2 have no mark."""


def why_unknown(head: Head) -> str | None:
    """What a file that no format recognises is, and what to do; None if that is not known either."""
    found = next((one for one in _MARKS if head.at(one.offset, len(one.bytes)) == one.bytes), None)
    if found is not None:
        return f"{found.what}; {found.do}"
    start = head.first[:_TEXT_BYTES].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page; was its download refused?"
    if start.startswith((b"{", b"[")) and b'"tool": "renorm-ckpt"' in start:
        return "a report of this program; give the checkpoint it is about"
    if start.startswith(b"{") and b'"class_name"' in start:
        return "the config of a Keras model, without weights; give the file that has them"
    if _SHARD.fullmatch(head.path.name):
        return "a part of a model of TensorFlow.js; put its .json beside it"
    return None


def why_no_archive(names: Collection[str]) -> str:
    """What a zip archive is that holds no weights where a `.keras` archive has them, by the names of its members."""
    if any(name.endswith("data.pkl") for name in names):
        return f"it holds a pickle; {_NEVER_RUN}"
    inside = next((name for name in sorted(names) if _USUAL.fullmatch(name.rpartition("/")[2])), None)
    if inside is not None:
        return f"it holds {inside!r}; {_UNPACK}"
    return "a .keras file was expected"


def why_no_checkpoint(folder: Path, formats: Sequence[Format], known: str) -> str:
    """Which checkpoints a folder holds that is none; else what else in it is known, or that nothing is.

    Names are told as they are in the folder; `known` names the `formats` that are read. Raises OSError.
    """
    readable: list[Path] = []
    problem = ""
    paths = _entries(folder)
    for path in islice(paths, _MOST_OPENED):  # grows by what is in the folders in it
        try:
            if _is_checkpoint(path, formats):
                readable.append(path)
            elif path.parent == folder and path.is_dir() and not path.is_symlink():
                paths += _entries(path)
        except FormatError as error:
            problem = problem or error.text
    if readable:
        names = [str(path.relative_to(folder)) for path in readable]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        listed = ", ".join(map(repr, names[:_LISTED]))
        return (
            f"is a directory and no checkpoint; it holds {listed}{more}; give {'one of them' if names[1:] else 'that'}"
        )
    if problem:
        return f"is a directory and no checkpoint, and nothing in it is read: {problem}"
    return f"is a directory and no checkpoint, and none is in it; {known} are read, name one of them"


def _is_checkpoint(path: Path, formats: Sequence[Format]) -> bool:
    """Whether there is a checkpoint that is read. Raises FormatError for what is known and not read.

    A link may lead out of the folder, so that its name alone is looked at.
    """
    if path.is_symlink():
        return path.exists() and _USUAL.fullmatch(path.name) is not None
    if any(format.named_by(path) or format.whole_of(path) for format in formats):
        return False
    if any(format.locate(path) is not None for format in formats):
        return True
    if not path.is_file():
        return False
    with closing(open_source(path)) as file:
        head = Head(file)
        format = next((format for format in formats if format.recognises(head)), None)
        what = why_unknown(head) if format is None else None
        if what is not None:
            raise FormatError(f"{str(path)!r} is {what}")
        if format is not None and not format.is_read:
            format.open(Found(path, Location(path, path.name), open_beside, format, file))
        return format is not None and (format.endings != (".keras",) or b"model.weights.h5" in head.last)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, hidden files aside, in the order of names; nothing where it may not be read."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in islice(entries, _MOST_ENTRIES) if not entry.name.startswith("."))
    return [folder / name for name in names]
