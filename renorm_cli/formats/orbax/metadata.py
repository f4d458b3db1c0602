"""What `_METADATA` tells of a folder of arrays: the path of each in the tree, and what must be there.

Source: orbax.checkpoint 0.12, `_src/metadata/tree.py`. An array is stored under the keys of its path with dots between
them, so names with dots in them are told by the list of keys alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from renorm_cli.errors import FormatError
from renorm_cli.untrusted import JsonError, UnexpectedError, field, items, optional, parse_json, table, text

MOST_BYTES = 256 << 20
_DEPTH = 200
_ARRAYS = frozenset(("jax.Array", "np.ndarray", "scalar"))

Path = tuple[str, ...]


class Tree(NamedTuple):
    """`paths` are those of all leaves, by the name under which an array is stored; `arrays` must be there.

    `fills` says whether chunks of nothing but the fill value may be missing, as versions wrote that do not say so.
    """

    paths: Mapping[str, Path] = {}
    arrays: frozenset[str] = frozenset()
    fills: bool = True


def read_tree(raw: bytes, shown: str) -> Tree:
    """The tree of a `_METADATA` file. Raises FormatError where it is none."""
    try:
        found = table(parse_json(raw, depth=_DEPTH))
        leaves = field(found, "tree_metadata", table)
        entries = [_leaf(leaf) for leaf in leaves.values()]
        stores_all = found.get("store_array_data_equal_to_fill_value") is True
    except JsonError as problem:
        raise FormatError(f"{shown!r} {problem}; the checkpoint is damaged") from None
    except UnexpectedError as problem:
        raise FormatError(f"{shown!r}: {problem}; the checkpoint is damaged") from None
    return Tree(
        {".".join(path): path for path, _ in entries},
        frozenset(".".join(path) for path, is_array in entries if is_array),
        not stores_all,
    )


def read_items(raw: bytes, shown: str) -> frozenset[str] | None:
    """The names of the items of a step by its `_CHECKPOINT_METADATA`; None where it tells none.

    Raises FormatError where it is no JSON.
    """
    try:
        found = parse_json(raw, depth=_DEPTH)
    except JsonError as problem:
        raise FormatError(f"{shown!r} {problem}; the checkpoint is damaged") from None
    handlers = found.get("item_handlers") if isinstance(found, dict) else None
    return frozenset(handlers) if isinstance(handlers, dict) else None


def _leaf(value: object) -> tuple[Path, bool]:
    leaf = table(value)
    path = field(leaf, "key_metadata", lambda found: items(found, _key))
    kind: Mapping[str, Any] = field(leaf, "value_metadata", table)
    is_array = field(kind, "value_type", optional(text)) in _ARRAYS and kind.get("skip_deserialize") is not True
    return path, is_array


def _key(value: object) -> str:
    return field(table(value), "key", lambda found: str(found) if type(found) is int else text(found))
