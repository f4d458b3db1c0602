"""What a stored graph changes of a report: files as a whole, read by the program as any user's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hostile import tf_build
from support import graph_build as build
from support import tf_recorded
from support.graph_build import Function, Shape, function, node, strings

import renorm_cli
from renorm_cli.conventions.graph.budget import Budget

SHAPE = (12, 6)
NAME = "dense/kernel"
"""Of the kernel in the recorded checkpoints, where the bias beside it tells that the last axis names its units."""


def consumed(*nodes: bytes, shape: tuple[int, ...] = SHAPE, name: str = NAME) -> bytes:
    """A .meta file of one variable, which is read as "r"."""
    held = node(name, "VarHandleOp", shape=Shape(shape))
    return build.meta_graph([node("x", "Placeholder"), held, node("r", "ReadVariableOp", name), *nodes])


MULTIPLIED = node("m", "MatMul", "x", "r")
TRANSPOSED = node("m", "MatMul", "x", "r", transpose_b=True)


def prefix(folder: Path) -> Path:
    return tf_recorded.copied("prefix", folder)


def v1(folder: Path) -> Path:
    return tf_recorded.copied("v1", folder)


def empty_prefix(folder: Path) -> Path:
    for file in prefix(folder).parent.iterdir():
        file.rename(folder / file.name.removeprefix("m"))
    return folder


def meta_of(path: Path) -> Path:
    return path / ".meta" if path.is_dir() else path.with_name(f"{path.name}.meta")


Make = Callable[[Path], Path]
kinds = pytest.mark.parametrize("make", [prefix, v1, empty_prefix])


def told(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Unit axes and what told them, by name."""
    return {row.step.variable.name: (row.step.unit_axes, row.step.axis_source) for row in renorm_cli.inspect(path).rows}


@kinds
def test_the_graph_beside_a_checkpoint_tells_unit_axes(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path)
    assert told(path) == {NAME: ((1,), "shape")}
    meta_of(path).write_bytes(consumed(MULTIPLIED))
    assert told(path) == {NAME: ((1,), "graph")}


@kinds
def test_a_graph_and_a_bias_that_disagree_are_a_conflict(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path)
    meta_of(path).write_bytes(consumed(TRANSPOSED))
    assert told(path) == {NAME: ((0,), "guess")}


@kinds
def test_the_graph_of_another_model_tells_nothing(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path)
    meta_of(path).write_bytes(consumed(MULTIPLIED, shape=(6, 12)))
    assert told(path) == {NAME: ((1,), "shape")}
    meta_of(path).write_bytes(consumed(MULTIPLIED, name="dense/another"))
    assert told(path) == {NAME: ((1,), "shape")}


@kinds
def test_a_damaged_graph_is_told_in_a_note_and_the_rest_tells_as_before(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path)
    meta_of(path).write_bytes(consumed(MULTIPLIED)[:-5])
    assert told(path) == {NAME: ((1,), "shape")}
    notes = [note.text for note in renorm_cli.inspect(path).notes]
    (said,) = [note for note in notes if note.startswith("the graph tells nothing of the weights: ")]
    assert str(meta_of(path)) in said
    assert "the file is damaged" in said


@kinds
def test_a_graph_that_spends_its_budget_is_told_in_a_note(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path)
    meta_of(path).write_bytes(consumed(MULTIPLIED, *(node(f"i{number}", "Identity", "r") for number in range(10))))
    monkeypatch.setattr(Budget, "DEPTH", 0)
    assert told(path) == {NAME: ((1,), "shape")}
    texts = [note.text for note in renorm_cli.inspect(path).notes]
    assert "the graph tells nothing of the weights: it has more calls inside of calls than are followed" in texts


