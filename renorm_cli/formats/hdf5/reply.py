"""Turn the HDF5 worker's reply into a Survey, accepting only what is consistent with the file and with itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.hdf5.types import OTHERS, SIZES

T = TypeVar("T")

MAX_RANK = 32
"""HDF5's limit on the number of dimensions (H5S_MAX_RANK)."""
MAX_EDGE = 1 << 63


class _NonsenseError(Exception):
    """A reply of the wrong form; never leaves this module."""


def survey_of(reply: dict[str, Any], config: bytes, length: int, shown: str) -> Survey:
    """The survey in a worker's reply about an image of `length` bytes; `config`, its payload, is the model_config text.

    Raises FormatError for a reply that no sound worker sends: the file may have taken control of it.
    """
    try:
        datasets = tuple(_dataset(item, length) for item in _list(reply.get("datasets")))
        if len({dataset.path for dataset in datasets}) < len(datasets):
            raise _NonsenseError
        return Survey(
            datasets=datasets,
            groups=frozenset(map(_group, _list(reply.get("groups")))),
            names=_mapping(reply.get("names"), _text),
            layer_names=_mapping(reply.get("layer_names"), _texts),
            weight_names=_mapping(reply.get("weight_names"), _texts),
            soft_links=_mapping(reply.get("soft_links"), _text),
            model_config=config.decode("utf-8", "surrogateescape") if reply.get("config") is True else None,
        )
    except _NonsenseError:
        raise FormatError(
            f"{shown}: the HDF5 process answered nonsense: the file is damaged or hostile, do not use it"
        ) from None


def _dataset(item: object, length: int) -> Dataset:
    match item:
        case [str() as path, list() as edges, str() as dtype, ("<" | ">") as order, offset, list() as links, locked]:
            shape = tuple(_number(edge, MAX_EDGE) for edge in edges)
            if len(shape) > MAX_RANK or not (dtype in SIZES or dtype in OTHERS):
                raise _NonsenseError
            if offset is not None:
                nbytes = math.prod(shape) * SIZES.get(dtype, 0)
                offset = _number(offset, length - nbytes + 1)
            return Dataset(
                path=_path(path),
                shape=shape,
                dtype=dtype,
                order=order,
                offset=offset,
                links=tuple(map(_path, links)),
                locked=None if locked is None else _text(locked),
            )
    raise _NonsenseError


def _number(value: object, beyond: int) -> int:
    if type(value) is not int or not 0 <= value < beyond:
        raise _NonsenseError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _NonsenseError
    return value


def _path(value: object) -> str:
    """A path from the root. No part may be empty, or a group would contain itself."""
    path = _text(value)
    if "" in path.split("/"):
        raise _NonsenseError
    return path


def _group(value: object) -> str:
    return _path(value) if value else _text(value)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _NonsenseError
    return value


def _mapping(value: object, part: Callable[[object], T]) -> dict[str, T]:
    if not isinstance(value, dict):
        raise _NonsenseError
    return {_group(key): part(item) for key, item in value.items()}
