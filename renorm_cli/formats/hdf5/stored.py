"""What stands for a dataset that is not read as numbers, in the child: a digest of its values as they are stored."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

from renorm_cli.formats.hdf5.chunks import SCALEOFFSET
from renorm_cli.formats.hdf5.context import add_texts, is_plain
from renorm_cli.formats.hdf5.walk import MAX_LIST, NEVER_WRITTEN, spaces_of
from renorm_cli.model.blocks import partition

_READ_BYTES = 4 << 20
_READ_TEXTS = 4_096
_TRUE_VALUES = 16
"""Parameters of a filter that h5py reads; what it returns after them is other memory (h5py 3.14). Scaleoffset
has 20, and uses the first 10 (HDF5 1.14, H5Zscaleoffset.c)."""

Read = Callable[[tuple[int, ...], tuple[int, ...]], bytes | memoryview]


def digest_of(h5: Any, item: Any, locked: str | None, read: Read) -> str | None:
    """The SHA-256 of a dataset: its type as it is encoded, its shape and its values.

    `read` reads the box of a shape at a start. What a filter locks is taken as it is compressed, and what was never
    written is the fill value. None for values that lead elsewhere or nest lists, or that nothing defines, for a filter
    with more parameters than h5py reads, and for more than a million of such chunks.
    """
    kind, shape = item.get_type(), tuple(item.shape)
    known = hashlib.sha256(kind.encode() + repr(shape).encode())
    if not math.prod(shape):
        return known.hexdigest()
    is_text = isinstance(kind, h5.h5t.TypeStringID) and kind.is_variable_str()
    if not is_text and not is_plain(h5, kind):
        return None
    if locked == NEVER_WRITTEN:
        if not _is_filled(h5, item.get_create_plist()):
            return None
        shape = (1,) * len(shape)  # all values are the fill value
    elif locked is not None:
        return None if is_text else _of_chunks(h5, item, known)  # chunks of texts hold where the texts lie
    for start, size in partition(shape, _READ_TEXTS if is_text else max(1, _READ_BYTES // kind.get_size())):
        if is_text:
            add_texts(known, _texts(h5, item, start, size))
        else:
            known.update(read(start, size))
    return known.hexdigest()


def _texts(h5: Any, item: Any, start: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    import numpy as np

    texts = np.empty(shape, dtype=item.dtype)
    item.read(*spaces_of(h5, item, start, shape), texts)
    return texts


def _of_chunks(h5: Any, item: Any, known: Any) -> str | None:
    plist = item.get_create_plist()
    filters = [plist.get_filter(index)[:3] for index in range(plist.get_nfilters())]
    if any(len(values) > _TRUE_VALUES and code != SCALEOFFSET for code, _, values in filters):
        return None
    told = [(code, flags, values[:_TRUE_VALUES]) for code, flags, values in filters]
    known.update(repr((plist.get_chunk(), told)).encode())
    found: list[tuple[int, ...]] = []

    def note(chunk: Any) -> bool | None:
        found.append(tuple(chunk.chunk_offset))
        return True if len(found) > MAX_LIST else None  # any result but None ends the iteration

    item.chunk_iter(note)
    if len(found) > MAX_LIST:
        return None
    if len(found) < math.prod(-(-edge // size) for edge, size in zip(item.shape, plist.get_chunk(), strict=True)):
        fill = _fill_value(h5, item, plist)
        if fill is None:
            return None
        known.update(fill)
    for origin in sorted(found):
        mask, data = item.read_direct_chunk(origin)
        known.update(repr((origin, mask, len(data))).encode() + data)
    return str(known.hexdigest())


def _fill_value(h5: Any, item: Any, plist: Any) -> bytes | None:
    """The value of what was never written; None where nothing defines it, or h5py cannot read it."""
    import numpy as np

    if not _is_filled(h5, plist):
        return None
    try:
        fill = np.zeros(1, dtype=item.dtype)
        plist.get_fill_value(fill)
    except (TypeError, ValueError, RuntimeError, OSError):
        return None
    return None if fill.dtype.hasobject else fill.tobytes()


def _is_filled(h5: Any, plist: Any) -> bool:
    """Whether HDF5 gives the fill value for what was never written, and not what memory held (1.14, H5Dchunk.c)."""
    is_defined = plist.fill_value_defined() != h5.h5d.FILL_VALUE_UNDEFINED
    return bool(is_defined and plist.get_fill_time() != h5.h5d.FILL_TIME_NEVER)
