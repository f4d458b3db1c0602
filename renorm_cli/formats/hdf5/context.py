"""What an HDF5 file holds besides its datasets, in the child: a digest of every attribute, and the soft links."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from renorm_cli.formats.hdf5.walk import MAX_CONFIG, MAX_LIST, Walk

MAX_ATTRIBUTES = 1_000_000


def context(h5: Any, file: Any, walk: Walk) -> list[tuple[str, str | None]]:
    """Names and digests of all attributes and soft links; None for a value that leads elsewhere or nests lists.

    Raises FormatError for a file that a survey refuses, or whose attributes claim more than a checkpoint has.
    """
    root = h5.h5g.open(file, b"/")
    walk.run(root)
    found: list[tuple[str, str | None]] = [
        (f"the soft link {path!r}", target) for path, target in walk.soft_links.items()
    ]
    for path in (*walk.groups, *(dataset[0] for dataset in walk.datasets)):
        item = h5.h5o.open(root, path.encode("utf-8", "surrogateescape")) if path else root
        names: list[bytes] = []
        h5.h5a.iterate(item, names.append)
        if len(found) + len(names) > MAX_ATTRIBUTES:
            raise walk.refuse(f"it holds more than {MAX_ATTRIBUTES} attributes, no checkpoint does")
        for name in names:
            shown = name.decode("utf-8", "surrogateescape")
            found.append((f"the attribute {shown!r} of {path or '/'!r}", _digest(h5, item, name, walk)))
    return found


def _digest(h5: Any, item: Any, name: bytes, walk: Walk) -> str | None:
    """The SHA-256 of an attribute: its type, its shape and its values as they are stored."""
    import numpy as np

    attribute = h5.h5a.open(item, name)
    space, kind = attribute.get_space(), attribute.get_type()
    known = hashlib.sha256(kind.encode())
    if space.get_simple_extent_type() == h5.h5s.NULL:
        return known.hexdigest()
    shape = space.get_simple_extent_dims()
    known.update(repr(shape).encode())
    cells, size = math.prod(shape), kind.get_size()
    if cells > MAX_LIST or cells * size > min(MAX_CONFIG, walk.length):
        raise walk.refuse(f"the attribute {name.decode('utf-8', 'replace')!r} claims {cells} values of {size} bytes")
    if isinstance(kind, h5.h5t.TypeStringID) and kind.is_variable_str():
        texts = np.empty(shape, dtype=attribute.dtype)
        if cells:
            attribute.read(texts)
        add_texts(known, texts)
    elif not is_plain(h5, kind):
        return None
    elif cells:
        values = np.empty(shape, dtype=f"V{size}")
        attribute.read(values, mtype=kind)
        known.update(values.tobytes())
    return known.hexdigest()


def add_texts(known: Any, texts: Any) -> None:
    """Add an array of texts to a digest, each with its length."""
    for text in texts.ravel().tolist():
        raw = bytes(text)
        known.update(len(raw).to_bytes(8, "little") + raw)


def is_plain(h5: Any, kind: Any) -> bool:
    """Whether values of a type lie where they are stored: not so for lists, references and texts inside of records."""
    if isinstance(kind, h5.h5t.TypeStringID):
        return True
    return not any(kind.detect_class(part) for part in (h5.h5t.VLEN, h5.h5t.REFERENCE, h5.h5t.STRING))
