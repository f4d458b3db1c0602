"""Reproducible mutants: the one of a seed and a number is always the same bytes."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.zip_maker import Entry, make_zip

INTEGERS = [0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 63, 64, 127, 128, 200, 255, 256, 511, 512, 1023, 1024, 4096]
INTEGERS += [(1 << bits) + step for bits in (15, 16, 24, 31, 32, 40, 48, 62, 63, 64) for step in (-2, -1, 0, 1)]

HDF5_TOKENS = [
    b"\x89HDF\r\n\x1a\n", b"TREE", b"HEAP", b"SNOD", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF",
    b"BTIN", b"GCOL", b"FADB", b"FAHD", b"EAHD", b"EAIB", b"EASB", b"EADB", b"SMTB", b"SMLI", b"FSHD", b"FSSE",
    b"\xff" * 8, bytes(8), b"\x00\x00\x00\x80", struct.pack("<d", float("nan")), b"\x7f\xef" + b"\xff" * 6,
    *(struct.pack("<HHB", kind, 8, 0) for kind in range(0x19)),
    b"name\0", b"vars\0", b"layer_names\0", b"weight_names\0", b"model_config\0", b"..\0", b"/", b"\x1b]0;",
]  # fmt: skip
"""Signatures of the HDF5 file format, headers of its object messages, undefined addresses, and names that matter."""

ZIP_TOKENS = [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\7\x08", b"\xff\xff", b"\xff" * 4, b"\xff" * 8]
ZIP_TOKENS += [
    b"\x01\x00\x10\x00",
    b"\x01\x00\x18\x00",
    b"../",
    b"\\",
    b"config.json",
    b"model.weights.h5",
    b"\x75\x70",
]
JSON_TOKENS = [
    b"null", b"NaN", b"-Infinity", b"1e999", b"-0.0", b"[]", b"{}", b'""', b'"\\ud800"', b'"\\u0000"', b"[[[[[[[[",
    b"9" * 5000, b'"class_name"', b'"config"', b'"layers"', b'"name"', b'"module"', b'"kernel_constraint"', b'"axis"',
    b'"max_value"', b'"registered_name"', b'"weight_map"', b'"../x"', b"\xff", b"\xed\xa0\x80", b",", b":", b"true",
]  # fmt: skip

_Edit = Callable[[random.Random, bytearray, "Kind"], None]


@dataclass(frozen=True)
class Kind:
    """What mutants of one parser are made of: its seeds by name, its tokens, and mutators that know its structure."""

    seeds: Mapping[str, bytes]
    tokens: Sequence[bytes] = ()
    structured: Sequence[Callable[[random.Random, bytes], bytes]] = ()
    names: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", sorted(self.seeds))

    def mutant(self, number: int) -> tuple[str, bytes]:
        """Name of the seed and the mutant of that number; structured where the number is odd and that is possible."""
        name = self.names[number % len(self.names)]
        return name, mutant(self, name, number)


def mutant(kind: Kind, seed: str, number: int) -> bytes:
    """The mutant (seed, number): one to eight edits, most often one or two."""
    chance = random.Random(f"{seed}:{number}")
    data = kind.seeds[seed]
    if kind.structured and chance.random() < 0.6:
        data = chance.choice(kind.structured)(chance, data)
        if chance.random() < 0.7:
            return data
    edited = bytearray(data)
    for _ in range(1 + min(7, int(chance.expovariate(0.9)))):
        chance.choice(_EDITS)(chance, edited, kind)
    return bytes(edited)


# Blind edits, in place


def _flip(chance: random.Random, data: bytearray, kind: Kind) -> None:
    if data:
        data[_place(chance, data)] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, data: bytearray, kind: Kind) -> None:
    if data:
        data[_place(chance, data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _integer(chance: random.Random, data: bytearray, kind: Kind) -> None:
    width = chance.choice((1, 2, 4, 8))
    if len(data) >= width:
        at = _place(chance, data, width)
        value = chance.choice((*INTEGERS, len(data), len(data) - at, at)) * chance.choice((1, 1, 1, -1))
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, chance.choice(("little", "little", "big")))


def _nudge(chance: random.Random, data: bytearray, kind: Kind) -> None:
    """Add a little to what stands there as an integer: sizes and offsets that are almost right."""
    width = chance.choice((1, 2, 4, 8))
    if len(data) >= width:
        at = _place(chance, data, width)
        value = int.from_bytes(data[at : at + width], "little") + chance.choice((-8, -4, -2, -1, 1, 2, 4, 8, 512))
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")


def _token(chance: random.Random, data: bytearray, kind: Kind) -> None:
    if kind.tokens:
        token = chance.choice(kind.tokens)
        at = _place(chance, data)
        data[at : at + (len(token) if chance.random() < 0.7 else 0)] = token


def _copy(chance: random.Random, data: bytearray, kind: Kind) -> None:
    """Write one part over another, or a second time."""
    start, count = _span(chance, data)
    at = _place(chance, data)
    data[at : at + (count if chance.random() < 0.7 else 0)] = data[start : start + count]


def _swap(chance: random.Random, data: bytearray, kind: Kind) -> None:
    width = chance.choice((4, 8, 16, 40, 64))
    if len(data) >= 2 * width:
        one, other = _place(chance, data, width), _place(chance, data, width)
        data[one : one + width], data[other : other + width] = data[other : other + width], data[one : one + width]


def _drop(chance: random.Random, data: bytearray, kind: Kind) -> None:
    start, count = _span(chance, data)
    del data[start : start + count]


def _blank(chance: random.Random, data: bytearray, kind: Kind) -> None:
    start, count = _span(chance, data)
    data[start : start + count] = bytes([chance.choice((0, 0xFF))]) * count


def _cut(chance: random.Random, data: bytearray, kind: Kind) -> None:
    del data[
        chance.randrange(len(data) + 1) if chance.random() < 0.5 else max(0, len(data) - chance.randrange(1, 64)) :
    ]


def _splice(chance: random.Random, data: bytearray, kind: Kind) -> None:
    """The head of this file and the tail of another."""
    other = kind.seeds[chance.choice(kind.names)]
    at = _place(chance, data)
    data[at:] = other[at:] if chance.random() < 0.5 else other[chance.randrange(len(other) + 1) :]


_EDITS: tuple[_Edit, ...] = (
    _flip, _flip, _set, _set, _integer, _integer, _integer, _nudge, _nudge, _token, _token, _copy, _swap, _drop, _blank,
    _cut, _splice,
)  # fmt: skip


def _place(chance: random.Random, data: bytearray, width: int = 1) -> int:
    """Anywhere; half of the time where no long run of zeros lies, because nothing is described there."""
    most = max(1, len(data) - width + 1)
    at = chance.randrange(most)
    for _ in range(4):
        if any(data[at : at + 16]):
            break
        at = chance.randrange(most)
    return at


def _span(chance: random.Random, data: bytearray) -> tuple[int, int]:
    count = chance.choice((1, 2, 4, 8, 16, 32, 64, 128, 512))
    return _place(chance, data), min(count, len(data))


# Mutants that stay HDF5, zip and JSON on the surface


def edit_hdf5(chance: random.Random, data: bytes) -> bytes:
    """Change one number close behind a signature: that is where the library's structures are described."""
    found = [at for token in HDF5_TOKENS[:23] for at in _all(data, token)]
    if not found:
        return data
    edited = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.choice(found) + chance.randrange(4, 200)
        width = chance.choice((1, 2, 4, 8))
        if at + width <= len(edited):
            value = chance.choice((*INTEGERS, *found))
            edited[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(edited)


def _all(data: bytes, token: bytes) -> list[int]:
    found, at = [], data.find(token)
    while at >= 0:
        found.append(at)
        at = data.find(token, at + 1)
    return found


_LOCAL = ((4, 2), (6, 2), (8, 2), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))
_CENTRAL = (
    (4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (36, 2),
    (38, 4), (42, 4),
)  # fmt: skip
_END = ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))
_END64 = ((4, 8), (12, 2), (14, 2), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8))
_LOCATOR = ((4, 4), (8, 8), (16, 4))
_FIELDS = {b"PK\3\4": _LOCAL, b"PK\1\2": _CENTRAL, b"PK\5\6": _END, b"PK\6\6": _END64, b"PK\6\7": _LOCATOR}
"""Offset and width of the fields of each record, from APPNOTE.TXT 6.3, sections 4.3.7 to 4.3.16."""


