"""Names of v3 weights, against the `variable.path` of the Keras models that wrote them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import keras_zoo
from support.h5_survey import same_bytes, survey_of, values_of

from renorm_cli.conventions.identify import role_of, unit_axes
from renorm_cli.formats.hdf5.survey import Dataset, Survey
from renorm_cli.formats.keras import v3_names as keras_v3
from renorm_cli.formats.keras.config import parse_config
from renorm_cli.formats.naming import Naming, join_copies
from renorm_cli.model.variable import Variable

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

Saved = tuple[Any, Path, str]

DEEP = {f"inner/deep/d2/{weight}": f"deep/d2/{weight}" for weight in ("kernel", "bias")}
"""A model that was built before it was put into another keeps its paths; the file tells where it is."""

DEEP_NAMES = {path: name for name, path in DEEP.items()}
OPEN = {
    "layer_normalization/gamma_or_beta": "layer_normalization/gamma",
    "batch_normalization/gamma_or_beta": "batch_normalization/beta",
    "attention/scale_or_concat_score_weight": "attention/scale",
}
"""What only the config tells."""


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Saved]:
    """A model of the zoo written by Keras 3 ("keras") or tf_keras: the model, its weights file, its config."""
    made: dict[tuple[str, str], Saved] = {}

    def save(flavour: str, kind: str) -> Saved:
        if (flavour, kind) not in made:
            model = keras_zoo.made(flavour, kind)
            path = tmp_path_factory.mktemp("v3") / "model.keras"
            model.save(path)
            made[flavour, kind] = (model, *keras_zoo.unzipped(path))
        return made[flavour, kind]

    return save


def named(path: Path, config: str | None) -> Naming:
    node = None if config is None else parse_config(config, "config.json")
    return keras_v3.name_variables(survey_of(path), node)


def floats(path: Path, naming: Naming) -> dict[str, Variable]:
    """The bytes of the floating variables are the model's weights; the others are seeds and counters."""
    assert len({variable.key for variable in naming.variables}) == len(survey_of(path).datasets)
    return {item.key: item for item in naming.variables if item.dtype.startswith("float")}


def without_names(path: Path) -> Path:
    """The file as Keras before 3.6 wrote it: no attribute `name`, no groups for layers without weights."""
    older = path.with_suffix(".older.h5")
    older.write_bytes(path.read_bytes())
    with h5py.File(older, "r+") as file:
        empty: list[str] = []

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                item.attrs.pop("name", None)
                if name.endswith("vars") and not len(item):
                    empty.append(name)

        file.visititems(visit)
        for name in empty:
            del file[name]
    return older


@pytest.mark.parametrize("kind", keras_zoo.ZOO)
@pytest.mark.parametrize("with_config", [True, False])
def test_names_are_the_paths_of_keras_own_variables(
    saved: Callable[[str, str], Saved], kind: str, with_config: bool
) -> None:
    model, path, config = saved("keras", kind)
    expected = keras_zoo.names_by_bytes(model)
    values = values_of(path)
    found = floats(path, named(path, config if with_config else None))
    names = {variable.name: expected[values[key].tobytes()] for key, variable in found.items()}
    nameless = {name for name in names if name.endswith(("/vars/0", "/vars/1"))}
    assert nameless == {"subclassed": {"blk/vars/0"}}.get(kind, set())
    different = {name: path for name, path in names.items() if name not in nameless and name != path}
    assert different.items() <= (DEEP if with_config else DEEP | OPEN).items()
    assert len(names) == len(expected)


@pytest.mark.parametrize("kind", keras_zoo.ZOO)
def test_without_the_names_in_the_file_the_config_gives_them(saved: Callable[[str, str], Saved], kind: str) -> None:
    model, path, config = saved("keras", kind)
    expected = keras_zoo.names_by_bytes(model)
    values = values_of(path)
    for key, variable in floats(path, named(without_names(path), config)).items():
        if kind != "subclassed":
            assert variable.name == DEEP_NAMES.get(expected[values[key].tobytes()], expected[values[key].tobytes()])
        assert variable.name.rpartition("/")[2] == expected[values[key].tobytes()].rpartition("/")[2] or (
            variable.hint.weight is None
        )


