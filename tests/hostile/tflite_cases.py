"""Hostile models of TensorFlow Lite: offsets, sizes and names in a flatbuffer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from support.tflite_files import flatbuffer, model, operator, read_tflite

from hostile.frame import Case, later

W = np.full((2, 3), 3, np.float32)


def _raw(content: bytes) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        (inside / "m.tflite").write_bytes(content)
        return inside / "m.tflite"

    return make


def _model(*names: str, change: Callable[[dict[int, Any]], None] | None = None) -> bytes:
    """A model with a dense kernel of each name."""
    tensors: dict[str, np.ndarray | None] = {**dict.fromkeys(names or ("w",), W), "x": None, "y": None}
    count = len(tensors)
    found = dict(model(tensors, [operator(9, [count - 2, place], [count - 1]) for place in range(count - 2)]))
    if change is not None:
        change(found)
    return flatbuffer(found)


def _tensor(**fields: Any) -> Callable[[Path], Path]:
    """A model whose tensor has other fields: `f0`, its shape, or others by their numbers."""

    def change(found: dict[int, Any]) -> None:
        found[2][0][0][0] |= {int(name[1:]): value for name, value in fields.items()}

    return _raw(_model(change=change))


def _buffer(fields: Mapping[int, Any]) -> Callable[[Path], Path]:
    def change(found: dict[int, Any]) -> None:
        found[4][1] = dict(fields)

    return _raw(_model(change=change))


def _operator(fields: Mapping[int, Any]) -> Callable[[Path], Path]:
    def change(found: dict[int, Any]) -> None:
        found[2][0][3][0] |= dict(fields)

    return _raw(_model(change=change))


def _overlapping(found: dict[int, Any]) -> None:
    """A second tensor in a part of the bytes of the first, which is behind the flatbuffer."""
    found[4][1] = {1: ("u8", 2000), 2: ("u8", 24)}
    found[4][2] = {1: ("u8", 2012), 2: ("u8", 24)}


def _kept(before: Path, after: Path) -> None:
    assert list(read_tflite(before)) == list(read_tflite(after))


SOUND = _model()
NAMES = ("=cmd()", "<script>alert(1)</script>", "../x", "\x1b[2J\n::error::", "n" * 100_000, "a", "%s{0}")

CASES = (
    Case("tflite-cut", "the file ends after its mark", _raw(SOUND[:8]), "error", "4 bytes at byte"),
    Case("tflite-half", "the file is cut in half", _raw(SOUND[: len(SOUND) // 2]), "error", "damaged"),
    Case("tflite-root", "the root is behind the file", _raw(b"\xff\xff\xff\xff" + SOUND[4:]), "error", "at byte"),
    Case("tflite-root-itself", "the root is the offset to it", _raw(b"\0\0\0\0" + SOUND[4:]), "error", "damaged"),
    Case("tflite-vtable", "a vtable before the file", _raw(SOUND[:4] + b"TFL3" + b"\xff" * 60), "error", "damaged"),
    Case(
        "tflite-text",
        "a name of 65,535 bytes in a small file",
        _raw(SOUND.replace(b"\1\0\0\0w", b"\xff\xff\0\0w")),
        "error",
        "a vector within the file",
    ),
    Case("tflite-negative", "a negative size", _tensor(f0=[-2, 3]), "error", "no list of"),
    Case("tflite-rank", "65 axes", _tensor(f0=[1] * 65), "error", "no list of"),
    Case("tflite-shape", "more numbers by the shape than in the buffer", _tensor(f0=[2, 4]), "error", "needs 32 bytes"),
    Case("tflite-huge", "a shape whose product is beyond 64 bits", _tensor(f0=[2**31 - 1] * 8), "error", "needs"),
    Case("tflite-buffer", "a buffer that is not there", _tensor(f2=("u4", 99)), "error", "buffer 99"),
    Case("tflite-external", "a tensor in another file", _tensor(f10=("u4", 1)), "error", "another file"),
    Case("tflite-type", "a dtype of no version", _tensor(f1=("u1", 99)), "error", "no floating", commands=("apply",)),
    Case("tflite-far", "a buffer behind the file", _buffer({1: ("u8", 2**62), 2: ("u8", 24)}), "error", "ends by byte"),
    Case("tflite-size", "a buffer of 2**63 bytes", _buffer({1: ("u8", 2), 2: ("u8", 2**63)}), "error", "ends by byte"),
    Case(
        "tflite-overlap",
        "tensors share some of their bytes: a change of one is one of the other",
        _raw(_model("w", "v", change=_overlapping).ljust(2036, b"\0")),
        "error",
        "shares some of its bytes",
        commands=("apply",),
    ),
    Case("tflite-code", "an operator of no code", _operator({0: ("u4", 9)}), "error", "of its subgraph"),
    Case(
        "tflite-operand",
        "an operator takes a tensor that is not there",
        _operator({1: [0, 99]}),
        "error",
        "of its subgraph",
    ),
    Case("tflite-operand-negative", "an operator takes tensor -2", _operator({1: [-2, 0]}), "error", "of its subgraph"),
    Case(
        "tflite-names",
        "names that are formulas, markup, paths and long",
        _raw(_model(*NAMES)),
        "handled",
        untouched=_kept,
        commands=("inspect", "apply", "json", "csv", "md", "junit", "html"),
    ),
    Case("tflite-loop", "an operator takes its own output", _operator({1: [2, 0], 2: [2]}), "handled", untouched=_kept),
    Case(
        "tflite-many",
        "3,000 tensors",
        later(lambda: _raw(_model(*(f"w{number}" for number in range(3_000))))),
        "handled",
        commands=("inspect",),
    ),
    Case(
        "tflite-vectors",
        "an operator of four million operands in 16 MB",
        later(lambda: _operator({1: [0] * (1 << 22)})),
        "error",
        "fields and elements",
        commands=("inspect",),
    ),
)
