"""Names that an object graph does not tell: what each source says, and where it says nothing."""

from __future__ import annotations

import pytest

from renorm_cli.conventions.keras.layers import LAYERS, class_from_name, snake_case
from renorm_cli.formats.tensorflow.lost_names import SlotNames, names_by_scopes, names_by_slots, path_of, without_model
from renorm_cli.formats.tensorflow.object_graph import Attribute, Edge, Node, ObjectGraph

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (f"net/tables/item.Sid{VALUE}", "net/tables/item/id"),
        (f"net/tables/a..b{VALUE}", "net/tables/a.b"),
        (f"stem/_kernel{VALUE}", "stem/kernel"),
        (f"stem/_secret{VALUE}", "stem/_secret"),
        ("scope/a..b", "scope/a..b"),
        ("net/_kernel", "net/_kernel"),
    ],
)
def test_a_path_is_the_key_without_escapes(key: str, path: str) -> None:
    assert path_of(key) == path


@pytest.mark.parametrize(
    ("names", "model"),
    [
        ({"cnn/conv2d/kernel", "cnn/dense/bias"}, "cnn/"),
        ({"sequential_3/dense/kernel", "sequential_3/dense/bias"}, "sequential_3/"),
        ({"dense/kernel", "dense/bias"}, ""),
        ({"cnn/conv2d/kernel", "cnn/scale"}, ""),
        ({"cnn/conv2d/kernel", "head/kernel"}, ""),
        ({"lstm/lstm_cell/kernel", "lstm/other/bias"}, ""),
        ({"mha/query/kernel", "mha/key/kernel"}, ""),
        ({"encoder/dense/kernel", "encoder/dense/bias"}, ""),
        (set(), ""),
    ],
)
def test_the_models_name_is_what_all_names_begin_with_unless_it_can_be_a_layers(names: set[str], model: str) -> None:
    assert without_model(names) == model


def trained(paths: dict[str, str], *, slot: str = "momentum", scope: str = "adam") -> ObjectGraph:
    """A model in which each path has the name of Keras 3 in an object graph, and the optimizer its slots."""
    count = len(paths)
    lists = [Node(tuple(Edge(str(n), 4 + first + n) for n in range(count))) for first in (0, count)]
    counter = Node((), (Attribute("V", "adam/iteration", "it"),))
    weights = [Node((), (Attribute("V", full, f"w/{path}"),)) for path, full in paths.items()]
    slots = [Node((), (Attribute("V", f"{scope}/{path.replace('/', '_')}_{slot}", f"s/{path}"),)) for path in paths]
    last = 4 + 2 * count
    edges = (("_iterations", 3), ("_variables", last), ("_trainable_variables", 1), ("_momentums", 2))
    root = Node(tuple(Edge(*edge) for edge in edges))
    return ObjectGraph((root, *lists, counter, *weights, *slots, Node((Edge("0", 3),))))


def recovered(*paths: str, **options: str) -> dict[str, str]:
    full = {path: f"{path.split('/')[0]}/{path.rsplit('/', 1)[1]}" for path in paths}
    return {key.removeprefix("w/"): name for key, name in names_by_slots(trained(full, **options)).names.items()}


def test_slots_give_back_the_paths_of_layers_in_layers() -> None:
    paths = [
        f"net/{path}"
        for path in (
            "in_proj/kernel",
            "in_proj/bias",
            "block/gain",
            "block/dense/kernel",
            "block/out/kernel",
            "block/layer_normalization/gamma",
            "block_1/gain",
            "block_1/dense_1/kernel",
            "encoder_block/dense_2/kernel",
            "encoder_block/conv2d_transpose/kernel",
            "head/kernel",
        )
    ]
    assert recovered(*paths) == {path: path for path in paths}


def test_an_underscore_that_can_be_part_of_a_name_stays() -> None:
    assert recovered("net/my_dense/kernel", "net/other/kernel") == {
        "net/my_dense/kernel": "net/my_dense/kernel",
        "net/other/kernel": "net/other/kernel",
    }


@pytest.mark.parametrize("slot", ["momentum", "velocity", "accumulated_delta_var"])
def test_whatever_the_slot_is_called_and_whoever_wraps_the_optimizer(slot: str) -> None:
    paths = ("net/a/kernel", "net/b/kernel")
    assert recovered(*paths, slot=slot, scope="loss_scale_optimizer/adam_1") == {path: path for path in paths}


