"""The walk over an HDF5 file, in the child: visits every object once and follows no link out of the file.

The h5py module is passed in, so that this module imports nothing heavy. The results are JSON-able. File format facts
are from the HDF5 file format specification; the types of h5py (bool, complex) and Keras (bfloat16) from files that
they write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count, pairwise, takewhile
from typing import Any

from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.chunks import why_locked
from renorm_cli.formats.hdf5.types import LOST, Types

MAX_OBJECTS = 200_000
MAX_DEPTH = 1_000
MAX_TEXT = 1 << 26
"""Characters in all paths, names and link targets together."""
MAX_LIST = 1_000_000
MAX_CONFIG = 1 << 26
MAX_RATIO = 200
MAX_INFLATED = 16 << 30
FREE_INFLATED = 64 << 20
"""Bytes that may inflate by more than MAX_RATIO, all datasets together: zeros do, as in fresh optimizer slots."""
MAX_CHUNK = 64 << 20
MAX_EXTENT = 1 << 63
"""Upper limit of the bytes of a shape, not counting axes of length 0."""

NEVER_WRITTEN = "never written: HDF5 stores no data for it"


class Walk:
    """Collects the facts of an open file of `length` bytes. Raises FormatError if the file must be refused."""

    def __init__(self, h5: Any, length: int, shown: str) -> None:
        self.h5 = h5
        self.length = length
        self.shown = shown
        self.datasets: list[list[Any]] = []
        self.groups: list[str] = []
        self.attributes: dict[str, dict[str, Any]] = {
            "name": {},
            "model_config": {},
            "layer_names": {},
            "weight_names": {},
        }
        self.soft_links: dict[str, str] = {}
        self.extents: list[tuple[int, int, str]] = []
        self.stored = 0
        self.free = FREE_INFLATED
        self.text = 0
        self.types = Types(h5)

    def refuse(self, what: str) -> FormatError:
        return FormatError(f"{self.shown}: {what}")

    def run(self, root: Any) -> dict[str, Any]:
        """Walk from `root` in the order of names. Iterative: `frames` are the open groups from the root down."""
        seen: dict[int, list[str] | None] = {self.h5.h5o.get_info(root).addr: None}
        frames = [(root, "", self._group(root, ""))]
        while frames:
            group, above, names = frames[-1]
            if not names:
                frames.pop()
                continue
            name = names.pop()
            path = f"{above}/{_decoded(name)}" if above else _decoded(name)
            self._spend(len(path))
            address = self._hard_link(group, name, path)
            if address is None:
                continue
            if address in seen:
                links = seen[address]
                if links is not None:
                    links.append(path)
                continue
            seen[address] = None
            item = self.h5.h5o.open(group, name)
            if isinstance(item, self.h5.h5g.GroupID):
                if len(frames) >= MAX_DEPTH:
                    raise self.refuse(f"its groups are nested more than {MAX_DEPTH} deep, no checkpoint is")
                frames.append((item, path, self._group(item, path)))
            elif isinstance(item, self.h5.h5d.DatasetID):
                facts = self.dataset(path, item)
                seen[address] = facts[5]
                self.datasets.append(facts)
                if len(self.datasets) > MAX_OBJECTS:
                    raise self.refuse(f"it holds more than {MAX_OBJECTS} datasets, no checkpoint does")
        self._check_extents()
        return {
            "datasets": self.datasets,
            "groups": self.groups,
            "names": self.attributes["name"],
            "model_configs": self.attributes["model_config"],
            "layer_names": self.attributes["layer_names"],
            "weight_names": self.attributes["weight_names"],
            "soft_links": self.soft_links,
        }

    def _spend(self, characters: int) -> None:
        self.text += characters
        if self.text > MAX_TEXT:
            raise self.refuse(f"its names take more than {MAX_TEXT >> 20} million characters, no checkpoint's do")

    def _hard_link(self, group: Any, name: bytes, path: str) -> int | None:
        """The address of a hard link's object; None for a soft link, which is noted but never followed.

        Raises FormatError for a link of any other kind, because it leads out of the file.
        """
        info = group.links.get_info(name)
        kind = info.type
        if kind == self.h5.h5l.TYPE_HARD:
            return int(info.u)
        if kind != self.h5.h5l.TYPE_SOFT:
            raise self.refuse(
                f"{path!r} is a link into another file; a checkpoint may name nothing outside itself: "
                "copy the weights into one file"
            )
        if info.u > MAX_TEXT:
            raise self.refuse(f"the soft link {path!r} is damaged: its target has {info.u} bytes")
        target = _decoded(group.links.get_val(name))
        self._spend(len(target))
        self.soft_links[path] = target
        if len(self.soft_links) > MAX_OBJECTS:
            raise self.refuse(f"it holds more than {MAX_OBJECTS} soft links, no checkpoint does")
        return None

    def _group(self, group: Any, path: str) -> list[bytes]:
        """Record a group and its attributes; returns the names of its links, last first."""
        self.groups.append(path)
        if len(self.groups) > MAX_OBJECTS:
            raise self.refuse(f"it holds more than {MAX_OBJECTS} groups, no checkpoint does")
        if self.h5.h5a.get_num_attrs(group):
            self._keras_attributes(group, path)
        names: list[bytes] = []

        def note(name: bytes) -> bool:
            names.append(name)
            return len(names) > 2 * MAX_OBJECTS

        group.links.iterate(note)
        # A name with a slash would be looked up as a path, and a duplicate name as either of the two links.
        if len(set(names)) < len(names) or any(b"/" in name or name in (b"", b".") for name in names):
            raise self.refuse(f"the group {path!r} is damaged: two members of one name, or a name that is a path")
        if len(names) > 2 * MAX_OBJECTS:
            raise self.refuse(f"the group {path!r} has more than {2 * MAX_OBJECTS} members, no checkpoint's has")
        names.reverse()
        return names

    def _keras_attributes(self, group: Any, path: str) -> None:
        there: list[bytes] = []
        self.h5.h5a.iterate(group, there.append)
        for key in ("name", "model_config") if path else ("name",):  # the root's config is a payload of its own
            text = self.strings(group, key.encode()) if key.encode() in there else None
            if isinstance(text, str):
                self.attributes[key][path] = text
        for key in ("layer_names", "weight_names"):
            # Keras splits lists of more than 64,512 bytes into layer_names0, layer_names1, ...
            numbered = takewhile(set(there).__contains__, (f"{key}{part}".encode() for part in count()))
            whole = key.encode()
            parts = [self.strings(group, part) for part in ([whole] if whole in there else numbered)]
            if parts and all(isinstance(part, list) for part in parts):
                self.attributes[key][path] = [word for part in parts if part for word in part]

    def strings(self, item: Any, name: bytes) -> str | list[str] | None:
        """A text attribute, or an attribute of several texts; None if it is neither."""
        found = self._raw_strings(item, name)
        if found is None:
            return None
        words = [_decoded(word) for word in found[0]]
        self._spend(sum(map(len, words)) + len(words))
        return words[0] if found[1] else words

    def config(self, root: Any) -> bytes | None:
        """The attribute `model_config` of the root, undecoded."""
        if not self.h5.h5a.exists(root, b"model_config"):
            return None
        found = self._raw_strings(root, b"model_config")
        if found is None or not found[1]:
            return None
        if len(found[0][0]) > MAX_CONFIG:
            raise self.refuse(f"its model_config is larger than {MAX_CONFIG >> 20} MiB, no model's is")
        return found[0][0]

    def _raw_strings(self, item: Any, name: bytes) -> tuple[list[bytes], bool] | None:
        """The bytes of a text attribute's values, and whether it is a scalar rather than a list; None if not text."""
        attribute = self.h5.h5a.open(item, name)
        space, kind = attribute.get_space(), attribute.get_type()
        if space.get_simple_extent_type() == self.h5.h5s.NULL:
            return None
        shape = space.get_simple_extent_dims()
        cells = math.prod(shape)
        if len(shape) > 1 or cells > MAX_LIST:
            return None
        if not cells:
            # Keras writes an empty list as an empty float64 array.
            return [], False
        if not isinstance(kind, self.h5.h5t.TypeStringID):
            return None
        words = self._read_strings(attribute, kind, shape, cells, name)
        return words, not shape

    def _read_strings(self, attribute: Any, kind: Any, shape: tuple[int, ...], cells: int, name: bytes) -> list[bytes]:
        import numpy as np

        if kind.is_variable_str():
            texts = np.empty(shape, dtype=attribute.dtype)
            attribute.read(texts)
            return [bytes(text) for text in texts.ravel().tolist()]
        size = kind.get_size()
        if size * cells > min(MAX_CONFIG, self.length):
            raise self.refuse(f"its attribute {_decoded(name)!r} is damaged: it claims {size * cells} bytes")
        texts = np.empty(shape, dtype=f"S{size}")
        attribute.read(texts, mtype=kind)
        cut = [text.split(b"\0", 1)[0] for text in texts.ravel().tolist()]
        return [text.rstrip(b" ") for text in cut] if kind.get_strpad() == self.h5.h5t.STR_SPACEPAD else cut

    def dataset(self, path: str, item: Any) -> list[Any]:
        """[path, shape, dtype, order, offset, links, locked] of a dataset, checked against the file."""
        plist = item.get_create_plist()
        layout = plist.get_layout()
        # First of all, because asking a virtual dataset for its shape can open its sources.
        if layout == self.h5.h5d.VIRTUAL or (layout == self.h5.h5d.CONTIGUOUS and plist.get_external_count()):
            raise self.refuse(
                f"{path!r} keeps its data in another file; a checkpoint may name nothing outside itself: "
                "copy the weights into one file"
            )
        kind, space = item.get_type(), item.get_space()
        dtype, order, plain = self.types.describe(kind)
        if dtype in ("opaque", *LOST) and kind.get_size() == 2 and self._is_bfloat16(item):
            dtype = "bfloat16"
        if space.get_simple_extent_type() == self.h5.h5s.NULL:
            return [path, [], "empty", "<", None, [], None]
        shape = [int(edge) for edge in space.get_simple_extent_dims()]
        nbytes = math.prod(shape) * int(kind.get_size())
        if math.prod(edge for edge in shape if edge) * int(kind.get_size()) >= MAX_EXTENT:
            # Also if another axis has length 0: NumPy cannot express such a shape.
            raise self.refuse(f"{path!r} is damaged: its shape {shape} is larger than any memory")
        stored = int(item.get_storage_size())
        self.stored += stored
        if self.stored > self.length:
            raise self.refuse(f"{path!r} is damaged: it claims {stored} stored bytes, more than the file has left")
        offset, locked = None, None
        if nbytes and not stored:
            locked = NEVER_WRITTEN
        elif nbytes and layout == self.h5.h5d.CHUNKED:
            locked = self._chunked(path, plist, kind.get_size(), nbytes, stored)
        elif nbytes and plain:
            if stored != nbytes:
                raise self.refuse(f"{path!r} is damaged: its shape needs {nbytes} bytes, {stored} are stored")
            if layout == self.h5.h5d.CONTIGUOUS:
                offset = self._extent(path, item, nbytes)
        return [path, shape, dtype, order, offset, [], locked]

    def _is_bfloat16(self, item: Any) -> bool:
        """Keras stores bfloat16 as two opaque bytes, and names the dtype in an attribute."""
        return self.h5.h5a.exists(item, b"dtype") and self.strings(item, b"dtype") == "bfloat16"

    def _extent(self, path: str, item: Any, nbytes: int) -> int:
        offset = item.get_offset()
        if offset is None or offset < 0 or offset + nbytes > self.length:
            raise self.refuse(
                f"{path!r} needs {nbytes} bytes at {offset}, the file has {self.length}: it is cut short or damaged"
            )
        self.extents.append((int(offset), nbytes, path))
        return int(offset)

    def _chunked(self, path: str, plist: Any, itemsize: int, nbytes: int, stored: int) -> str | None:
        filters = filters_of(plist)
        if nbytes > MAX_RATIO * stored:
            self.free -= nbytes
        if nbytes > MAX_INFLATED or self.free < 0:
            raise self.refuse(
                f"{path!r} would inflate from {stored} to {nbytes} bytes: "
                f"more than {MAX_RATIO} times, or more than {MAX_INFLATED >> 30} GiB, is taken for a bomb"
            )
        locked = why_locked(filters)
        chunk = math.prod(int(edge) for edge in plist.get_chunk()) * itemsize
        if locked is None and filters and chunk > MAX_CHUNK:
            return f"its compressed chunks are larger than {MAX_CHUNK >> 20} MiB"
        return locked

    def _check_extents(self) -> None:
        self.extents.sort()
        for (offset, nbytes, path), (start, _, other) in pairwise(self.extents):
            if offset + nbytes > start:
                raise self.refuse(f"{path!r} and {other!r} share bytes of the file: it is damaged or hostile")


def filters_of(plist: Any) -> list[int]:
    """The filter ids of a creation property list, in the order of the pipeline."""
    return [int(plist.get_filter(index)[0]) for index in range(plist.get_nfilters())]


def spaces_of(h5: Any, item: Any, start: Sequence[int], shape: Sequence[int]) -> tuple[Any, Any]:
    """The dataspaces of a box of a dataset: in memory and in the file."""
    if not shape:
        return h5.h5s.create(h5.h5s.SCALAR), h5.h5s.create(h5.h5s.SCALAR)
    place = h5.h5s.create_simple(item.shape)
    place.select_hyperslab(tuple(start), tuple(shape))
    return h5.h5s.create_simple(tuple(shape)), place


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
