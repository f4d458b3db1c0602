"""Hostile safetensors files: what their headers say of names, sizes and places."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from support.tensor_files import ENTRY, read_safetensors, safetensors

from hostile.frame import Case, later

DATA = np.full(2, 3, "<f4").tobytes()
SOUND = {"a.weight": ENTRY}


def raw(content: bytes) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        (inside / "m.safetensors").write_bytes(content)
        return inside / "m.safetensors"

    return make


def _file(header: Mapping[str, Any] | str | bytes, data: bytes = DATA) -> Callable[[Path], Path]:
    if isinstance(header, str):
        header = header.encode()
    return raw(safetensors(header, data))


def _entry(**other: Any) -> dict[str, Any]:
    return {"a.weight": ENTRY | other}


def _text(old: str, new: str) -> str:
    text = json.dumps(SOUND)
    assert old in text
    return text.replace(old, new)


def _many(count: int) -> bytes:
    names = (f'"layers.{number}.weight":{{"dtype":"F32","shape":[1,1],' for number in range(count))
    parts = (f'{name}"data_offsets":[{4 * n},{4 * n + 4}]}}' for n, name in enumerate(names))
    return safetensors(("{" + ",".join(parts) + "}").encode(), bytes(4 * count))


def _kept(before: Path, after: Path) -> None:
    one, other = read_safetensors(before), read_safetensors(after)
    assert list(one) == list(other)


CASES = (
    Case("safetensors-length", "the header is longer than the file", raw(b"\xff\xff\0\0\0\0\0\0{}"), "error", "known"),
    Case("safetensors-length-64", "a header of 2**64 - 1 bytes", raw(b"\xff" * 8 + b"{}"), "error", "known format"),
    Case("safetensors-empty", "a header of no bytes", raw(bytes(8)), "error", "known format"),
    Case("safetensors-cut", "the data are cut short", _file(SOUND, DATA[:7]), "error", "is cut short"),
    Case("safetensors-more", "a byte behind the data", _file(SOUND, DATA + b"x"), "error", "belong to no tensor"),
    Case(
        "safetensors-gap",
        "bytes between tensors that no reader sees",
        _file(_entry(data_offsets=[4, 12]), DATA + bytes(4)),
        "error",
        "leaves a gap",
    ),
    Case(
        "safetensors-overlap",
        "two tensors share bytes: a change of one is one of the other",
        _file(SOUND | {"b.weight": ENTRY | {"data_offsets": [4, 12]}}, DATA + bytes(4)),
        "error",
        "overlaps another",
    ),
    Case(
        "safetensors-same-place",
        "two tensors have one place",
        _file(SOUND | {"b.weight": ENTRY}),
        "error",
        "overlaps another",
    ),
    Case(
        "safetensors-twice",
        "a tensor comes twice: parsers take the first or the last",
        _file(_text('{"a', '{"a.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a')),
        "error",
        "comes twice",
    ),
    Case(
        "safetensors-field-twice",
        "a shape comes twice",
        _file(_text('"shape"', '"shape": [1], "shape"')),
        "error",
        "comes twice",
    ),
    Case(
        "safetensors-metadata-twice",
        "metadata come twice",
        _file(_text('{"a', '{"__metadata__": {}, "__metadata__": {}, "a')),
        "error",
        "comes twice",
    ),
    Case(
        "safetensors-metadata",
        "metadata that are no texts",
        _file(SOUND | {"__metadata__": {"a": 1}}),
        "error",
        "texts",
    ),
    Case("safetensors-metadata-list", "metadata in a list", _file(SOUND | {"__metadata__": []}), "error", "texts"),
    Case(
        "safetensors-huge",
        "a shape whose product is beyond 64 bits",
        _file(_entry(shape=[1 << 40] * 3)),
        "error",
        "needs",
    ),
    Case("safetensors-zero", "no elements beside 2**63", _file(_entry(shape=[0, 1 << 63])), "error", "no list of"),
    Case(
        "safetensors-no-elements",
        "no elements beside 2**61",
        _file(_entry(shape=[0, 1 << 61], data_offsets=[0, 0]), b""),
        "error",
        "no array",
    ),
    Case("safetensors-negative", "a negative length", _file(_entry(shape=[-2])), "error", "no list of"),
    Case("safetensors-float", "a length of 2.0", _file(_entry(shape=[2.0])), "error", "no list of"),
    Case("safetensors-bool", "a length of true", _file(_entry(shape=[True, 2])), "error", "no list of"),
    Case("safetensors-rank", "65 axes", _file(_entry(shape=[1] * 64 + [2])), "error", "no list of"),
    Case("safetensors-shape-object", "a shape that is an object", _file(_entry(shape={})), "error", "no list of"),
    Case(
        "safetensors-reversed", "a tensor ends before it begins", _file(_entry(data_offsets=[8, 0])), "error", "needs"
    ),
    Case(
        "safetensors-offset", "an offset of 2**64", _file(_entry(data_offsets=[0, 1 << 64])), "error", "no two offsets"
    ),
    Case("safetensors-offsets", "three offsets", _file(_entry(data_offsets=[0, 8, 9])), "error", "no two offsets"),
    Case(
        "safetensors-far",
        "a tensor beyond the file",
        _file(_entry(data_offsets=[1 << 40, (1 << 40) + 8])),
        "error",
        "gap",
    ),
    Case("safetensors-dtype", "a dtype of no library", _file(_entry(dtype="F128")), "error", "dtype that is not known"),
    Case(
        "safetensors-dtype-list", "a dtype that is a list", _file(_entry(dtype=["F32"])), "error", "dtype that is not"
    ),
    Case(
        "safetensors-bits", "three numbers of 4 bits", _file(_entry(dtype="F4", shape=[3])), "error", "needs 1.5 bytes"
    ),
    Case("safetensors-field", "a field more", _file(_entry(x=1)), "error", "other fields"),
    Case("safetensors-record", "a tensor that is a number", _file({"a": 1}), "error", "other fields"),
    Case("safetensors-nan", "NaN, which is no JSON", _file(_text("[2]", "[NaN]")), "error", "no valid JSON"),
    Case("safetensors-digits", "100,000 digits", _file(_text("[2]", f"[{'9' * 100_000}]")), "error", "no valid JSON"),
    Case("safetensors-deep", "100,000 lists in lists", _file('{"a":' + "[" * 100_000), "error", "nested deeper"),
    Case(
        "safetensors-deep-few",
        "ten lists in lists",
        _file('{"a":' + "[" * 10 + "]" * 10 + "}"),
        "error",
        "nested deeper",
    ),
    Case("safetensors-utf8", "a name that is no UTF-8", _file(b'{"\xff": 1}'), "error", "no valid JSON"),
    Case(
        "safetensors-surrogate", "a name that is no Unicode", _file(_text("a.weight", "\\ud800")), "error", "no Unicode"
    ),
    Case(
        "safetensors-nul",
        "a header padded with NUL",
        raw(safetensors(json.dumps(SOUND).encode() + b"\0", DATA)),
        "error",
        "JSON",
    ),
    Case("safetensors-two", "two objects in one header", _file('{"a": 1} {}'), "error", "no valid JSON"),
    Case(
        "safetensors-escapes",
        "a name with terminal escapes, in the error",
        _file({"\x1b[2J\n::error::" + "x" * 700: 1}),
        "error",
        "other fields",
    ),
    Case(
        "safetensors-names",
        "names that are formulas, markup, paths and a megabyte",
        _file(
            {
                name: {"dtype": "F32", "shape": [2, 1], "data_offsets": [8 * n, 8 * n + 8]}
                for n, name in enumerate(
                    (
                        "=cmd().weight",
                        "<script>alert(1)</script>.weight",
                        "../x.weight",
                        "\x1b[2J\n.weight",
                        "n" * (1 << 20) + ".weight",
                        "",
                    )
                )
            },
            DATA * 6,
        ),
        "handled",
        untouched=_kept,
        commands=("inspect", "apply", "json", "csv", "md", "junit", "html"),
        options=(),
    ),
    Case(
        "safetensors-aliases",
        "metadata tie a name of escapes to a tensor",
        _file(_entry(shape=[2, 1]) | {"__metadata__": {"\x1b[2J=x": "a.weight", "format": "\x1b[0m"}}),
        "handled",
        untouched=_kept,
    ),
    Case(
        "safetensors-values",
        "a header of 9 MB holds 4 million lists",
        later(lambda: _file('{"a":[' + "[]," * (3 << 20) + "[" * (1 << 20))),
        "error",
        "values",
        commands=("inspect",),
    ),
    Case(
        "safetensors-spaces",
        "a header of 99 MB of spaces",
        later(lambda: raw(safetensors(json.dumps(SOUND).encode(), DATA, 99_000_000))),
        "handled",
        commands=("inspect",),
    ),
    Case(
        "safetensors-many",
        "20,000 tensors of a number each",
        later(lambda: raw(_many(20_000))),
        "handled",
        commands=("inspect",),
    ),
)
