"""Names and roles in TensorFlow checkpoints, against the variables of the models that wrote them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import keras_zoo, tf_zoo

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.formats.naming import join_copies
from renorm_cli.formats.tensorflow.bundle import Bundle, Entry
from renorm_cli.formats.tensorflow.keras_metadata import LayerFacts
from renorm_cli.formats.tensorflow.leveldb import Table
from renorm_cli.formats.tensorflow.names import name_variables
from renorm_cli.formats.tensorflow.object_graph import Attribute, Edge, Node, ObjectGraph
from renorm_cli.model.variable import Variable

pytestmark = [
    pytest.mark.slow,
    *(pytest.mark.filterwarnings(line) for line in (*tf_zoo.WARNINGS, "ignore::UserWarning:tf_keras")),
]

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
KERAS = ["keras_3", "keras_3_average", "keras_3_save", "keras_3_export"]
TF_KERAS = ["tf_keras_new", "tf_keras_average", "tf_keras_legacy", "tf_keras_save", "without_metadata", "older_save"]
KERNELS = {"kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel"}

UNITS = {
    "first/kernel": (3,),
    "up/kernel": (2,),
    "deep/kernel": (2, 3),
    "deep/depthwise_kernel": (2, 3),
    "apart/depthwise_kernel": (2, 3),
    "apart/pointwise_kernel": (3,),
    "look/query/kernel": (1, 2),
    "look/key/kernel": (1, 2),
    "look/value/kernel": (1, 2),
    "look/attention_output/kernel": (2,),
    "turned/kernel": (0,),
    "memory/lstm_cell/kernel": (1,),
    "memory/lstm_cell/recurrent_kernel": (1,),
    "sides/forward_both/gru_cell/kernel": (1,),
    "sides/forward_both/gru_cell/recurrent_kernel": (1,),
    "sides/backward_both/gru_cell/kernel": (1,),
    "sides/backward_both/gru_cell/recurrent_kernel": (1,),
    "frozen/kernel": (1,),
}
"""The axes of the outputs of each kernel, by the documentation of its layer."""


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def get(kind: str) -> tuple[Path, Any]:
        return tf_zoo.saved(kind, tmp_path_factory)

    return get


def by_bytes(path: Path, wanted: dict[bytes, str]) -> dict[str, str]:
    """The names we give, and those of the variables with these bytes."""
    values = tf_zoo.values_of(path)
    found = {variable.name: values[variable.key] for variable in joined(path) if variable.dtype == "float32"}
    return {name: wanted[value.tobytes()] for name, value in found.items() if value.tobytes() in wanted}


def joined(path: Path) -> tuple[Variable, ...]:
    values = tf_zoo.values_of(path)
    return join_copies(tf_zoo.named(path), lambda a, b: values[a.key].tobytes() == values[b.key].tobytes())


def paths_of(variables: Any) -> dict[bytes, str]:
    return {
        np.asarray(each).tobytes(): str(getattr(each, "path", each.name)).removesuffix(":0")
        for each in variables
        if np.asarray(each).dtype == np.float32 and np.asarray(each).size > 1
    }


@pytest.mark.parametrize("kind", [*KERAS, *TF_KERAS])
def test_names_are_the_paths_of_the_variables_with_these_bytes(saved: Any, kind: str) -> None:
    path, model = saved(kind)
    expected = paths_of(model.weights)
    found = by_bytes(path, expected)
    assert set(found.values()) == set(expected.values())
    assert all(name == path for name, path in found.items())


@pytest.mark.parametrize("kind", [*KERAS, *TF_KERAS])
def test_the_kernels_of_the_model_are_kernels_and_nothing_else_is(saved: Any, kind: str) -> None:
    path, model = saved(kind)
    expected = {name for name in paths_of(model.weights).values() if name.rpartition("/")[2] in KERNELS}
    kernels = {variable.name for variable in joined(path) if role_of(variable) in ("kernel", "embedding")}
    assert kernels == expected == {name for name in UNITS if name in expected}
    assert len(expected) == len(UNITS) - 1


@pytest.mark.parametrize("kind", ["tf_keras_save", "older_save"])
def test_the_model_itself_tells_the_unit_axes(saved: Any, kind: str) -> None:
    kernels = [variable for variable in joined(saved(kind)[0]) if role_of(variable) == "kernel"]
    assert {variable.name: unit_axes(variable) for variable in kernels} == {
        variable.name: (UNITS[variable.name], "layer") for variable in kernels
    }


@pytest.mark.parametrize("kind", [*KERAS, "tf_keras_new", "without_metadata"])
def test_without_the_model_only_guesses_can_be_wrong(saved: Any, kind: str) -> None:
    kernels = [variable for variable in joined(saved(kind)[0]) if role_of(variable) == "kernel"]
    axes = {variable.name: unit_axes(variable) for variable in kernels}
    wrong = {name for name, (found, _) in axes.items() if found != UNITS[name]}
    heads = {f"look/{part}/kernel" for part in ("query", "key", "value", "attention_output")}
    assert wrong <= {"up/kernel", "deep/kernel", "turned/kernel", *heads}
    guessed = {name for name, (_, source) in axes.items() if source == "guess"}
    assert wrong - {"turned/kernel"} <= guessed <= wrong | {"first/kernel", *heads}


@pytest.mark.parametrize("kind", [*KERAS[:3], *TF_KERAS])
def test_optimizer_state_is_what_the_optimizer_calls_its_variables(saved: Any, kind: str) -> None:
    path, model = saved(kind)
    variables = model.optimizer.variables
    expected = paths_of(variables() if callable(variables) else variables)
    values = tf_zoo.values_of(path)
    state = {values[item.key].tobytes() for item in joined(path) if item.state == "optimizer"}
    assert set(expected) <= state
    assert not set(paths_of(model.weights)) & state


@pytest.mark.parametrize("kind", ["keras_3", "tf_keras_save", "module", "tf1", "tf1_save", "twice", "keras_3_export"])
def test_every_tensor_that_tensorflow_lists_is_named_once(saved: Any, kind: str) -> None:
    import tensorflow as tf

    path = saved(kind)[0]
    variables = tf_zoo.named(path).variables
    expected = {key: tuple(shape) for key, shape in tf.train.list_variables(str(tf_zoo.prefix_of(path)))}
    assert {variable.key: variable.shape for variable in variables} == expected
    assert max(Counter(variable.name for variable in variables).values()) == 1


@pytest.mark.parametrize("kind", ["confusing", "sequences", "images", "shared"])
@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
def test_names_of_many_models_are_the_paths_of_their_variables(tmp_path: Path, flavour: str, kind: str) -> None:
    import tensorflow as tf

    model = keras_zoo.made(flavour, kind)
    path = Path(tf.train.Checkpoint(model).write(str(tmp_path / "saved")))
    expected = paths_of(model.weights)
    found = by_bytes(path, expected)
    stored = {value.tobytes() for value in tf_zoo.values_of(path).values()}
    assert {name: name for name in found} == found
    assert len(found) == len(stored & set(expected)) > len(expected) - 10  # Keras 3 leaves out the cells of a stack


def test_metrics_tables_counters_and_seeds_are_state(saved: Any) -> None:
    state = {
        variable.key.removesuffix(VALUE)
        for kind in ("metrics", "module")
        for variable in tf_zoo.named(saved(kind)[0]).variables
        if variable.state == "state"
    }
    metrics = {"total", "count"}, {"total_confusion_matrix"}
    assert state == {
        "_CHECKPOINTABLE_OBJECT_GRAPH",
        *(f"keras_api/metrics/{number}/{name}" for number, names in enumerate(metrics) for name in names),
        "table/.ATTRIBUTES/table-keys",
        "table/.ATTRIBUTES/table-values",
        "other",
    }
    counters = [v for v in tf_zoo.named(saved("keras_3")[0]).variables if v.name.endswith("/iteration")]
    assert [role_of(counter) for counter in counters] == ["optimizer"]


def test_seeds_are_state(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    generator = keras.random.SeedGenerator(1)
    path = Path(tf.train.Checkpoint(seed=generator.state.value).save(tmp_path / "saved"))
    variables = tf_zoo.named(path).variables
    assert [role_of(variable) for variable in variables] == ["state"] * 3
    assert {variable.name.rpartition("/")[2] for variable in variables} >= {"seed_generator_state", "save_counter"}


def test_a_table_of_tf1_is_state(tmp_path: Path) -> None:
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "t"),
        tensor_names=["rows-keys", "rows-values", "own-values"],
        shape_and_slices=["", "", ""],
        tensors=[tf.constant([1]), tf.ones((1, 3)), tf.ones((1, 3))],
    )
    found = {variable.name: variable.state for variable in tf_zoo.named(tmp_path / "t").variables}
    assert found == {"rows-keys": "state", "rows-values": "state", "own-values": None}


def test_slots_of_tf1_are_those_its_optimizers_list(saved: Any) -> None:
    path, slots = saved("tf1")
    roles = {variable.name: role_of(variable) for variable in tf_zoo.named(path).variables}
    state = {name for name, role in roles.items() if role == "optimizer"}
    averages = {name for name in roles if name.endswith("ExponentialMovingAverage")}
    assert {"tower/1conv/kernel/OfOurOwn_1", "outer/tower/w/Adam", "tower/w/RMSProp_2", "beta2_power"} <= slots
    assert state == slots | averages | {"global_step"}
    assert len(averages) == 2
    assert {name for name, role in roles.items() if role == "kernel"} == {"tower/1conv/kernel", "dense/kernel"}
    assert roles["tower/w"] == "unknown"
    assert roles["batch_normalization/moving_mean"] == "statistic"


def test_averages_without_their_weights_are_the_weights(saved: Any) -> None:
    path, averages = saved("tf1_averages")
    naming = tf_zoo.named(path)
    assert {variable.name for variable in naming.variables} == averages
    assert {variable.name: role_of(variable) for variable in naming.variables} == {
        "tower/1conv/kernel/ExponentialMovingAverage": "kernel",
        "tower/w/ExponentialMovingAverage": "unknown",
    }
    assert not naming.notes


@pytest.mark.parametrize("kind", ["keras_3_average", "tf_keras_average", "tf1"])
def test_moving_averages_beside_the_weights_are_said_once(saved: Any, kind: str) -> None:
    notes = tf_zoo.named(saved(kind)[0]).notes
    assert [note.warning for note in notes] == [True]
    assert "moving averages" in notes[0].text


@pytest.mark.parametrize("kind", ["keras_3", "tf_keras_new", "tf_keras_legacy", "module"])
def test_without_moving_averages_nothing_is_said_of_them(saved: Any, kind: str) -> None:
    assert not tf_zoo.named(saved(kind)[0]).notes


def test_what_a_saved_model_does_not_train_is_state_unless_its_name_tells_more(saved: Any) -> None:
    roles = {variable.name: role_of(variable) for variable in tf_zoo.named(saved("module")[0]).variables}
    assert (roles["running"], roles["w"], roles["kernel"]) == ("state", "unknown", "kernel")
    statistics = {v.name for v in tf_zoo.named(saved("keras_3_save")[0]).variables if role_of(v) == "statistic"}
    assert statistics == {"norm/moving_mean", "norm/moving_variance"}


def test_a_partitioned_variable_of_tf1_is_one(saved: Any) -> None:
    path, trained = saved("tf1_save")
    naming = tf_zoo.named(path)
    assert [item.shape for item in naming.variables if item.name == "cut/table"] == [(9, 4)]
    assert any(name.startswith("cut/table/part_") for name in trained)


def test_variables_without_names_are_named_by_their_keys(saved: Any) -> None:
    variables = {variable.name: variable for variable in tf_zoo.named(saved("module")[0]).variables}
    assert {"blocks/0", "blocks/1", "kernel", "w"} <= set(variables)
    assert variables["blocks/0"].aliases == ("Variable",)
    assert role_of(variables["kernel"]) == "kernel"


def test_names_that_two_variables_share_are_told_apart_by_key(saved: Any) -> None:
    variables = tf_zoo.named(saved("twice")[0]).variables
    shared = [variable for variable in variables if "same/kernel" in variable.aliases]
    assert [variable.name for variable in shared] == [variable.key.removesuffix(VALUE) for variable in shared]
    assert len({variable.name for variable in shared}) == 2
    assert {role_of(variable) for variable in shared} == {"kernel"}


def test_both_copies_of_an_export_have_one_name_and_each_other(saved: Any) -> None:
    path, model = saved("keras_3_export")
    values = tf_zoo.values_of(path)
    variables = joined(path)
    held = [key for key in values if key.startswith("_all_variables/")]
    assert len(held) == len(tf_zoo.named(path).twins) == len(paths_of(model.weights))
    for key in held:
        second = next(variable for variable in variables if variable.key == key)
        first = next(variable for variable in variables if variable.key in second.copies)
        assert (first.name, first.copies, first.key[:10]) == (second.name, (key,), "variables/")
        assert values[first.key].tobytes() == values[key].tobytes()


@pytest.mark.parametrize("kind", ["keras_3", "keras_3_export", "tf_keras_new", "tf_keras_save"])
def test_the_order_is_that_of_the_model(saved: Any, kind: str) -> None:
    path, model = saved(kind)
    names = [variable.name for variable in tf_zoo.named(path).variables if variable.state is None]
    wanted = list(paths_of(model.weights).values())
    assert [name for name in names if name in wanted] == wanted


def test_copies_that_differ_keep_names_of_their_own(saved: Any) -> None:
    found = join_copies(tf_zoo.named(saved("keras_3_export")[0]), lambda first, second: False)
    assert max(Counter(variable.name for variable in found).values()) == 1
    assert not any(variable.copies for variable in found)


@pytest.mark.parametrize("kind", ["module", "tf_keras_save", "keras_3_save", "keras_3", "twice", "tf1"])
def test_nothing_outside_an_export_is_paired(saved: Any, kind: str) -> None:
    path = saved(kind)[0]
    assert tf_zoo.named(path, exported=True).twins == () if not path.is_dir() else tf_zoo.named(path).twins == ()


def test_the_layout_of_an_export_pairs_nothing_in_a_plain_checkpoint(saved: Any) -> None:
    bundle, graph = tf_zoo.bundle_of(tf_zoo.prefix_of(saved("keras_3_export")[0]))
    assert name_variables(bundle, graph, {}, exported=True).twins
    assert not name_variables(bundle, graph, {}, exported=False).twins


def test_updates_of_lora_are_said(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="base")])
    model.layers[0].enable_lora(2)
    naming = tf_zoo.named(Path(tf.train.Checkpoint(model).write(str(tmp_path / "saved"))))
    assert ["LoRA" in note.text and note.warning for note in naming.notes] == [True]
    assert Counter(map(role_of, naming.variables))["lora"] == 2


# --- made by hand: what no writer makes, too


def entry(key: str, *shape: int, dtype: str = "float32") -> Entry:
    return Entry(key, dtype, shape, 0, 0, 0, None, None, 0)


def bundle_with(*entries: Entry) -> Bundle:
    return Bundle(1, "<", entries, Table((), ()))


def graph_with(names: dict[str, str]) -> ObjectGraph:
    leaves = [Node(attributes=(Attribute("VARIABLE_VALUE", name, key),)) for key, name in names.items()]
    return ObjectGraph((Node(tuple(Edge(str(at), at + 1) for at in range(len(leaves)))), *leaves))


KEYS = st.lists(st.text("ab/_:0.", min_size=1, max_size=9).map(lambda text: text + VALUE), unique=True, max_size=12)
NAMES = st.sampled_from(["a", "a/kernel", "a/kernel:0", "Variable", "Variable_1", "", "b/Adam", "a/kernel/Adam", "b"])


@given(KEYS, st.data())
def test_names_are_unique_and_every_key_is_there_whatever_the_graph_says(keys: list[str], data: st.DataObject) -> None:
    lists = [f"{side}{number}{VALUE}" for side in ("variables/", "_all_variables/") for number in range(3)]
    keys = list(dict.fromkeys([*keys, *data.draw(st.lists(st.sampled_from(lists)))]))
    entries = [entry(key, *data.draw(st.sampled_from([(), (2,), (2, 2)]))) for key in keys]
    graph = graph_with({key: data.draw(NAMES) for key in keys})
    naming = name_variables(bundle_with(*entries), data.draw(st.sampled_from([graph, None])), {}, exported=True)
    assert sorted(variable.key for variable in naming.variables) == sorted(keys)
    assert max(Counter(variable.name for variable in naming.variables).values(), default=1) == 1
    paired = [key for twin in naming.twins for key in twin]
    assert len(set(paired)) == len(paired)
    assert set(paired) <= set(lists)


def test_weights_of_an_export_that_share_a_name_are_not_paired_but_said() -> None:
    keys = [f"{side}/{number}{VALUE}" for side in ("variables", "_all_variables") for number in range(2)]
    naming = name_variables(
        bundle_with(*(entry(key, 3, 3) for key in keys)),
        graph_with(dict.fromkeys(keys, "same/kernel")),
        {},
        exported=True,
    )
    assert naming.twins == ()
    assert "'same/kernel'" in naming.notes[0].text
    assert all(variable.aliases == ("same/kernel",) for variable in naming.variables)


@pytest.mark.parametrize(
    ("facts", "shape", "layer", "weight", "role"),
    [
        (LayerFacts("Conv2DTranspose", "kernel"), (2, 2, 3, 4), "Conv2DTranspose", "kernel", "kernel"),
        (LayerFacts("Conv2DTranspose", "kernel"), (3, 4), None, "kernel", "kernel"),
        (LayerFacts("OwnLayer", "kernel"), (3, 4), "OwnLayer", "kernel", "kernel"),
        (LayerFacts("OwnLayer", "mixer"), (3, 4), "OwnLayer", "kernel", "kernel"),
        (LayerFacts("Sequential", "mixer"), (3, 4), None, "kernel", "kernel"),
    ],
)
def test_a_class_counts_where_it_fits(
    facts: LayerFacts, shape: tuple[int, ...], layer: str | None, weight: str, role: str
) -> None:
    variable = name_variables(
        bundle_with(entry("x/kernel", *shape)), None, {"x/kernel": facts}, exported=False
    ).variables[0]
    assert (variable.layer, variable.hint.weight, role_of(variable)) == (layer, weight, role)


@pytest.mark.parametrize(
    ("names", "state"),
    [
        (["w", "w/Adam"], {"w/Adam"}),
        (["w", "w/Own"], {"w/Own"}),
        (["w", "w/kernel"], set()),
        (["w/Adam"], set()),
        (["w", "a/b/w/Adam_1"], {"a/b/w/Adam_1"}),
        (["w", "a/b/w/own"], set()),
        (["enc/kernel", "ema/enc/kernel/ExponentialMovingAverage"], {"ema/enc/kernel/ExponentialMovingAverage"}),
    ],
)
def test_a_slot_is_named_after_a_variable_that_is_there(names: list[str], state: set[str]) -> None:
    naming = name_variables(bundle_with(*(entry(name, 3, 3) for name in names)), None, {}, exported=False)
    assert {variable.name for variable in naming.variables if variable.state == "optimizer"} == state


def test_a_variable_of_another_shape_is_no_slot() -> None:
    naming = name_variables(bundle_with(entry("w", 3, 3), entry("w/Adam", 3, 4)), None, {}, exported=False)
    assert {variable.state for variable in naming.variables} == {None}


def test_a_slot_key_is_optimizer_state_without_a_graph_too() -> None:
    key = f"w/.OPTIMIZER_SLOT/optimizer/m{VALUE}"
    naming = name_variables(bundle_with(entry(f"w{VALUE}", 3, 3), entry(key, 3, 3)), None, {}, exported=False)
    assert {variable.name: variable.state for variable in naming.variables} == {
        "w": None,
        "w/.OPTIMIZER_SLOT/optimizer/m": "optimizer",
    }


def test_what_is_no_value_of_a_variable_is_state() -> None:
    keys = ["layer-0/.ATTRIBUTES/OBJECT_CONFIG_JSON", "rows/.ATTRIBUTES/rows", f"layer-0/kernel{VALUE}"]
    variables = name_variables(bundle_with(*(entry(key, 2, 2) for key in keys)), None, {}, exported=False).variables
    assert [variable.state for variable in variables] == ["state", None, "state"]


def test_strings_and_variants_pass_through() -> None:
    entries = [entry("a", 2, dtype="string"), entry("b", dtype="variant"), entry("c", 3, 3, dtype="int4")]
    variables = name_variables(bundle_with(*entries), None, {}, exported=False).variables
    assert [variable.dtype for variable in variables] == ["string", "variant", "int4"]


def test_many_variables_in_one_deep_scope_take_no_time() -> None:
    scope = "/".join("s" * 2000)
    entries = [entry(f"{scope}/{number}/Adam", 2, 2) for number in range(2000)]
    assert len(name_variables(bundle_with(*entries), None, {}, exported=True).variables) == 2000


def test_order_follows_the_numbers_in_the_keys() -> None:
    entries = [entry(f"layers/{number}/w{VALUE}", 2, 2) for number in sorted(range(12), key=str)]
    found = name_variables(bundle_with(*(replace(each) for each in entries)), None, {}, exported=False).variables
    assert [variable.name for variable in found] == [f"layers/{number}/w" for number in range(12)]


def test_objects_are_in_the_order_they_were_tracked_and_optimizer_state_comes_last() -> None:
    variables = ["b", "a", "m"]
    nodes = [
        Node((Edge("optimizer", 1), Edge("b", 2), Edge("a", 3))),
        Node((Edge("_iterations", 4), Edge("_variables", 5))),
        *(Node((), (Attribute("VARIABLE_VALUE", name, f"{name}{VALUE}"),)) for name in ("b", "a")),
        Node((), (Attribute("VARIABLE_VALUE", "m", f"m{VALUE}"),)),
        Node((Edge("0", 4),)),
    ]
    bundle = bundle_with(*(entry(f"{name}{VALUE}", 2, 2) for name in sorted(variables)))
    found = name_variables(bundle, ObjectGraph(tuple(nodes)), {}, exported=False).variables
    assert [variable.name for variable in found] == variables


def test_a_kernel_whose_layer_tracks_the_shapes_of_an_einsum_dense_is_a_guess() -> None:
    shapes = [Edge(name, 3) for name in ("partial_output_shape", "full_output_shape")]
    nodes = [Node((Edge("x", 1), Edge("y", 2))), Node((*shapes, Edge("kernel", 4))), Node((Edge("kernel", 5),)), Node()]
    nodes += [Node((), (Attribute("VARIABLE_VALUE", f"{name}/kernel", f"{name}/kernel{VALUE}"),)) for name in "xy"]
    bundle = bundle_with(*(entry(f"{name}/kernel{VALUE}", 7, 6) for name in "xy"))
    found = name_variables(bundle, ObjectGraph(tuple(nodes)), {}, exported=False).variables
    assert [(role_of(one), unit_axes(one)[1]) for one in found] == [("kernel", "guess"), ("kernel", "name")]
