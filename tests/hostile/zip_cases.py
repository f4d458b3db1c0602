"""Hostile `.keras` archives: bombs, two readings of one archive, names that lead out."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
from support.zip_maker import Entry, make_zip

from hostile.frame import Case, outside
from hostile.h5_build import same_but_kernels, zeros_deflated
from hostile.keras_cases import weights_image
from hostile.zip_build import MAX32, WEIGHTS
from hostile.zip_build import archive as _archive
from hostile.zip_build import changed as _changed
from hostile.zip_build import entries as _entries
from hostile.zip_build import named as _named

# Names (THREATS C1)


def _slip(label: str, attack: str, name: str) -> Case:
    return Case(f"zip-name-{label}", attack, _named(name), "error", "unsafe name")


def _link_member(inside: Path) -> Path:
    """The weights are a symbolic link, as zip stores one: its content is a path."""
    target = str(outside(inside) / WEIGHTS).encode()
    return _archive(_entries(weights=Entry(WEIGHTS, target, external=0o120777 << 16)))(inside)


def _false_utf8(data: bytes) -> bytes:
    edited = bytearray(data.replace(b"metadata.json", b"metadat\xff.json"))
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        edited[edited.index(signature) + flags + 1] = 0x08
    return bytes(edited)


_UNICODE = struct.pack("<HHBL", 0x7075, 5 + 11, 1, zlib.crc32(b"harmless")) + b"config.json"

_NAMES = (
    _slip("dots", "a member climbs out of its folder", "../../owned"),
    _slip("dots-inside", "a member climbs out in the middle", "assets/../../owned"),
    _slip("absolute", "a member has an absolute path", "/tmp/owned"),
    _slip("backslash", "a member climbs out as Windows sees it", "assets\\..\\..\\owned"),
    _slip("drive", "a member names a drive", "c:owned"),
    _slip("nul", "a member's name goes on behind a NUL", "config.json\0.png"),
    _slip("empty", "a member has no name", ""),
    _slip("stream", "a member names an alternate stream", "config.json:evil"),
    Case(
        "zip-name-twice",
        "two members of one name: which is the config?",
        _archive([*_entries(), Entry("config.json", b"{}")]),
        "error",
        "is there twice",
    ),
    Case(
        "zip-case-twice",
        "two members whose names differ only in case",
        _archive([*_entries(), Entry("Config.json", b"{}")]),
        "error",
        "only in case",
    ),
    Case(
        "zip-weights-twice",
        "two weights of one name",
        _archive([*_entries(), Entry(WEIGHTS, weights_image())]),
        "error",
        "is there twice",
    ),
    Case(
        "zip-second-name",
        "an extra field gives a second name",
        _named("harmless", central_extra=_UNICODE),
        "error",
        "second name",
    ),
    Case(
        "zip-local-name",
        "the local header has another name",
        _named("a", local_name=b"b"),
        "error",
        "in its local header",
    ),
    Case(
        "zip-name-no-utf8",
        "a name that is not the UTF-8 it claims to be",
        _changed(_false_utf8),
        "error",
        "not the UTF-8",
    ),
    Case(
        "zip-name-escape",
        "a member's name holds escapes",
        _named("\x1b[2J\n\u202eerror"),
        "handled",
        untouched=same_but_kernels,
    ),
    Case(
        "zip-name-escape-told",
        "the name of a bad member is shown in the error",
        _named("../\x1b[2J\n::error::##[error]" + "x" * 900),
        "error",
        "unsafe name",
    ),
    Case("zip-symlink-member", "the weights are a symbolic link out", _link_member, "error", "HDF5"),
    Case(
        "zip-symlink-asset",
        "an asset is a symbolic link out",
        _named("assets/x", external=0o120777 << 16),
        "handled",
        untouched=same_but_kernels,
    ),
    Case(
        "zip-folder-weights",
        "the weights are a folder",
        _archive([*_entries()[:2], Entry(f"{WEIGHTS}/", b"")]),
        "error",
        "without model.weights.h5",
    ),
)

# Bombs and lies about sizes (THREATS D3)

_ZEROS = zeros_deflated(65 << 20)[2:-4]


def _bomb(name: str, size: int, **entry: object) -> Entry:
    return Entry(
        name,
        b"",
        method=8,
        payload=_ZEROS,
        central={"size": size, "compressed": len(_ZEROS)},
        local={"size": size, "compressed": len(_ZEROS)},
        **entry,
    )  # type: ignore[arg-type]


def _quoted(inside: Path) -> Path:
    """Members whose records lie inside each other: every one inflates the same bytes."""
    data = make_zip(_entries(*(Entry(f"a{number}", b"y" * 10) for number in range(30))))
    first = data.index(b"PK\1\2")
    at = data.index(b"a0", first) - 46
    offset = data[at + 42 : at + 46]
    edited = bytearray(data)
    for number in range(1, 30):
        record = data.index(f"a{number}".encode(), at) - 46
        edited[record + 42 : record + 46] = offset
    (inside / "model.keras").write_bytes(edited)
    return inside / "model.keras"


def _many(inside: Path) -> Path:
    path = inside / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10_001):
            archive.writestr(f"a{number}", b"")
    return path


def _streamed_lie() -> Entry:
    return Entry("assets/x", b"x" * 50, descriptor=(True, False), central={"crc": 7})


def _hdf5_bomb() -> bytes:
    """Weights that claim 4 GiB in 8 KB, deflated again by the archive."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 14, 1 << 16), "f4", chunks=(1, 1 << 16), compression="gzip")
        for row in range(64):
            file["layers/dense/vars/0"].id.write_direct_chunk((row, 0), zlib.compress(bytes(1 << 18)))
    return buffer.getvalue()


