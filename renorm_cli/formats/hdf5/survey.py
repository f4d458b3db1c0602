"""The HDF5 worker's description of a file: plain data, checked against the file before anything uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from renorm_cli.formats.hdf5.types import LOST


class Dataset(NamedTuple):
    """A stored dataset. `links` are its other hard-link paths; paths have no leading slash.

    `dtype` is "float32", "bfloat16", "int8", "string" and so on, `order` its byte order ("<" or ">").
    `offset` is the offset of plain C-order bytes in the HDF5 image; None if only HDF5 can decode them.
    `locked` is the reason why the data cannot be read and written back exactly (scaleoffset, an unknown filter), or
    None.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    order: str = "<"
    offset: int | None = None
    links: tuple[str, ...] = ()
    locked: str | None = None

    @property
    def untold(self) -> int:
        """See `Variable.untold`."""
        return LOST.get(self.dtype, 0)


class Survey(NamedTuple):
    """An HDF5 image. `names` holds the attribute `name` of groups (Keras >= 3.6 writes it on `vars` groups).

    `groups` are the paths of all groups ("" is the root). `layer_names` and `weight_names` are the Keras attribute
    lists by group path, their numbered parts (`weight_names0`, ...) joined. `soft_links` maps the
    path of a link to its target. `model_config` is that attribute of the root, `model_configs` has it of other groups.
    """

    datasets: tuple[Dataset, ...]
    groups: frozenset[str]
    names: Mapping[str, str]
    layer_names: Mapping[str, tuple[str, ...]]
    weight_names: Mapping[str, tuple[str, ...]]
    soft_links: Mapping[str, str]
    model_configs: Mapping[str, str] = {}
    model_config: str | None = None