def edit_zip_fields(chance: random.Random, data: bytes) -> bytes:
    """Change fields of the records, each to a boundary, to a neighbour of what it was, or to another record's value."""
    records = [(at, fields) for token, fields in _FIELDS.items() for at in _all(data, token)]
    if not records:
        return data
    edited = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at, fields = chance.choice(records)
        offset, width = chance.choice(fields)
        old = int.from_bytes(edited[at + offset : at + offset + width], "little")
        other = chance.choice(records)[0] + offset
        values = (
            *INTEGERS,
            old + 1,
            old - 1,
            old ^ 8,
            old ^ 1,
            len(data),
            int.from_bytes(data[other : other + width], "little"),
        )
        if at + offset + width <= len(edited):
            edited[at + offset : at + offset + width] = (chance.choice(values) % (1 << 8 * width)).to_bytes(
                width, "little"
            )
    return bytes(edited)


def new_zip(chance: random.Random, data: bytes) -> bytes:
    """A new archive with odd choices in every record: names, extra fields, descriptors, zip64, gaps, prefix."""
    names = [
        "config.json",
        "model.weights.h5",
        "metadata.json",
        "assets/x",
        "a",
        "../x",
        "/x",
        "a\\b",
        "c:x",
        "A",
        "a/",
    ]
    count = chance.choice((1, 2, 2, 3, 5))
    entries = [
        Entry(
            name=chance.choice(names),
            content=chance.choice((b"", b"{}", chance.randbytes(30), bytes(300))),
            method=chance.choice((0, 8)),
            descriptor=chance.choice((None, (True, False), (False, False), (True, True), (False, True))),
            tells=chance.random() < 0.5,
            local_zip64=chance.random() < 0.3,
            central_zip64=chance.random() < 0.3,
            disk_zip64=chance.random() < 0.1,
            local_extra=chance.choice(
                (b"", b"", chance.randbytes(8), b"\1\0\x10\0" + bytes(16), b"\x75\x70\5\0\1abcd")
            ),
            central_extra=chance.choice((b"", b"", chance.randbytes(8), b"\1\0\x18\0" + bytes(24))),
            comment=chance.choice((b"", b"PK\5\6", b"x")),
            gap=chance.choice((b"", b"", b"PK\3\4", bytes(5))),
            external=chance.choice((0, 0o120777 << 16, 0o100644 << 16, 0o040755 << 16, 0xFFFFFFFF)),
        )
        for _ in range(count)
    ]
    made = make_zip(
        entries,
        prefix=chance.choice((b"", b"", b"x" * 9, b"PK\3\4")),
        absolute=chance.random() < 0.5,
        comment=chance.choice((b"", b"", b"comment", b"PK\5\6" + bytes(18))),
        zip64_end=chance.random() < 0.3,
        saturated=chance.random() < 0.3,
    )
    return edit_zip_fields(chance, made) if chance.random() < 0.5 else made


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, 10**400, 1.5, -0.0, float("nan"), float("inf"), 1e308, "", "x", "\ud800", "\0",
    "\x1b[2J", "../../x", "/etc/passwd", "a" * 2000, [], {}, [[]], [None], {"": None}, [0, 1, 2], ["a", "b"], [-1, 99],
    {"class_name": "Dense", "config": {"name": "dense"}},
    {"class_name": "MaxNorm", "config": {"max_value": 1, "axis": [0, 9]}},
)  # fmt: skip
_KEYS = (
    "name", "config", "class_name", "layers", "layer", "cell", "cells", "module", "registered_name", "axis",
    "max_value", "kernel_constraint", "bias_constraint", "units", "filters", "kernel_size", "equation", "num_heads",
    "weight_map", "forward_layer", "backward_layer", "constraint", "build_config", "dtype", "data_format",
    "depth_multiplier", "",
)  # fmt: skip


