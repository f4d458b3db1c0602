"""Hostile models of TensorFlow.js: paths, lengths and names in a `model.json`, and the files beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from support import tfjs_files
from support.tfjs_files import layer, layers_model, node

from hostile.frame import Case, later, outside

SHARD = "group1-shard1of1.bin"
W = np.full((2, 3), 3, "f4")
_PLAIN = "a plain name of a file beside it was expected"

Told = dict[str, Any]


def _model(change: Callable[[Told], object] = lambda told: None, content: bytes = W.tobytes()) -> Any:
    """A model of one dense kernel, changed."""

    def make(inside: Path) -> Path:
        topology = layers_model(layer("Dense", "d", units=3))
        path = tfjs_files.write_tfjs(inside, [[("d/kernel", W, {})]], topology)
        told = json.loads(path.read_text())
        change(told)
        path.write_text(json.dumps(told).replace("OUT", str(outside(inside))), "utf-8", "surrogatepass")
        (inside / SHARD).write_bytes(content)
        return path

    return make


def _path(name: Any) -> Any:
    return _model(lambda told: told["weightsManifest"][0].update(paths=[name]))


def _weight(content: bytes = W.tobytes(), **fields: Any) -> Any:
    return _model(lambda told: told["weightsManifest"][0]["weights"][0].update(fields), content)


def _few(**fields: Any) -> Any:
    return _weight(bytes(6), quantization={"dtype": "uint8", "min": 0.0, "scale": 1.0} | fields)


def _error(name: str, attack: str, make: Any, says: str, **more: Any) -> Case:
    return Case(f"tfjs-{name}", attack, make, "error", says, **more)


def _text(change: Callable[[str], str]) -> Any:
    def make(inside: Path) -> Path:
        path: Path = _model()(inside)
        path.write_text(change(path.read_text()))
        return path

    return make


def _twice(told: Told) -> None:
    told["weightsManifest"].append({"paths": [], "weights": [{"name": "d/kernel", "shape": [0], "dtype": "float32"}]})


def _shared(told: Told) -> None:
    weight = {"name": "e/kernel", "shape": [2, 3], "dtype": "float32"}
    told["weightsManifest"].append({"paths": [SHARD], "weights": [weight]})


def _beside(prepare: Callable[[Path], object]) -> Any:
    def make(inside: Path) -> Path:
        path: Path = _model()(inside)
        (inside / SHARD).unlink()
        prepare(inside / SHARD)
        return path

    return make


def _graph(*nodes: Any, **more: Any) -> Any:
    return _model(lambda told: told.update(modelTopology={"node": list(nodes), **more}))


def _calls(inside: Path) -> Path:
    """Two functions that call each other."""
    functions = [
        {
            "signature": {"name": one, "inputArg": [{"name": "a"}], "outputArg": [{"name": "b"}]},
            "nodeDef": [node(other, "n", "a")],
            "ret": {"b": "n:out:0"},
        }
        for one, other in (("f", "g"), ("g", "f"))
    ]
    nodes = node("Const", "d/kernel"), node("f", "called", "d/kernel"), node("MatMul", "m", "x", "called")
    made: Path = _graph(*nodes, library={"function": functions})(inside)
    return made


def _same(before: Path, after: Path) -> None:
    assert tfjs_files.but_paths(before) == tfjs_files.but_paths(after)


STRINGS = {"name": "s", "dtype": "string"}

CASES = (
    _error("dots", "the weights lie in the folder above", _path("../outside/secret.bin"), _PLAIN),
    _error("absolute", "the weights have an absolute path", _path("OUT/secret.bin"), _PLAIN),
    _error("inside-dots", "a path goes down and up again", _path("./a/../../outside/x.bin"), _PLAIN),
    _error("url", "the weights are on a server", _path("https://example.com/x.bin"), _PLAIN),
    _error("backslash", "the folder above as Windows sees it", _path("..\\outside\\x.bin"), _PLAIN),
    _error("parent", "the weights are the folder above", _path("./.."), _PLAIN),
    _error("nul", "a name goes on behind a NUL", _path(SHARD + "\0x"), _PLAIN),
    _error("number", "a path that is a number", _path(7), "a text was expected"),
    _error("escapes", "a path with terminal escapes is shown", _path("/\x1b[2J\n::error::" + "x" * 700), _PLAIN),
    _error("surrogate", "a name that no file system takes", _path("\ud800.bin"), "no file can"),
    _error("itself", "the weights are the model", _path("model.json"), "is named twice, or is the model itself"),
    _error("file-twice", "two groups lie in one file", _model(_shared), "is named twice"),
    _error("files", "10,001 files",
           _model(lambda told: told["weightsManifest"][0].update(paths=[f"{n}.bin" for n in range(10_001)])),
           "at most 10000"),
    _error("link", "the file of weights is a link to a secret",
           _beside(lambda shard: shard.symlink_to(outside(shard.parent) / "secret.h5")), SHARD),
    _error("fifo", "the file of weights is a named pipe: opening it hangs", _beside(os.mkfifo), "not a regular file"),
    _error("missing", "the file of weights is not there", _beside(lambda shard: None), "no such file"),
    _error("short", "the file of weights ends a byte too soon", _model(content=W.tobytes()[:-1]), "cut short?"),
    _error("long", "a byte is behind the weights", _model(content=W.tobytes() + b"x"), "25 bytes are there"),
    _error("twice", "a weight that comes twice, in two groups", _model(_twice), "is there twice"),
    _error("huge", "a shape of 2**120 elements", _weight(shape=[1 << 60, 1 << 60]), "cut short?"),
    _error("overflow", "a shape whose product is 6 in 64 bits", _weight(shape=[1 << 61, 8, 6]), "cut short?"),
    _error("no-elements", "a size of 0 beside those of 2**122", _weight(b"", shape=[0, 1 << 61, 1 << 61]),
           "a shape that no array can have"),
    _error("negative", "a negative size", _weight(shape=[-2, -3]), "an integer from 0"),
    _error("fraction", "a size that is no integer", _weight(shape=[2.5, 3]), "an integer from 0"),
    _error("axes", "17 axes", _weight(shape=[1] * 17), "at most 16 sizes"),
    _error("dtype", "a dtype that nobody knows", _weight(dtype="float128"), "one of float32, int32"),
    _error("nan-scale", "a scale that is NaN", _few(scale=float("nan")), "no valid JSON"),
    _error("infinite-scale", "a scale beyond float64", _text(lambda text: text.replace(
        '"float32"', '"float32", "quantization": {"dtype": "uint8", "min": 0, "scale": 1e999}')), "a finite number"),
    _error("text-scale", "a scale that is a text", _few(scale="1"), "a number was expected"),
    _error("no-scale", "few bits without a scale",
           _weight(bytes(6), quantization={"dtype": "uint8", "min": 0}), "scale: a number was expected"),
    _error("half-int", "integers as float16", _weight(bytes(12), dtype="int32", quantization={"dtype": "float16"}),
           "uint8, uint16 was expected"),
    _error("few-strings", "texts of few bits", _weight(dtype="string", quantization={"dtype": "uint8"}),
           "none was expected"),
    _error("strings-long", "a text of 4 GiB", _weight(b"\xff" * 24, **STRINGS, shape=[1]), "cut short?"),
    _error("strings-many", "2**40 texts", _weight(**STRINGS, shape=[1 << 40]), "at most 1000000 are read"),
    _error("strings-cut", "a million texts of which the last lie behind the end",
           later(lambda: _weight(bytes(3_900_000), **STRINGS, shape=[1_000_000])), "cut short?"),
    _error("strings-million", "16 million empty texts, which take long to walk through",
           later(lambda: _weight(bytes(64 << 20), **STRINGS, shape=[16 << 20])), "at most 1000000 are read"),
    _error("no-manifest", "a topology alone", _model(lambda told: told.pop("weightsManifest")), "no weightsManifest"),
    _error("manifest", "a manifest that is an object", _model(lambda told: told.update(weightsManifest={})),
           "a list was expected"),
    _error("deep", "100,000 lists inside each other",
           _text(lambda text: text.replace('"float32"', "[" * 100_000 + "]" * 100_000)), "nested deeper"),
    _error("key-twice", "a key that comes twice",
           _text(lambda text: text.replace('"name": "d/k', '"name": 1, "name": "')), "comes twice"),
    _error("values", "three million values",
           later(lambda: _text(lambda text: text.replace('"float32"', "[" + "1," * 3_000_000 + "1]"))),
           "more than 2000000 values"),
    _error("cut", "the JSON is cut short", _text(lambda text: text[:-1]), "no valid JSON"),
    Case("tfjs-escaped", "a name of a file is written with escapes",
         _text(lambda text: text.replace("group1-", "\\u0067roup1-")), "handled", untouched=_same),
    Case("tfjs-names", "a layer and a weight that are escapes and formulas",
         _weight(name="\x1b[2J=cmd()/kernel"), "handled", untouched=_same,
         commands=("inspect", "apply", "json", "csv")),
    Case("tfjs-path-elsewhere", "the name of the file of weights is a weight, too, and metadata",
         _model(lambda told: told.update(userDefinedMetadata={"paths": [SHARD, "x"], "x": SHARD})),
         "handled", untouched=_same),
    _error("path-twice", "the list of files stands in the metadata, too",
           _model(lambda told: told.update(userDefinedMetadata={"paths": [SHARD]})), "also elsewhere",
           commands=("apply",)),
    Case("tfjs-graph-odd", "nodes that are none, and attributes of other kinds",
         _graph(7, None, {"name": 3, "op": []}, node("MatMul", "m", "x", "d/kernel") | {"attr": [1]},
                {"name": "d/kernel", "op": "Const", "attr": {"dtype": 1}}, library={"function": [1, {}]}),
         "handled", untouched=_same),
    Case("tfjs-graph-calls", "functions that call each other for ever", _calls, "handled", untouched=_same),
    Case("tfjs-graph-cycle", "nodes in a circle",
         _graph(node("Const", "d/kernel"), node("AddV2", "a", "b", "d/kernel"), node("AddV2", "b", "a", "a")),
         "handled", untouched=_same),
)  # fmt: skip
