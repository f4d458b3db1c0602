"""Hostile Keras configs, in HDF5 attributes and in `.keras` archives: code, files and shapes that they name."""

from __future__ import annotations

import base64
import io
import json
import marshal
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hostile.frame import Case, later, outside
from hostile.h5_build import KERNEL, same_but_kernels

Config = Callable[[Path], Any]
"""What the config is, given the folder of the case: JSON, or text or bytes to write as they are."""


def weights_image(count: int = 1) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for number in range(count):
            group = f"layers/dense_{number}" if number else "layers/dense"
            file[f"{group}/vars/0"], file[f"{group}/vars/1"] = KERNEL, KERNEL[0]
    return buffer.getvalue()


def _raw(config: Any) -> bytes:
    if isinstance(config, bytes):
        return config
    return (config if isinstance(config, str) else json.dumps(config)).encode("utf-8", "surrogatepass")


def archived(config: Config, image: bytes | None = None, method: int = zipfile.ZIP_STORED) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        path = inside / "model.keras"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
            archive.writestr("config.json", _raw(config(inside)))
            archive.writestr("model.weights.h5", weights_image() if image is None else image)
        return path

    return make


def legacy(config: Config) -> Callable[[Path], Path]:
    def make(inside: Path) -> Path:
        path = inside / "model.h5"
        raw = _raw(config(inside))
        with h5py.File(path, "w", libver="latest") as file:
            file["model_weights/dense/dense/kernel:0"], file["model_weights/dense/dense/bias:0"] = KERNEL, KERNEL[0]
            file["model_weights"].attrs["layer_names"] = [b"dense"]
            file["model_weights/dense"].attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
            file.attrs["model_config"] = np.bytes_(raw) if raw and b"\0" not in raw else ""
        return path

    return make


def sequential(*layers: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "module": "keras", "config": {"name": "model", "layers": list(layers)}}


def dense(**config: Any) -> dict[str, Any]:
    return {"class_name": "Dense", "module": "keras.layers", "config": {"name": "dense", "units": 4, **config}}


def _both(name: str, attack: str, config: Config, expect: Any = "handled", says: str = "") -> tuple[Case, Case]:
    """A config in either container; the layer beside it is read and clipped all the same."""
    untouched = same_but_kernels if expect == "handled" else None
    return (
        Case(f"keras-{name}", attack, archived(config), expect, says, untouched),
        Case(f"h5-{name}", attack, legacy(config), expect, says, untouched),
    )


# Code and files (THREATS A1 to A4, B7)


def _payload(inside: Path) -> str:
    """Marshalled code that would leave a file beside the model."""
    code = compile(f"open({str(inside.parent / 'work' / 'owned')!r}, 'w').close()", "payload", "exec")
    return base64.b64encode(marshal.dumps(code)).decode()


class _Owned:
    def __reduce__(self) -> Any:
        return (eval, ("open('owned', 'w').close()",))


def _lambda(inside: Path) -> Any:
    function = {"class_name": "__lambda__", "config": {"code": _payload(inside), "defaults": None, "closure": None}}
    return sequential(
        dense(), {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "l", "function": function}}
    )


def _old_lambda(inside: Path) -> Any:
    config = {"name": "l", "function": [_payload(inside), None, None], "function_type": "lambda", "module": "builtins"}
    return sequential(dense(), {"class_name": "Lambda", "config": config})


def _any_function(inside: Path) -> Any:
    call = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    return sequential(
        dense(activation=call),
        {"module": "subprocess", "class_name": "Popen", "config": {"args": "touch owned", "shell": True}},
    )


def _safe_mode_off(inside: Path) -> Any:
    call = {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}
    return sequential(
        {**dense(), "build_config": call, "compile_config": call},
        {"class_name": "Lambda", "config": {"function": call}},
    )


def _torch(inside: Path) -> Any:
    raw = base64.b64encode(pickle.dumps(_Owned())).decode()
    return sequential(
        dense(), {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {"name": "t", "module": raw}}
    )


def _saved_model(inside: Path) -> Any:
    return sequential(
        dense(),
        {
            "class_name": "TFSMLayer",
            "module": "keras.layers",
            "config": {"name": "s", "filepath": str(outside(inside))},
        },
    )


def _vocabulary(inside: Path) -> Any:
    config = {"name": "v", "vocabulary": str(outside(inside) / "secret.txt"), "idf_weights": "http://localhost:1/x"}
    return sequential(dense(), {"class_name": "StringLookup", "module": "keras.layers", "config": config})


def _custom(inside: Path) -> Any:
    return sequential({**dense(), "module": "evil", "registered_name": "evil>Dense"}, dense(name="other"))