def edit_json(chance: random.Random, data: bytes) -> bytes:
    """Change the tree: replace, remove, double, rename, wrap or move nodes."""
    try:
        tree = [json.loads(data)]
    except (ValueError, RecursionError):
        return data
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        places = _places(tree)
        holder, key = chance.choice(places)
        if not (key in holder if isinstance(holder, dict) else key < len(holder)):
            continue
        match chance.randrange(7):
            case 0 | 1:
                holder[key] = copy.deepcopy(chance.choice(_VALUES))
            case 2 if holder is not tree:
                del holder[key]
            case 3:
                source, other = chance.choice(places)
                holder[key] = _copied(source[other] if isinstance(source, list) else source.get(other))
            case 4 if isinstance(holder, list) and holder is not tree:
                holder.insert(key, _copied(holder[key]))
            case 5 if isinstance(holder, dict):
                holder[chance.choice(_KEYS)] = holder.pop(key)
            case _:
                for _ in range(chance.choice((1, 2, 50, 210))):
                    holder[key] = chance.choice(([holder[key]], {chance.choice(_KEYS): holder[key]}))
    try:
        return json.dumps(tree[0]).encode("ascii")
    except (ValueError, RecursionError):
        return data


def _places(tree: list[Any]) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    stack: list[Any] = [tree]
    while stack and len(found) < 20_000:
        item = stack.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item))
        for key in keys:
            found.append((item, key))
            if isinstance(item[key], dict | list):
                stack.append(item[key])
    return found


def _copied(value: Any) -> Any:
    """A copy, so that the tree stays one; a value that is too deep becomes None."""
    try:
        return json.loads(json.dumps(value))
    except (ValueError, RecursionError):
        return None