_BOMBS = (
    Case(
        "zip-config-bomb",
        "a config of 64 KB claims 1 KB and inflates to 65 MiB",
        _archive(_entries(config=_bomb("config.json", 1000))),
        "error",
        "inflates to more than",
    ),
    Case(
        "zip-config-bomb-honest",
        "a config inflates to 65 MiB, as it says",
        _archive(_entries(config=_bomb("config.json", 65 << 20))),
        "error",
        "expected at most",
    ),
    Case(
        "zip-weights-bomb",
        "weights claim 1 MiB and inflate to 64 MiB",
        _archive(_entries(weights=_bomb(WEIGHTS, 1 << 20))),
        "error",
        "inflates to more than",
    ),
    Case(
        "zip-weights-bomb-huge",
        "weights of 64 KB claim 65 MiB and hold zeros",
        _archive(_entries(weights=_bomb(WEIGHTS, 65 << 20))),
        "error",
        "model.weights.h5",
    ),
    Case(
        "zip-weights-ratio",
        "weights claim more than deflate can do",
        _archive(_entries(weights=_bomb(WEIGHTS, 1 << 31))),
        "error",
        "deflate makes at most",
    ),
    Case(
        "zip-asset-bomb",
        "an asset is a bomb: nobody needs to inflate it",
        _archive(_entries(_bomb("assets/x", 65 << 20))),
        "handled",
        untouched=None,
    ),
    Case(
        "zip-hdf5-bomb",
        "a bomb in HDF5 inside of a bomb in zip",
        _archive(_entries(weights=Entry(WEIGHTS, _hdf5_bomb(), method=8))),
        "error",
        "bomb",
    ),
    Case(
        "zip-stored-sizes",
        "a stored member with two sizes",
        _named("a", central={"size": 1 << 20}),
        "error",
        "is stored in",
    ),
    Case(
        "zip-weights-beyond",
        "the weights end behind the archive",
        _archive(
            _entries(
                weights=Entry(
                    WEIGHTS,
                    weights_image(),
                    central={"size": 1 << 30, "compressed": 1 << 30},
                    local={"size": 1 << 30, "compressed": 1 << 30},
                )
            )
        ),
        "error",
        "behind the start of the central directory",
    ),
    Case(
        "zip-local-size",
        "the local header has another size",
        _named("a", local={"size": 10, "compressed": 10}),
        "error",
        "in its local header",
    ),
    Case(
        "zip-local-method",
        "the local header has another method",
        _named("a", local={"method": 8}),
        "error",
        "in its local header",
    ),
    Case(
        "zip-local-crc",
        "the local header has another checksum",
        _named("a", local={"crc": 1}),
        "error",
        "in its local header",
    ),
    Case(
        "zip-descriptor-lies",
        "the data descriptor has another checksum",
        _archive(_entries(_streamed_lie())),
        "error",
        "no data descriptor",
    ),
    Case("zip-overlap", "30 members share one record", _quoted, "error", "model.keras"),
    Case("zip-members-10001", "10,001 members", _many, "error", "expected at most 10000"),
    Case(
        "zip-offset-beyond",
        "a member starts behind the end",
        _named("a", central={"offset": 1 << 30}),
        "error",
        "no record fits",
    ),
    Case(
        "zip-offset-wrong",
        "a member starts where no record is",
        _named("a", central={"offset": 3}),
        "error",
        "no local header",
    ),
    Case(
        "zip-zip64-forged",
        "a 64-bit size in an extra field is over 2**63",
        _named(
            "a",
            central={"size": MAX32, "compressed": MAX32},
            central_extra=struct.pack("<HHQQ", 1, 16, 2**64 - 1, 2**64 - 1),
        ),
        "error",
        "model.keras",
    ),
    Case(
        "zip-zip64-missing",
        "a size says that it stands in an extra field, which is not there",
        _named("a", central={"size": MAX32}),
        "error",
        "lacks a 64-bit size",
    ),
    Case(
        "zip-zip64-twice",
        "two extra fields with 64-bit sizes",
        _named("a", central_extra=struct.pack("<HHQ", 1, 8, 1) * 2),
        "error",
        "zip64 fields",
    ),
    Case(
        "zip-extra-beyond",
        "an extra field is longer than all of them",
        _named("a", central_extra=struct.pack("<HH", 99, 5000)),
        "error",
        "extra field",
    ),
)

CASES = (*_NAMES, *_BOMBS)
