"""HDF5 images as the worker shows them, and datasets of every kind to put in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, settings

from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.hdf5.worker import Hdf5Image
from support.effort import examples

FLOATS = ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]
OTHER_NUMBERS = ["i1", "<i2", ">i4", "<i8", "u1", "<u2", ">u4", "<u8", "?", "<c8", ">c8", "<c16"]
STORAGE: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "compact": {"compact": True},
    "chunked": {"chunks": True},
    "gzip": {"compression": "gzip"},
    "gzip shuffle": {"compression": "gzip", "shuffle": True},
    "lzf": {"compression": "lzf"},
    "lzf shuffle fletcher32": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "gzip shuffle fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "fletcher32": {"fletcher32": True},
}
many = settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def image(path: Path, base: int = 0, length: int | None = None, *, writable: bool = False) -> Iterator[Hdf5Image]:
    fd = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    try:
        with Hdf5Image(fd, base, length, "f.h5", writable=writable) as opened:
            yield opened
    finally:
        os.close(fd)


def surveyed(path: Path) -> Survey:
    with image(path) as opened:
        return opened.survey()


def by_path(survey: Survey) -> dict[str, Dataset]:
    return {dataset.path: dataset for dataset in survey.datasets}


def only(path: Path) -> Dataset:
    (dataset,) = surveyed(path).datasets
    return dataset


def add(file: h5py.Group, name: str, values: npt.NDArray[Any], compact: bool = False, **storage: Any) -> h5py.Dataset:
    if not compact:
        return file.create_dataset(name, data=values, **storage)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    kind, space = h5py.h5t.py_create(values.dtype, logical=True), h5py.h5s.create_simple(values.shape)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, dcpl=plist))
    dataset[...] = values
    return dataset


def numbers(dtype: str, shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[Any]:
    values = np.random.default_rng(seed).normal(size=shape) * 40
    return (values > 0 if dtype == "?" else np.abs(values) if "u" in dtype else values).astype(dtype)


def named(dtype: str) -> tuple[str, str]:
    """NumPy's name of a dtype, and its byte order as the survey gives it."""
    return np.dtype(dtype).name, ">" if dtype.startswith(">") else "<"


def patch(path: Path, before: bytes, after: bytes) -> None:
    content = path.read_bytes()
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after))
