"""Hostile models of ONNX: what their messages say of sizes, names, graphs and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from support.graph_build import blob, number
from support.onnx_files import GRAPH, TENSOR, Entries, graph, model, node, read_onnx, tensor
from support.raw_tables import varint

from hostile.frame import Case, later, outside

W = np.full((2, 3), 3, np.float32)
USED = node("MatMul", ["x", "w"], ["y"])


def raw(content: bytes) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        (inside / "m.onnx").write_bytes(content)
        return inside / "m.onnx"

    return make


def _graph(tensors: Iterable[bytes] = (), nodes: Iterable[bytes] = (USED,)) -> Callable[[Path], Path]:
    return raw(model(graph(nodes, tensors)))


def _fields(*content: bytes, name: str = "w") -> Callable[[Path], Path]:
    """A tensor of these fields."""
    return _graph([b"".join(content) + blob(8, name)])


def _dims(*sizes: int, data: bytes = W.tobytes()) -> Callable[[Path], Path]:
    return _fields(*(number(1, size) for size in sizes), number(2, 1), blob(9, data))


SOUND: Entries = {"location": "m.data", "offset": 0, "length": 24}


def _told(
    entries: Entries | bytes, *others: tuple[str, Entries], prepare: Callable[[Path], None] | None = None
) -> Callable[[Path], Path]:
    """A model whose tensor lies where these entries say; a sound file of 24 bytes is beside it, unless prepared."""

    def make(inside: Path) -> Path:
        if prepare is None:
            (inside / "m.data").write_bytes(W.tobytes())
        else:
            prepare(inside)
        if isinstance(entries, bytes):
            first = number(1, 2) + number(1, 3) + number(2, 1) + blob(8, "w") + entries + number(14, 1)
        else:
            told = {key: str(value).replace("OUT", str(outside(inside))) for key, value in entries.items()}
            first = tensor("w", W, outside=told)
        more = [tensor(name, W, outside=told) for name, told in others]
        nodes = [USED, *(node("MatMul", ["x", name], [f"y{name}"]) for name, _ in others)]
        (inside / "m.onnx").write_bytes(model(graph(nodes, [first, *more])))
        return inside / "m.onnx"

    return make


def _link(inside: Path) -> None:
    (inside / "m.data").symlink_to(outside(inside) / "secret.h5")


def _hard(inside: Path) -> None:
    (inside / "other").write_bytes(W.tobytes())
    os.link(inside / "other", inside / "m.data")


def _folder(inside: Path) -> None:
    (inside / "m.data").mkdir()


def _pipe(inside: Path) -> None:
    os.mkfifo(inside / "m.data")


def _twice(inside: Path) -> None:
    (inside / "m.data").write_bytes(W.tobytes() * 2)


def _nothing(inside: Path) -> None:
    pass


def _nested(depth: int) -> bytes:
    body = graph([])
    for _ in range(depth):
        body = graph([node("If", ["c"], ["y"], then_branch=(GRAPH, body))])
    return model(body)


def _many(count: int) -> bytes:
    one = np.full((1, 1), 3, np.float32)
    names = [f"layers.{number}.weight" for number in range(count)]
    return model(graph((node("MatMul", ["x", name], [f"{name}y"]) for name in names), (tensor(n, one) for n in names)))


def _chain(count: int) -> bytes:
    """A weight that goes through many nodes before it is used."""
    steps = [node("Unsqueeze", [f"w{n}" if n else "w", "axes"], [f"w{n + 1}"]) for n in range(count)]
    return model(graph(steps, [tensor("w", W), tensor("axes", np.zeros(1, np.int64))]))


def _doubling(count: int) -> bytes:
    """Each node takes the one before twice: 2**count ways lead to the end."""
    steps = [node("Concat", [f"w{n}" if n else "w"] * 2, [f"w{n + 1}"], axis=0) for n in range(count)]
    return model(graph(steps, [tensor("w", W)]))


def _calling() -> bytes:
    """A function that calls itself."""
    body = node("again", ["a"], ["b"], domain="own")
    function = blob(1, "again") + blob(4, "a") + blob(5, "b") + blob(7, body) + blob(10, "own")
    return model(graph([node("again", ["w"], ["y"], domain="own"), USED], [tensor("w", W)]), [function], ["own"])


def _kept(before: Path, after: Path) -> None:
    assert list(read_onnx(before)) == list(read_onnx(after))


NAMES = ("=cmd()", "<script>alert(1)</script>", "../x", "\x1b[2J\n::error::", "n" * (1 << 20), "", "a/b", "%s{0}")

CASES = (
    Case(
        "onnx-empty-graph",
        "a graph of nothing",
        raw(model(b"")),
        "error",
        "holds no variable",
        commands=("apply",),
    ),
    Case(
        "onnx-cut",
        "the graph runs over the file",
        raw(model(graph([USED], [tensor("w", W)]))[:-20]),
        "error",
        "ends by",
    ),
    Case("onnx-length", "a message of 2**63 bytes", raw(number(1, 8) + b"\x3a" + varint(1 << 63)), "error", "ends by"),
    Case("onnx-two-graphs", "two graphs", raw(model(graph([])) + blob(7, graph([]))), "error", "two"),
    Case("onnx-graph-number", "a graph that is a number", raw(number(1, 8) + number(7, 1)), "error", "known format"),
    Case(
        "onnx-group", "an end of a group, which no message has", raw(model(graph([]) + b"\x0c")), "error", "wire type"
    ),
    Case("onnx-twice", "two tensors of one name", _graph([tensor("w", W), tensor("w", W)]), "error", "two tensors"),
    Case(
        "onnx-constant-twice",
        "a constant has the name of a tensor",
        _graph([tensor("w", W)], [node("Constant", [], ["w"], value=(TENSOR, tensor("", np.zeros(2, np.int64))))]),
        "error",
        "two tensors",
    ),
    Case(
        "onnx-path-twice",
        "the path of a tensor in a body is the name of another one",
        _graph(
            [tensor("y/then_branch/w", W)],
            [node("If", ["c"], ["y"], then_branch=(GRAPH, graph([], [tensor("w", W)])))],
        ),
        "error",
        "two tensors",
    ),
    Case(
        "onnx-huge", "a shape whose product is beyond 64 bits", _dims(1 << 40, 1 << 40, 1 << 40), "error", "too large"
    ),
    Case("onnx-negative", "a negative size", _dims(-2, -3), "error", "no list of"),
    Case("onnx-zero", "no elements beside 2**63 - 1", _dims(0, (1 << 63) - 1), "error", "no list of"),
    Case("onnx-zero-large", "no elements, and 2**61 beside", _dims(0, 1 << 61, data=b""), "error", "too large"),
    Case("onnx-rank", "65 axes", _dims(*[1] * 65), "error", "no list of"),
    Case(
        "onnx-rank-packed",
        "a million axes in 1 MB",
        _fields(blob(1, b"\1" * (1 << 20)), number(2, 1)),
        "error",
        "no list",
    ),
    Case("onnx-short", "fewer bytes than the shape says", _dims(2, 4), "error", "needs 32 bytes"),
    Case(
        "onnx-typed-short",
        "fewer numbers than the shape says",
        _fields(number(1, 2), number(1, 4), number(2, 1), blob(4, W.tobytes())),
        "error",
        "needs 32 bytes",
    ),
    Case(
        "onnx-two-places",
        "numbers in two fields: readers take one or the other",
        _fields(number(1, 2), number(1, 3), number(2, 1), blob(4, W.tobytes()), blob(9, W.tobytes())),
        "error",
        "another field",
    ),
    Case(
        "onnx-raw-twice",
        "raw_data twice: the last one counts",
        _fields(number(1, 2), number(1, 3), number(2, 1), blob(9, W.tobytes()), blob(9, W.tobytes())),
        "error",
        "once",
    ),
    Case("onnx-type-twice", "two dtypes", _fields(number(2, 1), number(2, 10), number(1, 0)), "error", "once"),
    Case(
        "onnx-type",
        "a dtype of no version",
        _fields(number(1, 2), number(2, 99)),
        "error",
        "holds no floating variable",
        commands=("apply",),
    ),
    Case("onnx-type-text", "a dtype that is a text", _fields(number(1, 2), blob(2, "float")), "error", "as a number"),
    Case("onnx-nested", "400 bodies in bodies", raw(_nested(400)), "error", "nested deeper"),
    Case(
        "onnx-traversal",
        "a file above the folder",
        _told({**SOUND, "location": "../outside/secret.h5"}),
        "error",
        "plain",
    ),
    Case(
        "onnx-traversal-inner",
        "a path that goes down and up",
        _told({**SOUND, "location": "a/../../b"}),
        "error",
        "plain",
    ),
    Case("onnx-absolute", "an absolute path", _told({**SOUND, "location": "OUT/secret.h5"}), "error", "plain"),
    Case("onnx-subfolder", "a file in a folder", _told({**SOUND, "location": "sub/m.data"}), "error", "plain"),
    Case("onnx-backslash", "a path of Windows", _told({**SOUND, "location": "..\\m.data"}), "error", "plain"),
    Case("onnx-nul", "a NUL in the name of a file", _told({**SOUND, "location": "m.data\0x"}), "error", "plain"),
    Case("onnx-nowhere", "a tensor in another file that is not named", _told({"offset": 0}), "error", "plain"),
    Case("onnx-dots", "the folder itself as a file", _told({**SOUND, "location": "."}), "error", "plain"),
    Case(
        "onnx-itself", "the model as the file of its tensor", _told({**SOUND, "location": "m.onnx"}), "error", "itself"
    ),
    Case("onnx-missing", "a file that is not there", _told(SOUND, prepare=_nothing), "error", "no such file"),
    Case("onnx-link", "a link out of the folder", _told(SOUND, prepare=_link), "error", "cannot be opened"),
    Case("onnx-hard-link", "a file with a second name elsewhere", _told(SOUND, prepare=_hard), "error", "hard links"),
    Case("onnx-folder", "a folder as a file", _told(SOUND, prepare=_folder), "error", "is a directory"),
    Case("onnx-pipe", "a pipe, which nobody writes to", _told(SOUND, prepare=_pipe), "error", "not a regular file"),
    Case("onnx-length-few", "fewer bytes told than the shape says", _told({**SOUND, "length": 8}), "error", "24 bytes"),
    Case(
        "onnx-length-none", "the rest of a file that is longer", _told({**SOUND, "length": 25}), "error", "25 are told"
    ),
    Case("onnx-offset", "an offset beyond the file", _told({**SOUND, "offset": 10**15}), "error", "cut short"),
    Case("onnx-offset-64", "an offset of 30 digits", _told({**SOUND, "offset": 10**30}), "error", "a number of bytes"),
    Case("onnx-offset-negative", "a negative offset", _told({**SOUND, "offset": -4}), "error", "a number of bytes"),
    Case("onnx-offset-hex", "an offset in base 16", _told({**SOUND, "offset": "0x0"}), "error", "a number of bytes"),
    Case(
        "onnx-offset-digits", "an offset in other digits", _told({**SOUND, "offset": "\u0663"}), "error", "a number of"
    ),
    Case(
        "onnx-location-twice",
        "two files for one tensor",
        _told(b"".join(blob(13, blob(1, "location") + blob(2, name)) for name in ("m.data", "../x"))),
        "error",
        "twice",
    ),
    Case(
        "onnx-inside-and-outside",
        "numbers here, and in another file",
        _told(blob(13, blob(1, "location") + blob(2, "m.data")) + blob(9, W.tobytes())),
        "error",
        "one place",
    ),
    Case(
        "onnx-overlap",
        "two tensors share some of their bytes: a change of one is one of the other",
        _told(
            SOUND,
            ("v", {"location": "m.data", "offset": 12, "length": 24}),
            prepare=_twice,
        ),
        "error",
        "shares some of its bytes",
        commands=("apply",),
    ),
    Case(
        "onnx-same-place",
        "two tensors have one place",
        _told(SOUND, ("v", SOUND)),
        "handled",
        untouched=_kept,
        options=(),
    ),
    Case(
        "onnx-names",
        "names that are formulas, markup, paths and a megabyte",
        _graph(
            [tensor(name, W) for name in NAMES],
            [node("MatMul", ["x", name], [f"y{n}"], name=name[:100]) for n, name in enumerate(NAMES)],
        ),
        "handled",
        untouched=_kept,
        commands=("inspect", "apply", "json", "csv", "md", "junit", "html"),
    ),
    Case(
        "onnx-name-bytes",
        "a name that is no UTF-8",
        _graph([tensor("w", W), tensor("v", W).replace(b"v", b"\xff", 1)]),
        "handled",
    ),
    Case(
        "onnx-checksum",
        "a checksum that no SHA-1 is",
        _told({**SOUND, "checksum": "00"}),
        "error",
        "m.data",
        commands=("apply",),
    ),
    Case("onnx-itself-called", "a function that calls itself", raw(_calling()), "handled", untouched=_kept),
    Case(
        "onnx-doubling", "2**300 ways from a weight to its use", raw(_doubling(300)), "handled", commands=("inspect",)
    ),
    Case(
        "onnx-chain",
        "20,000 axes are added to a weight",
        later(lambda: raw(_chain(20_000))),
        "handled",
        commands=("inspect",),
    ),
    Case(
        "onnx-nodes",
        "a million empty nodes in 2 MB",
        later(lambda: raw(model(b"\x0a\0" * (1 << 20) + graph([USED], [tensor("w", W)])))),
        "error",
        "more than 300000 nodes",
        commands=("inspect",),
    ),
    Case(
        "onnx-fields",
        "four million fields in 8 MB",
        later(lambda: raw(model(b"\x6a\0" * (4 << 20)))),
        "error",
        "fields",
        commands=("inspect",),
    ),
    Case(
        "onnx-functions",
        "100,000 functions of no name",
        later(lambda: raw(model(graph([USED], [tensor("w", W)]), [b""] * 100_000))),
        "handled",
        commands=("inspect",),
    ),
    Case(
        "onnx-many",
        "10,000 tensors of a number each",
        later(lambda: raw(_many(10_000))),
        "handled",
        commands=("inspect",),
    ),
)
