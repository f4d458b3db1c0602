"""Hostile SavedModels: saved_model.pb, keras_metadata.pb, the fingerprint, links and special files in the directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from support import raw_tables as raw

from hostile import tf_build as build
from hostile.frame import Case, later, outside
from hostile.tf_cases import ONCE
from hostile.tf_file_cases import bound, dangling, fifo, link, loop

Make = Callable[[Path], Path]

GOOD = build.saved_model_pb(
    build.meta_graph([build.operation("VarHandleOp")], objects=[b"", b"", build.saved_variable("dense/kernel")])
)
_DENSE = {"class_name": "Dense", "config": {"name": "dense", "units": 3}}


def _model(pb: Callable[[], bytes] | None = None, files: Callable[[], Mapping[str, bytes]] | None = None) -> Make:
    return lambda inside: build.saved_model(inside / "model", pb() if pb else GOOD, files=files() if files else None)


def _graph(*nodes: bytes, more: bytes = b"") -> Callable[[], bytes]:
    return lambda: build.saved_model_pb(build.meta_graph([build.operation("VarHandleOp"), *nodes], more=more))


def _objects(*objects: bytes) -> Callable[[], bytes]:
    return lambda: build.saved_model_pb(build.meta_graph([build.operation("VarHandleOp")], objects=objects))


def _metadata(text: Callable[[], str | bytes]) -> Make:
    """A layer (object 1, which holds kernel and bias) whose metadata is this text."""
    return _model(files=lambda: {"keras_metadata.pb": build.keras_metadata((1, "_tf_keras_layer", text()))})


def _layer(**config: object) -> Make:
    return _metadata(lambda: json.dumps({**_DENSE, "config": {**_DENSE["config"], **config}}))  # type: ignore[dict-item]


def _kept(*names: str) -> Callable[[Path, Path], None]:
    """These files are in the output as they were."""

    def check(given: Path, output: Path) -> None:
        for name in names:
            assert (output / name).read_bytes() == (given / name).read_bytes(), name

    return check


_PB = _kept("saved_model.pb")
_METADATA = _kept("saved_model.pb", "keras_metadata.pb")


def _replaced(name: str, put: Callable[[Path, Path], None]) -> Make:
    """The good model with something else in the place of a file of it, or besides."""

    def make(inside: Path) -> Path:
        files = {"keras_metadata.pb": b"", "fingerprint.pb": b"", "assets/words.txt": b"one"}
        path = build.saved_model(inside / "model", GOOD, files=files)
        (path / name).unlink(missing_ok=True)
        put(path / name, inside)
        return path

    return make


def _folder_link(name: str) -> Make:
    """A folder of the model that is a link to a folder outside, or to the real one under another name."""

    def make(inside: Path) -> Path:
        path = build.saved_model(inside / "model", GOOD, files={"assets/words.txt": b"one"})
        (path / name).rename(inside / "elsewhere")
        (path / name).symlink_to(inside / "elsewhere" if name == "variables" else outside(inside))
        return path

    return make


def _names(inside: Path) -> Path:
    """Files with names that a terminal, a shell or a path could obey."""
    odd = ("a\x1b[2J", "\n::error::x", "-rf", "=1+1", "\u202egnp", "[red]", "\udcff")
    return build.saved_model(inside / "model", GOOD, files={f"assets/{name}": b"x" for name in odd})


def _many_alike(inside: Path) -> Path:
    """3,000 kernels of one shape and 30,000 constants of that shape: 90 million comparisons."""
    kernels = {f"layer{n}/kernel": np.full((2, 1), n, np.float32) for n in range(3000)}
    constants = [build.constant(np.full((2, 1), -1, np.float32))] * 30_000
    return build.saved_model(inside / "model", _graph(*constants)(), build.draft(kernels))


def _shape_bomb() -> bytes:
    """A constant whose 100,000 axes are 2**63 - 1 long each: their product has six million bits."""
    axes = build.text(2, build.number(1, (1 << 63) - 1)) * 100_000
    tensor = build.number(1, build.FLOAT) + build.text(2, axes) + build.text(4, b"abcd")
    return build.text(2, "Const") + build.text(5, build.text(1, "value") + build.text(2, build.text(8, tensor)))


def _lying_constant(size: int) -> bytes:
    """A constant that says it has more bytes than the file."""
    tensor = build.number(1, build.FLOAT) + build.text(2, build.shape(4, 3)) + b"\x22" + raw.varint(size)
    value = (
        build.text(1, "value") + b"\x12" + raw.varint(len(tensor) + size) + b"\x42" + raw.varint(len(tensor)) + tensor
    )
    return build.text(2, "Const") + build.text(5, value)


def _nested_functions() -> bytes:
    """Attributes in attributes, 2,000 deep, for a parser that recurses."""
    value = b""
    for _ in range(2000):
        value = build.text(10, build.text(2, build.text(1, "a") + build.text(2, value)))
    return build.text(2, "Const") + build.text(5, build.text(1, "value") + build.text(2, value))


def _huge(name: str, size: int) -> Make:
    """A file of a hole."""

    def put(path: Path, inside: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return _replaced(name, put)


def _eight_bytes(path: Path, inside: Path) -> None:
    path.write_bytes(bytes(8))


_FILE_OPS = [build.operation(kind) for kind in ("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "DebugIdentity")]
_SECRET = build.text(7, build.text(2, "../../outside/secret.txt")) + build.text(
    6, build.text(2, "../../outside/secret.txt")
)
_LAMBDA = json.dumps({"class_name": "Lambda", "config": {"name": "l", "function": {"class_name": "__lambda__",
                      "config": {"code": "4wEAAAAAAAAA", "defaults": None, "closure": None}}}})  # fmt: skip
_MODULE = json.dumps(
    {"class_name": "system", "module": "os", "config": {"command": "touch owned"}, "registered_name": "x>y"}
)

GRAPHS = (
    Case("sm-file-operations", "operations that read and write files when the graph is run", _model(_graph(*_FILE_OPS)),
         "handled", untouched=_PB),
    Case("sm-asset-path", "an asset whose name leads out of the model", _model(_graph(more=_SECRET)), "handled",
         untouched=_PB),
    Case("sm-init-op", "an initializer that is run when the model is loaded",
         _model(_graph(build.operation("WriteFile"), more=build.text(4, build.text(1, "saved_model_main_op")))),
         "handled",
         untouched=_PB),
    Case("sm-pb-empty", "an empty saved_model.pb", _model(bytes), "error", "with a graph"),
    Case("sm-pb-cut", "a saved_model.pb that is cut off", _model(lambda: GOOD[:-3]), "error", "damaged"),
    Case("sm-pb-text", "a text in the place of the graph", _model(lambda: b"import os; os.system('id')"), "error",
         "damaged"),
    Case("sm-pb-graphs", "five million empty graphs, each an object in memory", _model(lambda: b"\x12\0" * 5_000_000),
         "error",
         "at most 3000000 fields", commands=ONCE),
    Case("sm-pb-nodes", "five million empty operations",
         _model(lambda: build.saved_model_pb(build.text(2, b"\x0a\0" * 5_000_000))), "error", "at most 3000000 fields",
         commands=ONCE),
    Case("sm-pb-attributes", "an operation of a million attributes",
         later(lambda: _model(_graph(b"\x2a\0" * 1_000_000))), "error",
         "at most 10000 attributes"),
    Case("sm-pb-objects", "300,000 objects",
         later(lambda: _model(_objects(*[b""] * 300_000))), "error", "at most 200000 objects"),
    Case("sm-pb-variable", "a variable of two million fields",
         later(lambda: _model(_objects(build.text(7, b"\x50\0" * 2_000_000)))),
         "error",
         "fields in a message", commands=ONCE),
    Case("sm-pb-big-object", "40 MB about one layer",
         later(lambda: _model(_objects(build.keras_object("_tf_keras_layer",
         b" " * 40_000_000)))),
         "error", "bytes about variables and layers", commands=ONCE),
    Case("sm-pb-group", "groups one in the other", _model(_graph(b"\x0b" * 100_000)), "error", "wire type"),
    Case("sm-pb-nested", "attributes one in the other, for a parser that recurses", _model(_graph(_nested_functions())),
         "handled", untouched=_PB),
    Case("sm-constant-shape", "a constant whose number of elements has six million bits",
         later(lambda: _model(_graph(_shape_bomb()))),
         "handled", untouched=_PB),
    Case("sm-constant-lies", "a constant of more bytes than the file", _model(_graph(_lying_constant(1 << 40))),
         "handled", untouched=_PB),
    Case("sm-constant-same", "a constant with the values of a kernel, which stays as it is: that is said",
         _model(_graph(build.constant(build.weights()))), "handled", "also holds the same values", untouched=_PB),
    Case("sm-constants-alike", "30,000 constants to compare with 3,000 kernels of the same shape", _many_alike,
         "handled",
         commands=ONCE),
    Case("sm-frozen", "a model without variables",
         lambda inside: _frozen(inside), "error", "frozen model"),
    Case("sm-pb-link", "a saved_model.pb that is a link to a secret", _replaced("saved_model.pb", link), "error",
         "link"),
    Case("sm-pb-fifo", "a saved_model.pb that is a pipe", _replaced("saved_model.pb", fifo), "error",
         "neither a file nor"),
)  # fmt: skip


def _frozen(inside: Path) -> Path:
    folder = inside / "model"
    folder.mkdir()
    pb = build.saved_model_pb(build.meta_graph([build.constant(build.weights())]))
    (folder / "saved_model.pb").write_bytes(pb)
    return folder


METADATA = (
    Case("sm-lambda", "marshalled code in the config of a Lambda layer", _metadata(lambda: _LAMBDA), "handled",
         untouched=_METADATA),
    Case("sm-module", "a config that names a function of the os module", _metadata(lambda: _MODULE), "handled",
         untouched=_METADATA),
    Case("sm-json-broken", "metadata that is no JSON", _metadata(lambda: "{"), "error", "no valid JSON"),
    Case("sm-json-bytes", "metadata that is no text", _metadata(lambda: b"\xff\xfe{}"), "error", "no valid JSON"),
    Case("sm-json-deep", "lists one in the other, 100,000 deep", _metadata(lambda: "[" * 100_000 + "]" * 100_000),
         "error",
         "deeper than 200 levels"),
    Case("sm-json-lists", "eight million empty lists, 80 bytes of memory for each three of the file",
         _metadata(lambda: "[" + "[]," * 8_000_000 + "0]"), "error", "values in the configs", commands=ONCE),
    Case("sm-json-digits", "a number of a million digits, which takes long to read",
         _metadata(lambda: '{"class_name": "Dense", "config": {"units": ' + "9" * 1_000_000 + "}}"), "error",
         "no valid JSON"),
    Case("sm-json-numbers", "numbers that are none",
         _metadata(lambda: '{"class_name": "Dense", "config": {"units": NaN,'
                                                                       ' "kernel_constraint": {"config": -Infinity}}}'),
         "handled", untouched=_METADATA),
    Case("sm-json-types", "a class name that is a list, and a config that is a number",
         _metadata(lambda: '{"class_name": [1], "config": 7}'), "handled", untouched=_METADATA),
    Case("sm-json-surrogate", "half of a surrogate pair in the name of a class",
         _metadata(lambda: '{"class_name": "\\ud800Dense", "config": {"name": "\\udfff"}}'), "handled",
         untouched=_METADATA),
    Case("sm-json-escape", "a class name that clears the screen",
         _metadata(lambda: '{"class_name": "Den\\u001b[2Jse", "config": {"name": "x"}}'), "handled",
         untouched=_METADATA),
    Case("sm-json-control", "a constraint whose class is a command to a CI runner",
         _layer(kernel_constraint={"class_name": "\n::error::x##[error]y", "config": {}}), "handled",
         untouched=_METADATA),
    Case("sm-constraint-infinite", "a limit that is infinite",
         _layer(kernel_constraint={"class_name": "MaxNorm", "config": {"max_value": float("inf"), "axis": 0}}),
         "handled",
         untouched=_METADATA),
    Case("sm-constraint-axis", "an axis of 2**70",
         _layer(kernel_constraint={"class_name": "MaxNorm", "config": {"max_value": 1, "axis": 1 << 70}}), "handled",
         untouched=_METADATA),
    Case("sm-metadata-fields", "metadata of five million fields",
         _model(files=lambda: {"keras_metadata.pb": b"\x50\0" * 5_000_000}), "error", "at most 200000 objects",
         commands=ONCE),
    Case("sm-metadata-objects", "metadata of 300,000 objects",
         _model(files=lambda: {"keras_metadata.pb": b"\x0a\0" * 300_000}), "error", "at most 200000 objects"),
    Case("sm-metadata-huge", "metadata of 8 GiB, which is a hole", _huge("keras_metadata.pb", 8 << 30), "error",
         "at most",
         commands=ONCE),
    Case("sm-metadata-number", "metadata about an object that is not there",
         _model(files=lambda: {"keras_metadata.pb": build.keras_metadata((-1, "_tf_keras_layer", "{}"),
                                                                         (1 << 62, "_tf_keras_layer", "{"))}),
                                                                         "handled"),
    Case("sm-metadata-link", "metadata that are a link to a secret", _replaced("keras_metadata.pb", link), "error",
         "link"),
    Case("sm-fingerprint-junk", "a fingerprint that is none: it is carried over",
         _model(files=lambda: {"fingerprint.pb": b"\xff" * 100}), "handled", untouched=_kept("fingerprint.pb")),
    Case("sm-fingerprint-huge", "a fingerprint of 2 MB: it is carried over",
         _model(files=lambda: {"fingerprint.pb": b"\x08\1" * 1_000_000}), "handled", untouched=_kept("fingerprint.pb")),
    Case("sm-fingerprint-link", "a fingerprint that is a link to a secret", _replaced("fingerprint.pb", link), "error",
         "link"),
)  # fmt: skip

FILES = (
    Case("sm-index-link", "an index that is a link", _replaced("variables/variables.index", link), "error",
         "a symbolic link"),
    Case("sm-data-link", "a data file that is a link", _replaced("variables/variables.data-00000-of-00001", link),
         "error",
         "a symbolic link"),
    Case("sm-variables-link", "a folder of variables that is a link", _folder_link("variables"), "error",
         "a symbolic link"),
    Case("sm-assets-folder-link", "a folder of assets that is a link to the secrets, which a copy would hold",
         _folder_link("assets"), "error", "a symbolic link"),
    Case("sm-asset-link", "an asset that is a link to a secret", _replaced("assets/words.txt", link), "error",
         "symbolic link"),
    Case("sm-asset-dangling", "an asset that is a link to nothing", _replaced("assets/words.txt", dangling), "error",
         "symbolic"),
    Case("sm-asset-loop", "an asset that is a link to itself", _replaced("assets/words.txt", loop), "error",
         "symbolic link"),
    Case("sm-asset-fifo", "an asset that is a pipe, on which a copy waits", _replaced("assets/words.txt", fifo),
         "error",
         "neither a file nor a folder"),
    Case("sm-asset-socket", "an asset that is a socket", _replaced("assets/words.txt", bound), "error",
         "neither a file nor"),
    Case("sm-index-fifo", "an index that is a pipe", _replaced("variables/variables.index", fifo), "error",
         "neither a file"),
    Case("sm-names", "files with names that a terminal or a shell could obey", _names, "handled",
         untouched=_kept("assets/a\x1b[2J", "assets/\n::error::x", "assets/-rf", "assets/\udcff")),
    Case("sm-offset-overflow", "an offset in the inner index that overflows",
         lambda inside: build.saved_model(
             inside / "model", GOOD,
             build.draft().changed(b"dense/kernel", build.Entry((4, 3), (1 << 63) - 8, 48).encode())), "error",
             "damaged"),
    Case("sm-index-cut", "an inner index that is cut off",
         _replaced("variables/variables.index", _eight_bytes),
         "error",
         "at least 48 bytes"),
)  # fmt: skip

CASES: tuple[Case, ...] = (*GRAPHS, *METADATA, *FILES)