@pytest.mark.parametrize("kind", [kind for kind in keras_zoo.ZOO if kind != "subclassed"])
def test_files_of_tf_keras_get_names_that_end_as_its_variables_do(
    saved: Callable[[str, str], Saved], kind: str
) -> None:
    model, path, config = saved("tf_keras", kind)
    expected = keras_zoo.names_by_bytes(model)
    values = values_of(path)
    naming = named(path, config)
    same = 0
    for key, variable in floats(path, naming).items():
        layer, weight = expected[values[key].tobytes()].rsplit("/", 1)
        assert variable.name.rpartition("/")[2] == weight.replace("depthwise_kernel", variable.name.rpartition("/")[2])
        if not layer.startswith(("time_distributed", "conv_lstm", "bidirectional_1/backward_back")):
            assert variable.name.endswith(f"{layer}/{variable.name.rpartition('/')[2]}")
            same += 1
    assert same > 3
    assert all(variable.hint.weight for variable in naming.variables if variable.dtype.startswith("float"))


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["confusing", "sequences", "images", "shared"])
def test_the_layer_is_the_class_that_owns_the_weight(
    saved: Callable[[str, str], Saved], flavour: str, kind: str
) -> None:
    model, path, config = saved(flavour, kind)
    owners = {
        np.asarray(weight).tobytes(): type(layer).__name__
        for layer in model._flatten_layers(include_self=False)
        for weight in (layer._trainable_variables if flavour == "keras" else layer._trainable_weights)
    }
    values = values_of(path)
    checked = 0
    for key, variable in floats(path, named(path, config)).items():
        owner = owners.get(values[key].tobytes())
        if owner is not None and owner not in ("EinsumDense", "LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTMCell"):
            assert variable.layer == owner
            assert variable.hint.source == "layer"
            checked += 1
        elif owner is not None:
            assert variable.layer in (
                "EinsumDense",
                "MultiHeadAttention",
                owner,
                owner.removesuffix("Cell"),
                "ConvLSTM2D",
            )
    assert checked > 3 or kind == "sequences"


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["confusing", "sequences", "images", "shared"])
def test_without_a_config_units_are_the_same_or_said_to_be_a_guess(
    saved: Callable[[str, str], Saved], flavour: str, kind: str
) -> None:
    _, path, config = saved(flavour, kind)
    alone = floats(path, named(path, None))
    told = 0
    for key, variable in floats(path, named(path, config)).items():
        if role_of(variable) not in ("kernel", "embedding"):
            continue
        axes, source = unit_axes(variable)
        assert source == "layer"
        other, other_source = unit_axes(alone[key])
        assert other_source in ("name", "guess")
        if other_source == "name":
            assert other == axes
            assert role_of(alone[key]) == role_of(variable)
            told += 1
        else:
            assert alone[key].name.startswith(("turned", "einsum_dense", "time_distributed"))
    assert told >= 2


def test_a_group_named_dense_1_is_the_second_dense_not_the_layer_of_that_name(
    saved: Callable[[str, str], Saved],
) -> None:
    _, path, config = saved("keras", "confusing")
    for text in (config, None):
        names = {variable.key: variable.name for variable in named(path, text).variables}
        assert names["layers/dense/vars/0"] == "head/kernel"
        assert names["layers/dense_1/vars/0"] == "dense/kernel"


def test_variables_are_listed_by_number_not_by_letter(saved: Callable[[str, str], Saved]) -> None:
    _, path, config = saved("keras", "confusing")
    keys = [variable.key for variable in named(path, config).variables]
    assert keys.index("layers/dense_2/vars/0") < keys.index("layers/dense_10/vars/0")


def test_operations_in_the_config_do_not_count_as_layers(saved: Callable[[str, str], Saved], tmp_path: Path) -> None:
    """`x + 1.0` is of class Add in the config, before the layer Add; only layers have groups."""
    import keras

    start = keras.Input((4,))
    x = keras.ops.normalize(keras.layers.Dense(4)(start) + 1.0)
    x = keras.layers.Add(name="real")([x, x])
    model = keras.Model(start, keras.layers.Dense(3, name="end")(x))
    model.save(tmp_path / "m.keras")
    config = keras_zoo.unzipped(tmp_path / "m.keras")[1]
    node = parse_config(config, "")
    assert [child.class_name for child in node.children] == ["InputLayer", "Dense", "Add", "Dense"]
    assert json.loads(config)["config"]["layers"][2]["class_name"] == "Add"


