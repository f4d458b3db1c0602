"""A `Survey` of an HDF5 file made with plain h5py, independent of the package's own reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.model.variable import Variable


def survey_of(path: Path) -> Survey:
    """Everything a naming rule may look at, soft links left alone, hard links found by the object's address."""
    datasets: dict[int, tuple[list[str], h5py.Dataset]] = {}
    groups: set[str] = set()
    names: dict[str, str] = {}
    lists: dict[str, dict[str, tuple[str, ...]]] = {"layer_names": {}, "weight_names": {}}
    soft: dict[str, str] = {}
    with h5py.File(path) as file:
        for where, item in _walk(file):
            if isinstance(item, h5py.SoftLink):
                soft[where] = item.path
            elif isinstance(item, h5py.Dataset):
                datasets.setdefault(h5py.h5o.get_info(item.id).addr, ([], item))[0].append(where)
            else:
                groups.add(where)
                if "name" in item.attrs:
                    names[where] = _text(item.attrs["name"])
                for kind, found in lists.items():
                    values = _listed(item, kind)
                    if values is not None:
                        found[where] = values
        config = file.attrs.get("model_config")
        return Survey(
            datasets=tuple(_dataset(paths, item) for paths, item in datasets.values()),
            groups=frozenset(groups),
            names=names,
            layer_names=lists["layer_names"],
            weight_names=lists["weight_names"],
            soft_links=soft,
            model_config=None if config is None else _text(config),
        )


def _walk(file: h5py.File) -> Iterator[tuple[str, h5py.Group | h5py.Dataset | h5py.SoftLink]]:
    stack: list[tuple[str, h5py.Group]] = [("", file)]
    while stack:
        where, group = stack.pop()
        yield where, group
        for key in group:
            path = f"{where}/{key}" if where else key
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.SoftLink):
                yield path, link
            elif isinstance(item := group[key], h5py.Group):
                stack.append((path, item))
            else:
                yield path, item


def _listed(group: h5py.Group, kind: str) -> tuple[str, ...] | None:
    if kind in group.attrs:
        return tuple(_text(value) for value in group.attrs[kind])
    parts = [group.attrs[f"{kind}{index}"] for index in range(len(group.attrs)) if f"{kind}{index}" in group.attrs]
    return tuple(_text(value) for part in parts for value in part) if parts else None


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _dataset(paths: list[str], item: h5py.Dataset) -> Dataset:
    first, *links = sorted(paths)
    dtype = "string" if item.dtype.kind in "OS" else item.dtype.name
    return Dataset(first, item.shape or (), dtype, links=tuple(links))


def values_of(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of all datasets by path."""
    found: dict[str, npt.NDArray[np.generic]] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def same_bytes(path: Path) -> Callable[[Variable, Variable], bool]:
    """Whether two variables of the file hold the same bytes."""
    values = values_of(path)

    def same(one: Variable, other: Variable) -> bool:
        return bool(values[one.key].tobytes() == values[other.key].tobytes())

    return same
