"""The layers of a Keras config, against the models that wrote it and against text that is no config."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import keras_zoo

from renorm_cli.errors import FormatError
from renorm_cli.formats.keras.config import LayerNode, parse_config

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["class_name", "config", "layers", "layer", "name", "module", "registered_name", "dtype"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


def every_node(root: LayerNode) -> list[LayerNode]:
    found = [root]
    for node in found:
        found.extend(node.children)
    return found


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["confusing", "sequences", "images", "shared"])
def test_the_nodes_are_the_layers_of_the_model(tmp_path: Path, flavour: str, kind: str) -> None:
    model = keras_zoo.made(flavour, kind)
    model.save(tmp_path / "m.keras")
    root = parse_config(keras_zoo.unzipped(tmp_path / "m.keras")[1], "m.keras")
    assert (root.class_name, root.name) == ("Functional", model.name)
    layers = [(type(layer).__name__, layer.name) for layer in model.layers]
    assert [(node.class_name, node.name) for node in root.under("layers")] == layers
    inner = {layer.name: layer for layer in model.layers if hasattr(layer, "layers")}
    for node in root.children:
        if node.name in inner:
            named = [child.name for child in node.under("layers") if child.class_name != "InputLayer"]
            assert named == [layer.name for layer in inner[node.name].layers]
    assert not any(node.custom for node in every_node(root))


def test_what_wrappers_hold_is_found_under_its_key(tmp_path: Path) -> None:
    keras_zoo.made("keras", "sequences").save(tmp_path / "m.keras")
    root = parse_config(keras_zoo.unzipped(tmp_path / "m.keras")[1], "")
    held = {node.name: [(child.key, child.class_name) for child in node.children] for node in root.children}
    assert held["bidirectional"] == [("layer", "LSTM"), ("backward_layer", "LSTM")]
    assert held["rnn"] == [("cell", "StackedRNNCells")]
    assert held["rnn_1"] == [("cell", "LSTMCell")]
    (stacked,) = next(node for node in root.children if node.name == "rnn").children
    assert [(child.key, child.class_name) for child in stacked.children] == [
        ("cells", "GRUCell"),
        ("cells", "LSTMCell"),
        ("cells", "LSTMCell"),
    ]


def test_initializers_policies_and_operations_are_no_layers(tmp_path: Path) -> None:
    keras_zoo.made("keras", "confusing").save(tmp_path / "m.keras")
    text = keras_zoo.unzipped(tmp_path / "m.keras")[1]
    assert all(word in text for word in ("GlorotUniform", "DTypePolicy", "keras.src.ops"))
    classes = [node.class_name for node in every_node(parse_config(text, ""))]
    assert not {"GlorotUniform", "DTypePolicy", "Zeros"} & set(classes)
    assert classes.count("Add") == 1


def test_layers_inside_custom_layers_are_found_and_custom_classes_marked(tmp_path: Path) -> None:
    import keras

    @keras.saving.register_keras_serializable("mine")
    class Block(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def __init__(self, first: Any, more: Any, **options: Any) -> None:
            super().__init__(**options)
            self.first, self.more = first, more

        def call(self, x: Any) -> Any:
            return self.more[0](self.first(x))

        def get_config(self) -> dict[str, Any]:
            serialize = keras.saving.serialize_keras_object
            return {
                **super().get_config(),
                "first": serialize(self.first),
                "more": [serialize(item) for item in self.more],
            }

    block = Block(keras.layers.Dense(3, name="a"), [keras.layers.Dense(3, name="b")], name="it")
    keras.Sequential([keras.Input((3,)), block]).save(tmp_path / "m.keras")
    root = parse_config(keras_zoo.unzipped(tmp_path / "m.keras")[1], "")
    node = root.under("layers")[1]
    assert (node.name, node.class_name, node.custom) == ("it", "Block", True)
    assert [(child.key, child.name, child.class_name, child.custom) for child in node.children] == [
        ("first", "a", "Dense", False),
        ("more", "b", "Dense", False),
    ]


@pytest.mark.parametrize(
    ("raw", "custom"),
    [
        ({"module": "keras.layers", "registered_name": None}, False),
        ({"module": "tf_keras.src.engine.functional", "registered_name": "Functional"}, False),
        ({"module": None, "registered_name": "Dense"}, True),
        ({"module": "my.package", "registered_name": "Dense"}, True),
        ({"module": "keras_hub.layers"}, True),
        ({"class_name": "mine>Dense"}, True),
        ({}, False),
    ],
)
def test_a_class_is_custom_by_its_module_or_its_registered_name(raw: dict[str, Any], custom: bool) -> None:
    root = parse_config(json.dumps({"class_name": "Dense", "config": {"name": "d"}} | raw), "")
    assert (root.name, root.class_name, root.custom) == ("d", "Dense", custom)


def test_the_bare_list_of_layers_of_early_sequential_models_is_read() -> None:
    layers = [
        {"class_name": "Dense", "config": {"name": "d"}},
        {"class_name": "Convolution2D", "config": {"name": "c"}},
    ]
    root = parse_config(json.dumps({"class_name": "Sequential", "config": layers}), "")
    assert [(node.name, node.class_name) for node in root.under("layers")] == [("d", "Dense"), ("c", "Conv2D")]


@pytest.mark.parametrize("text", ["[]", "[1, 2]", '"text"', "null", "3", "{}", '{"config": 3}', '{"layers": []}'])
def test_json_that_is_no_keras_config_gives_a_node_without_children(text: str) -> None:
    root = parse_config(text, "here")
    assert root.children == ()
    assert root.name == ""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no valid JSON"),
        ("{", "no valid JSON"),
        ("[1,]", "no valid JSON"),
        ("1" * 5000, "no valid JSON"),
        ("[" * 201 + "]" * 201, "deeper than 200"),
        ("[" * 100_000 + "]" * 100_000, "deeper than 200"),
        ('{"config":' * 300 + "1" + "}" * 300, "deeper than 200"),
    ],
)
def test_text_that_cannot_be_read_is_one_line_of_error_that_says_where(text: str, what: str) -> None:
    with pytest.raises(FormatError, match=what) as raised:
        parse_config(text, "some place")
    assert str(raised.value).startswith("some place: ")
    assert "\n" not in str(raised.value)


def test_two_hundred_levels_are_read() -> None:
    assert parse_config("[" * 200 + "]" * 200, "").children == ()


def test_a_config_beyond_the_cap_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(FormatError, match="at most 67108864"):
        parse_config("[" * ((64 << 20) + 1), "here")


@given(JSON)
def test_any_json_gives_nodes_whose_fields_have_their_types(value: Any) -> None:
    for node in every_node(parse_config(json.dumps(value), "here")):
        assert isinstance(node.name, str)
        assert isinstance(node.class_name, str)
        assert isinstance(node.config, dict)
        assert isinstance(node.key, str)


@given(st.text(max_size=60))
def test_any_text_gives_a_node_or_a_format_error(text: str) -> None:
    with contextlib.suppress(FormatError):
        assert parse_config(text, "here").children == ()