@kinds
def test_the_graph_beside_a_checkpoint_is_carried_over(make: Make, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path = make(tmp_path / "in")
    meta_of(path).write_bytes(consumed(MULTIPLIED))
    output = tmp_path / "out" / "bounded"
    renorm_cli.apply(path, output=output, max_norm=1.0)
    assert meta_of(output).read_bytes() == meta_of(path).read_bytes()
    assert told(output) == {NAME: ((1,), "graph")}
    shutil.rmtree(tmp_path / "in")


def named(folder: Path, meta: bytes, **tensors: tuple[int, ...]) -> Path:
    """A checkpoint of tensors by their names, with a graph beside it."""
    path = tf_build.draft({name: np.ones(shape, np.float32) for name, shape in tensors.items()}).write(folder / "m")
    meta_of(path).write_bytes(meta)
    return path


def test_a_weight_whose_name_tells_nothing_is_what_the_graph_makes_of_it(tmp_path: Path) -> None:
    path = named(tmp_path, consumed(TRANSPOSED, name="w"), w=SHAPE)
    assert told(path) == {"w": ((0,), "graph")}
    row = renorm_cli.inspect(path).rows[0]
    assert row.step.role == "kernel"
    meta_of(path).unlink()
    assert told(path) == {}


@pytest.mark.parametrize("own", ["gamma", "beta", "bias", "scale", "alpha", "mean", "moving_variance"])
def test_a_kernel_that_its_own_name_alone_takes_for_something_else_is_a_kernel_and_a_guess(
    own: str, tmp_path: Path
) -> None:
    """As the topics `beta` of a topic model; a multiplication by data is what no bias, scale or statistic has."""
    path = named(tmp_path, consumed(MULTIPLIED, name=f"x/{own}"), **{f"x/{own}": SHAPE})
    (row,) = renorm_cli.inspect(path).rows
    assert (row.step.role, row.step.unit_axes, row.step.axis_source) == ("kernel", (1,), "guess")


def test_a_weight_that_no_op_uses_is_skipped_as_unused(tmp_path: Path) -> None:
    nodes = [node("keys", "Const", value=strings(["w"])), node("slices", "Const", value=strings([""]))]
    saved = consumed(*nodes, node("s", "SaveV2", "x", "keys", "slices", "r"), name="w")
    report = renorm_cli.inspect(named(tmp_path, saved, w=SHAPE))
    assert [(skip.code, skip.reason) for skip in report.skips] == [("unused", "not used in the graph")]


def test_a_weight_that_the_model_changes_before_use_is_warned_of(tmp_path: Path) -> None:
    changed = [
        node("two", "Const", value=build.Integers((2,), ())),
        node("twice", "Mul", "r", "two"),
        node("m", "MatMul", "x", "twice"),
    ]
    report = renorm_cli.inspect(named(tmp_path, consumed(*changed, name="w"), w=SHAPE))
    assert report.rows[0].step.axis_source == "graph"
    warnings = [note.text for note in report.notes if note.warning]
    text = "'w': the model changes it before use (Mul): bounding it does not bound the weight in effect"
    assert warnings == [text]


def saved_model(folder: Path, graph: bytes, variables: Iterable[tuple[str, str, tuple[int, ...]]]) -> Path:
    """A SavedModel of variables: name, place in the object graph, shape."""
    variables = list(variables)
    keys = [f"{place}{tf_build.VALUE}" for _, place, _ in variables]
    tensors = {key: np.ones(shape, np.float32) for key, (_, _, shape) in zip(keys, variables, strict=True)}
    attributes = (tf_build.attribute(name, key) for key, (name, _, _) in zip(keys, variables, strict=True))
    return tf_build.saved_model(folder, graph, tf_build.draft(tensors, tf_build.graph(*attributes)))


def using(*nodes: bytes, name: str = "f") -> bytes:
    return function(name, "xw", [node("r", "ReadVariableOp", "w"), *nodes])


def test_the_op_tells_the_axes_of_a_transposed_convolution_whatever_its_layer_is_called(tmp_path: Path) -> None:
    shape = (3, 3, 7, 5)
    backward = node("c", "Conv2DBackpropInput", "x", "r:value:0", "x")
    held = build.objects([("upsample/kernel", shape)], [("f", [0])], ["f"])
    graph = build.saved_model(build.meta_graph((), [using(backward)], held))
    path = saved_model(tmp_path / "model", graph, [("upsample/kernel", "variables/0", shape)])
    assert told(path) == {"upsample/kernel": ((2,), "graph")}


@pytest.mark.parametrize(
    ("op", "inputs", "shape", "expected"),
    [
        ("MatMul", ("x", "r:value:0"), (7, 5), {"w": ((1,), "graph")}),
        ("Conv2DBackpropInput", ("x", "r:value:0", "x"), (3, 3, 7, 5), {"w": ((2,), "graph")}),
        ("Mul", ("x", "r:value:0"), (7, 5), {}),
        ("MatMul", ("x", "r:value:0"), (1, 5), {}),
    ],
)
def test_a_variable_that_is_not_trained_is_a_weight_where_the_graph_uses_it_as_one_and_else_state(
    op: str, inputs: tuple[str, ...], shape: tuple[int, ...], expected: object, tmp_path: Path
) -> None:
    held = build.objects([("w", shape)], [("f", [0])], ["f"], trained=False)
    graph = build.saved_model(build.meta_graph((), [using(node("c", op, *inputs))], held))
    path = saved_model(tmp_path / "model", graph, [("w", "variables/0", shape)])
    assert told(path) == expected
    skipped = [skip.role for skip in renorm_cli.inspect(path).skips if skip.variable.name == "w"]
    assert skipped == ([] if expected else ["state"])


def export(folder: Path, names: Sequence[str] = ("kernel", "kernel"), *, by_place: bool) -> Path:
    """As Keras 3 exports two weights: each is there twice, and the second copies in another order."""
    saver = [
        *(node(f"r{n}", "ReadVariableOp", f"v{n}") for n in (0, 1)),
        node("keys", "Const", value=strings([f"_all_variables/{n}{tf_build.VALUE}" for n in (1, 0)])),
        node("slices", "Const", value=strings(["", ""])),
        node("s", "SaveV2", "p", "keys:output:0", "slices:output:0", "r0:value:0", "r1:value:0"),
    ]
    calls = [
        node("x", "Placeholder"),
        *(node(f"v{n}", "VarHandleOp", shape=Shape(SHAPE)) for n in (0, 1)),
        *(node(f"call{n}", "StatefulPartitionedCall", "x", f"v{n}", f=Function([f"f{n}"])) for n in (0, 1)),
        node("save", "StatefulPartitionedCall", "x", "v0", "v1", f=Function(["saver"])),
    ]
    multiply = node("m", "MatMul", "x", "r:value:0")
    functions = [using(multiply, name=f"f{n}") for n in (0, 1)] + [function("saver", ["p", "v0", "v1"], saver)]
    variables = [*names, *reversed(names)]
    held = build.objects([(name, SHAPE) for name in variables], [("f0", [0]), ("f1", [1])], ["f0", "f1"])
    graph = build.saved_model(build.meta_graph(calls if by_place else (), functions, held))
    places = ["variables/0", "variables/1", "_all_variables/0", "_all_variables/1"]
    return saved_model(folder, graph, [(name, place, SHAPE) for name, place in zip(variables, places, strict=True)])


def test_copies_of_an_export_are_paired_by_place_where_names_are_shared(tmp_path: Path) -> None:
    report = renorm_cli.inspect(export(tmp_path / "model", by_place=True))
    pairs = [("variables/0", "_all_variables/1"), ("variables/1", "_all_variables/0")]
    stored = [tuple(variable.key.removesuffix(tf_build.VALUE) for variable in row.step.stored) for row in report.rows]
    assert stored == pairs
    assert not any(note.warning for note in report.notes)


def test_without_the_calls_of_the_main_graph_shared_names_leave_open_which_copies_belong_together(
    tmp_path: Path,
) -> None:
    report = renorm_cli.inspect(export(tmp_path / "model", by_place=False))
    assert any("which copies belong together is open" in note.text for note in report.notes if note.warning)


def test_copies_that_are_paired_by_name_are_what_the_used_ones_are(tmp_path: Path) -> None:
    report = renorm_cli.inspect(export(tmp_path / "model", ["w", "u"], by_place=False))
    assert [(row.step.role, row.step.axis_source, len(row.step.copies)) for row in report.rows] == [
        ("kernel", "graph", 1)
    ] * 2


def config_tells_all(folder: Path) -> Path:
    layer = '{"class_name": "Dense", "name": "dense", "config": {"name": "dense", "units": 3}}'
    files = {"keras_metadata.pb": tf_build.keras_metadata((1, "_tf_keras_layer", layer))}
    return tf_build.saved_model(folder, files=files)


def test_a_graph_is_read_only_where_the_config_leaves_a_matrix_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from renorm_cli.formats.tensorflow import graph_uses

    read: list[str] = []
    original = graph_uses.uses_in_saved_model

    def counted(data: memoryview, shown: str, *rest: object, **more: Mapping[str, object]) -> object:
        read.append(shown)
        return original(data, shown, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(graph_uses, "uses_in_saved_model", counted)
    assert told(config_tells_all(tmp_path / "told")) == {"dense/kernel": ((1,), "layer")}
    assert read == []
    tf_build.saved_model(tmp_path / "open")
    assert told(tmp_path / "open") == {"dense/kernel": ((1,), "shape")}
    assert len(read) == 1
