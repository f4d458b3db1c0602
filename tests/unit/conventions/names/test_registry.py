"""What names tell together: which conventions a file follows, and what is not known."""

from __future__ import annotations

import time

import pytest

from renorm_cli.conventions.identify import identify
from renorm_cli.conventions.names.registry import claims, tree_of
from renorm_cli.conventions.names.row import Row
from renorm_cli.model.identity import Claim, Identity
from renorm_cli.model.variable import GraphUse, Hint, Variable


def variables(**shapes: tuple[int, ...]) -> list[Variable]:
    return [named(name.replace("__", "/"), shape) for name, shape in shapes.items()]


def named(name: str, shape: tuple[int, ...]) -> Variable:
    return Variable(name, name, shape, "float32")


def row(ending: str, layout: str, *, common: bool = False, beside: tuple[str, ...] = ()) -> Row:
    return Row(ending, "kernel", layout, "", (), "", common, beside)


def told(found: dict[str, Claim]) -> dict[str, tuple[int, ...] | None]:
    return {key: claim.unit_axes for key, claim in found.items()}


def test_a_name_that_two_conventions_read_alike_is_known() -> None:
    tree = tree_of([("one", [row("a/w", "in *out")]), ("two", [row("w", "in *out")])])
    assert told(claims(variables(a__w=(3, 4)), tree)) == {"a/w": (1,)}


def test_of_two_conventions_that_read_a_name_in_two_ways_none_is_believed() -> None:
    tree = tree_of([("one", [row("w", "in *out")]), ("two", [row("w", "*out in")])])
    assert claims(variables(w=(3, 4)), tree) == {}


def test_a_name_that_one_of_two_conventions_has_alone_settles_what_the_others_mean() -> None:
    tree = tree_of([("one", [row("w", "in *out"), row("p", "in *out")]), ("two", [row("w", "*out in")])])
    assert told(claims(variables(w=(3, 4), p=(3, 4)), tree)) == {"w": (1,), "p": (1,)}


def test_two_conventions_with_as_many_names_of_their_own_leave_the_others_open() -> None:
    one, two = [row("w", "in *out"), row("p", "in *out")], [row("w", "*out in"), row("q", "*out in")]
    tree = tree_of([("one", one), ("two", two)])
    assert told(claims(variables(w=(3, 4), p=(3, 4), q=(3, 4)), tree)) == {"p": (1,), "q": (0,)}
    assert told(claims(variables(w=(3, 4), p=(3, 4), a__q=(3, 4), b__q=(3, 4)), tree))["w"] == (0,)


def test_a_common_name_tells_only_in_a_file_that_follows_its_convention() -> None:
    tree = tree_of([("one", [row("w", "in *out", common=True), row("p", "in *out")])])
    assert claims(variables(w=(3, 4)), tree) == {}
    assert told(claims(variables(w=(3, 4), p=(3, 4)), tree))["w"] == (1,)


def test_a_shape_that_does_not_fit_the_row_is_no_evidence_and_no_vote() -> None:
    tree = tree_of([("one", [row("w", "in *out", common=True), row("p", "n *3n")])])
    assert claims(variables(w=(3, 4), p=(4, 13)), tree) == {}
    assert told(claims(variables(w=(3, 4), p=(4, 12)), tree)) == {"w": (1,), "p": (1,)}


def test_the_vector_beside_a_weight_tells_which_of_two_layouts_it_has() -> None:
    rows = [row("w", "in *out", beside=("b",)), row("w", "*out in", beside=("b",))]
    tree = tree_of([("one", rows)])
    assert told(claims(variables(w=(3, 4), b=(4,)), tree)) == {"w": (1,)}
    assert told(claims(variables(w=(3, 4), b=(3,)), tree)) == {"w": (0,)}
    assert claims(variables(w=(4, 4), b=(4,)), tree) == {}
    assert claims(variables(w=(3, 4), b=(5,)), tree) == {}
    assert claims(variables(w=(3, 4)), tree) == {}
    assert told(claims(variables(w_7=(3, 4), b_7=(4,)), tree)) == {"w_7": (1,)}
    assert claims(variables(w_7=(3, 4), b=(4,)), tree) == {}


def test_of_the_rows_of_one_convention_the_longest_and_most_literal_ending_counts() -> None:
    rows = [row("w", "in *out"), row("up/w", "*out in"), row("*_w", "in *out"), row("q_w", "*out in")]
    tree = tree_of([("one", rows)])
    found = told(claims(variables(a__w=(3, 4), up__w=(3, 4), p_w=(3, 4), q_w=(3, 4), not_up__w=(3, 4)), tree))
    assert found == {"a/w": (1,), "up/w": (0,), "p_w": (1,), "q_w": (0,), "not_up/w": (1,)}


