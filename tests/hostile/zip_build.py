"""Builders for hostile `.keras` archives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from support.zip_maker import Entry, make_zip

from hostile.keras_cases import dense, sequential, weights_image

WEIGHTS = "model.weights.h5"
MAX32 = 0xFFFF_FFFF


def entries(*more: Entry, weights: Entry | None = None, config: Entry | None = None) -> list[Entry]:
    import json

    return [
        Entry("metadata.json", b"{}"),
        config or Entry("config.json", json.dumps(sequential(dense())).encode()),
        weights or Entry(WEIGHTS, weights_image()),
        *more,
    ]


def archive(members: Sequence[Entry], **frame: object) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        path = inside / "model.keras"
        path.write_bytes(make_zip(members, **frame))  # type: ignore[arg-type]
        return path

    return make


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        path = inside / "model.keras"
        path.write_bytes(change(make_zip(entries())))
        return path

    return make


def named(name: str, **entry: object) -> Callable[[Path], Path]:
    return archive(entries(Entry(name, b"x" * 20, **entry)))  # type: ignore[arg-type]


def file_of(content: bytes, name: str = "model.keras") -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        (inside / name).write_bytes(content)
        return inside / name

    return make
