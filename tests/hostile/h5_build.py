"""Builders for hostile HDF5 files, with h5py and by patching bytes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from support import peek

Fill = Callable[[h5py.File, Path], None]

KERNEL = np.full((8, 4), 3, "<f4")
"""Its four units have norms of 8.5."""


def h5(fill: Fill, name: str = "model.h5", *, sound: bool = True, **options: Any) -> Callable[[Path], Path]:
    """A maker: a file with a sound `dense/kernel` (if `sound`) and what `fill` adds; it also gets the folder."""

    def make(inside: Path) -> Path:
        path = inside / name
        with h5py.File(path, "w", **options) as file:
            if sound:
                file["dense/kernel"], file["dense/bias"] = KERNEL, KERNEL[0]
            fill(file, inside)
        return path

    return make


def patched(make: Callable[[Path], Path], *edits: tuple[bytes, bytes]) -> Callable[[Path], Path]:
    """The file of another maker with bytes replaced, each wherever it stands; it must stand somewhere."""

    def edit(inside: Path) -> Path:
        path = make(inside)
        content = path.read_bytes()
        for before, after in edits:
            assert before in content, before
            content = content.replace(before, after)
        path.write_bytes(content)
        return path

    return edit


def cut(make: Callable[[Path], Path], share: float) -> Callable[[Path], Path]:
    """The first part of another maker's file."""

    def shorten(inside: Path) -> Path:
        path = make(inside)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return shorten


def overwritten(make: Callable[[Path], Path], offset: int, data: bytes) -> Callable[[Path], Path]:
    def write(inside: Path) -> Path:
        path = make(inside)
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        return path

    return write


def dataset(file: h5py.File, name: str, shape: tuple[int, ...], **plist: Any) -> h5py.Dataset:
    """A dataset of float32 by the low-level calls: `layout`, `chunk`, `filters` as (id, values), `most` as maxshape."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if "layout" in plist:
        creation.set_layout(plist["layout"])
    if "chunk" in plist:
        creation.set_chunk(plist["chunk"])
    for code, values in plist.get("filters", ()):
        creation.set_filter(code, h5py.h5z.FLAG_OPTIONAL, values)
    space = h5py.h5s.create_simple(shape, plist.get("most"))
    above = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    above.set_create_intermediate_group(True)
    kind = plist.get("kind", h5py.h5t.IEEE_F32LE)
    return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=creation, lcpl=above))


def bomb_chunk(file: h5py.File, name: str, shape: tuple[int, ...], chunk: tuple[int, ...], data: bytes) -> None:
    """A dataset of one written chunk, whose stored bytes are `data`."""
    made = file.create_dataset(name, shape, "<f4", chunks=chunk, compression="gzip", maxshape=(None,) * len(shape))
    made.id.write_direct_chunk((0,) * len(shape), data)


def zeros_deflated(count: int) -> bytes:
    """A deflate stream of so many zeros, made in little memory."""
    stream = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join([*(stream.compress(block) for _ in range(count >> 20)), stream.flush()])


def same_but_kernels(source: Path, output: Path) -> None:
    """All that is no floating data is as it was, and so is every dataset that is no kernel of norm above 0.5."""
    for (name, before), after in zip(peek.images(source).items(), peek.images(output).values(), strict=True):
        assert peek.facts(before) == peek.facts(after), f"{name}: facts differ"
    old, new = peek.arrays(source), peek.arrays(output)
    assert old.keys() == new.keys()
    for name, values in old.items():
        if values.tobytes() != new[name].tobytes():
            assert name.rpartition("/")[2] in ("kernel", "kernel:0", "0"), f"{name} was changed"
            norms = np.linalg.norm(new[name].astype("f8").reshape(-1, new[name].shape[-1]), axis=0)
            assert not (norms > 0.5).any(), f"{name} is above the bound: {norms}"


def same_size(source: Path, output: Path) -> None:
    assert source.stat().st_size == output.stat().st_size


def elements(shape: tuple[int, ...]) -> int:
    return math.prod(shape)
