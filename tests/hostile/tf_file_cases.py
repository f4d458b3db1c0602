"""Hostile TensorFlow V2 checkpoints: data files, links, the state file, the object graph."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from support import raw_tables as raw

from hostile import tf_build as build
from hostile.frame import Case, later, outside
from hostile.tf_cases import BASE, KERNEL, ONCE, Make

DATA = "ckpt.data-00000-of-00001"


def _graph(graph: Callable[[], bytes]) -> Make:
    return lambda inside: build.draft(build.dense_tensors(), graph()).write(inside / "ckpt")


def _replaced(name: str, put: Callable[[Path, Path], None]) -> Make:
    """The good checkpoint with something else in the place of one of its files."""

    def make(inside: Path) -> Path:
        prefix = BASE.write(inside / "ckpt")
        path = inside / name
        path.unlink(missing_ok=True)
        put(path, inside)
        return prefix

    return make


def _in_folder(make: Make) -> Make:
    """The folder is given, not the prefix."""
    return lambda inside: make(inside).parent


def link(path: Path, inside: Path) -> None:
    path.symlink_to(outside(inside) / "secret.txt")


def dangling(path: Path, inside: Path) -> None:
    path.symlink_to(inside / "nowhere")


def loop(path: Path, inside: Path) -> None:
    path.symlink_to(path.name)


def fifo(path: Path, inside: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, inside: Path) -> None:
    path.mkdir()


def bound(path: Path, inside: Path) -> None:
    """A socket."""
    found = socket.socket(socket.AF_UNIX)
    there = Path.cwd()
    try:
        os.chdir(path.parent)  # the path of a socket may have 107 bytes
        found.bind(path.name)
    finally:
        os.chdir(there)
        found.close()


def _cut_data(path: Path, inside: Path) -> None:
    path.write_bytes(BASE.data[:-1])


def _bad_data(path: Path, inside: Path) -> None:
    path.write_bytes(BASE.data[:-1] + b"\x01")


def _sparse(inside: Path) -> Path:
    """A hole of 8 GiB in front of the weights."""
    hole = 8 << 30
    pairs = BASE.changed(b"dense/bias", None).changed(b"dense/kernel", replace(KERNEL, offset=hole).encode()).pairs
    prefix = build.Draft(pairs, b"").write(inside / "ckpt")
    with (inside / DATA).open("wb") as file:
        file.seek(hole)
        file.write(build.weights().tobytes())
    return prefix


def _nothing(path: Path, inside: Path) -> None: ...


FILES = (
    Case("tf-data-missing", "an index alone", _replaced(DATA, _nothing), "error", "no such file"),
    Case("tf-data-cut", "a data file that is a byte short", _replaced(DATA, _cut_data), "error", "found 59 bytes"),
    Case("tf-data-crc", "a changed byte in a tensor", _replaced(DATA, _bad_data), "error", "dense/kernel",
         commands=("apply", "check")),
    Case("tf-data-link", "a data file that is a link to a secret", _replaced(DATA, link), "error", "cannot be opened"),
    Case("tf-data-loop", "a data file that is a link to itself", _replaced(DATA, loop), "error", "cannot be opened"),
    Case("tf-data-fifo", "a data file that is a pipe, on which open() waits", _replaced(DATA, fifo), "error",
         "not a regular"),
    Case("tf-data-folder", "a data file that is a folder", _replaced(DATA, folder), "error", "is a directory"),
    Case("tf-data-socket", "a data file that is a socket", _replaced(DATA, bound), "error", "cannot be opened"),
    Case("tf-index-link", "an index that is a link to a secret", _replaced("ckpt.index", link), "error",
         "cannot be opened"),
    Case("tf-index-folder", "an index that is a folder", _in_folder(_replaced("ckpt.index", folder)), "error",
         "directory"),
    Case("tf-index-fifo", "an index that is a pipe", _in_folder(_replaced("ckpt.index", fifo)), "error",
         "not a regular"),
    Case("tf-meta-link", "a meta graph that is a link to a secret, and would be copied", _replaced("ckpt.meta", link),
         "error",
         "cannot be opened", opens=True),
    Case("tf-meta-fifo", "a meta graph that is a pipe", _replaced("ckpt.meta", fifo), "error", "not a regular"),
    Case("tf-data-sparse", "a data file of 8 GiB that is one hole, and a kernel behind it", _sparse, "handled",
         commands=("inspect",)),
)  # fmt: skip


def _state(text: bytes, *names: str) -> Make:
    """Two checkpoints, or those of the names, and a state file."""

    def make(inside: Path) -> Path:
        for name in names or ("ckpt-1", "ckpt-2"):
            BASE.write(inside / name)
        (inside / "checkpoint").write_bytes(text.replace(b"OUTSIDE", os.fsencode(outside(inside))))
        return inside

    return make


def _path(path: bytes) -> bytes:
    return b'model_checkpoint_path: "' + path + b'"\nall_model_checkpoint_paths: "' + path + b'"\n'


_NONE = "its state file names none of them"

STATES = (
    Case("tf-state-absolute", "a state file that names a secret by an absolute path", _state(_path(b"OUTSIDE/secret")),
         "error", _NONE),
    Case("tf-state-parent", "a state file that names a secret by ..", _state(_path(b"../outside/secret")), "error",
         _NONE),
    Case("tf-state-dot", "a state file that hides .. behind a name", _state(_path(b"ckpt-1/../../outside/secret")),
         "error", _NONE),
    Case("tf-state-escaped", "a state file that escapes ../", _state(_path(rb"\056\x2e\057outside/secret")), "error",
         _NONE),
    Case("tf-state-glob", "a state file with a pattern", _state(_path(b"ckpt-*")), "error", _NONE),
    Case("tf-state-url", "a state file with an address", _state(_path(b"gs://bucket/ckpt-1")), "error", _NONE),
    Case("tf-state-nul", "a state file whose name ends in a NUL", _state(_path(rb"ckpt-1\000")), "error", _NONE),
    Case("tf-state-newlines", "a megabyte of empty lines, which a pattern looks through again from each of them",
         later(lambda: _state(b"\n" * (1 << 20))), "error", _NONE),
    Case("tf-state-quotes", "a megabyte of a string that does not end",
         later(lambda: _state(b'model_checkpoint_path: "' + b"\\" * (1 << 20))), "error", _NONE),
    Case("tf-state-alone", "a state file that leads elsewhere, beside one checkpoint: that one is read",
         _state(_path(b"OUTSIDE/secret"), "ckpt-1"), "handled"),
    Case("tf-state-link", "a state file that is a link to a secret", _in_folder(_replaced("checkpoint", link)), "error",
         "cannot be opened"),
    Case("tf-state-dangling", "a state file that is a link to nothing", _in_folder(_replaced("checkpoint", dangling)),
         "error",
         "cannot be opened"),
    Case("tf-state-fifo", "a state file that is a pipe, on which open() waits", _in_folder(_replaced("checkpoint",
         fifo)),
         "error", "not a regular file"),
    Case("tf-state-folder", "a state file that is a folder", _in_folder(_replaced("checkpoint", folder)), "error",
         "is a directory"),
)  # fmt: skip


# Object graphs


def _stored(content: bytes, crc: int, more: bytes = b"") -> Make:
    """A graph whose stored bytes are these."""
    found = build.draft()
    entry = build.Entry((), len(found.data), len(content), crc, build.STRING, more=more)
    pairs = found.changed(build.GRAPH_KEY, entry.encode()).pairs
    return lambda inside: build.Draft(pairs, found.data + content).write(inside / "ckpt")


def _chain(length: int) -> bytes:
    return build.graph(*(build.edge("next", (number + 1) % length) for number in range(length)))


_GOOD = build.string_tensor(build.dense_graph())

GRAPHS = (
    Case("tf-graph-child", "a child that is no object", _graph(lambda: build.graph(build.edge("a", 7))), "error",
         "found 7"),
    Case("tf-graph-child-negative", "a child that indexes from the end", _graph(lambda: build.graph(build.edge("a",
         -1))),
         "error", "found -1"),
    Case("tf-graph-slot", "a slot of an object that is not there", _graph(lambda: build.graph(build.slot(9, "m", 0))),
         "error",
         "found 9"),
    Case("tf-graph-crc", "a graph with a checksum that is not its own", _stored(_GOOD[0], _GOOD[1] ^ 1), "error",
         "checksum"),
    Case("tf-graph-lengths", "a string of 2**62 bytes", _stored(raw.varint(1 << 62) + bytes(8), 0), "error",
         "expected strings"),
    Case("tf-graph-two", "a scalar of two strings", _stored(*build.string_tensor(b"", b"")), "error", "damaged"),
    Case("tf-graph-cycle", "every object is its own child, and the root's",
         _graph(lambda: build.dense_graph(root=build.edge("self", 0), layer=build.edge("self", 1) + build.edge("up",
         0))),
         "handled"),
    Case("tf-graph-chain", "objects one in the other, 100,000 deep", _graph(lambda: build.dense_graph(_chain(100_000))),
         "handled", commands=ONCE),
    Case("tf-graph-nodes", "300,000 objects", _graph(lambda: b"\x0a\0" * 300_000), "error", "at most 200000 objects",
         commands=ONCE),
    Case("tf-graph-edges", "an object of 5 million children", _graph(lambda: build.graph(b"\x0a\0" * 5_000_000)),
         "error",
         "fields in a message", commands=ONCE),
    Case("tf-graph-references", "objects of more than a million edges in all",
         _graph(lambda: build.graph(*([b"\x0a\0" * 20_000] * 60))), "error", "at most 1000000 edges", commands=ONCE),
    Case("tf-graph-unknown", "ten million fields that no reader knows", _graph(lambda: b"\x50\0" * 10_000_000), "error",
         "at most 4000000 fields", commands=ONCE),
    Case("tf-graph-name", "a variable's name of 30 MB of slashes: its key counts",
         _graph(lambda: build.dense_graph().replace(build.text(1, build.attribute("dense/bias",
         f"layer/bias{build.VALUE}")),
                                                    build.text(1, build.attribute("/" * 30_000_000,
                                                                                  f"layer/bias{build.VALUE}")))),
         "handled"),
    Case("tf-graph-floats", "a graph that is no string is an odd tensor, and stays as it is",
         lambda inside: BASE.changed(build.GRAPH_KEY, build.Entry((0,), 0, 0, None).encode()).write(inside / "ckpt"),
         "handled"),
)  # fmt: skip

CASES: tuple[Case, ...] = (*FILES, *STATES, *GRAPHS)
