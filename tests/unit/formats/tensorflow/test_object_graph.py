from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crc32c as wheel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import raw_tables as raw
from support import tf_recorded

from renorm_cli.errors import FormatError
from renorm_cli.formats.tensorflow import object_graph
from renorm_cli.formats.tensorflow.bundle import OBJECT_GRAPH_KEY, Entry, read_bundle
from renorm_cli.formats.tensorflow.lost_names import names_by_slots
from renorm_cli.formats.tensorflow.object_graph import (
    Attribute,
    Edge,
    Node,
    ObjectGraph,
    SlotVariable,
    full_names,
    optimizer_state_keys,
    read_object_graph,
    read_strings,
)

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def proto() -> Any:
    return tf_recorded.message("TrackableObjectGraph")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


def train(keras: Any, optimizer: Any) -> Any:
    """A small model with a frozen layer, moving statistics and metrics, trained for one step."""
    import numpy as np

    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((3,)), layers.Dense(4), layers.Dense(4, trainable=False), layers.BatchNormalization()]
    )
    model.compile(optimizer, "mse", metrics=["mae"])
    model.fit(np.ones((2, 3)), np.ones((2, 4)), verbose=0)
    return model


def slow(*names: str) -> list[Any]:
    """Parameters whose fixtures load TensorFlow and Keras."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module", params=slow("adam", "sgd", "ema", "loss_scale", "exported"))
def keras_3(tf: Any, folder: Path, request: pytest.FixtureRequest) -> tuple[Path, Any]:
    import keras

    make = keras.optimizers
    optimizer = {
        "adam": lambda: make.Adam(),
        "sgd": lambda: make.SGD(momentum=0.9),
        "ema": lambda: make.Adam(use_ema=True, gradient_accumulation_steps=2),
        "loss_scale": lambda: make.LossScaleOptimizer(make.Adam()),
        "exported": lambda: make.Adam(),
    }[request.param]()
    model = train(keras, optimizer)
    prefix = folder / request.param
    if request.param == "exported":
        tf.saved_model.save(model, str(prefix))
        return prefix / "variables" / "variables", model
    return Path(tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(prefix))), model


@pytest.fixture(scope="module", params=slow("new", "legacy", "saved"))
def keras_2(tf: Any, folder: Path, request: pytest.FixtureRequest) -> tuple[Path, Any]:
    import tf_keras

    make = tf_keras.optimizers
    model = train(tf_keras, make.Adam() if request.param == "new" else make.legacy.Adam())
    prefix = folder / f"tf_keras_{request.param}"
    if request.param == "saved":
        tf.saved_model.save(model, str(prefix))
        return prefix / "variables" / "variables", model
    return Path(tf.train.Checkpoint(net=model).write(str(prefix))), model


@pytest.fixture(scope="module")
def adam() -> Path:
    return tf_recorded.FOLDER / tf_recorded.FILES["objects"]


def stored_graph(prefix: Path) -> tuple[bytes, Entry]:
    bundle = read_bundle(
        prefix.with_name(prefix.name + ".index").read_bytes(),
        [data.stat().st_size for data in prefix.parent.glob(prefix.name + ".data-*")],
        "shown",
    )
    entry = next(entry for entry in bundle.entries if entry.key == OBJECT_GRAPH_KEY)
    data = next(prefix.parent.glob(prefix.name + ".data-*")).read_bytes()
    return data[entry.offset : entry.offset + entry.size], entry


def graph_of(prefix: Path) -> ObjectGraph:
    data, entry = stored_graph(prefix)
    return read_object_graph(data, "shown", crc=entry.crc)


def stored(message: bytes) -> bytes:
    """A scalar string tensor as it lies in a data file."""
    return raw.varint(len(message)) + struct.pack("<I", raw.masked(struct.pack("<I", len(message)))) + message


def as_plain(message: Any) -> tuple[Node, ...]:
    return tuple(
        Node(
            tuple(Edge(child.local_name, child.node_id) for child in node.children),
            tuple(Attribute(each.name, each.full_name, each.checkpoint_key) for each in node.attributes),
            tuple(
                SlotVariable(slot.original_variable_node_id, slot.slot_name, slot.slot_variable_node_id)
                for slot in node.slot_variables
            ),
        )
        for node in message.nodes
    )


def test_a_graph_of_keras_3_is_what_protobuf_reads(tf: Any, proto: Any, keras_3: tuple[Path, Any]) -> None:
    text = tf.train.load_checkpoint(str(keras_3[0])).get_tensor(OBJECT_GRAPH_KEY)
    assert graph_of(keras_3[0]).nodes == as_plain(proto.FromString(text))


def test_a_graph_of_tf_keras_is_what_protobuf_reads(tf: Any, proto: Any, keras_2: tuple[Path, Any]) -> None:
    text = tf.train.load_checkpoint(str(keras_2[0])).get_tensor(OBJECT_GRAPH_KEY)
    assert graph_of(keras_2[0]).nodes == as_plain(proto.FromString(text))


def test_the_state_of_keras_3_optimizers_is_what_keras_calls_their_variables(keras_3: tuple[Path, Any]) -> None:
    prefix, model = keras_3
    graph = graph_of(prefix)
    names, state = full_names(graph), optimizer_state_keys(graph)
    optimizer = {variable.value.name.removesuffix(":0") for variable in model.optimizer.variables}
    weights = {variable.value.name.removesuffix(":0") for variable in model.weights}
    assert weights <= set(names.values())
    assert {names[key] for key in state} == optimizer & set(names.values())
    assert any("momentum" in names[key] for key in state)
    assert not {names[key] for key in state} & weights


def test_the_state_of_tf_keras_optimizers_is_what_keras_calls_their_variables(keras_2: tuple[Path, Any]) -> None:
    prefix, model = keras_2
    graph = graph_of(prefix)
    names, state = full_names(graph), optimizer_state_keys(graph)
    slots = model.optimizer.variables
    variables = slots() if callable(slots) else slots
    found = {names[key] for key in state}
    assert {variable.name.removesuffix(":0") for variable in variables} <= found
    assert {name.partition("/")[0] for name in found} <= {"Adam", "iteration", "learning_rate"}
    assert {weight.name.removesuffix(":0") for weight in model.weights} <= set(names.values()) - found


def test_weights_that_keras_3_stores_under_its_optimizer_are_no_state(adam: Path) -> None:
    graph = graph_of(adam)
    under = {key for key in full_names(graph) if "optimizer/_trainable_variables/" in key}
    assert under
    assert not under & optimizer_state_keys(graph)


@pytest.mark.slow
def test_an_optimizer_that_is_the_root_keeps_its_weights(tf: Any, folder: Path) -> None:
    import keras

    model = train(keras, keras.optimizers.Adam())
    graph = graph_of(Path(tf.train.Checkpoint(model.optimizer).write(str(folder / "root"))))
    names, state = full_names(graph), optimizer_state_keys(graph)
    weights = {variable.path for variable in model.trainable_variables}
    assert {name for key, name in names.items() if key not in state} == weights


@pytest.mark.slow
@pytest.mark.parametrize("children", [{"iter"}, {"iter", "learning_rate"}, {"step"}])
def test_a_checkpoint_with_a_counter_named_iter_is_no_optimizer(tf: Any, folder: Path, children: set[str]) -> None:
    module = tf.Module()
    module.kernel = tf.Variable([[1.0]])
    counters = {name: tf.Variable(1) for name in children}
    graph = graph_of(Path(tf.train.Checkpoint(net=module, **counters).write(str(folder / "-".join(children)))))
    assert optimizer_state_keys(graph) == frozenset()


@pytest.mark.parametrize(
    "names", [("_iterations",), ("_iterations", "_variables"), ("iter", "decay"), ("iter", "decay", "learning_rate")]
)
def test_an_object_with_the_counters_of_an_optimizer_keeps_the_model_in_it(names: tuple[str, ...]) -> None:
    weight = Node((), (Attribute("V", "kernel", "model/kernel"),))
    counter = Node((), (Attribute("V", "counter", "counter"),))
    model = Node((Edge("kernel", 2), Edge("0", 2)))
    root = Node((Edge("model", 1), *(Edge(name, 1 if name == "_variables" else 3) for name in names)))
    assert "model/kernel" not in optimizer_state_keys(ObjectGraph((root, model, weight, counter)))
    trainer = Node((Edge("trainer", 1),))
    inside = ObjectGraph(
        (
            trainer,
            Node(tuple(edge._replace(node=edge.node + 1) for edge in root.children)),
            Node(tuple(edge._replace(node=edge.node + 1) for edge in model.children)),
            weight,
            counter,
        )
    )
    assert "model/kernel" not in optimizer_state_keys(inside)


@pytest.mark.slow
def test_slots_of_tf1_optimizers_are_state(tf: Any, folder: Path) -> None:
    variable, optimizer = tf.Variable([[1.0]]), tf.compat.v1.train.AdamOptimizer()
    optimizer.apply_gradients([(tf.ones([1, 1]), variable)])
    graph = graph_of(Path(tf.train.Checkpoint(w=variable, o=optimizer).write(str(folder / "tf1"))))
    assert optimizer_state_keys(graph) == {
        "w/.OPTIMIZER_SLOT/o/m" + VALUE,
        "w/.OPTIMIZER_SLOT/o/v" + VALUE,
        "o/beta1_power" + VALUE,
        "o/beta2_power" + VALUE,
    }


def test_a_slot_key_is_state_although_no_optimizer_lists_it() -> None:
    key = "w/.OPTIMIZER_SLOT/o/m" + VALUE
    weight, slot = Node((), (Attribute("V", "w", "w"),)), Node((), (Attribute("V", "m", key),))
    assert optimizer_state_keys(ObjectGraph((Node((Edge("w", 1), Edge("m", 2))), weight, slot))) == {key}


@pytest.mark.slow
def test_names_of_tables_are_left_out(tf: Any, folder: Path) -> None:
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    graph = graph_of(Path(tf.train.Checkpoint(t=table, v=tf.Variable(1.0, name="v")).write(str(folder / "table"))))
    assert full_names(graph) == {"v" + VALUE: "v"}
    assert any(attribute.key.startswith("t/") for node in graph.nodes for attribute in node.attributes)


EDGES = st.tuples(st.sampled_from(["a", "_iterations", "_variables", "_trainable_variables"]), st.integers(0, 7))


@given(st.lists(st.lists(EDGES, max_size=4), min_size=8, max_size=8))
def test_state_is_found_in_any_graph_as_paths_say(edges: list[list[tuple[str, int]]]) -> None:
    """Judged by the sentence itself, with reachability by repeated joining."""
    graph = ObjectGraph(
        tuple(
            Node(tuple(Edge(name, node) for name, node in children), (Attribute("V", "", str(number)),))
            for number, children in enumerate(edges)
        )
    )
    last = [dict(children) for children in edges]
    optimizers = {
        n
        for n, found in enumerate(last)
        if {"_iterations", "_variables"} <= found.keys()
        and found["_iterations"] in {to for _, to in edges[found["_variables"]]}
    }
    trainable = {to for n in optimizers for name, to in edges[n] if name == "_trainable_variables"}

    def closure(start: set[int], allowed: Any) -> set[int]:
        reached = set(start)
        for _ in edges:
            reached |= {to for n in reached for name, to in edges[n] if allowed(name, to)}
        return reached

    weights = closure(({0} | trainable) - optimizers, lambda name, to: to not in optimizers)
    state = closure(optimizers, lambda name, to: name != "_trainable_variables") - weights
    assert optimizer_state_keys(graph) == {str(number) for number in state}


@pytest.mark.slow
def test_a_chain_of_fifty_thousand_objects_in_a_circle_is_walked(proto: Any) -> None:
    count, message = 50_000, proto()
    for number in range(count):
        message.nodes.add().children.add(local_name="next", node_id=(number + 1) % count)
    message.nodes[0].children.add(local_name="optimizer", node_id=5)
    message.nodes[5].children.add(local_name="_iterations", node_id=7)
    message.nodes[5].children.add(local_name="_variables", node_id=6)
    message.nodes[7].attributes.add(checkpoint_key="k", full_name="n")
    graph = read_object_graph(stored(message.SerializeToString()), "shown")
    assert len(graph.nodes) == count
    assert optimizer_state_keys(graph) == {"k"}
    assert full_names(graph) == {"k": "n"}


class Edges(tuple[Edge, ...]):
    """Edges that count how many of them are looked at."""

    looked = 0

    def __iter__(self) -> Iterator[Edge]:
        Edges.looked += len(self)
        return super().__iter__()


def test_a_list_that_many_objects_have_is_looked_through_few_times() -> None:
    count = 300
    numbered = Edges([*(Edge(str(number), count + 1) for number in range(count)), Edge("counter", count)])
    objects = [Node(Edges([Edge("_iterations", count), Edge("_variables", 0)])) for _ in range(count - 1)]
    slots = Edges([*objects[0].children, *(Edge(f"s{number}", 0) for number in range(count))])
    optimizer = Node(Edges([*slots, Edge("_trainable_variables", count + 2)]))
    bare = Node((), (Attribute("V", "net/kernel", "w"),))
    graph = ObjectGraph((Node(numbered), *objects, Node(), bare, Node(Edges(numbered)), optimizer))
    Edges.looked = 0
    assert not optimizer_state_keys(graph)
    assert not names_by_slots(graph).names
    assert 0 < Edges.looked < 20 * sum(len(node.children) for node in graph.nodes)


def test_a_graph_of_no_objects_has_no_state() -> None:
    graph = read_object_graph(stored(b""), "shown")
    assert graph.nodes == ()
    assert optimizer_state_keys(graph) == frozenset()


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        (b"\x0a\x04\x0a\x02\x08\x01", "found 1 in object 0"),
        (b"\x0a\x0d\x0a\x0b\x08" + b"\xff" * 9 + b"\x01", "found -1 in object 0"),
        (b"\x0a\x04\x1a\x02\x08\x01", "found 1 in object 0"),
        (b"\x0a\x04\x1a\x02\x18\x09", "found 9 in object 0"),
        (b"\x08\x01", "as a message"),
        (b"\x0a\x05\x0a", "to end by"),
        (b"\x0a\x02\x0a\x05", "object 0: .*to end by"),
        (b"\x0a\x00\x0a\x02\x08\x01", "object 1: .*as a length and bytes"),
        (b"\x0a\x06\x0a\x04\x08\x00\x08\x00", "object 0: .*once"),
    ],
)
def test_a_graph_against_the_rules_is_an_error_of_one_line(nodes: bytes, fault: str) -> None:
    with pytest.raises(FormatError, match=rf"^shown: [^\n]*{fault}[^\n]*$"):
        read_object_graph(stored(nodes), "shown")


@pytest.mark.parametrize(
    ("budget", "small", "fault"),
    [("MAX_NODES", 2, "2 objects"), ("MAX_REFERENCES", 5, "5 edges"), ("MAX_GRAPH_BYTES", 20, "20 bytes")],
)
def test_a_graph_over_its_budget_is_an_error(
    proto: Any, monkeypatch: pytest.MonkeyPatch, budget: str, small: int, fault: str
) -> None:
    message = proto()
    for _ in range(3):
        node = message.nodes.add()
        node.children.add()
        node.attributes.add()
    data = stored(message.SerializeToString())
    assert len(read_object_graph(data, "shown").nodes) == 3
    monkeypatch.setattr(object_graph, budget, small)
    with pytest.raises(FormatError, match=f"at most {fault}"):
        read_object_graph(data, "shown")


def test_a_name_of_megabytes_counts_for_nothing(proto: Any) -> None:
    message = proto()
    for length in (object_graph.MAX_NAME, object_graph.MAX_NAME + 1):
        message.nodes.add().attributes.add(name="VARIABLE_VALUE", full_name="/" * length, checkpoint_key=str(length))
    found = full_names(read_object_graph(stored(message.SerializeToString()), "shown"))
    assert list(found) == [str(object_graph.MAX_NAME)]


def test_a_changed_or_lost_byte_anywhere_is_an_error(adam: Path) -> None:
    data, entry = stored_graph(adam)
    for position in range(0, len(data), max(1, len(data) // 600)):
        damaged = bytearray(data)
        damaged[position] ^= 1 + position % 255
        for bad in (bytes(damaged), data[:position], data[position + 1 :], data + b"\0"):
            with pytest.raises(FormatError):
                read_object_graph(bad, "shown", crc=entry.crc)


@given(st.data())
@settings(deadline=None)
def test_a_graph_damaged_under_true_checksums_raises_nothing_but_format_errors(adam: Path, data: st.DataObject) -> None:
    message = bytearray(read_strings(stored_graph(adam)[0], 1, "shown")[0])
    for _ in range(data.draw(st.integers(1, 5))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        graph = read_object_graph(stored(bytes(message)), "shown")
    except FormatError:
        return
    assert optimizer_state_keys(graph) <= {each.key for node in graph.nodes for each in node.attributes}


TEXTS = [["one"], [], ["", "", ""], ["a" * 200, "\u00e9", "", "x" * 70000]]


@pytest.mark.slow
@pytest.mark.parametrize("texts", TEXTS, ids=len)
def test_strings_are_those_that_tensorflow_reads(tf: Any, tmp_path: Path, texts: list[str]) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "s"),
        tensor_names=["s"],
        shape_and_slices=[""],
        tensors=[tf.constant(texts, tf.string)],
    )
    data = (tmp_path / "s.data-00000-of-00001").read_bytes()
    entry = read_bundle((tmp_path / "s.index").read_bytes(), [len(data)], "shown").entries[0]
    expected = tf.train.load_checkpoint(str(tmp_path / "s")).get_tensor("s").tolist()
    assert list(read_strings(data, len(texts), "shown", crc=entry.crc)) == expected == [t.encode() for t in texts]


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from("<>"))
def test_strings_of_either_byte_order_are_read(texts: list[bytes], order: Any) -> None:
    lengths = struct.pack(f"{order}{len(texts)}I", *map(len, texts))
    check = struct.pack(f"{order}I", raw.masked(lengths))
    data = b"".join(raw.varint(len(text)) for text in texts) + check + b"".join(texts)
    crc = wheel.crc32c(lengths + check + b"".join(texts))
    assert read_strings(data, len(texts), "shown", order=order, crc=crc) == tuple(texts)
    with pytest.raises(FormatError, match="checksum of the strings"):
        read_strings(data, len(texts), "shown", order=order, crc=crc ^ 1)


@pytest.mark.slow
def test_a_big_endian_string_is_what_tensorflow_reads(tf: Any, tmp_path: Path) -> None:
    from tensorflow.core.protobuf import tensor_bundle_pb2 as bundle

    text = b"some text" * 30
    length = struct.pack(">I", len(text))
    check = struct.pack(">I", raw.masked(length))
    data = raw.varint(len(text)) + check + text
    crc = wheel.crc32c(length + check + text)
    entry = bundle.BundleEntryProto(dtype=7, size=len(data), crc32c=raw.masked(length + check + text))
    entry.shape.SetInParent()
    header = bundle.BundleHeaderProto(num_shards=1, endianness=1, version={"producer": 1})
    (tmp_path / "b.data-00000-of-00001").write_bytes(data)
    pairs = [(b"", header.SerializeToString()), (b"s", entry.SerializeToString())]
    (tmp_path / "b.index").write_bytes(raw.table(pairs))
    assert tf.train.load_checkpoint(str(tmp_path / "b")).get_tensor("s") == text
    found = read_bundle((tmp_path / "b.index").read_bytes(), [len(data)], "shown")
    assert found.entries[0].crc == crc
    assert read_strings(data, 1, "shown", order=found.order, crc=crc) == (text,)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01" + bytes(4) + b"a", b"\xff" * 12, stored(b"ab")[:-1]])
def test_a_damaged_string_is_an_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_strings(data, 1, "shown")
    with pytest.raises(FormatError, match="expected 1000000 strings"):
        read_strings(data, 1_000_000, "shown")