_CODE = (
    *_both("lambda", "a Lambda layer with marshalled code that runs on load", _lambda),
    *_both("lambda-keras2", "the same as Keras 2 writes it", _old_lambda),
    *_both(
        "any-function",
        "a function of any module stands for an activation, a class of any module for a layer",
        _any_function,
    ),
    *_both("safe-mode-off", "the config turns safe mode off before its Lambda is met", _safe_mode_off),
    *_both("torch-wrapper", "a pickle that runs code, for a layer of torch", _torch),
    *_both("tfsm-layer", "a layer that loads a SavedModel from another folder", _saved_model),
    *_both("vocabulary", "a vocabulary that is a file of this machine, or an address", _vocabulary),
    Case(
        "keras-custom-class",
        "a class that is called like one of Keras'",
        archived(_custom),
        "handled",
        commands=("inspect",),
    ),
    Case(
        "keras-custom-class-selected",
        "a class that is called like one of Keras'",
        archived(_custom),
        "error",
        "none of the 2 variables is selected",
        commands=("apply",),
    ),
)

# Shapes of the config itself (THREATS A2, D4)


def _deep(count: int, kind: str) -> Config:
    head, tail = {
        "list": ("[", "]"),
        "dict": ('{"config":', "}"),
        "layer": ('{"class_name":"Sequential","config":{"name":"s","layers":[', "]}}"),
    }[kind]
    return lambda inside: head * count + "1" + tail * count


def _many_layers(count: int) -> Config:
    return lambda inside: sequential(*(dense(name=f"d{number}") for number in range(count)), dense())


def _odd_types(inside: Path) -> Any:
    odd = [
        None,
        7,
        "x",
        [],
        {},
        [[]],
        {"class_name": 7, "config": []},
        {"class_name": "Dense", "config": "x"},
        {"class_name": "Dense"},
    ]
    return {
        "class_name": ["Sequential"],
        "config": {"name": {"a": 1}, "layers": [*odd, dense(units="many", name=None)]},
    }


def _twice(inside: Path) -> Any:
    return (
        '{"class_name": "Sequential", "class_name": "Functional", "config": {"layers": [], "layers": {}}, "config": 1}'
    )


_SHAPES = (
    *_both(
        "config-deep-lists", "100,000 lists inside each other", _deep(100_000, "list"), "error", "nested deeper than"
    ),
    *_both("config-deep-dicts", "300 objects inside each other", _deep(300, "dict"), "error", "nested deeper than"),
    *_both("config-deep-layers", "60 models inside each other", _deep(60, "layer")),
    *_both("config-many-layers", "5,000 layers of one class", _many_layers(5_000)),
    *_both("config-odd-types", "every value is of another type than Keras writes", _odd_types),
    *_both("config-keys-twice", "keys stand twice: readers differ", _twice),
    *_both("config-number", "the config is a number", lambda inside: "12"),
    *_both("config-cut", "the config is cut short", lambda inside: '{"class_name": "Seq', "error", "no valid JSON"),
    *_both(
        "config-nan",
        "NaN and Infinity, which are no JSON",
        lambda inside: sequential(dense(units=float("nan"), rate=float("inf"))),
    ),
    *_both(
        "config-long-number",
        "an integer of 100,000 digits takes quadratic time",
        lambda inside: '{"config": ' + "9" * 100_000 + "}",
        "error",
        "no valid JSON",
    ),
    *_both(
        "config-surrogate",
        "an escaped lone surrogate as a name",
        lambda inside: sequential(dense(), dense(name="\ud800x")),
    ),
    Case(
        "keras-config-no-utf8",
        "the config is no UTF-8",
        archived(lambda inside: b'{"a": "\xff\xfe"}'),
        "error",
        "not UTF-8",
    ),
    Case(
        "keras-config-bom",
        "a byte order mark stands before the config",
        archived(lambda inside: b"\xef\xbb\xbf{}"),
        "error",
        "no valid JSON",
    ),
    Case(
        "keras-config-utf16", "the config is UTF-16", archived(lambda inside: "{}".encode("utf-16")), "error", "UTF-8"
    ),
    Case("keras-config-empty", "the config is empty", archived(lambda inside: ""), "error", "no valid JSON"),
    Case(
        "keras-config-bomb",
        "64 KB that inflate to 70 MB of blanks",
        archived(lambda inside: b" " * (70 << 20), method=zipfile.ZIP_DEFLATED),
        "error",
        "expected at most",
    ),
    Case(
        "keras-config-lists-bomb",
        "60 KB that are 20 million lists: gigabytes as objects",
        archived(lambda inside: b"[" + b"[]," * (20 << 20) + b"[]]", method=zipfile.ZIP_DEFLATED),
        "error",
        "config",
        commands=("inspect",),
    ),
    Case(
        "keras-config-texts-bomb",
        "16 million empty texts in 64 MB",
        archived(lambda inside: b"[" + b'"",' * (16 << 20) + b"1]", method=zipfile.ZIP_DEFLATED),
        "error",
        "config",
        commands=("inspect",),
    ),
)

