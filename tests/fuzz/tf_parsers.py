"""What the fuzz tests run: a parser, its seeds, how a seed is mutated, and what may come of it.

An attempt ends with a result or a RenormError; anything else that it raises is a find.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hostile import tf_build as build
from support import raw_tables as raw

from fuzz import tf_mutate as mutate
from renorm_cli.api.verbs import apply, inspect
from renorm_cli.formats.base import Checkpoint
from renorm_cli.formats.numbers import item_bytes
from renorm_cli.formats.protobuf import Message, read_message
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.formats.tensorflow.bundle import read_bundle
from renorm_cli.formats.tensorflow.fingerprint import with_checkpoint_hash
from renorm_cli.formats.tensorflow.graph import constants, read_saved_model, untrained_keys, variable_operations
from renorm_cli.formats.tensorflow.keras_metadata import layer_facts, read_keras_metadata
from renorm_cli.formats.tensorflow.names import name_variables
from renorm_cli.formats.tensorflow.object_graph import ObjectGraph, read_object_graph
from renorm_cli.formats.tensorflow.state_file import newest_prefix
from renorm_cli.model.blocks import partition

Mutant = Any
_BLOCK = 1 << 20
_MOST = 1 << 24


@dataclass(frozen=True)
class Parser:
    """`mutate` makes a mutant of a seed; `attempt` tries it in an empty folder of its own."""

    seeds: Mapping[str, Any]
    mutate: Callable[[Random, Any], Mutant]
    attempt: Callable[[Mutant, Path], None]


def read_all(source: Checkpoint) -> None:
    """Every number and every string."""
    for variable in source.variables:
        item = item_bytes(variable.dtype)
        if item is None or variable.locked is not None:
            for part in source.raw(variable) or ():
                assert part
        elif math.prod(variable.shape) * item <= _MOST:
            for block in partition(variable.shape, _BLOCK):
                values = source.read(variable, block)
                assert values.shape == block.shape


def use(path: Path, rng: Random) -> None:
    """Open a checkpoint, read it, and now and then run a command on it."""
    with open_checkpoint(path) as source:
        read_all(source)
        source.damage()
    if rng.random() < 0.3:
        inspect(path, engine="numpy", jobs=1)
    if rng.random() < 0.1:
        target = path.parent / "out" / "out"
        target.parent.mkdir(exist_ok=True)
        apply(path, target, max_norm=0.5, force=True, nonfinite="skip", engine="numpy", jobs=1)
        with open_checkpoint(target) as written:
            read_all(written)
            assert not written.damage()


def _clean(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# V2 checkpoints

_SLICED = build.draft().changed(
    b"cut",
    build.Entry((4, 3), 0, 0, None, boxes=(build.box((0, 2), (0, -1)), build.box((2, 2), (0, -1)))).encode(),
)


def _sliced() -> build.Draft:
    data, pairs = _SLICED.data, _SLICED
    for at in (0, 2):
        key = raw.slice_key(b"cut", (at, 2), (0, -1))
        values = build.weights()[at : at + 2].tobytes()
        pairs = pairs.changed(key, build.Entry((2, 3), len(data), 24, raw.masked(values)).encode())
        data += values
    return build.Draft(pairs.pairs, data)


def _strings() -> build.Draft:
    content, crc = build.string_tensor(b"one", b"")
    plain = build.draft({"a/kernel": build.weights(2, 2).astype(np.float64), "n": np.zeros(3, np.int32)})
    entry = build.Entry((2,), len(plain.data), len(content), crc, build.STRING)
    return build.Draft(plain.changed(b"words", entry.encode()).pairs, plain.data + content)


DRAFTS = {
    "plain": build.draft(),
    "objects": build.draft(build.dense_tensors(), build.dense_graph()),
    "sliced": _sliced(),
    "strings": _strings(),
}


def _mutate_checkpoint(rng: Random, seed: build.Draft) -> Mutant:
    if rng.random() < 0.05:
        return mutate.blind(rng, raw.table(seed.pairs)), seed.data, rng.random()
    data = mutate.blind(rng, seed.data) if rng.random() < 0.05 else seed.data
    return mutate.table(rng, list(seed.pairs)), data, rng.random()


def _attempt_checkpoint(mutant: Mutant, folder: Path) -> None:
    index, data, chance = mutant
    _clean(folder)
    (folder / "ckpt.data-00000-of-00001").write_bytes(data)
    (folder / "ckpt.index").write_bytes(index)
    use(folder / "ckpt", Random(chance))


# Object graphs

_BUNDLE = read_bundle(
    raw.table(build.draft(build.dense_tensors()).pairs), [len(build.draft(build.dense_tensors()).data)], "seed"
)


def _mutate_graph(rng: Random, seed: bytes) -> Mutant:
    content, crc = build.string_tensor(mutate.message(rng, seed))
    if rng.random() < 0.1:
        content = mutate.blind(rng, content)
    return content, crc if rng.random() < 0.5 else None, rng.random() < 0.5


def _attempt_graph(mutant: Mutant, folder: Path) -> None:
    from renorm_cli.formats.tensorflow.leveldb import unmask

    content, crc, exported = mutant
    found = read_object_graph(content, "graph", crc=None if crc is None else unmask(crc))
    name_variables(_BUNDLE, found, {}, exported=exported)


# SavedModels

_DENSE = '{"class_name": "Dense", "config": {"name": "dense", "units": 3, "kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}}}}'  # noqa: E501
_LSTM = '{"class_name": "LSTM", "config": {"name": "l", "cell": {"class_name": "LSTMCell", "config": {"name": "c"}}}}'
_EINSUM = '{"class_name": "EinsumDense", "module": "keras.layers", "registered_name": null, "config": {"name": "e", "equation": "abc,cd->abd", "layers": [{"class_name": "Dense", "config": {"name": "x"}}]}}'  # noqa: E501

_MODELS = {
    "tf2": build.saved_model_pb(
        build.meta_graph(
            [build.operation("VarHandleOp"), build.constant(build.weights())],
            [[build.constant(build.weights(2, 2))]],
            [b"", build.keras_object("_tf_keras_layer", _DENSE), build.saved_variable("dense/kernel"),
             build.saved_variable("dense/bias", False)],
        )
    ),
    "tf1": build.saved_model_pb(
        build.meta_graph(
            [build.operation("VariableV2")], collections={"variables": ["a", "b"], "trainable_variables": ["a"]}
        ),
        build.meta_graph([build.constant(build.weights())]),
    ),
}  # fmt: skip
_GRAPH: ObjectGraph = read_object_graph(build.string_tensor(build.dense_graph())[0], "seed")


def _attempt_pb(mutant: Mutant, folder: Path) -> None:
    view = memoryview(mutant)
    facts = read_saved_model(view, "model")
    untrained_keys(facts, _GRAPH)
    layer_facts(_GRAPH, facts.keras, "model")
    variable_operations(view, "model")
    for constant in constants(view, "model"):
        assert len(view[constant.offset : constant.offset + constant.size]) == constant.size > 0


def _mutate_metadata(rng: Random, seed: str) -> bytes:
    first = mutate.json_text(rng, seed) if rng.random() < 0.7 else seed
    objects = build.keras_metadata(
        (0, "_tf_keras_model", _LSTM), (1, "_tf_keras_layer", first), (4, "_tf_keras_optimizer", "{}")
    )
    return mutate.message(rng, objects) if rng.random() < 0.4 else objects


def _attempt_metadata(mutant: bytes, folder: Path) -> None:
    layers = layer_facts(_GRAPH, read_keras_metadata(mutant, "metadata"), "metadata")
    name_variables(_BUNDLE, _GRAPH, layers, exported=True)


def _mutate_directory(rng: Random, seed: bytes) -> Mutant:
    files = {"saved_model.pb": seed, "keras_metadata.pb": build.keras_metadata((1, "_tf_keras_layer", _DENSE)),
             "fingerprint.pb": build.number(1, 7) + build.number(5, 9)}  # fmt: skip
    name = rng.choice(sorted(files))
    files[name] = mutate.message(rng, files[name]) if rng.random() < 0.8 else mutate.blind(rng, files[name])
    return files, rng.random()


def _attempt_directory(mutant: Mutant, folder: Path) -> None:
    files, chance = mutant
    _clean(folder)
    path = build.saved_model(folder / "model", files["saved_model.pb"], DRAFTS["objects"], files)
    use(path, Random(chance))


# Small ones


def _attempt_state(mutant: bytes, folder: Path) -> None:
    (folder / "checkpoint").write_bytes(mutant)
    names = {"ckpt-1", "ckpt-2"}
    assert newest_prefix(folder, names) in {*names, None}


def _attempt_fingerprint(mutant: bytes, folder: Path) -> None:
    done = with_checkpoint_hash(mutant, b"index", "fingerprint")
    assert done is None or with_checkpoint_hash(done, b"index", "fingerprint") == done


def _attempt_wire(mutant: bytes, folder: Path) -> None:
    def walk(message: Message) -> None:
        for number in list(message.found)[:9]:
            for name in ("integer", "fixed32", "blob", "text", "blobs", "integers"):
                try:
                    getattr(message, name)(number)
                except FormatError:
                    continue

    from renorm_cli.errors import FormatError

    walk(read_message(mutant, "message"))


# V1 checkpoints


def _mutate_v1(rng: Random, seed: Any) -> Mutant:
    content = mutate.table(rng, list(seed)) if rng.random() < 0.95 else mutate.blind(rng, raw.table(seed))
    return content, rng.random()


def _attempt_v1(mutant: Mutant, folder: Path) -> None:
    content, chance = mutant
    _clean(folder)
    (folder / "model.ckpt").write_bytes(content)
    use(folder / "model.ckpt", Random(chance))


PARSERS: dict[str, Parser] = {
    "checkpoint": Parser(DRAFTS, _mutate_checkpoint, _attempt_checkpoint),
    "object-graph": Parser({"dense": build.dense_graph()}, _mutate_graph, _attempt_graph),
    "saved-model": Parser(
        _MODELS, lambda rng, seed: (mutate.message if rng.random() < 0.9 else mutate.blind)(rng, seed), _attempt_pb
    ),
    "keras-metadata": Parser({"dense": _DENSE, "lstm": _LSTM, "einsum": _EINSUM}, _mutate_metadata, _attempt_metadata),
    "directory": Parser(_MODELS, _mutate_directory, _attempt_directory),
    "v1": Parser({"all": build.v1_pairs()}, _mutate_v1, _attempt_v1),
    "state-file": Parser(
        {
            "relative": b'model_checkpoint_path: "ckpt-1"\nall_model_checkpoint_paths: "ckpt-1"\n',
            "absolute": b'model_checkpoint_path: "/tmp/ckpt-2"\n',
        },
        mutate.state_text,
        _attempt_state,
    ),
    "fingerprint": Parser(
        {"all": b"".join(build.number(number, number * 10**17) for number in range(1, 6)) + build.text(6, "uuid")},
        lambda rng, seed: (mutate.message if rng.random() < 0.7 else mutate.blind)(rng, seed),
        _attempt_fingerprint,
    ),
    "wire": Parser(
        {"graph": build.dense_graph(), "model": _MODELS["tf1"]},
        lambda rng, seed: (mutate.message if rng.random() < 0.7 else mutate.blind)(rng, seed),
        _attempt_wire,
    ),
}
