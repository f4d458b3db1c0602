"""Turn the HDF5 worker's reply into a Survey, accepting only what is consistent with the file and with itself."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.hdf5.types import OTHERS, SIZES
from renorm_cli.untrusted import Reader, UnexpectedError, below, entries, field, items, optional, text

T = TypeVar("T")

MAX_RANK = 32
"""HDF5's limit on the number of dimensions (H5S_MAX_RANK)."""
MAX_EDGE = 1 << 63


def survey_of(reply: dict[str, Any], config: bytes, length: int, shown: str) -> Survey:
    """The survey in a worker's reply about an image of `length` bytes; `config`, its payload, is the model_config text.

    Raises FormatError for a reply that no sound worker sends: the file may have taken control of it.
    """
    try:
        datasets = field(reply, "datasets", lambda found: items(found, lambda item: _dataset(item, length)))
        if len({dataset.path for dataset in datasets}) < len(datasets):
            raise UnexpectedError("datasets of different paths", reply["datasets"])
        return Survey(
            datasets=datasets,
            groups=frozenset(field(reply, "groups", lambda found: items(found, _group))),
            names=_by_group(reply, "names", text),
            layer_names=_by_group(reply, "layer_names", _texts),
            weight_names=_by_group(reply, "weight_names", _texts),
            soft_links=_by_group(reply, "soft_links", text),
            model_configs=_by_group(reply, "model_configs", text),
            model_config=config.decode("utf-8", "surrogateescape") if reply.get("config") is True else None,
        )
    except UnexpectedError:
        raise _nonsense(shown) from None


def context_of(reply: dict[str, Any], shown: str) -> dict[str, str | None]:
    """The digests in a worker's reply, by name. Raises FormatError as `survey_of` does."""
    try:
        return dict(field(reply, "context", lambda found: items(found, _named_digest)))
    except UnexpectedError:
        raise _nonsense(shown) from None


def stored_of(reply: dict[str, Any], shown: str) -> str | None:
    """The digest of a dataset in a worker's reply. Raises FormatError as `survey_of` does."""
    try:
        return field(reply, "stored", optional(text))
    except UnexpectedError:
        raise _nonsense(shown) from None


def _named_digest(item: object) -> tuple[str, str | None]:
    match item:
        case [name, found]:
            return text(name), optional(text)(found)
    raise UnexpectedError("a name and a digest", item)


def _nonsense(shown: str) -> FormatError:
    return FormatError(f"{shown}: the HDF5 process answered nonsense: the file is damaged or hostile, do not use it")


def _dataset(item: object, length: int) -> Dataset:
    match item:
        case [str() as path, list() as edges, str() as dtype, ("<" | ">") as order, offset, list() as links, locked]:
            shape = items(edges, below(MAX_EDGE))
            if len(shape) > MAX_RANK or not (dtype in SIZES or dtype in OTHERS):
                raise UnexpectedError("a shape and a dtype of HDF5", item)
            if offset is not None:
                nbytes = math.prod(shape) * SIZES.get(dtype, 0)
                offset = below(length - nbytes + 1)(offset)
            return Dataset(
                path=_path(path),
                shape=shape,
                dtype=dtype,
                order=order,
                offset=offset,
                links=items(links, _path),
                locked=optional(text)(locked),
            )
    raise UnexpectedError("a dataset", item)


def _path(value: object) -> str:
    """A path from the root. No part may be empty, or a group would contain itself."""
    path = text(value)
    if "" in path.split("/"):
        raise UnexpectedError("a path without empty parts", value)
    return path


def _group(value: object) -> str:
    return _path(value) if value else text(value)


def _texts(value: object) -> tuple[str, ...]:
    return items(value, text)


def _by_group(reply: dict[str, Any], name: str, read: Reader[T]) -> dict[str, T]:
    return field(reply, name, lambda found: entries(found, _group, read))