def unheld(*layers: str) -> SlotNames:
    """What slots tell of the kernels of layers that no object is seen to hold."""
    return names_by_slots(trained({f"net/{layer}/kernel": "net/kernel" for layer in layers}))


def held(*layers: str) -> SlotNames:
    """The same where a model is seen to hold the layers, each an object with a kernel."""
    nodes = trained({f"net/{layer}/kernel": "net/kernel" for layer in layers}).nodes
    objects = [Node((Edge("_kernel", 4 + n),)) for n in range(len(layers))]
    model = Node(tuple(Edge(f"p{n}", len(nodes) + n) for n in range(len(layers))))
    return names_by_slots(ObjectGraph((*nodes, *objects, model)))


@pytest.mark.parametrize("counter", ["", "_1", "_12"])
@pytest.mark.parametrize("before", ["", "up_", "block_1_", "depthwise_", "conv2d_", "transpose_"])
def test_a_name_that_ends_in_the_default_name_of_a_class_is_never_certain_to_be_that_class(
    before: str, counter: str
) -> None:
    for kind in LAYERS:
        layer = f"{before}{snake_case(kind)}{counter}"
        told = unheld(layer, f"{before}other", f"{before}conv2d_7", before + "conv2d_8", layer.split("_")[0] + "_x")
        if f"w/net/{layer}/kernel" in told.certain:
            own = told.names[f"w/net/{layer}/kernel"].split("/")[-2]
            assert class_from_name(own) in (None, class_from_name(layer)), layer


def test_layers_of_one_object_have_their_names_whole_where_these_begin_differently() -> None:
    layers = ("up_conv2d", "depthwise_conv2d", "depthwise_x", "up_x")
    told = held(*layers)
    assert set(told.names.values()) == {f"net/{layer}/kernel" for layer in layers}
    assert told.certain == told.names.keys()


def test_layers_of_one_object_whose_names_begin_alike_can_be_those_of_a_layer_in_it() -> None:
    assert held("up_conv2d", "up_conv2d_1").certain == frozenset()


def test_parts_of_layers_and_counted_default_names_are_certain() -> None:
    told = unheld("lstm_1_lstm_cell", "multi_head_attention_query", "conv2d_transpose_3", "dense_2")
    assert told.certain == told.names.keys()
    assert told.names["w/net/lstm_1_lstm_cell/kernel"] == "net/lstm_1/lstm_cell/kernel"


def test_slots_of_other_models_tell_nothing() -> None:
    assert names_by_slots(ObjectGraph((Node(),))).names == {}
    assert names_by_slots(trained({"other/a/kernel": "net/kernel"})).names == {}


def test_scopes_opened_once_or_twice_are_named_after_layers() -> None:
    names = {"1": "net/kernel", "2": "net/bias", "3": "net/kernel", "4": "net/gain"}
    once = {"1": "net/block/dense/MatMul", "2": "net/block/dense/BiasAdd", "3": "net/out/MatMul", "4": "net/block/mul"}
    twice = {
        "1": "net_1/block_1/dense_1/MatMul",
        "2": "net_1/block_1/dense_1/BiasAdd",
        "3": "net_1/out_1/einsum/Einsum",
        "4": "net_1/block_1/mul",
    }
    expected = {
        "1": "net/block/dense/kernel",
        "2": "net/block/dense/bias",
        "3": "net/out/kernel",
        "4": "net/block/gain",
    }
    assert names_by_scopes(once, names) == names_by_scopes(twice, names) == expected


def test_scopes_of_other_models_and_names_that_two_would_get_tell_nothing() -> None:
    names = {"1": "net/kernel", "2": "net/kernel", "3": "net/a/kernel", "4": "net"}
    assert names_by_scopes(dict.fromkeys(names, "net/a/MatMul"), names) == {}
    assert names_by_scopes(dict.fromkeys(names, "MatMul"), names) == {}
    assert names_by_scopes(dict.fromkeys(names, "net_x/a/MatMul"), names) == {}


def test_the_name_of_an_op_that_is_longer_than_any_tells_nothing() -> None:
    """One op can use every variable, and each would get a path as long."""
    for length, found in ((1000, {"1"}), (1 << 16, set())):
        assert names_by_scopes({"1": f"net/{'a' * length}/MatMul"}, {"1": "net/kernel"}).keys() == found


def test_a_million_underscores_cost_no_more_than_their_length() -> None:
    path = "net/" + "a_" * 30_000 + "/kernel"
    assert len(recovered(path)) == 1
