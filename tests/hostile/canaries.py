"""Files that nobody may touch: their content carries a mark, and the kernel tells of every open and read."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import Self

import h5py
import numpy as np

MARK = b"canary.canary!!!"
"""Stands in every canary; as numbers it is four float32 of some 1e20, far above any bound."""

_IN = {0x1: "read", 0x2: "written", 0x4: "changed", 0x20: "opened", 0x100: "made", 0x200: "removed", 0xC0: "moved"}
"""The bits of inotify(7), and what they say."""
_IS_FOLDER = 0x4000_0000
_LISTED = 0x1 | 0x20


def outside(inside: Path) -> Path:
    """The folder of the canaries, for the maker of a case: links and names that lead out lead there."""
    return inside.parent / "outside"


def put_canaries(folder: Path) -> None:
    """`secret.txt`, `secret.json`, `secret.h5` (datasets `secret` and `vars/0`), `model.weights.h5`, `link.keras`."""
    folder.mkdir()
    (folder / "secret.txt").write_bytes(MARK * 8)
    (folder / "secret.json").write_bytes(b'{"name": "' + MARK + b'"}')
    weights = np.frombuffer(MARK * 16, "<f4").reshape(8, 8)
    for name in ("secret.h5", "model.weights.h5"):
        with h5py.File(folder / name, "w") as file:
            file["secret"] = weights
            file["vars/0"] = weights
            file["layers/dense/vars/0"] = weights
            file.attrs["text"] = MARK.decode()


class Watch:
    """What happens to the files of a folder from now on, by inotify."""

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._fd = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._names: dict[int, str] = {}
        for path in [folder, *sorted(folder.rglob("*"))]:
            if not path.is_symlink():
                self._add(path)

    def _add(self, path: Path) -> None:
        number = self._library.inotify_add_watch(self._fd, os.fsencode(path), sum(_IN))
        if number < 0:
            raise OSError(ctypes.get_errno(), f"no watch on {path}: {errno.errorcode[ctypes.get_errno()]}")
        self._names[number] = path.name

    def events(self) -> list[str]:
        """`secret.txt opened` and so on, since the last call."""
        found = []
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return []
        at = 0
        while at < len(data):
            watch, mask, _, length = struct.unpack_from("iIII", data, at)
            if mask & _IS_FOLDER:
                mask &= ~_LISTED  # any program may look through a folder; the launcher tells if it was the tool
            name = data[at + 16 : at + 16 + length].rstrip(b"\0")
            shown = os.fsdecode(name) if name else self._names.get(watch, "?")
            found += [f"{shown} {said}" for bit, said in _IN.items() if mask & bit]
            at += 16 + length
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