def test_the_equation_of_an_einsum_is_found(saved: Callable[[str, str], Saved]) -> None:
    _, path, config = saved("keras", "sequences")
    found = {item.name: item for item in named(path, config).variables if item.hint.equation}
    assert set(found) == {"turned/kernel", "turned/bias"}
    assert unit_axes(found["turned/kernel"]) == ((0,), "layer")


@pytest.mark.parametrize("flavour", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["confusing", "sequences", "images"])
def test_the_order_of_layers_is_that_of_the_model(saved: Callable[[str, str], Saved], flavour: str, kind: str) -> None:
    model, path, config = saved(flavour, kind)
    wanted = keras_zoo.names_by_bytes(model)
    values = values_of(path)
    found = [wanted.get(values[item.key].tobytes()) for item in named(path, config).variables]
    layers = list(dict.fromkeys(name.split("/")[0] for name in found if name is not None))
    assert layers == list(dict.fromkeys(name.split("/")[0] for name in wanted.values()))


def test_seeds_are_state_and_the_optimizer_is_the_optimizer(tmp_path: Path) -> None:
    import keras
    import tf_keras

    for package in (keras, tf_keras):
        layers = [package.Input((4,)), package.layers.Dense(4, name="dense"), package.layers.Dropout(0.5)]
        model = package.Sequential(layers)
        model.compile("adam", "mse", metrics=["mae"])
        model.fit(np.zeros((2, 4)), np.zeros((2, 4)), verbose=0)
        path = tmp_path / f"{package.__name__}.weights.h5"
        model.save_weights(path)
        naming = named(path, None)
        states = {variable.key: variable.state for variable in naming.variables}
        assert {key for key, state in states.items() if state == "optimizer"} == {
            key for key in states if key.startswith("optimizer/")
        }
        assert {key: states[key] for key in states if "seed" in key or "metric" in key} == {
            key: "state" for key in states if "seed" in key or "metric" in key
        }
        assert [item.name for item in naming.variables if item.state is None] == ["dense/kernel", "dense/bias"]


def test_spectral_normalization_stores_its_kernel_twice_and_both_get_one_name(tmp_path: Path) -> None:
    import keras

    wrap = keras.layers.SpectralNormalization
    for name in ("up", "conv2d_transpose_1"):
        start = keras.Input((6, 6, 2))
        end = wrap(keras.layers.Conv2DTranspose(3, 2, name=name), name="spectral_normalization")(start)
        keras_zoo.scramble(keras.Model(start, end)).save(tmp_path / "m.keras")
        path, config = keras_zoo.unzipped(tmp_path / "m.keras")
        text = config if name == "up" else None
        naming = named(path, text)
        group = "layers/spectral_normalization"
        assert naming.twins == ((f"{group}/layer/vars/0", f"{group}/vars/0"),)
        assert [note.warning for note in naming.notes] == [True]
        joined = {item.key: item for item in join_copies(naming, same_bytes(path))}
        copies = [joined[f"{group}/layer/vars/0"], joined[f"{group}/vars/0"]]
        assert {item.name for item in copies} == {f"spectral_normalization/{name}/kernel"}
        assert [item.copies for item in copies] == [(copies[1].key,), (copies[0].key,)]
        assert [(role_of(item), unit_axes(item)[0]) for item in copies] == [("kernel", (2,))] * 2
        assert role_of(joined[f"{group}/vars/1"]) == "state"
        assert len({item.name for item in naming.variables}) == len(naming.variables)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_everything_a_quantized_layer_stores_is_quantized_with_and_without_a_config(tmp_path: Path, mode: str) -> None:
    import keras

    start = keras.Input((6, 4))
    x = keras.layers.MultiHeadAttention(2, 4)(start, start)
    x = keras.layers.Dense(4)(keras.layers.LayerNormalization()(x))
    model = keras.Model(start, keras.layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(x))
    model.quantize(mode)
    model.save(tmp_path / "m.keras")
    path, config = keras_zoo.unzipped(tmp_path / "m.keras")
    for text in (config, None):
        states = {item.key: item.state for item in named(path, text).variables}
        for key, state in states.items():
            assert state == (None if "layer_normalization" in key else "quantized")