# Cost of names (THREATS D4): groups and layers that must be matched


def _matched(count: int) -> Callable[[Path], Path]:
    """As many classes as layers, each with its group: matching them class by class is quadratic."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        for number in range(count):
            file.create_group(f"layers/c{number}x/vars").create_dataset("0", data=np.float32(1))
        file["layers/dense/vars/0"] = KERNEL
    layers = [{"class_name": f"C{number}x", "config": {"name": f"n{number}"}} for number in range(count)]
    return archived(lambda inside: sequential(*layers, dense()), buffer.getvalue())


def _attributes(count: int) -> Callable[[Path], Path]:
    """One layer with as many layers in attributes of its own, each looked up among all."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as file:
        for number in range(count):
            file.create_group(f"layers/model/a{number}/vars").create_dataset("0", data=np.float32(1))
        file["layers/dense/vars/0"] = KERNEL
    inner = {f"a{number}": dense(name=f"n{number}") for number in range(count)}
    return archived(
        lambda inside: sequential({"class_name": "Model", "config": {"name": "m", **inner}}, dense()), buffer.getvalue()
    )


def _wrapped(count: int) -> Callable[[Path], Path]:
    """Legacy weights, each one layer deeper in a model of as many layers."""

    def make(inside: Path) -> Path:
        path = inside / "model.h5"
        inner = [dense(name=f"n{number}") for number in range(count)]
        with h5py.File(path, "w", libver="latest") as file:
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = [b"outer"]
            names = [f"n{number}/kernel:0" for number in range(count)]
            for name in names:
                group.create_dataset(f"outer/{name}", data=KERNEL[:1])
            group["outer"].attrs["weight_names"] = np.array(names, "S")
            file.attrs["model_config"] = json.dumps(
                sequential({"class_name": "Functional", "config": {"name": "outer", "layers": inner}})
            )
        return path

    return make


_COSTS = (
    Case(
        "keras-4000-classes",
        "4,000 groups of as many classes are matched with as many layers",
        later(lambda: _matched(4_000)),
        "handled",
        commands=("inspect",),
    ),
    Case(
        "keras-4000-attributes",
        "4,000 attributes of one layer are matched with its config",
        later(lambda: _attributes(4_000)),
        "handled",
        commands=("inspect",),
    ),
    Case(
        "h5-4000-inner-layers",
        "4,000 weights are looked up in a model of 4,000 layers",
        _wrapped(4_000),
        "handled",
        commands=("inspect",),
    ),
)

# Declared constraints


def _declares(constraint: Any) -> Config:
    return lambda inside: sequential(dense(kernel_constraint=constraint))


def _max_norm(**config: Any) -> dict[str, Any]:
    return {"module": "keras.constraints", "class_name": "MaxNorm", "config": config}


def _declared(name: str, attack: str, constraint: Any) -> Case:
    make = archived(_declares(constraint))
    return Case(f"keras-declares-{name}", attack, make, "error", "dense/kernel", commands=("declared",))


_DECLARED = (
    _declared("axis-99", "the constraint's axis is beyond the tensor", _max_norm(max_value=1, axis=99)),
    _declared("axis-huge", "the constraint's axis is 2**70", _max_norm(max_value=1, axis=2**70)),
    _declared("axis-many", "the constraint lists 10,000 axes", _max_norm(max_value=1, axis=[0] * 10_000)),
    _declared("nan", "the bound is NaN, which nothing exceeds", _max_norm(max_value=float("nan"), axis=0)),
    _declared("infinite", "the bound is infinite", _max_norm(max_value=float("inf"), axis=0)),
    _declared("negative", "the bound is negative: weights would change their sign", _max_norm(max_value=-1, axis=0)),
    _declared("zero", "the bound is zero: all weights would be", _max_norm(max_value=0, axis=0)),
    _declared("text", "the bound is a text", _max_norm(max_value="1", axis=0)),
    _declared("huge", "the bound is an integer beyond every float", _max_norm(max_value=10**4000, axis=0)),
    _declared(
        "function", "the constraint is code", {"module": "os", "class_name": "function", "config": "system\x1b[2J"}
    ),
    _declared(
        "deep",
        "the constraint is a nest of constraints",
        _max_norm(max_value=_max_norm(max_value=[[]]), axis={"a": {}}),
    ),
)

CASES = (*_CODE, *_SHAPES, *_COSTS, *_DECLARED)
