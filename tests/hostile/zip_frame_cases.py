"""Hostile `.keras` archives: the frame of the archive, encryption, methods, and other files under its name."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from support.zip_maker import Entry, make_zip

from hostile.frame import Case
from hostile.h5_build import same_but_kernels
from hostile.keras_cases import weights_image
from hostile.zip_build import WEIGHTS
from hostile.zip_build import archive as _archive
from hostile.zip_build import changed as _changed
from hostile.zip_build import entries as _entries
from hostile.zip_build import file_of as _file
from hostile.zip_build import named as _named


def _field(signature: bytes, offset: int, data: bytes) -> Callable[[Path], Path]:
    def change(archive: bytes) -> bytes:
        at = archive.rindex(signature) + offset
        return archive[:at] + data + archive[at + len(data) :]

    return _changed(change)


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("../../owned")
        archive.addfile(member, io.BytesIO(b""))
    return buffer.getvalue()


def _npz(inside: Path) -> Path:
    path = inside / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.npz", b"\x80\x04cposix\nsystem\n(Vtouch owned\ntR.")
    return path


def _damaged_weights(inside: Path) -> Path:
    data = bytearray(make_zip(_entries()))
    at = data.index(b"\x89HDF") + 2100
    data[at] ^= 1
    (inside / "model.keras").write_bytes(data)
    return inside / "model.keras"


def _cut_zip(share: float) -> Callable[[Path], Path]:
    return _changed(lambda data: data[: int(len(data) * share)])


_SOUND = make_zip(_entries())
_END = b"PK\5\6"

_FRAMES = (
    Case("zip-cut-half", "the archive ends in the middle", _cut_zip(0.5), "error", "no end record"),
    Case("zip-cut-last-byte", "the last byte is missing", _cut_zip(0.9999), "error", "end record"),
    Case(
        "zip-end-twice",
        "a comment holds a second end record",
        _archive(_entries(), comment=_END + struct.pack("<4H2LH", 0, 0, 0, 0, 0, 0, 0)),
        "error",
        "model.keras",
    ),
    Case(
        "zip-two-archives",
        "two archives in one file: readers take the first or the last",
        _file(_SOUND + make_zip([Entry("config.json", b"{}")])),
        "error",
        "model.keras",
    ),
    Case(
        "zip-several-disks",
        "the archive is one of several disks",
        _field(_END, 4, b"\1\0"),
        "error",
        "one part of several",
    ),
    Case(
        "zip-directory-size",
        "the directory is larger than the file",
        _field(_END, 12, struct.pack("<L", 1 << 24)),
        "error",
        "central directory",
    ),
    Case(
        "zip-directory-huge",
        "the directory claims 2 GiB",
        _field(_END, 12, struct.pack("<L", 1 << 31)),
        "error",
        "central directory",
    ),
    Case(
        "zip-directory-offset",
        "the directory's offset is behind it",
        _field(_END, 16, struct.pack("<L", 1 << 30)),
        "error",
        "central directory",
    ),
    Case(
        "zip-entries",
        "the end record counts one member less",
        _field(_END, 8, struct.pack("<HH", 2, 2)),
        "error",
        "central directory",
    ),
    Case(
        "zip-entries-0",
        "the end record counts no member",
        _field(_END, 8, struct.pack("<HH", 0, 0)),
        "error",
        "central directory",
    ),
    Case(
        "zip-encrypted",
        "the weights are encrypted",
        _archive(_entries(weights=Entry(WEIGHTS, weights_image(), central={"flags": 1}, local={"flags": 1}))),
        "error",
        "encrypted",
    ),
    Case(
        "zip-method-bz2",
        "the config is compressed by bzip2",
        _archive(_entries(config=Entry("config.json", b"{}", method=12, payload=bz2.compress(b"{}")))),
        "error",
        "method 12",
    ),
    Case("zip-method-unknown", "a method nobody knows", _named("a", method=77), "error", "method 77"),
    Case(
        "zip-weights-damaged",
        "one bit of the weights is wrong: a new checksum would bless it",
        _damaged_weights,
        "error",
        "is damaged",
        commands=("apply",),
    ),
    Case(
        "zip-config-damaged",
        "the checksum of the config is wrong",
        _archive(_entries(config=Entry("config.json", b"{}", central={"crc": 1}, local={"crc": 1}))),
        "error",
        "content is damaged",
    ),
    Case(
        "zip-deflate-damaged",
        "the weights hold no deflate stream",
        _archive(_entries(weights=Entry(WEIGHTS, weights_image(), method=8, payload=b"\xff" * 900))),
        "error",
        "deflate",
    ),
    Case(
        "zip-deflate-trailing",
        "bytes behind the end of the deflate stream",
        _archive(
            _entries(config=Entry("config.json", b"{}", method=8, payload=zlib.compress(b"{}")[2:-4] + b"hidden"))
        ),
        "error",
        "deflate stream",
    ),
    Case(
        "zip-weights-empty",
        "the weights are empty",
        _archive(_entries(weights=Entry(WEIGHTS, b""))),
        "error",
        "model.weights.h5",
    ),
    Case(
        "zip-weights-zip",
        "the weights are the archive again",
        _archive(_entries(weights=Entry(WEIGHTS, _SOUND))),
        "error",
        "HDF5",
    ),
    Case("zip-weights-pickled", "the weights are pickled code, in npz", _npz, "error", "never unpickled"),
    Case("zip-no-weights", "an archive without weights", _archive(_entries()[:2]), "error", "without model.weights.h5"),
    Case("zip-no-members", "an empty archive", _archive([]), "error", "without model.weights.h5"),
    Case(
        "zip-prefix",
        "a script stands before the archive",
        _archive(_entries(), prefix=b"#!/bin/sh\ntouch owned\n"),
        "handled",
        untouched=same_but_kernels,
    ),
    Case(
        "zip-gap",
        "bytes that no record covers",
        _archive(_entries(Entry("a", b"", gap=b"hidden" * 9))),
        "handled",
        untouched=same_but_kernels,
    ),
    Case(
        "zip-is-tar", "a tar archive under the name of a zip", _file(_tar()), "error", "no checkpoint of a known format"
    ),
    Case("zip-is-gzip", "a gzip file under the name of a zip", _file(gzip.compress(_SOUND)), "error", "model.keras"),
    Case(
        "zip-is-pickle",
        "a pickle under the name of a zip",
        _file(b"\x80\x04cposix\nsystem\n(Vtouch owned\ntR."),
        "error",
        "no checkpoint of a known format",
    ),
    Case("zip-is-hdf5", "HDF5 and zip in one file", _file(weights_image() + _SOUND), "handled", untouched=None),
    Case("zip-signature-only", "nothing but PK", _file(b"PK\3\4"), "error", "no end record"),
)

CASES = _FRAMES