def test_lora_is_merged_in_v3_files_so_there_is_nothing_to_warn_of(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")])
    model.layers[0].enable_lora(2)
    model.save_weights(tmp_path / "m.weights.h5")
    naming = named(tmp_path / "m.weights.h5", None)
    assert [item.name for item in naming.variables] == ["a/kernel", "a/bias"]
    assert naming.notes == ()


@pytest.mark.parametrize("with_config", [True, False])
def test_files_of_tensorflow_2_12_name_their_list_otherwise(
    saved: Callable[[str, str], Saved], tmp_path: Path, with_config: bool
) -> None:
    _, path, config = saved("tf_keras", "confusing")
    old = tmp_path / "old.h5"
    with h5py.File(path) as source, h5py.File(old, "w") as target:
        for key in source:
            source.copy(key, target, "_layer_checkpoint_dependencies" if key == "layers" else key)
        for deep in ("sequential", "sequential/layers/sequential"):
            group = target["_layer_checkpoint_dependencies"]
            inside = deep.replace("layers", "_layer_checkpoint_dependencies")
            group.move(f"{inside}/layers", f"{inside}/_layer_checkpoint_dependencies")
    text = config if with_config else None
    newer = {item.key: item.name for item in named(path, text).variables}
    older = {
        item.key.replace("_layer_checkpoint_dependencies", "layers"): item.name for item in named(old, text).variables
    }
    assert older == newer
    assert len(set(older.values())) == len(older)


def test_weights_of_unknown_classes_keep_their_group_and_number(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["layers/my_layer/vars/0"] = np.zeros((3, 4))
        file["layers/my_layer/vars/1"] = np.zeros((3, 4))
        file["vars/0"] = np.zeros((3, 4))
        file["elsewhere/table"] = np.zeros((3, 4))
    found = named(tmp_path / "m.h5", None).variables
    assert [item.name for item in found] == [
        "vars/0",
        "my_layer/vars/0",
        "my_layer/vars/1",
        "elsewhere/table",
    ]
    assert {role_of(item) for item in found} == {"unknown"}


def test_a_default_name_does_not_tell_the_class_if_the_shapes_do_not_fit(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 4, 5))
        file["layers/embedding/vars/0"] = np.zeros((3, 4))
        file["layers/embedding/vars/1"] = np.zeros((3, 4))
    assert {item.layer for item in named(tmp_path / "m.h5", None).variables} == {None}


def test_layers_of_the_same_name_are_told_apart_by_their_groups(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for group in ("block/a/dense", "block/b/dense", "other"):
            file[f"{group}/vars/0"] = np.zeros((3, 4))
            file[f"{group}/vars"].attrs["name"] = "dense"
        file["block"].create_group("vars").attrs["name"] = "block"
    names = [item.name for item in named(tmp_path / "m.h5", None).variables]
    assert names == ["block/a/dense/kernel", "block/b/dense/kernel", "dense/kernel"]


def test_a_shard_without_the_names_is_named_by_the_first_that_has_them(saved: Callable[[str, str], Saved]) -> None:
    """The attribute `name` is only in the first shard of a group; the merged survey has it."""
    _, path, _ = saved("keras", "confusing")
    survey = survey_of(path)
    split = survey._replace(datasets=tuple(reversed(survey.datasets)))
    assert keras_v3.name_variables(split, None) == keras_v3.name_variables(survey, None)


def test_hard_links_are_aliases_and_the_path_that_fits_the_layout_names_the_weight(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 4))
        file["a_link"] = file["layers/dense/vars/0"]
    (variable,) = named(tmp_path / "m.h5", None).variables
    assert (variable.name, variable.key, variable.aliases) == ("dense/kernel", "a_link", ("layers/dense/vars/0",))


def test_ten_thousand_layers_take_about_ten_times_as_long_as_one_thousand() -> None:
    from time import perf_counter

    def seconds(count: int) -> float:
        items = tuple(Dataset(f"layers/dense_{n}/vars/0", (2, 2), "float32") for n in range(count))
        config = {"class_name": "Sequential", "config": {"layers": [dense(n) for n in range(count)]}}
        survey = Survey(items, frozenset(), {}, {}, {}, {})
        node = parse_config(json.dumps(config), "")
        start = perf_counter()
        naming = keras_v3.name_variables(survey, node)
        assert len({item.name for item in naming.variables}) == count
        return perf_counter() - start

    def dense(number: int) -> dict[str, Any]:
        return {"class_name": "Dense", "config": {"name": f"d{number}", "use_bias": False}}

    assert seconds(10_000) < 30 * max(seconds(1_000), 0.01)


def test_a_group_chain_three_thousand_deep_is_named_without_recursion() -> None:

    path = "/".join(["layers", "sequential"] * 1500) + "/layers/dense/vars/0"
    naming = keras_v3.name_variables(Survey((Dataset(path, (2, 2), "float32"),), frozenset(), {}, {}, {}, {}), None)
    assert naming.variables[0].name.endswith("sequential/dense/kernel")


def test_group_query_attention_is_known_under_both_its_names(tmp_path: Path) -> None:
    import keras

    start = keras.Input((6, 4))
    model = keras_zoo.scramble(keras.Model(start, keras.layers.GroupQueryAttention(3, 4, 2, name="gqa")(start, start)))
    model.save(tmp_path / "m.keras")
    path, config = keras_zoo.unzipped(tmp_path / "m.keras")
    expected, values = keras_zoo.names_by_bytes(model), values_of(path)
    for source in (path, without_names(path)):
        for variable in named(source, config).variables:
            assert variable.name == expected[values[variable.key].tobytes()]
            assert variable.layer == "GroupedQueryAttention"
    axes = {item.hint.weight: unit_axes(item) for item in named(path, config).variables if role_of(item) == "kernel"}
    assert axes["key/kernel"] == ((1, 2), "layer")
    assert axes["attention_output/kernel"] == ((2,), "layer")


def test_naming_needs_neither_keras_nor_numpy() -> None:
    heavy = "{'keras', 'numpy', 'h5py', 'tensorflow'} & set(sys.modules)"
    script = f"import sys, renorm_cli.formats.keras.v3_names, renorm_cli.conventions.identify; assert not {heavy}"
    subprocess.run([sys.executable, "-c", script], check=True)


MISLEADING: list[tuple[str, str, list[tuple[int, ...]], str | None]] = [
    ("attention", "dense_1", [(5, 6), (6,)], "Dense"),
    ("embedding", "dense", [(3, 4)], "Dense"),
    ("conv2d", "conv2d_transpose", [(3, 3, 5, 4), (5,)], "Conv2DTranspose"),
    ("conv2d", "up", [(3, 3, 5, 4), (5,)], None),
    ("conv2d", "first", [(3, 3, 5, 4), (4,)], "Conv2D"),
    ("attention", "mine", [(5, 6), (6,)], None),
    ("batch_normalization", "norm", [(5,), (5,), (5,), (6,)], None),
]


@pytest.mark.parametrize(("attribute", "name", "shapes", "layer"), MISLEADING)
def test_the_layers_own_default_name_tells_more_than_the_attribute_and_neither_more_than_shapes(
    attribute: str, name: str, shapes: list[tuple[int, ...]], layer: str | None
) -> None:
    datasets = tuple(Dataset(f"{attribute}/vars/{n}", shape, "float32") for n, shape in enumerate(shapes))
    survey = Survey(datasets, frozenset({"", attribute, f"{attribute}/vars"}), {f"{attribute}/vars": name}, {}, {}, {})
    named = keras_v3.name_variables(survey, None).variables
    assert {variable.layer for variable in named} == {layer}


def test_attributes_of_attention_in_a_layer_of_another_class_name_weights_and_tell_no_axes() -> None:
    """As in Gemma, where query kernels are (heads, in, size): the attributes are those of Keras' attention."""
    names = {f"{part}_dense": part for part in ("query", "key", "value")}
    datasets = tuple(Dataset(f"block/{attribute}/vars/0", (2, 64, 4), "float32") for attribute in names)
    real = {"block/vars": "block", **{f"block/{attribute}/vars": name for attribute, name in names.items()}}
    survey = Survey(datasets, frozenset({""}), real, {}, {}, {})
    named = keras_v3.name_variables(survey, None).variables
    assert {variable.name: (role_of(variable), unit_axes(variable)[1]) for variable in named} == {
        f"block/{part}/kernel": ("kernel", "guess") for part in names.values()
    }
