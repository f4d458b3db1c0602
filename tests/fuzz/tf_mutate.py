"""Mutants of TensorFlow's files: blind ones, and ones that know protobuf, tables, JSON and checksums.

A mutant is a pure function of a seed and a `random.Random`. Structured mutants are sealed again, so that they reach
what lies behind the checksums.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

from support import raw_tables as raw

EXTREMES = (
    0, 1, 2, 7, 63, 64, 127, 128, 254, 255, 256, 65535, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
    1 << 53, 1 << 61, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1,
)  # fmt: skip
_DEEP = 6
_LONG = 3000
_TOKENS = (b"", b"/", b"..", b"\0", b"\xff\xfe", b"/.ATTRIBUTES/VARIABLE_VALUE", b"/.OPTIMIZER_SLOT/", b"dense/kernel",
           b"_CHECKPOINTABLE_OBJECT_GRAPH", b"variables/0", b"_all_variables/0", b"::error::", b"\x1b[31m", b"value",
           b"Const", b"VarHandleOp", b"a" * 3000, b"/" * 3000)  # fmt: skip

Pairs = list[tuple[bytes, bytes]]


def blind(rng: Random, data: bytes) -> bytes:
    """One to four edits that know nothing of the format."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_EDITS)(rng, out)
    return bytes(out)


def _flip(rng: Random, out: bytearray) -> None:
    if out:
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _byte(rng: Random, out: bytearray) -> None:
    if out:
        out[rng.randrange(len(out))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))


def _integer(rng: Random, out: bytearray) -> None:
    size = rng.choice((2, 4, 8))
    if len(out) >= size:
        at = rng.randrange(len(out) - size + 1)
        out[at : at + size] = (rng.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: Random, out: bytearray) -> None:
    del out[rng.randrange(len(out) + 1) :]


def _drop(rng: Random, out: bytearray) -> None:
    at = rng.randrange(len(out) + 1)
    del out[at : at + rng.choice((1, 1, 2, 8, 64))]


def _double(rng: Random, out: bytearray) -> None:
    at = rng.randrange(len(out) + 1)
    part = out[at : at + rng.choice((1, 4, 16, 256))]
    out[at:at] = part * rng.choice((1, 1, 2, 9))


def _move(rng: Random, out: bytearray) -> None:
    at = rng.randrange(len(out) + 1)
    part = out[at : at + rng.choice((1, 8, 64))]
    to = rng.randrange(len(out) + 1)
    out[to : to + len(part)] = part


def _token(rng: Random, out: bytearray) -> None:
    at = rng.randrange(len(out) + 1)
    out[at:at] = rng.choice((*_TOKENS, raw.varint(rng.choice(EXTREMES)), b"\x80" * 10))


_EDITS = (_flip, _flip, _byte, _byte, _integer, _cut, _drop, _double, _move, _token)


# Protobuf

Field = tuple[int, int, Any]
"""Number, wire type, value: an int or bytes."""


def fields_of(data: bytes) -> list[Field] | None:
    """The fields of a message; None if it is none."""
    found: list[Field] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value: Any
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value = data[at : at + size] if at >= 0 else b""
            at = at + size if at >= 0 else -1
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value = int.from_bytes(data[at : at + size], "little")
            at += size
        else:
            return None
        if not 0 <= at <= len(data) or not tag >> 3:
            return None
        found.append((tag >> 3, kind, value))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    if at < 0:
        return 0, -1
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    return 0, -1


def encode(fields: Sequence[Field]) -> bytes:
    return b"".join(_encode(*field) for field in fields)


def _encode(number: int, kind: int, value: Any) -> bytes:
    tag = raw.varint(number << 3 | kind)
    if kind == 0:
        return tag + raw.varint(_as_int(value) % (1 << 64))
    if kind == 2:
        content = value if isinstance(value, bytes) else raw.varint(value)
        return tag + raw.varint(len(content)) + content
    size = 8 if kind == 1 else 4
    return tag + (_as_int(value) % (1 << 8 * size)).to_bytes(size, "little")


def _as_int(value: Any) -> int:
    return value if isinstance(value, int) else int.from_bytes(value[:8], "little")


