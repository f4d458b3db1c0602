"""HDF5 files that claim more than they hold, inflate to more, or ask for filters nobody knows."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import h5py
import numpy as np

from hostile.frame import Case
from hostile.h5_build import (
    KERNEL,
    bomb_chunk,
    cut,
    dataset,
    h5,
    overwritten,
    patched,
    same_but_kernels,
    zeros_deflated,
)

LOCKED = "is not readable"

# Filters (THREATS A5, D2)


def _filtered(*filters: tuple[int, tuple[int, ...]]):  # type: ignore[no-untyped-def]
    return h5(
        lambda file, inside: dataset(file, "x/kernel", (8, 4), chunk=(8, 4), filters=filters).__setitem__(..., KERNEL)
    )


def _locked(name: str, attack: str, *filters: tuple[int, tuple[int, ...]]) -> tuple[Case, Case]:
    return (
        Case(f"{name}-apply", attack, _filtered(*filters), "error", LOCKED, commands=("apply",)),
        Case(f"{name}-inspect", attack, _filtered(*filters), "handled", "x/kernel", commands=("json", "csv")),
    )


def _chunk(data: bytes, shape: tuple[int, ...] = (8, 4), chunk: tuple[int, ...] = (8, 4)):  # type: ignore[no-untyped-def]
    return h5(lambda file, inside: bomb_chunk(file, "x/kernel", shape, chunk, data))


def _many_zero_chunks(file: h5py.File, inside: Path) -> None:
    data = zeros_deflated(1 << 20)
    made = file.create_dataset("x/kernel", (1 << 12, 1 << 18), "f4", chunks=(1, 1 << 18), compression="gzip")
    for row in range(64):
        made.id.write_direct_chunk((row, 0), data)


def _broken_sum(inside: Path) -> Path:
    path = h5(lambda file, _: file.create_dataset("x/kernel", data=KERNEL, chunks=(8, 4), fletcher32=True))(inside)
    with h5py.File(path) as file:
        offset = file["x/kernel"].id.get_chunk_info(0).byte_offset
    return overwritten(lambda _: path, offset, b"\xff\x01")(inside)


def _bad_lzf(file: h5py.File, inside: Path) -> None:
    made = file.create_dataset("x/kernel", (8, 4), "f4", chunks=(8, 4), compression="lzf")
    made.id.write_direct_chunk((0, 0), b"\xe0\xff\xff" * 40)


def _lzf_far_back(file: h5py.File, inside: Path) -> None:
    made = file.create_dataset("x/kernel", (8, 4), "f4", chunks=(8, 4), compression="lzf")
    made.id.write_direct_chunk((0, 0), b"\x00a" + b"\xff\x77\xff")


def _plain_chunk_too_short(file: h5py.File, inside: Path) -> None:
    made = file.create_dataset("x/kernel", (8, 4), "f4", chunks=(8, 4))
    made.id.write_direct_chunk((0, 0), b"short")


_DEFLATED = zlib.compress(KERNEL.tobytes())

_FILTERS = (
    *_locked("h5-filter-unknown", "a filter id makes HDF5 look for a plugin and load it", (32015, ())),
    *_locked("h5-filter-user", "a filter id of the range for tests", (305, (1, 2, 3))),
    *_locked("h5-filter-deflate-twice", "two deflates multiply: 32 GiB out of 300 KB", (1, (9,)), (1, (9,))),
    *_locked("h5-filter-deflate-and-lzf", "two compressions multiply", (1, (9,)), (32000, ())),
    Case(
        "h5-chunk-inflates-beyond",
        "a chunk of 128 bytes inflates to 64 MiB",
        _chunk(zeros_deflated(64 << 20)),
        "error",
        "should decode to 128 bytes",
        opens=True,
    ),
    Case(
        "h5-chunk-inflates-short",
        "a chunk inflates to less: HDF5 fills up with heap memory",
        _chunk(zlib.compress(bytes(7))),
        "error",
        "should decode to 128 bytes",
        opens=True,
    ),
    Case(
        "h5-chunk-empty-stream",
        "a chunk inflates to nothing",
        _chunk(zlib.compress(b"")),
        "error",
        "should decode to 128 bytes",
        opens=True,
    ),
    Case(
        "h5-chunk-cut-stream", "a deflate stream that is cut short", _chunk(_DEFLATED[:-6]), "error", "HDF5", opens=True
    ),
    Case("h5-chunk-no-stream", "bytes that are no deflate stream", _chunk(b"\xff" * 40), "error", "HDF5", opens=True),
    Case("h5-chunk-bad-sum", "a wrong byte in a chunk with a checksum", _broken_sum, "error", "HDF5", opens=True),
    Case(
        "h5-chunk-bad-lzf",
        "an LZF stream that refers to bytes before its beginning",
        h5(_bad_lzf),
        "error",
        "x/kernel",
        opens=True,
    ),
    Case(
        "h5-chunk-lzf-far-back",
        "an LZF stream that runs beyond the chunk",
        h5(_lzf_far_back),
        "error",
        "x/kernel",
        opens=True,
    ),
    Case(
        "h5-chunk-plain-short",
        "a chunk without filters has 5 bytes of 128",
        h5(_plain_chunk_too_short),
        "error",
        "x/kernel",
        opens=True,
    ),
    Case(
        "h5-chunk-huge",
        "a tensor of 128 bytes in a chunk of 128 MiB",
        _chunk(zeros_deflated(128 << 20), chunk=(1 << 12, 1 << 13)),
        "error",
        "larger than 64 MiB",
        commands=("apply",),
    ),
    Case(
        "h5-inflates-4-gib",
        "a tensor of 4 GiB out of 64 KB of zeros",
        h5(_many_zero_chunks),
        "error",
        "is taken for a bomb",
    ),
)

# Sizes (THREATS D1, D7, E2)


def _claims(shape: tuple[int, ...], **plist: object):  # type: ignore[no-untyped-def]
    return h5(lambda file, inside: dataset(file, "x/kernel", shape, **plist))


def _attribute_claims(file: h5py.File, inside: Path) -> None:
    file.attrs["layer_names"] = np.array([b"0123456789abcdef"] * 8)


_EIGHT = np.array([8, 8], "<u8").tobytes() + b"0123"
_CLAIM = np.array([1 << 40, 1 << 40], "<u8").tobytes() + b"0123"


def _hole(inside: Path) -> Path:
    path = h5(lambda file, _: None)(inside)
    os.truncate(path, 8 << 30)
    return path


_SOUND = h5(lambda file, inside: None)
_DIMS = np.array([8, 4], "<u8").tobytes()

_SIZES = (
    Case(
        "h5-never-written-huge-apply",
        "a kernel of 4 EiB without any bytes",
        _claims((1 << 30, 1 << 30)),
        "error",
        "never written",
        commands=("apply",),
    ),
    Case(
        "h5-never-written-huge-inspect",
        "a kernel of 4 EiB without any bytes",
        _claims((1 << 30, 1 << 30)),
        "handled",
        "never written",
        commands=("inspect", "json"),
    ),
    Case(
        "h5-chunked-unwritten-apply",
        "a chunked kernel of 4 EiB without chunks",
        _claims((1 << 30, 1 << 30), chunk=(1, 64)),
        "error",
        "never written",
        commands=("apply",),
    ),
    Case(
        "h5-empty-huge",
        "a kernel of shape (2**40, 0): its units alone take 8 TiB",
        _claims((1 << 40, 0)),
        "handled",
        "it has no elements",
        untouched=same_but_kernels,
    ),
    Case(
        "h5-empty-huge-units",
        "a kernel of shape (0, 2**40): its units alone take 8 TiB",
        _claims((0, 1 << 40)),
        "handled",
        "it has no elements",
        untouched=same_but_kernels,
    ),
    Case(
        "h5-empty-overflow",
        "a shape whose product without the 0 is over 2**64",
        _claims((1 << 40, 1 << 40, 0)),
        "error",
        "larger than any memory",
    ),
    Case(
        "h5-rank-32",
        "a kernel of 32 axes",
        h5(lambda file, inside: file.create_dataset("x/kernel", data=np.full((1,) * 31 + (4,), 9, "f4"))),
        "handled",
        options=("--units", "-1"),
    ),
    Case(
        "h5-dims-forged",
        "the shape says 2**33 rows, the file holds 8",
        patched(_SOUND, (_DIMS, np.array([1 << 33, 4], "<u8").tobytes())),
        "error",
        "model.h5",
    ),
    Case(
        "h5-dims-overflow",
        "the shape times the size of a float is 2**64",
        patched(_SOUND, (_DIMS, np.array([1 << 31, 1 << 31], "<u8").tobytes())),
        "error",
        "model.h5",
    ),
    Case(
        "h5-dims-one-more",
        "the shape says one row more than is stored",
        patched(_SOUND, (_DIMS, np.array([9, 4], "<u8").tobytes())),
        "error",
        "model.h5",
    ),
    Case(
        "h5-attribute-forged",
        "an attribute claims 2**40 texts",
        patched(h5(_attribute_claims), (_EIGHT, _CLAIM)),
        "error",
        "model.h5",
    ),
    Case("h5-cut-half", "the file ends in the middle", cut(_SOUND, 0.5), "error", "model.h5"),
    Case("h5-cut-last-byte", "the last byte is missing", cut(_SOUND, 0.9999), "error", "model.h5"),
    Case("h5-signature-only", "nothing but the signature", cut(_SOUND, 0.002), "error", "model.h5"),
    Case("h5-superblock-version", "a superblock of version 255", overwritten(_SOUND, 8, b"\xff"), "error", "model.h5"),
    Case(
        "h5-root-undefined",
        "the address of the root is undefined",
        overwritten(_SOUND, 64, b"\xff" * 8),
        "error",
        "model.h5",
    ),
    Case("h5-offset-size-0", "addresses of 0 bytes", overwritten(_SOUND, 13, b"\0"), "error", "model.h5"),
    Case(
        "h5-root-at-itself",
        "the root's address is that of the superblock",
        overwritten(_SOUND, 64, bytes(8)),
        "error",
        "model.h5",
    ),
    Case("h5-hole-8-gib", "8 GiB of hole behind 2 KB of file", _hole, "handled", commands=("inspect",)),
)

CASES = (*_FILTERS, *_SIZES)
