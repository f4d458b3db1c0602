"""Hostile files of GGUF: counts, texts, arrays, places of tensors, and parts of split models."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from support import gguf_files
from support.gguf_files import Info, gguf, text, value

from hostile.frame import Case, later, outside
from renorm_cli.formats.gguf.blocks import BLOCKS

ONE = np.full((2, 3), 3, "<f4").tobytes()
SOUND: list[Info] = [("a.weight", (2, 3), 0, ONE)]
TWO: list[Info] = [*SOUND, ("b.weight", (2, 3), 0, ONE)]
KEY = text("x")


def _put(content: bytes) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        (inside / "m.gguf").write_bytes(content)
        return inside / "m.gguf"

    return make


def _error(label: str, attack: str, content: bytes, says: str, **other: Any) -> Case:
    return Case(f"gguf-{label}", attack, _put(content), "error", says, **other)


def _tensor(shape: tuple[int, ...], kind: int = 0, content: bytes = ONE, name: str = "b.weight") -> bytes:
    return gguf([*SOUND, (name, shape, kind, content)])


def _array(kind: int, count: int, content: bytes = b"") -> bytes:
    return KEY + struct.pack("<IIQ", 9, kind, count) + content


def _parts(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        first = gguf_files.write_split(inside)
        change(inside)
        return first

    return make


def _linked(inside: Path) -> None:
    part = inside / "m-00002-of-00003.gguf"
    part.unlink()
    part.symlink_to(outside(inside) / "secret.txt")


def _twice(inside: Path) -> None:
    facts = [value("split.no", 2), value("split.count", 3)]
    (inside / "m-00003-of-00003.gguf").write_bytes(gguf([*gguf_files.infos(gguf_files.arrays())], facts))


def _claiming(inside: Path) -> Path:
    """A part of a million that is alone."""
    facts = [value("split.no", 0), value("split.count", 99_999)]
    path = inside / "m-00001-of-99999.gguf"
    path.write_bytes(gguf(SOUND, facts))
    return path


def _quantized() -> bytes:
    """A tensor of each type that gguf dequantizes, of ones alone and of the largest numbers."""
    infos: list[Info] = []
    for number, (_, numbers, size, known) in BLOCKS.items():
        if known:
            content = bytes(size) + b"\xff" * size + b"\x7f" * size + b"\x7c" * size + b"\x80" * size
            infos.append((f"{number}.weight", (5, numbers), number, content))
    return gguf(infos)


def _same_rest(before: Path, after: Path) -> None:
    one, other = before.read_bytes(), after.read_bytes()
    assert len(one) == len(other)
    assert one[: one.index(ONE)] == other[: one.index(ONE)]


CASES = (
    _error("version", "a version that is none", gguf(SOUND, version=99), "version"),
    _error("tensors", "2**60 tensors", gguf(SOUND, counts=(1 << 60, 1)), "claims more than"),
    _error("keys", "2**60 keys", gguf(SOUND, counts=(1, 1 << 60)), "claims more than"),
    _error("name", "a name of 2**62 bytes", gguf([], counts=(1, 1)) + struct.pack("<Q", 1 << 62), "a text has"),
    _error("key-long", "a key of 2**62 bytes", gguf(SOUND, [struct.pack("<Q", 1 << 62)]), "a text has"),
    _error("array", "an array of 2**61 texts, on which the library of the format hangs",
           gguf(SOUND, [_array(8, 1 << 61)]), "claims more than"),
    _error("array-numbers", "an array of 2**61 numbers", gguf(SOUND, [_array(10, 1 << 61)]), "cut short"),
    _error("array-deep", "arrays in arrays, 100,000 deep",
           gguf(SOUND, [_array(9, 1, struct.pack("<IQ", 9, 1) * 100_000)]), "deep in others"),
    _error("value", "a value of a type that is none", gguf(SOUND, [KEY + struct.pack("<I", 99)]), "has the type 99"),
    _error("key-twice", "a key that comes twice", gguf(SOUND, [value("x", 1), value("x", 2)]), "comes twice"),
    _error("twice", "two tensors of one name", gguf([*SOUND, *SOUND]), "comes twice"),
    _error("overlap", "a tensor that lies in another", gguf(TWO, offsets={"b.weight": 0}), "overlaps"),
    _error("unaligned", "a tensor at a place that is no multiple of the alignment",
           gguf(TWO, offsets={"b.weight": 24}), "not where a tensor can be"),
    _error("beyond", "a tensor behind the end of the file", gguf(TWO, offsets={"b.weight": 1 << 40}), "over the end"),
    _error("wrapped", "a place that is beyond 64 bits once the data begin",
           gguf(TWO, offsets={"b.weight": (1 << 64) - 32}), "over the end"),
    _error("huge", "a tensor of 4 TiB", _tensor((1 << 20, 1 << 20)), "over the end"),
    _error("overflow", "a shape whose product is 0 in 64 bits", _tensor((1 << 32, 1 << 32)), "too large"),
    _error("no-elements", "a size of 0 beside one that no array can have", _tensor((0, 1 << 62), 0, b""), "too large"),
    _error("axes", "nine axes", _tensor((1,) * 9), "9 axes"),
    _error("block", "a row that is no whole block", _tensor((2, 3), 8), "no whole blocks"),
    _error("alignment", "an alignment of 0", gguf(SOUND, [value("general.alignment", 0)]), "alignment"),
    _error("alignment-odd", "an alignment of 3", gguf(SOUND, [value("general.alignment", 3)]), "alignment"),
    _error("alignment-text", "an alignment that is a text", gguf(SOUND, [value("general.alignment", "\x1b[2J")]),
           "alignment"),
    Case("gguf-type", "a type that nobody knows", _put(_tensor((2, 3), 77)), "handled", untouched=_same_rest),
    Case("gguf-names", "names that are escapes, and no text",
         _put(gguf([*SOUND, ("\x1b[2J.weight", (2, 3), 0, ONE), ("=cmd().weight", (2, 3), 0, ONE)])),
         "handled", untouched=_same_rest, commands=("inspect", "apply", "json", "csv")),
    Case("gguf-scales", "quantized numbers of which every scale is NaN, Inf or large", _put(_quantized()), "handled",
         commands=("inspect", "json")),
    Case("gguf-values", "4 million texts",
         later(lambda: _put(gguf(SOUND, [_array(8, 4_000_000, bytes(32_000_000))]))), "handled",
         commands=("inspect",)),
    Case("gguf-split-lost", "a part that is not there",
         _parts(lambda inside: (inside / "m-00002-of-00003.gguf").unlink()), "error", "no such file"),
    Case("gguf-split-other", "a part that says it is another",
         _parts(lambda inside: (inside / "m-00002-of-00003.gguf").write_bytes(gguf(SOUND))), "error", "another part"),
    Case("gguf-split-twice", "a tensor in two parts", _parts(_twice), "error", "in another file too"),
    Case("gguf-split-link", "a part that is a link to a secret", _parts(_linked), "error", "link"),
    Case("gguf-split-many", "one of 99,999 parts", _claiming, "error", "no such file"),
)  # fmt: skip
