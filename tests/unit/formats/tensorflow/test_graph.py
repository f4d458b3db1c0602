"""What we read of SavedModels, against TensorFlow's own protobuf messages."""

from __future__ import annotations

import contextlib
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import raw_tables as raw
from support import tf_zoo
from support.found import folder_at

from renorm_cli.errors import FormatError
from renorm_cli.formats import walk
from renorm_cli.formats.tensorflow import graph, keras_metadata, spans
from renorm_cli.formats.tensorflow.graph import (
    SavedModelFacts,
    SavedVariable,
    constants,
    read_saved_model,
    untrained_keys,
    variable_operations,
)
from renorm_cli.formats.tensorflow.keras_metadata import KerasObject, LayerFacts, layer_facts, read_keras_metadata
from renorm_cli.formats.tensorflow.object_graph import Attribute, Edge, Node, ObjectGraph
from renorm_cli.formats.tensorflow.saved_model import open_saved_model

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in tf_zoo.WARNINGS)]

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
OBJECTS = ["module", "keras_3_export", "tf_keras_save", "older_save"]


@pytest.fixture(scope="module")
def proto() -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lambda kind: (tf_zoo.saved(kind, tmp_path_factory)[0] / "saved_model.pb").read_bytes()


@pytest.mark.parametrize("kind", OBJECTS)
def test_variables_and_their_numbers_are_those_of_the_message(proto: Any, content: Any, kind: str) -> None:
    data = content(kind)
    nodes = proto.FromString(data).meta_graphs[0].object_graph_def.nodes
    assert read_saved_model(data, "shown").variables == {
        number: SavedVariable(node.variable.name, node.variable.trainable)
        for number, node in enumerate(nodes)
        if node.HasField("variable")
    }