def test_numbers_in_a_name_stand_for_every_number_and_one_at_the_end_of_a_part_may_be_there() -> None:
    tree = tree_of([("one", [row("h0/conv2d/w", "in *out")])])
    names = ("h0/conv2d/w", "x/h117/conv2d_12/w_3", "h5/conv3d_9/w")
    assert list(claims([named(name, (3, 4)) for name in names], tree)) == list(names)
    for name in ("h/conv2d/w", "h0/convd/w", "h0/conv2d", "h0/conv2d/w/w1", "xh0/conv2d/w", "h0_a/conv2d/w"):
        assert claims([named(name, (3, 4))], tree) == {}


def test_what_the_file_itself_says_of_a_state_is_left_alone_and_votes_for_nothing() -> None:
    slot = Variable("MobilenetV1/fc1/weights", "k", (3, 4), "float32", state="optimizer")
    assert claims([slot]) == {}


def identity(variable: Variable, *others: Variable) -> Identity:
    known = identify([variable, *others])[0].identity
    assert known is not None
    return known


def test_a_class_in_the_file_and_a_graph_come_before_a_name() -> None:
    dense = Variable("wte", "wte", (3, 4), "float32", Hint(layer="Dense", weight="kernel"))
    assert (identity(dense).role, identity(dense).unit_axes, identity(dense).axis_source) == ("kernel", (1,), "layer")
    used = Variable("wte", "wte", (3, 4), "float32", use=GraphUse("embedding", (1,), ("GatherV2",)))
    assert (identity(used).unit_axes, identity(used).axis_source) == ((1,), "graph")


def test_a_bias_by_positions_stays_a_parameter_though_it_is_looked_up_as_words_are() -> None:
    name = "SelfAttention/relative_attention_bias"
    used = Variable(name, name, (3, 4), "float32", use=GraphUse("embedding", (0,), ("GatherV2",)))
    assert (identity(used).role, identity(used).conflict) == ("parameter", None)


def test_what_a_convention_says_of_a_name_comes_before_what_such_a_name_says_alone() -> None:
    space = Variable("t/target_space_embedding/kernel", "k", (32, 512), "float32", Hint(weight="kernel", source="name"))
    assert (identity(space).role, identity(space).unit_axes, identity(space).axis_source) == ("embedding", (0,), "name")
    name = "SelfAttention/relative_attention_bias/embeddings"
    buckets = Variable(name, "k", (20, 16), "float32", Hint(weight="embeddings", source="name"))
    assert identity(buckets).role == "parameter"


def test_codes_that_one_convention_has_in_columns_and_all_of_keras_in_rows_are_a_guess() -> None:
    name = "vector_quantizer/embeddings"
    codes = identity(Variable(name, "k", (64, 512), "float32", Hint(weight="embeddings", source="name")))
    assert (codes.role, codes.axis_source) == ("kernel", "guess")
    assert codes.conflict is not None
    assert "axis 1" in codes.conflict
    assert "axis 0" in codes.conflict


def test_a_matrix_that_a_vector_follows_in_a_layer_of_keras_is_no_table() -> None:
    table, bias = named("block/token_embedding/vars/0", (300, 256)), named("block/token_embedding/vars/1", (256,))
    assert claims([table])[table.key].role == "embedding"
    assert not claims([table, bias])


def seconds(files: list[Variable]) -> float:
    start = time.process_time()  # other processes may have the machine meanwhile
    claims(files)
    return time.process_time() - start


@pytest.mark.slow
def test_a_hundred_thousand_names_take_ten_times_as_long_as_ten_thousand() -> None:
    files = [
        named(f"InceptionV3/Mixed_{number}/Branch_{number % 4}/Conv2d_{number}a_3x3/{name}", shape)
        for number in range(33_334)
        for name, shape in (("weights", (3, 3, 8, 8)), ("biases", (8,)), ("BatchNorm/beta", (8,)))
    ]
    few = min(seconds(files[:10_000]) for _ in range(3))
    assert min(seconds(files) for _ in range(2)) < 30 * few


@pytest.mark.parametrize(
    "name",
    [
        "x" * 1_000_000 + "/weights",
        "a/" * 500_000 + "weights",
        "_" * 1_000_000,
        "1" * 1_000_000,
        "_1" * 500_000 + "/W_1",
        "/" * 1_000_000,
        "_".join("1" * 60),
        "",
        "W",
        "*",
        "#",
        "*/adam_m/*",
    ],
    ids=lambda name: f"{name[:6]}:{len(name)}",
)
def test_a_name_that_means_harm_costs_little_and_is_not_known(name: str) -> None:
    files = [named(name, (3, 4)), named("b", (4,))]
    assert name not in claims(files)
    assert min(seconds(files) for _ in range(3)) < 0.1


def test_shapes_with_lengths_of_0_and_1_and_with_many_axes_do_no_harm() -> None:
    for shape in ((), (0,), (0, 0), (1, 1), (0, 3, 0, 0), (1,) * 64, (2**62, 2**62)):
        claims([named("attn/c_attn/w", shape), named("fc1_W", shape), named("fc1_b", (0,)), named("wx", shape)])
