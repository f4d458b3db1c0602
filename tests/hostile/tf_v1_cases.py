"""Hostile TensorFlow V1 checkpoints: tables whose values are the tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from support import raw_tables as raw

from hostile import tf_build as build
from hostile.frame import Case, later
from hostile.tf_cases import ONCE
from hostile.tf_file_cases import fifo, link

Make = Callable[[Path], Path]

ROWS = ((0, build.WHOLE), (0, build.WHOLE))
_FLOATS = build.v1_floats(build.weights())


def _file(table: Callable[[], bytes]) -> Make:
    def make(inside: Path) -> Path:
        path = inside / "model.ckpt"
        path.write_bytes(table())
        return path

    return make


def _one(
    proto: Callable[[], bytes] | bytes = _FLOATS, sizes: tuple[int, ...] = (4, 3), dtype: int = build.FLOAT,
    boxes: tuple[bytes, ...] | None = None, name: bytes = b"dense/kernel",
) -> Make:  # fmt: skip
    """A checkpoint of one kernel in one slice."""

    def table() -> bytes:
        whole = ((0, build.WHOLE),) * len(sizes)
        contents = build.v1_contents((name, dtype, build.shape(*sizes), boxes or (build.box(*whole),)))
        content = proto() if callable(proto) else proto
        return raw.table([(b"", contents), build.v1_slice(name, whole, content)])

    return _file(table)


def _contents(contents: Callable[[], bytes]) -> Make:
    return _file(lambda: raw.table([(b"", contents()), build.v1_slice("dense/kernel", ROWS, _FLOATS)]))


def _strings(count: int, said: int) -> Make:
    """A kernel, and a tensor of empty strings."""
    return _file(
        lambda: raw.table(
            [
                (b"", build.v1_contents(("k/kernel", build.FLOAT, build.shape(4, 3), [build.box(*ROWS)]),
                                        ("words", build.STRING, build.shape(said), [build.box((0, build.WHOLE))]))),
                build.v1_slice("k/kernel", ROWS, _FLOATS),
                build.v1_slice("words", ((0, build.WHOLE),), b"\x42\0" * count),
            ]
        )
    )  # fmt: skip


def _flipped() -> bytes:
    table = bytearray(raw.table(build.v1_pairs()))
    table[200] ^= 1
    return bytes(table)


def _shard(put: Callable[[Path, Path], None] | None) -> Make:
    """The first of two files; in the place of the second is something else, or nothing."""

    def make(inside: Path) -> Path:
        path = inside / "model-00000-of-00002"
        path.write_bytes(raw.table(build.v1_pairs()))
        if put is not None:
            put(inside / "model-00001-of-00002", inside)
        return path

    return make


def _meta(put: Callable[[Path, Path], None]) -> Make:
    def make(inside: Path) -> Path:
        path = inside / "model.ckpt"
        path.write_bytes(raw.table(build.v1_pairs()))
        put(inside / "model.ckpt.meta", inside)
        return path

    return make


def _bomb() -> bytes:
    block = raw.sealed(raw.varint(1 << 40) + raw.literal_element(b"a") + b"\xfe\1\0" * 5_000_000, 1)
    return raw.assemble([block], [(b"\xff", raw.handle(0, len(block) - 5))])


def _rank() -> bytes:
    whole = ((0, build.WHOLE),) * 100
    contents = build.v1_contents(("deep/kernel", build.FLOAT, build.shape(*(1,) * 100), [build.box(*whole)]))
    return raw.table([(b"", contents), build.v1_slice("deep/kernel", whole, build.v1_floats(np.ones(1)))])


CASES: tuple[Case, ...] = (
    Case("v1-good", "a checkpoint of all kinds of values is read, and written as V2",
         _file(lambda: raw.table(build.v1_pairs())),
         "handled"),
    Case("v1-crc", "a changed bit in a value", _file(_flipped), "error", "checksum of the block"),
    Case("v1-cut", "a file without its beginning", _file(lambda: raw.table(build.v1_pairs())[50:]), "error", "damaged"),
    Case("v1-footer-alone", "a file of a footer alone", _file(lambda: bytes(40) + raw.MAGIC), "error", "damaged"),
    Case("v1-index-of-v2", "the index of a V2 checkpoint under another name",
         _file(lambda: raw.table(build.draft().pairs)), "error", "give the checkpoint by its prefix"),
    Case("v1-values-few", "fewer values than the shape, so the rest would be memory that was never written",
         _one(build.v1_floats(np.ones(3))), "error", "expected 12 values"),
    Case("v1-values-many", "more values than the shape", _one(build.v1_floats(np.ones(99))), "error",
         "expected 12 values"),
    Case("v1-shape-huge", "a shape of 2**62 elements", _one(sizes=(1 << 31, 1 << 31)), "error",
         "4611686018427387904 values"),
    Case("v1-shape-overflow", "a shape whose number of elements is 0 modulo 2**64", _one(sizes=(1 << 32, 1 << 32)),
         "error",
         "less than 2**63 elements"),
    Case("v1-shape-negative", "a negative axis", _one(sizes=(-4, -3)), "error", "length 0 or more"),
    Case("v1-rank-100", "more axes than NumPy has", _file(_rank), "error", "at most 32 axes"),
    Case("v1-dtype-unknown", "a dtype that is not known", _one(dtype=99), "error", "a dtype that V1"),
    Case("v1-dtype-resource", "a resource, which is no data", _one(dtype=20), "error", "a dtype that V1"),
    Case("v1-boxes-twice", "a slice that is listed twice", _one(boxes=(build.box(*ROWS),) * 2), "error", "its slice"),
    Case("v1-boxes-many", "a tensor of two million slices", later(lambda: _one(boxes=(b"",) * 2_000_000)), "error",
         "fields in a message",
         commands=ONCE),
    Case("v1-box-outside", "a slice behind the end of its tensor", _one(boxes=(build.box((2, 4), (0, 3)),)), "error",
         "its slice"),
    Case("v1-unlisted", "a slice that no contents list", _contents(lambda: build.v1_contents()), "error",
         "do not list"),
    Case("v1-contents-bomb", "contents of five million tensors without a name",
         _contents(lambda: build.text(1, b"\x0a\0" * 5_000_000)), "error", "fields in a message", commands=ONCE),
    Case("v1-contents-junk", "contents that are no message", _contents(lambda: b"\xff" * 100), "error", "damaged"),
    Case("v1-future", "only for readers of version 9",
         _contents(lambda: build.v1_contents(versions=build.number(2, 9))), "error", "readers of version 1"),
    Case("v1-fields-bomb", "a tensor of five million fields that no reader knows",
         _one(lambda: _FLOATS + b"\x50\0" * 5_000_000), "error", "fewer fields", commands=ONCE),
    Case("v1-length-lies", "values of 2**62 bytes", _one(b"\x2a" + raw.varint(1 << 62)), "error", "before the end"),
    Case("v1-number-long", "a half float of eleven bytes",
         _one(build.text(13, b"\x80" * 10 + b"\1"), (1, 1), build.HALF), "error", "at most 10 bytes", opens=True),
    Case("v1-number-large", "a half float of 17 bits", _one(build.text(13, raw.varint(1 << 16)), (1, 1), build.HALF),
         "error",
         "fit its dtype", opens=True),
    Case("v1-strings-bomb", "two million strings", _strings(2_000_000, 2_000_000), "error", "at most 1048576 strings",
         commands=ONCE),
    Case("v1-strings-lie", "three strings that say they are 2**40", _strings(3, 1 << 40), "error",
         "at most 1048576 strings"),
    Case("v1-snappy-bomb", "15 MB of snappy that promises a terabyte", _file(_bomb), "error", "compressed block",
         commands=ONCE),
    Case("v1-name-path", "a name that is a path out of the folder", _one(name=b"../../outside/kernel"), "handled"),
    Case("v1-name-escape", "a name that clears the screen", _one(name=b"a\x1b[2J\n::error::/kernel"), "handled"),
    Case("v1-name-not-utf8", "a name of bytes that are no text", _one(name=b"\xff\xed\xa0\x80/kernel"), "handled"),
    Case("v1-name-other", "a slice whose key and content name two tensors",
         _file(lambda: raw.table([build.v1_pairs()[0],
                                  (raw.slice_key(b"dense/kernel", *ROWS), build.v1_slice("other", ROWS, _FLOATS)[1])])),
         "error", "of its key"),
    Case("v1-shard-missing", "one file of two", _shard(None), "error", "no such file"),
    Case("v1-shard-link", "a second file that is a link to a secret", _shard(link), "error", "cannot be opened"),
    Case("v1-shard-fifo", "a second file that is a pipe", _shard(fifo), "error", "not a regular file"),
    Case("v1-meta-link", "a meta graph that is a link to a secret", _meta(link), "error", "cannot be opened",
         opens=True),
    Case("v1-meta-fifo", "a meta graph that is a pipe", _meta(fifo), "error", "not a regular file"),
)  # fmt: skip
