"""Names that an object graph does not tell: what each source says, and where it says nothing."""

from __future__ import annotations

import pytest

from renorm_cli.formats.tensorflow.lost_names import names_by_scopes, names_by_slots, path_of, without_model
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
    return {key.removeprefix("w/"): name for key, name in names_by_slots(trained(full, **options)).items()}


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


def test_slots_of_other_models_tell_nothing() -> None:
    assert names_by_slots(ObjectGraph((Node(),))) == {}
    assert names_by_slots(trained({"other/a/kernel": "net/kernel"})) == {}


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


def test_a_million_underscores_cost_no_more_than_their_length() -> None:
    path = "net/" + "a_" * 30_000 + "/kernel"
    assert len(recovered(path)) == 1