@pytest.mark.parametrize("kind", OBJECTS)
def test_numbers_are_those_of_the_checkpoint(content: Any, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    _, graph = tf_zoo.bundle_of(tf_zoo.prefix_of(tf_zoo.saved(kind, tmp_path_factory)[0]))
    assert graph is not None
    facts = read_saved_model(content(kind), "shown")
    in_checkpoint = {
        number: node.attributes[0].full_name
        for number, node in enumerate(graph.nodes)
        if node.attributes and node.attributes[0].name == "VARIABLE_VALUE"
    }
    assert {number: variable.name for number, variable in facts.variables.items()} == in_checkpoint


def test_keras_metadata_is_what_protobuf_reads(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    from tf_keras.protobuf import saved_metadata_pb2

    data = (tf_zoo.saved("tf_keras_save", tmp_path_factory)[0] / "keras_metadata.pb").read_bytes()
    found = read_keras_metadata(data, "shown")
    nodes = saved_metadata_pb2.SavedMetadata.FromString(data).nodes
    assert found == {node.node_id: KerasObject(node.identifier, node.metadata) for node in nodes}
    assert read_saved_model(content("older_save"), "shown").keras == found


def facts_of(path: Path) -> dict[str, LayerFacts]:
    _, graph = tf_zoo.bundle_of(tf_zoo.prefix_of(path))
    assert graph is not None
    facts = read_saved_model((path / "saved_model.pb").read_bytes(), "shown")
    metadata = path / "keras_metadata.pb"
    stored = read_keras_metadata(metadata.read_bytes(), "shown") if metadata.exists() else {}
    found = layer_facts(graph, {**facts.keras, **stored}, "shown")
    names = {a.key: a.full_name for node in graph.nodes for a in node.attributes}
    return {names[key]: each for key, each in found.items()}


@pytest.mark.parametrize("kind", ["tf_keras_save", "older_save"])
def test_layers_and_weights_are_those_of_the_model(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, model = tf_zoo.saved(kind, tmp_path_factory)
    found = facts_of(path)
    for layer in model.layers:
        inner = getattr(layer, "forward_layer", layer)
        for weight in layer.weights:
            facts = found[weight.name.removesuffix(":0")]
            assert facts.layer == type(inner).__name__
            assert weight.name.removesuffix(":0").endswith(facts.weight)
            assert facts.equation == (layer.equation if facts.layer == "EinsumDense" else None)
    assert found["look/query/kernel"] == LayerFacts("MultiHeadAttention", "query/kernel")
    assert found["memory/lstm_cell/kernel"] == LayerFacts("LSTM", "kernel")


def test_a_custom_class_is_not_the_class_of_keras_with_its_name(tmp_path: Path) -> None:
    import tf_keras

    class Dense(tf_keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight("kernel", (int(shape[-1]), 3))

        def call(self, x: Any) -> Any:
            return x @ self.kernel

    class Own(Dense):
        pass

    tf_keras.utils.register_keras_serializable("Pack")(Dense)
    tf_keras.utils.register_keras_serializable("Pack")(Own)
    try:
        model = tf_keras.Sequential([tf_keras.layers.Input((4,)), Dense(name="a"), Own(name="b")])
        model.save(tmp_path / "m", save_format="tf", save_traces=False)
    finally:
        for name in ("Pack>Dense", "Pack>Own"):
            del tf_keras.utils.get_custom_objects()[name]
    assert facts_of(tmp_path / "m") == {"b/kernel": LayerFacts("Own", "kernel")}


def test_what_is_not_trained_is_what_the_model_says(content: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    for kind, expected in {"module": {"other"}, "keras_3_export": None}.items():
        path, model = tf_zoo.saved(kind, tmp_path_factory)
        _, graph = tf_zoo.bundle_of(tf_zoo.prefix_of(path))
        keys = untrained_keys(read_saved_model(content(kind), "shown"), graph)
        if expected is not None:
            assert keys == {f"{name}{VALUE}" for name in expected}
            continue
        assert graph is not None
        names = {a.full_name for node in graph.nodes for a in node.attributes if a.key in keys}
        weights = {weight.path for weight in model.weights}
        assert names & weights == {"norm/moving_mean", "norm/moving_variance"}


def test_what_tf1_does_not_train_is_what_its_collections_say(
    content: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, trained = tf_zoo.saved("tf1_save", tmp_path_factory)
    facts = read_saved_model(content("tf1_save"), "shown")
    keys = set(tf_zoo.values_of(path))
    expected = {key for key in keys if key not in trained and key not in ("cut/table", "rows-keys", "rows-values")}
    assert untrained_keys(facts, None) == expected
    assert not facts.variables


def floating_constants(model: Any) -> list[tuple[tuple[int, ...], str, bytes]]:
    from tensorflow import as_dtype, make_ndarray

    found = []
    for meta in model.meta_graphs:
        functions = [node for function in meta.graph_def.library.function for node in function.node_def]
        for node in (*meta.graph_def.node, *functions):
            tensor = node.attr["value"].tensor
            if node.op == "Const" and len(tensor.tensor_shape.dim) >= 2 and tensor.tensor_content:
                dtype = as_dtype(tensor.dtype)
                if dtype.is_floating:
                    values = make_ndarray(tensor)
                    found.append((values.shape, dtype.name, values.tobytes()))
    return found


def small_model(proto: Any) -> Any:
    """Constants of many kinds, in a graph, in a function and in a second graph."""
    import tensorflow as tf

    model = proto()
    for part in range(2):
        graph = tf.Graph()
        with graph.as_default():
            for dtype in (tf.float32, tf.float64, tf.float16, tf.bfloat16, tf.int32):
                tf.constant(np.arange(6).reshape(2, 3) + part, dtype)
            tf.constant(np.arange(6.0))
            tf.constant(1.0, shape=(4, 4))
            tf.constant(np.zeros((0, 3), np.float32))
        model.meta_graphs.add().graph_def.CopyFrom(graph.as_graph_def())
    function = model.meta_graphs[0].graph_def.library.function.add()
    function.node_def.extend(model.meta_graphs[1].graph_def.node)
    return model


@pytest.mark.parametrize("kind", ["module", "keras_3_export", "tf1_save", None])
def test_constants_are_those_of_all_graphs_and_functions(proto: Any, content: Any, kind: str | None) -> None:
    data = small_model(proto).SerializeToString() if kind is None else content(kind)
    found = [(c.shape, c.dtype, data[c.offset : c.offset + c.size]) for c in constants(data, "shown")]
    expected = floating_constants(proto.FromString(data))
    assert sorted(found) == sorted(expected)
    assert len(found) >= {"module": 3, None: 12}.get(kind, 0)


@pytest.mark.parametrize("smallest", [1, 16, 48, 49, 97])
def test_constants_that_are_smaller_than_asked_for_are_left_out(proto: Any, content: Any, smallest: int) -> None:
    data = content("module")
    found = [(c.shape, c.dtype, data[c.offset : c.offset + c.size]) for c in constants(data, "shown", smallest)]
    everything = floating_constants(proto.FromString(data))
    assert sorted(found) == sorted(each for each in everything if len(each[2]) >= smallest)


def test_a_constant_is_found_without_copying_it(proto: Any) -> None:
    model = small_model(proto)
    tensor = model.meta_graphs[0].graph_def.node[0].attr["value"].tensor
    tensor.tensor_content = bytes(32 << 20)
    tensor.tensor_shape.dim[0].size, tensor.tensor_shape.dim[1].size = 1 << 13, 1 << 10
    data = model.SerializeToString()
    tracemalloc.start()
    try:
        found = list(constants(memoryview(data), "shown"))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert max(constant.size for constant in found) == 32 << 20


@pytest.mark.parametrize("kind", ["module", "tf1_save", None])
def test_operations_on_variables_are_counted(proto: Any, content: Any, kind: str | None) -> None:
    data = small_model(proto).SerializeToString() if kind is None else content(kind)
    graphs = [meta.graph_def for meta in proto.FromString(data).meta_graphs]
    nodes = [n for g in graphs for n in (*g.node, *(n for f in g.library.function for n in f.node_def))]
    expected = sum(node.op in ("VarHandleOp", "VariableV2") for node in nodes)
    assert variable_operations(data, "shown") == expected
    assert (expected == 0) == (kind is None)


def test_a_model_without_graphs_is_an_error() -> None:
    for data in (b"", b"\x08\x01"):
        for read in (read_saved_model, variable_operations, lambda d, s: list(constants(d, s))):
            with pytest.raises(FormatError, match="expected a SavedModel with a graph, found none"):
                read(data, "shown")


@pytest.fixture(scope="module")
def small(proto: Any, content: Any) -> list[bytes]:
    """Contents with all the parts that are read, as short as can be."""
    made = []
    for kind in ("module", "tf1_save"):
        model = proto.FromString(content(kind))
        meta = model.meta_graphs[0]
        del meta.graph_def.node[30:], meta.graph_def.library.function[3:]
        meta.ClearField("saver_def")
        made.append(model.SerializeToString())
    return [*made, small_model(proto).SerializeToString()]


@given(st.data())
def test_damage_is_an_ordinary_error(small: list[bytes], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(small)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    whole = bytes(content[:cut])
    for read in (read_saved_model, variable_operations, constants):
        try:
            found = read(whole, "shown")
            for constant in found if read is constants else ():
                assert 0 <= constant.offset <= constant.offset + constant.size <= len(whole)
        except FormatError:
            continue


@pytest.mark.parametrize("limit", ["MAX_FIELDS", "MAX_COPIED", "MAX_NODES"])
def test_there_are_limits(content: Any, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    data = content("module")
    assert read_saved_model(data, "shown")
    monkeypatch.setattr({"MAX_FIELDS": walk, "MAX_COPIED": spans, "MAX_NODES": graph}[limit], limit, 5)
    with pytest.raises(FormatError, match="expected at most 5 "):
        read_saved_model(data, "shown")


def test_metadata_has_limits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"\x0a\x02\x10\x01" * 7
    assert read_keras_metadata(data, "shown") == {1: KerasObject("", "")}
    monkeypatch.setattr(keras_metadata, "MAX_NODES", 5)
    with pytest.raises(FormatError, match="expected at most 5 objects"):
        read_keras_metadata(data, "shown")
    monkeypatch.setattr(keras_metadata, "_MAX_BYTES", 5)
    with pytest.raises(FormatError, match="at most 5 bytes, found 28"):
        read_keras_metadata(data, "shown")


@given(st.binary(max_size=80))
def test_damaged_metadata_is_an_ordinary_error(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        read_keras_metadata(data, "shown")


# --- made by hand: what no writer makes


def layer(class_name: str, **config: Any) -> KerasObject:
    return KerasObject("_tf_keras_layer", json.dumps({"class_name": class_name, "config": config}))


def graph_of(*children: tuple[tuple[str, int], ...], leaf: str) -> ObjectGraph:
    nodes = [Node(tuple(Edge(*edge) for edge in edges)) for edges in children]
    return ObjectGraph((*nodes, Node(attributes=(Attribute("VARIABLE_VALUE", leaf, leaf),))))


@pytest.mark.parametrize("text", ["{", "[" * 5000, "\udcff"])
def test_metadata_that_is_no_json_is_an_error(text: str) -> None:
    with pytest.raises(FormatError, match="shown: object 0: "):
        layer_facts(graph_of((("kernel", 1),), leaf="w"), {0: KerasObject("_tf_keras_layer", text)}, "shown")


@pytest.mark.parametrize("text", ["null", "3", "[]", "{}", '{"class_name": 3}', '{"class_name": "Dense", "config": 1}'])
def test_metadata_of_another_make_tells_what_it_can(text: str) -> None:
    found = layer_facts(graph_of((("kernel", 1),), leaf="w"), {0: KerasObject("_tf_keras_layer", text)}, "shown")
    assert found == ({"w": LayerFacts("Dense", "kernel")} if "Dense" in text else {})


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_two_objects_with_one_variable_the_one_that_has_such_a_weight_counts(order: tuple[int, int]) -> None:
    """As SpectralNormalization holds the kernel of the layer it wraps."""
    around, inside = order
    children: list[tuple[tuple[str, int], ...]] = [(("kernel", 3),)] * 2
    graph = graph_of((("layer", 1),), *children, leaf="w")
    found = layer_facts(graph, {around: layer("SpectralNormalization"), inside: layer("Conv2DTranspose")}, "shown")
    assert found == {"w": LayerFacts("Conv2DTranspose", "kernel")}


def test_objects_that_are_not_in_the_graph_tell_nothing() -> None:
    graph = graph_of((("kernel", 1),), leaf="w")
    assert layer_facts(graph, {7: layer("Dense"), -1: layer("Dense"), 1: layer("Dense")}, "shown") == {}
    metric = KerasObject("_tf_keras_metric", layer("Mean").metadata)
    assert layer_facts(graph, {0: metric}, "shown") == {}


def test_objects_that_hold_each_other_end() -> None:
    graph = graph_of((("cell", 1), ("kernel", 2)), (("cell", 0), ("kernel", 2)), leaf="w")
    found = layer_facts(graph, {0: layer("LSTM"), 1: layer("LSTMCell")}, "shown")
    assert found == {"w": LayerFacts("LSTMCell", "kernel")} or found == {"w": LayerFacts("LSTM", "kernel")}


@pytest.mark.timeout(20)
def test_many_edges_between_few_objects_take_no_time() -> None:
    many = 700
    leaf = Node(attributes=tuple(Attribute("VARIABLE_VALUE", "w", f"w{number}") for number in range(many)))
    edges = tuple(Edge("kernel", 1) for _ in range(many))
    holders = [Node((Edge("cell", 0),)) for _ in range(many)]
    graph = ObjectGraph((Node(edges), leaf, *holders))
    found = layer_facts(graph, {0: layer("Own"), **{n + 2: layer("Bidirectional") for n in range(many)}}, "shown")
    assert set(found.values()) == {LayerFacts("Own", "kernel")}


def test_a_variable_that_has_another_name_in_the_checkpoint_is_not_untrained() -> None:
    facts = SavedModelFacts(variables={1: SavedVariable("other", False), 9: SavedVariable("w", False)})
    graph = graph_of((("kernel", 1),), leaf="w")
    assert untrained_keys(facts, graph) == frozenset()
    assert untrained_keys(SavedModelFacts(variables={1: SavedVariable("w", False)}), graph) == {"w"}


def test_many_attributes_and_many_axes_cannot_fill_the_memory(proto: Any) -> None:
    model = proto()
    node = model.meta_graphs.add().graph_def.node.add(op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype, tensor.tensor_content = 1, b"abcd"
    for _ in range(255):
        tensor.tensor_shape.dim.add(size=1)
    assert list(constants(model.SerializeToString(), "shown")) == []
    del tensor.tensor_shape.dim[254]
    assert [constant.size for constant in constants(model.SerializeToString(), "shown")] == [4]
    node = b"\x2a\0" * 20_000
    for number in (1, 2, 2):
        node = bytes([number << 3 | 2]) + raw.varint(len(node)) + node
    with pytest.raises(FormatError, match="at most 10000 attributes"):
        list(constants(node, "shown"))


def test_json_of_many_values_is_an_error_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of((("kernel", 1),), leaf="k")
    facts = layer_facts(graph, {0: layer("Dense", name="x", values=[[], [], []])}, "shown")
    assert facts["k"].layer == "Dense"
    monkeypatch.setattr(keras_metadata, "_MAX_VALUES", 6)
    with pytest.raises(FormatError, match="shown: object 0: expected at most 6 values"):
        layer_facts(graph, {0: layer("Dense", name="x", values=[[], [], []])}, "shown")


def test_a_folder_whose_path_is_too_long_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"")
    here = os.open(tmp_path / "model", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(FormatError, match=r"its folder 'd{100}\.\.\.' cannot be listed: File name too long"):
        open_saved_model(folder_at(tmp_path / "model"))