def message(rng: Random, data: bytes, depth: int = _DEEP) -> bytes:
    """One or two edits of a message, anywhere in it; all lengths around them are true."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        data = _message(rng, data, depth)
    return data


def _message(rng: Random, data: bytes, depth: int) -> bytes:
    fields = fields_of(data)
    if not fields:
        return blind(rng, data) if rng.random() < 0.7 else encode([_new(rng)]) + data
    at = rng.randrange(len(fields))
    number, kind, value = fields[at]
    if kind == 2 and depth and value and rng.random() < 0.7 and fields_of(value):
        fields[at] = number, kind, _message(rng, value, depth - 1)
        return encode(fields)
    return rng.choice(_FIELD_EDITS)(rng, fields, at)


def _new(rng: Random) -> Field:
    return rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 16, (1 << 29) - 1)), rng.choice((0, 2, 5)), rng.choice(EXTREMES)


def _set_value(rng: Random, fields: list[Field], at: int) -> bytes:
    number, kind, value = fields[at]
    if isinstance(value, bytes):
        value = rng.choice((blind(rng, value), rng.choice(_TOKENS), value * rng.choice((2, 50)), b""))
    else:
        value = rng.choice((rng.choice(EXTREMES), value + 1, value - 1, value * 2, -value, rng.getrandbits(64)))
    fields[at] = number, kind, value
    return encode(fields)


def _remove(rng: Random, fields: list[Field], at: int) -> bytes:
    del fields[at : at + rng.choice((1, 1, 2))]
    return encode(fields)


def _repeat(rng: Random, fields: list[Field], at: int) -> bytes:
    fields[at:at] = [fields[at]] * rng.choice((1, 1, 2, 20, 300))
    return encode(fields)


def _swap(rng: Random, fields: list[Field], at: int) -> bytes:
    other = rng.randrange(len(fields))
    fields[at], fields[other] = fields[other], fields[at]
    return encode(fields)


def _renumber(rng: Random, fields: list[Field], at: int) -> bytes:
    _, kind, value = fields[at]
    fields[at] = rng.choice((*range(1, 10), (1 << 29) - 1)), kind, value
    return encode(fields)


def _retype(rng: Random, fields: list[Field], at: int) -> bytes:
    number, _, value = fields[at]
    fields[at] = number, rng.choice((0, 1, 2, 5)), value
    return encode(fields)


def _insert(rng: Random, fields: list[Field], at: int) -> bytes:
    fields.insert(at, _new(rng))
    return encode(fields)


def _misspell(rng: Random, fields: list[Field], at: int) -> bytes:
    """What no encoder writes: bad tags, lengths that lie, numbers that are too long or cut off."""
    number, kind, value = fields[at]
    good = _encode(number, kind, value)
    tag = raw.varint(number << 3 | kind)
    odd = [
        raw.varint(number << 3 | rng.choice((3, 4, 6, 7))) + good[1:],
        raw.varint(kind) + good[1:],
        raw.varint(1 << 35 | kind) + good[1:],
        tag + b"\x80" * 10 + b"\1",
        tag + b"\xff" * 9 + b"\x7f",
        tag + b"\x80",
        tag[:-1] + bytes([tag[-1] | 128]) + b"\0" + good[len(tag) :],
    ]
    if isinstance(value, bytes):
        length = rng.choice((len(value) - 1, len(value) + 1, *EXTREMES)) % (1 << 64)
        odd.append(tag + raw.varint(length) + value)
    return encode(fields[:at]) + rng.choice(odd) + encode(fields[at + 1 :])


_FIELD_EDITS = (_set_value, _set_value, _set_value, _remove, _repeat, _swap, _renumber, _retype, _insert, _misspell)


# Tables


def table(rng: Random, pairs: Pairs, value: Callable[[Random, bytes], bytes] = message) -> bytes:
    """A sealed table of the pairs: a change in what they say, or in how they are laid out."""
    if rng.random() < 0.6:
        return lay_out(rng, edit_pairs(rng, list(pairs), value), honest=True)
    return lay_out(rng, list(pairs), honest=False)


def edit_pairs(rng: Random, pairs: Pairs, value: Callable[[Random, bytes], bytes]) -> Pairs:
    at = rng.randrange(len(pairs))
    key, content = pairs[at]
    kind = rng.random()
    if kind < 0.7:
        pairs[at] = key, value(rng, content)
    elif kind < 0.76:
        pairs[at] = blind(rng, key), content
    elif kind < 0.8:
        del pairs[at]
    elif kind < 0.84:
        pairs.insert(at, pairs[at])
    elif kind < 0.88:
        other = rng.randrange(len(pairs))
        pairs[at], pairs[other] = (key, pairs[other][1]), (pairs[other][0], content)
    elif kind < 0.92:
        pairs.append((key + rng.choice(_TOKENS), content))
    else:
        extents = (rng.choice((0, 1, -1)), rng.choice((1, 2, -1)))
        pairs.append((blind(rng, raw.slice_key(key, (0, 1), extents)), content))
    return sorted(pairs, key=lambda pair: pair[0]) if rng.random() < 0.95 else pairs


def lay_out(rng: Random, pairs: Pairs, *, honest: bool) -> bytes:
    """A file of one to three blocks, some compressed; one thing in its layout is wrong unless `honest`."""
    cuts = sorted(rng.randrange(len(pairs) + 1) for _ in range(rng.randrange(3)))
    bounds = [0, *cuts, len(pairs)]
    groups = [pairs[a:b] for a, b in pairwise(bounds) if a < b]
    wrong = "" if honest else rng.choice(("block", "entry", "restarts", "snappy", "kind", "handle", "meta", "footer"))
    victim = rng.randrange(len(groups)) if groups else -1
    blocks = []
    for number, group in enumerate(groups):
        content = _block(rng, group, wrong if number == victim and wrong in ("entry", "restarts") else "")
        if wrong == "block" and number == victim:
            content = blind(rng, content)
        blocks.append(_seal(rng, content, wrong if number == victim else ""))
    index = list(zip([group[-1][0] for group in groups], raw.handles(blocks), strict=True))
    if wrong == "handle" and index:
        at = rng.randrange(len(index))
        handle = raw.handle(rng.choice((0, 1, *EXTREMES)), rng.choice((0, 1, len(blocks[at]), *EXTREMES)))
        index[at] = index[at][0], rng.choice((handle, blind(rng, index[at][1]), index[at][1] + b"\0", index[0][1]))
    meta = raw.sealed(raw.plain_block([(b"a", b"b")])) if wrong == "meta" else None
    if wrong == "meta" and rng.random() < 0.7:
        meta = raw.sealed(blind(rng, raw.plain_block([])))
    done = raw.assemble(blocks, index, meta)
    if wrong == "footer":
        done = done[:-48] + blind(rng, done[-48:])
    return done


def _block(rng: Random, group: Pairs, wrong: str) -> bytes:
    """Entries with shared beginnings of keys, as writers make them."""
    interval = rng.choice((1, 2, 16))
    victim = rng.randrange(len(group))
    out, restarts, last = b"", [], b""
    for number, (key, value) in enumerate(group):
        shared = 0
        if number % interval:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        else:
            restarts.append(len(out))
        numbers = [shared, len(key) - shared, len(value)]
        if wrong == "entry" and number == victim:
            place = rng.randrange(3)
            numbers[place] = rng.choice((numbers[place] + 1, abs(numbers[place] - 1), *EXTREMES))
        out += b"".join(map(raw.varint, numbers)) + key[shared:] + value
        last = key
    if wrong == "restarts":
        at = rng.randrange(len(restarts))
        restarts[at] = rng.choice((restarts[at] + 1, len(out), 1 << 31, (1 << 32) - 1))
    count = len(restarts)
    if wrong == "restarts" and rng.random() < 0.4:
        count = rng.choice((0, count + 1, 1 << 20, 1 << 30, (1 << 32) - 1))
    return out + struct.pack(f"<{len(restarts)}II", *restarts, count)


def _seal(rng: Random, content: bytes, wrong: str) -> bytes:
    if wrong == "kind":
        return raw.sealed(content, rng.choice((1, 2, 3, 4, 255)))
    if wrong == "snappy":
        stream = raw.snappy(content)
        bomb = raw.varint(rng.choice(EXTREMES)) + raw.literal_element(b"a") + b"\xfe\1\0" * rng.randrange(2000)
        return raw.sealed(rng.choice((blind(rng, stream), blind(rng, stream), bomb)), 1)
    return raw.sealed(raw.snappy(content), 1) if rng.random() < 0.2 else raw.sealed(content)


# Texts


def json_text(rng: Random, text: str) -> bytes:
    """A change in the tree, or in the letters."""
    if rng.random() < 0.25:
        return blind(rng, text.encode())
    tree = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = _graft(rng, tree)
    return json.dumps(tree).encode()


def _graft(rng: Random, tree: Any) -> Any:
    """Another value somewhere in the tree; the root is replaced now and then."""
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else list(range(len(item))) if isinstance(item, list) else []
        places += [(item, key) for key in keys]
        waiting += [item[key] for key in keys]
    if not places or rng.random() < 0.02:
        return _value(rng, tree)
    holder, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.7:
        holder[key] = _value(rng, holder[key])
    elif kind < 0.8:
        del holder[key]
    elif isinstance(holder, dict):
        holder[rng.choice(("class_name", "config", "name", "layers", "module", "registered_name", "equation", "x"))] = (
            json.loads(json.dumps(rng.choice((tree, holder[key]))))
        )
    else:
        holder += [json.loads(json.dumps(holder[key]))] * rng.choice((1, 3))
    return tree


def _value(rng: Random, old: Any) -> Any:
    deep: Any = old
    for _ in range(rng.choice((1, 5, 150))):
        deep = rng.choice(([deep], {"config": deep, "class_name": "Dense"}))
    return rng.choice(
        (None, True, 0, -1, 1 << 70, 1e308, float("nan"), float("inf"), "", "Dense", "LSTM", "MultiHeadAttention",
         "my>Own", "ab,bc->ac", "->", "a" * _LONG, "\ud800", "\x1b[0m", [], {}, [old],
         {"class_name": "Dense", "config": old}, deep)
    )  # fmt: skip


def state_text(rng: Random, text: bytes) -> bytes:
    """A state file with another path in it, or other letters."""
    if rng.random() < 0.5:
        return blind(rng, text)
    path = rng.choice(
        (b"../x", b"/etc/passwd", b"ckpt-*", b"gs://b/x", b"http://x/y", b"ckpt-1\\000", b"\\x63kpt-1", b"./ckpt-1",
         b"\xff", b"ckpt-2", b"", b'ckpt\\"', b"a" * _LONG)
    )  # fmt: skip
    line = rng.choice((b"model_checkpoint_path", b"all_model_checkpoint_paths", b"x")) + b': "' + path + b'"\n'
    at = rng.choice((0, len(text), rng.randrange(len(text) + 1)))
    return text[:at] + line * rng.choice((1, 1, 50)) + text[at:]
