"""Names of legacy HDF5 weights, against the paths of the Keras models that wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import keras_zoo
from support.h5_survey import same_bytes, survey_of, values_of

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.errors import FormatError
from renorm_cli.formats.hdf5.naming import name_plainly
from renorm_cli.formats.keras import legacy_names as keras_legacy
from renorm_cli.formats.keras.config import parse_config
from renorm_cli.formats.naming import Naming, join_copies
from renorm_cli.model.variable import Variable

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

Saved = tuple[Any, Path]
KINDS = ("confusing", "sequences", "images")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Saved]:
    """A model of the zoo written as a whole by Keras 3 ("keras") or tf_keras."""
    made: dict[tuple[str, str], Saved] = {}

    def save(flavour: str, kind: str) -> Saved:
        if (flavour, kind) not in made:
            model = keras_zoo.made(flavour, kind)
            path = tmp_path_factory.mktemp("legacy") / "model.h5"
            model.save(path)
            made[flavour, kind] = (model, path)
        return made[flavour, kind]

    return save


def named(path: Path, root: str = "model_weights", config: bool = True) -> Naming:
    survey = survey_of(path)
    text = survey.model_config if config else None
    node = None if text is None else parse_config(text, "model_config")
    naming = keras_legacy.name_variables(survey, node, root)
    assert len({item.key for item in naming.variables}) == len(survey.datasets)
    assert len({item.name for item in naming.variables}) == len(naming.variables)
    return naming


def write(path: Path, layers: dict[str, dict[str, Any]], root: str = "") -> Path:
    """A legacy file as Keras lays it out: layer -> weight name -> array."""
    with h5py.File(path, "w") as file:
        top = file.require_group(root) if root else file
        top.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, weights in layers.items():
            group = top.require_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, values in weights.items():
                group[name] = values
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_the_paths_of_keras_3(saved: Callable[[str, str], Saved], kind: str) -> None:
    model, path = saved("keras", kind)
    expected, values = keras_zoo.names_by_bytes(model), values_of(path)
    names = {item.name: expected[values[item.key].tobytes()] for item in named(path).variables if item.state is None}
    inside = {f"inner/deep/d2/{weight}": f"deep/d2/{weight}" for weight in ("kernel", "bias")}
    assert {name: real for name, real in names.items() if name != real} == (inside if kind == "confusing" else {})
    assert len(names) == len(expected)


def test_the_name_of_a_sequential_model_is_not_part_of_names(tmp_path: Path) -> None:
    import keras

    keras.backend.clear_session()
    inner = keras.Sequential([keras.layers.Dense(4, name="deep")], name="inner")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="first"), inner], name="whole")
    keras_zoo.scramble(model).save(tmp_path / "m.h5")
    assert model.layers[0].kernel.path == "whole/first/kernel"
    expected, values = keras_zoo.names_by_bytes(model), values_of(tmp_path / "m.h5")
    for config in (True, False):
        names = {
            item.name: expected[values[item.key].tobytes()]
            for item in named(tmp_path / "m.h5", config=config).variables
        }
        assert len(names) == 4
        assert all(name == real for name, real in names.items())


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_tf_keras_are_its_own_under_the_layer(saved: Callable[[str, str], Saved], kind: str) -> None:
    model, path = saved("tf_keras", kind)
    expected, values = keras_zoo.names_by_bytes(model), values_of(path)
    for item in named(path).variables:
        real = expected[values[item.key].tobytes()]
        layer = item.key.split("/")[1]
        assert item.name == (real if real.startswith(f"{layer}/") else f"{layer}/{real}")


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_is_found_in_the_config_and_tells_the_same_as_default_names(
    saved: Callable[[str, str], Saved], flavour: str, kind: str
) -> None:
    """v3 names the same layers; here every weight must be known by its layer, and never contradicted by its name."""
    _, path = saved(flavour, kind)
    alone = {item.key: item for item in named(path, config=False).variables}
    kernels = 0
    for item in named(path).variables:
        assert item.hint.source == "layer", item
        assert item.layer is not None
        other = alone[item.key]
        assert (other.name, role_of(other)) == (item.name, role_of(item))
        assert role_of(item) != "unknown"
        if role_of(item) != "kernel":
            continue
        axes, source = unit_axes(item)
        assert source == "layer"
        other_axes, other_source = unit_axes(other)
        if other_source == "name" and "turned" not in item.name:
            assert other_axes == axes
        kernels += 1
    assert kernels > 4


def test_the_units_of_some_well_known_layers_are_those_of_the_published_table(
    saved: Callable[[str, str], Saved],
) -> None:
    """Dense (in, out): 1; convolutions: last; transposed: last but one; depthwise and heads: two axes."""
    for flavour in ("keras", "tf_keras"):
        units = {
            item.name: unit_axes(item)
            for kind in KINDS
            for item in named(saved(flavour, kind)[1]).variables
            if role_of(item) == "kernel"
        }
        assert units["head/kernel"] == ((1,), "layer")
        assert units["mha/query/kernel"] == ((1, 2), "layer")
        assert units["mha/attention_output/kernel"] == ((2,), "layer")
        assert units["turned/kernel"] == ((0,), "layer")
        assert units["up/kernel"] == ((1,), "layer")
        assert units["conv2d_transpose/kernel"] == ((2,), "layer")
        assert units["conv1d/kernel"] == ((2,), "layer")
        assert units["separable_conv2d/depthwise_kernel"] == ((2, 3), "layer")
        assert units["separable_conv2d/pointwise_kernel"] == ((3,), "layer")
        assert units["my_lstm/lstm_cell/recurrent_kernel"] == ((1,), "layer")
        depthwise = "depthwise_kernel" if flavour == "tf_keras" else "kernel"
        assert units[f"depthwise_conv1d/{depthwise}"] == ((1, 2), "layer")


def test_biases_of_rank_two_are_biases(saved: Callable[[str, str], Saved]) -> None:
    roles = {
        (item.name, len(item.shape)): role_of(item)
        for kind in ("sequences",)
        for item in named(saved("keras", kind)[1]).variables
    }
    assert roles["mha/query/bias", 2] == "bias"
    assert roles["rnn/stacked_rnn_cells/gru_cell/bias", 2] == "bias"


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
def test_weights_alone_have_the_names_of_the_whole_model(
    saved: Callable[[str, str], Saved], tmp_path: Path, flavour: str
) -> None:
    model, path = saved(flavour, "sequences")
    alone = tmp_path / "weights.h5"
    if flavour == "tf_keras":
        model.save_weights(alone)
    else:
        with h5py.File(path) as whole, h5py.File(alone, "w") as target:
            for key in whole["model_weights"]:
                whole.copy(f"model_weights/{key}", target)
            target.attrs.update(whole["model_weights"].attrs)
    expected = {item.key.removeprefix("model_weights/"): item.name for item in named(path).variables}
    assert {item.key: item.name for item in named(alone, root="").variables} == expected


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
def test_a_shared_layer_stored_twice_is_one_weight_under_one_name(
    saved: Callable[[str, str], Saved], flavour: str
) -> None:
    _, path = saved(flavour, "shared")
    naming = named(path)
    values = values_of(path)
    twins = {frozenset(twin) for twin in naming.twins}
    assert len(twins) == 2
    for twin in naming.twins:
        assert len({values[key].tobytes() for key in twin}) == 1
    joined = {item.key: item for item in join_copies(naming, same_bytes(path))}
    for twin in naming.twins:
        assert len({joined[key].name for key in twin}) == 1
        assert all(set(joined[key].copies) == set(twin) - {key} for key in twin)
    assert joined[next(key for key in values if "last" in key and "kernel" in key)].copies == ()


def test_layers_of_one_name_in_two_models_are_not_one_weight_though_both_biases_are_zero(tmp_path: Path) -> None:
    import tf_keras as keras

    keras.backend.clear_session()
    start = keras.Input((4,))
    ends = [
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="same")], name=name)(start)
        for name in ("left", "right")
    ]
    keras.Model(start, ends).save(tmp_path / "m.h5")
    naming = named(tmp_path / "m.h5")
    assert len(naming.twins) == 2
    joined = join_copies(naming, same_bytes(tmp_path / "m.h5"))
    assert sorted(item.name for item in joined) == [
        f"{side}/same/{weight}" for side in ("left", "right") for weight in ("bias", "kernel")
    ]
    assert all(item.copies == () for item in joined)


def test_layer_names_can_hold_slashes_and_the_longest_wins(tmp_path: Path) -> None:
    kernel, bias = np.zeros((3, 4)), np.zeros(4)
    layers = {
        "block": {"block/own:0": kernel},
        "block/dense": {"block/dense/kernel:0": kernel, "block/dense/bias:0": bias},
        "block/dense/deep": {"kernel:0": kernel},
    }
    found = {item.key: item.name for item in named(write(tmp_path / "m.h5", layers), root="").variables}
    assert found == {
        "block/block/own:0": "block/own",
        "block/dense/block/dense/kernel:0": "block/dense/kernel",
        "block/dense/block/dense/bias:0": "block/dense/bias",
        "block/dense/deep/kernel:0": "block/dense/deep/kernel",
    }


@pytest.mark.parametrize("order", [1, -1])
def test_a_weight_that_two_layers_list_is_of_the_one_with_the_longer_name(tmp_path: Path, order: int) -> None:
    lists = {"block": b"up/kernel:0", "block/up": b"kernel:0"}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["block/up/kernel:0"] = np.zeros((2, 2, 3, 4))
        file.attrs["layer_names"] = [name.encode() for name in list(lists)[::order]]
        for name, weight in lists.items():
            file[name].attrs["weight_names"] = [weight]
    layers = [
        {"class_name": name, "config": {"name": path}}
        for name, path in zip(("Conv2D", "Conv2DTranspose"), lists, strict=True)
    ]
    config = parse_config(json.dumps({"class_name": "Sequential", "config": {"layers": layers}}), "")
    (item,) = keras_legacy.name_variables(survey_of(tmp_path / "m.h5"), config, "").variables
    assert (item.name, item.layer) == ("block/up/kernel", "Conv2DTranspose")


def test_a_name_tensorflow_numbered_on_reloading_is_the_layers_own(tmp_path: Path) -> None:
    layers = {"conv2d_1": {"conv2d_1_1/kernel:0": np.zeros((3, 3, 1, 8))}}
    (item,) = named(write(tmp_path / "m.h5", layers), root="").variables
    assert (item.name, item.layer, item.hint.source) == ("conv2d_1/kernel", "Conv2D", "name")
    assert unit_axes(item) == ((3,), "name")


def test_two_weights_that_would_share_a_name_are_both_named_by_their_keys(tmp_path: Path) -> None:
    layers = {"dense": {"dense/kernel:0": np.zeros((3, 4)), "dense_1/kernel:0": np.ones((3, 4)), "b:0": np.zeros(3)}}
    names = [item.name for item in named(write(tmp_path / "m.h5", layers), root="").variables]
    assert names == ["dense/dense/kernel", "dense/dense_1/kernel", "dense/b"]


def test_a_listed_weight_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", {"dense": {"dense/kernel:0": np.zeros((3, 4))}})
    with h5py.File(path, "r+") as file:
        file["dense"].attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
    with pytest.raises(FormatError, match=r"'dense' lists 'dense/bias:0'.*no dataset 'dense/dense/bias:0'"):
        named(path, root="")
    with h5py.File(path, "r+") as file:
        file["dense"].attrs["weight_names"] = [b"dense/kernel:0"]
        file.attrs["layer_names"] = [b"dense", b"gone\n"]
    with pytest.raises(FormatError, match=r"layer_names lists 'gone\\n'") as raised:
        named(path, root="")
    assert "\n" not in str(raised.value)


def test_a_listed_weight_that_is_a_soft_link_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", {"dense": {"kernel:0": np.zeros((3, 4))}})
    with h5py.File(path, "r+") as file:
        file["dense/bias:0"] = h5py.SoftLink("/nowhere")
        file["dense"].attrs["weight_names"] = [b"kernel:0", b"bias:0"]
    assert [item.name for item in named(path, root="").variables] == ["dense/kernel"]


def test_what_no_list_names_is_listed_too(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", {"dense": {"dense/kernel:0": np.zeros((3, 4))}}, root="model_weights")
    with h5py.File(path, "r+") as file:
        file["model_weights/dense/dense/extra:0"] = np.zeros((3, 4))
        file["model_weights/conv2d/kernel"] = np.zeros((2, 2, 3, 4))
        file["table"] = np.zeros((3, 4))
    assert {item.name: item.key for item in named(path).variables} == {
        "dense/kernel": "model_weights/dense/dense/kernel:0",
        "dense/extra": "model_weights/dense/dense/extra:0",
        "model_weights/conv2d/kernel": "model_weights/conv2d/kernel",
        "table": "table",
    }


def test_hard_links_are_aliases_of_one_variable(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", {"dense": {"kernel:0": np.zeros((3, 4))}})
    with h5py.File(path, "r+") as file:
        file["again"] = file["dense/kernel:0"]
    (item,) = named(path, root="").variables
    assert (item.name, item.key, item.aliases) == ("dense/kernel", "again", ("dense/kernel:0",))


@pytest.mark.parametrize("flavour", ["keras", "tf_keras", "tf_keras legacy optimizer"])
def test_optimizer_weights_are_optimizer_state_and_weights_of_the_model_itself_have_names(
    tmp_path: Path, flavour: str
) -> None:
    import keras
    import tf_keras

    package = keras if flavour == "keras" else tf_keras
    package.backend.clear_session()

    class Own(package.Model):  # type: ignore[name-defined, misc]
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(4, 4), name="table")
            self.last = package.layers.Dense(2, name="last")

        def call(self, x: Any) -> Any:
            return self.last(x @ self.table)

    model = Own(name="own")
    adam = tf_keras.optimizers.legacy.Adam() if "legacy" in flavour else "adam"
    model.compile(adam, "mse")
    model.fit(np.zeros((2, 4), "float32"), np.zeros((2, 2), "float32"), verbose=0)
    functional = package.Sequential([package.Input((4,)), package.layers.Dense(4, name="first")])
    functional.compile(adam if "legacy" not in flavour else tf_keras.optimizers.legacy.Adam(), "mse")
    functional.fit(np.zeros((2, 4)), np.zeros((2, 4)), verbose=0)
    functional.save(tmp_path / "m.h5")
    states = {item.key: item.state for item in named(tmp_path / "m.h5").variables}
    assert {key for key, state in states.items() if state == "optimizer"} == {
        key for key in states if key.startswith("optimizer_weights/")
    }
    assert sum(state is None for state in states.values()) == 2
    if flavour == "tf_keras":
        model.save_weights(tmp_path / "own.h5")
        found = {item.key: item.name for item in named(tmp_path / "own.h5", root="").variables}
        assert found["top_level_model_weights/own/table:0"] == "own/table"
        assert set(found.values()) == {"own/table", "last/kernel", "last/bias"}


def test_lora_is_stored_beside_its_kernel_and_warned_of(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((5,)), keras.layers.Embedding(9, 4, name="e"), keras.layers.Dense(4, name="a")]
    model = keras.Sequential(layers)
    for layer in model.layers:
        layer.enable_lora(2)
    model.save(tmp_path / "m.h5")
    naming = named(tmp_path / "m.h5")
    roles = {item.name: role_of(item) for item in naming.variables}
    assert {name for name, role in roles.items() if role == "lora"} == {
        "a/lora_kernel_a",
        "a/lora_kernel_b",
        "e/lora_embeddings_a",
        "e/lora_embeddings_b",
    }
    (note,) = naming.notes
    assert note.warning
    assert "'a/kernel'" in note.text
    assert "'e/embeddings'" in note.text
    assert {"a/kernel", "e/embeddings"} <= set(roles)


@pytest.mark.parametrize("mode", ["int8", "float8"])
@pytest.mark.parametrize("config", [True, False])
def test_everything_a_quantized_layer_stores_is_quantized(tmp_path: Path, mode: str, config: bool) -> None:
    import keras

    start = keras.Input((6, 4))
    x = keras.layers.MultiHeadAttention(2, 4)(start, start)
    model = keras.Model(start, keras.layers.Dense(4)(keras.layers.LayerNormalization()(x)))
    model.quantize(mode)
    model.save(tmp_path / "m.h5")
    for item in named(tmp_path / "m.h5", config=config).variables:
        assert item.state == (None if "layer_normalization" in item.key else "quantized")


def test_spectral_normalization_is_looked_through_and_warned_of(tmp_path: Path) -> None:
    import keras

    keras.backend.clear_session()
    up = keras.layers.SpectralNormalization(keras.layers.Conv2DTranspose(3, 2, name="up"))
    keras.Sequential([keras.Input((6, 6, 2)), up]).save(tmp_path / "m.h5")
    naming = named(tmp_path / "m.h5")
    assert [(note.warning, "'spectral_normalization'" in note.text) for note in naming.notes] == [(True, True)]
    found = {item.name: item for item in naming.variables}
    assert unit_axes(found["spectral_normalization/up/kernel"]) == ((2,), "layer")
    assert role_of(found["spectral_normalization/vector_u"]) == "state"


def test_a_custom_class_is_no_layer_of_ours_whatever_its_name(tmp_path: Path) -> None:
    import keras

    @keras.saving.register_keras_serializable("mine")
    class Embedding(keras.layers.Dense):  # type: ignore[name-defined, misc]
        pass

    keras.Sequential([keras.Input((4,)), Embedding(3, name="it")]).save(tmp_path / "m.h5")
    kernel = next(item for item in named(tmp_path / "m.h5").variables if item.hint.weight == "kernel")
    assert (kernel.layer, unit_axes(kernel)) == (None, ((1,), "name"))


def test_a_custom_attention_is_no_attention_of_keras(tmp_path: Path) -> None:
    """Its default name and its weight's are those of Keras' layer, whose scale is a number; its config tells."""
    custom = {"module": "mine", "class_name": "Attention", "registered_name": "mine>Attention"}
    keras_own = {"module": "keras.layers", "class_name": "Attention", "registered_name": None}
    for entry, layer in ((custom, None), (keras_own, "Attention")):
        config = {"class_name": "Sequential", "config": {"layers": [{**entry, "config": {"name": "attention"}}]}}
        path = write(tmp_path / "m.h5", {"attention": {"attention/scale": np.ones(())}}, "model_weights")
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = json.dumps(config)
        (scale,) = named(path).variables
        assert scale.layer == layer
    path = write(tmp_path / "w.h5", {"attention": {"attention/scale": np.ones((5, 6))}})
    (matrix,) = named(path, root="", config=False).variables
    assert matrix.layer is None


def test_attribute_lists_in_parts_are_one_list(tmp_path: Path) -> None:
    """Keras splits lists beyond 64512 bytes; the survey joins them, so a file with 3000 long names is named whole."""
    import keras
    from keras.src.legacy.saving.legacy_h5_format import save_attributes_to_hdf5_group

    names = [f"dense_{'x' * 60}_{index}" for index in range(1500)]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        save_attributes_to_hdf5_group(file, "layer_names", [name.encode() for name in names])
        assert "layer_names1" in file.attrs
        for name in names:
            file[f"{name}/kernel"] = np.zeros((2, 2))
            file[name].attrs["weight_names"] = [b"kernel"]
    assert keras.__version__
    assert [item.name for item in named(tmp_path / "m.h5", root="").variables] == [f"{name}/kernel" for name in names]


def test_plain_files_are_named_by_their_paths_and_default_names(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["a/conv2d_transpose_3/kernel:0"] = np.zeros((2, 2, 3, 4))
        file["a/conv2d_3/odd"] = np.zeros((2, 2, 3, 4))
        file["lstm/lstm_cell/recurrent_kernel"] = np.zeros((2, 8))
        file["multi_head_attention/query/kernel"] = np.zeros((2, 3, 4))
        file["x:0"] = np.zeros((2, 2))
        file["x"] = np.zeros((2, 2))
    found = {item.name: item for item in name_plainly(survey_of(tmp_path / "m.h5")).variables}
    assert set(found) == {
        "a/conv2d_transpose_3/kernel",
        "a/conv2d_3/odd",
        "lstm/lstm_cell/recurrent_kernel",
        "multi_head_attention/query/kernel",
        "x:0",
        "x",
    }

    def told(name: str) -> tuple[str | None, Any]:
        item: Variable = found[name]
        return item.layer, unit_axes(item)

    assert told("a/conv2d_transpose_3/kernel") == ("Conv2DTranspose", ((2,), "name"))
    assert told("a/conv2d_3/odd") == (None, ((3,), "guess"))
    assert told("lstm/lstm_cell/recurrent_kernel") == ("LSTMCell", ((1,), "name"))
    assert told("multi_head_attention/query/kernel") == ("MultiHeadAttention", ((1, 2), "name"))


def test_no_name_is_that_of_another_key(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for key in ("a", "a:0", "a:0:0", "a:0:0:0", "b:1"):
            file[key] = np.zeros((2, 2))
    variables = name_plainly(survey_of(tmp_path / "m.h5")).variables
    keys = {item.key for item in variables}
    assert len({item.name for item in variables}) == 5
    assert all(item.name == item.key or item.name not in keys for item in variables)
