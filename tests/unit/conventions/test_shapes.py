"""What shapes of siblings tell, against the definitions of layers: no claim contradicts one, whatever the sizes."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renorm_cli.conventions import shapes
from renorm_cli.conventions.identify import identify
from renorm_cli.model.identity import Claim, Role
from renorm_cli.model.variable import Hint, Variable

Shape = tuple[int, ...]


class Array(NamedTuple):
    """An array of a layer: its shape, what it is, and the axes that name units of a kernel or an embedding."""

    shape: Shape
    role: Role
    units: Shape | None = None


def kernel(shape: Shape, *units: int) -> Array:
    return Array(shape, "kernel", tuple(sorted(axis % len(shape) for axis in units)))


def bias(*shape: int) -> Array:
    return Array(shape, "bias")


Sizes = Callable[[], int]
KINDS: dict[str, Callable[[Sizes], list[Array]]] = {}


def kind(make: Callable[[Sizes], list[Array]]) -> Callable[[Sizes], list[Array]]:
    KINDS[make.__name__] = make
    return make


@kind
def dense(size: Sizes) -> list[Array]:
    i, o = size(), size()
    return [kernel((i, o), -1), bias(o)]


@kind
def heads(size: Sizes) -> list[Array]:
    i, h, d = size(), size(), size()
    return [kernel((i, h, d), 1, 2), bias(h, d)]


@kind
def heads_first(size: Sizes) -> list[Array]:
    i, h, d = size(), size(), size()
    return [kernel((h, i, d), 0, 2), bias(h, d)]


@kind
def from_heads(size: Sizes) -> list[Array]:
    h, d, o = size(), size(), size()
    return [kernel((h, d, o), 2), bias(o)]


@kind
def conv_1d(size: Sizes) -> list[Array]:
    k, i, o = size(), size(), size()
    return [kernel((k, i, o), -1), bias(o)]


@kind
def conv_2d(size: Sizes) -> list[Array]:
    k, i, o = size(), size(), size()
    return [kernel((k, k, i, o), -1), bias(o)]


@kind
def conv_3d(size: Sizes) -> list[Array]:
    k, i, o = size(), size(), size()
    return [kernel((k, k, k, i, o), -1), bias(o)]


@kind
def transposed_1d(size: Sizes) -> list[Array]:
    k, i, o = size(), size(), size()
    return [kernel((k, o, i), -2), bias(o)]


@kind
def transposed_2d(size: Sizes) -> list[Array]:
    k, i, o = size(), size(), size()
    return [kernel((k, k, o, i), -2), bias(o)]


@kind
def depthwise_1d(size: Sizes) -> list[Array]:
    k, i, m = size(), size(), size()
    return [kernel((k, i, m), -2, -1), bias(i * m)]


@kind
def depthwise_2d(size: Sizes) -> list[Array]:
    k, i, m = size(), size(), size()
    return [kernel((k, k, i, m), -2, -1), bias(i * m)]


@kind
def separable_1d(size: Sizes) -> list[Array]:
    k, i, m, o = size(), size(), size(), size()
    return [kernel((k, i, m), -2, -1), kernel((1, i * m, o), -1), bias(o)]


@kind
def separable_2d(size: Sizes) -> list[Array]:
    k, i, m, o = size(), size(), size(), size()
    return [kernel((k, k, i, m), -2, -1), kernel((1, 1, i * m, o), -1), bias(o)]


@kind
def lstm(size: Sizes) -> list[Array]:
    i, u = size(), size()
    return [kernel((i, 4 * u), -1), kernel((u, 4 * u), -1), bias(4 * u)]


@kind
def gru(size: Sizes) -> list[Array]:
    i, u = size(), size()
    return [kernel((i, 3 * u), -1), kernel((u, 3 * u), -1), bias(2, 3 * u)]


@kind
def gru_of_one_bias(size: Sizes) -> list[Array]:
    i, u = size(), size()
    return [kernel((i, 3 * u), -1), kernel((u, 3 * u), -1), bias(3 * u)]


@kind
def conv_lstm(size: Sizes) -> list[Array]:
    k, i, u = size(), size(), size()
    return [kernel((k, k, i, 4 * u), -1), kernel((k, k, u, 4 * u), -1), bias(4 * u)]


@kind
def locally_connected(size: Sizes) -> list[Array]:
    place, i, o = size(), size(), size()
    return [kernel((place, i, o), 0, 2), bias(place, o)]


@kind
def experts_with_biases(size: Sizes) -> list[Array]:
    e, i, o = size(), size(), size()
    return [kernel((e, i, o), 0, 2), bias(e, o), kernel((e, o, i), 0, 2), bias(e, i)]


@kind
def batch_normalization(size: Sizes) -> list[Array]:
    n = size()
    return [Array((n,), role) for role in ("scale", "bias", "statistic", "statistic")]


@kind
def layer_normalization(size: Sizes) -> list[Array]:
    n = size()
    return [Array((n,), role) for role in ("scale", "bias")]


def bank(count: int, i: int, o: int, *units: int) -> list[Array]:
    return [kernel((count, i, o), *units), kernel((i, o), -1)]


ALONE: dict[str, Callable[[Sizes], list[Array]]] = {
    "embedding": lambda size: [Array((size(), size()), "embedding", (0,))],
    "dense without bias": lambda size: [kernel((size(), size()), -1)],
    "rms normalization": lambda size: [Array((size(),), "scale")],
    "relations, and the node itself": lambda size: bank(size(), size(), size(), 0, 2),
    "a window, and a way around it": lambda size: bank(size(), size(), size(), 2),
    "prelu": lambda size: [Array((size(), size()), "scale")],
    "simple rnn": lambda size: [kernel((3, 5), -1), kernel((5, 5), -1), bias(5)],
    "count beside statistics": lambda size: [
        Array((4,), "statistic"),
        Array((4,), "statistic"),
        Array((), "statistic"),
    ],
}
"""Layers of which shapes do not tell enough."""


def primes() -> Sizes:
    """Sizes of which no two, and no product of two, are alike."""
    return iter((5, 7, 11, 13, 17, 19, 23, 29)).__next__


def sizes(seed: int, most: int) -> Sizes:
    draw = random.Random(seed)
    return lambda: draw.randint(1, most)


def numbered(path: str, layer: Sequence[Array]) -> list[Variable]:
    """The layer as Keras 3 stores it under a name of its own."""
    return [Variable(f"{path}/vars/{n}", f"{path}/vars/{n}", one.shape, "float32") for n, one in enumerate(layer)]


def claimed(variables: Sequence[Variable], roles: Mapping[str, Role] | None = None) -> Mapping[str, Claim]:
    return shapes.claims(variables, roles or {})


def wide(axes: Shape, shape: Shape) -> Shape:
    return tuple(axis for axis in axes if shape[axis] > 1)


def contradictions(arrays: Sequence[Array], claims: Sequence[Claim | None]) -> Iterator[tuple[Array, Claim]]:
    for array, claim in zip(arrays, claims, strict=True):
        if claim is None:
            continue
        if claim.role not in (None, array.role):
            yield array, claim
        elif claim.unit_axes is not None:
            assert array.units is not None
            if wide(claim.unit_axes, array.shape) != wide(array.units, array.shape):
                yield array, claim


@pytest.mark.parametrize("name", KINDS)
def test_where_lengths_differ_the_only_reading_is_claimed(name: str) -> None:
    layer = KINDS[name](primes())
    variables = numbered("block/query" if name == "heads" else "x", layer)
    claims = claimed(variables)
    for variable, array in zip(variables, layer, strict=True):
        assert claims[variable.key][:3] == ("shape", array.role, array.units), (variable, array)


@pytest.mark.parametrize("name", [*KINDS, *ALONE])
@given(seed=st.integers(0, 2**32), most=st.sampled_from((2, 3, 6, 16)))
def test_no_claim_contradicts_the_layer_whatever_its_sizes(name: str, seed: int, most: int) -> None:
    layer = (KINDS | ALONE)[name](sizes(seed, most))
    variables = numbered("x", layer)
    claims = claimed(variables)
    assert not list(contradictions(layer, [claims.get(variable.key) for variable in variables]))


@pytest.mark.parametrize("name", ALONE)
def test_of_what_stands_alone_nothing_is_claimed(name: str) -> None:
    assert not claimed(numbered("x", ALONE[name](primes())))


@given(seed=st.integers(0, 2**32))
def test_the_order_in_a_file_and_other_layers_in_it_do_not_matter(seed: int) -> None:
    draw = random.Random(seed)
    names = draw.choices([*KINDS, *ALONE], k=6)
    layers = [
        (f"block/{draw.choice('abc')}{n}", (KINDS | ALONE)[name](sizes(seed + n, 9))) for n, name in enumerate(names)
    ]
    apart = {key: claim for path, layer in layers for key, claim in claimed(numbered(path, layer)).items()}
    together = [variable for path, layer in layers for variable in numbered(path, layer)]
    draw.shuffle(together)
    assert claimed(together) == apart


WORDS = [
    ("kernel", "bias"),
    ("weights", "biases"),
    ("w", "b"),
    ("W", "b"),
    ("conv1_W", "conv1_b"),
    ("W_conv1", "b_conv1"),
    ("w1", "b1"),
    ("weights_2", "biases_2"),
    ("f_kernel", "f_bias"),
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[0])
@pytest.mark.parametrize("name", [name for name, make in KINDS.items() if len(make(primes())) == 2 and name[0] != "l"])
def test_kernel_and_bias_are_found_by_the_words_of_their_names(words: tuple[str, str], name: str) -> None:
    layer = KINDS[name](primes())
    variables = [
        Variable(f"a/{word}", f"a/{word}", one.shape, "float32") for word, one in zip(words, layer, strict=True)
    ]
    claims = claimed([Variable("a/other", "a/other", (3, 3), "float32"), *variables])
    assert [claims[variable.key][1:3] for variable in variables] == [(one.role, one.units) for one in layer]


@pytest.mark.parametrize(
    "words", [("w1", "b2"), ("conv1_W", "conv2_b"), ("depthwise_kernel", "bias"), ("table", "bias"), ("kernel", "beta")]
)
def test_a_bias_of_another_stem_is_none_of_the_kernel(words: tuple[str, str]) -> None:
    assert not claimed([Variable(words[0], words[0], (3, 5), "float32"), Variable(words[1], words[1], (5,), "float32")])


def test_two_kernels_of_one_stem_share_no_bias() -> None:
    pair = numbered("", dense(primes()))
    names = ["a/kernel", "a/w", "a/bias"]
    arrays = [pair[0].shape, pair[0].shape, pair[1].shape]
    assert not claimed([Variable(name, name, shape, "float32") for name, shape in zip(names, arrays, strict=True)])


@pytest.mark.parametrize(
    ("shape", "units"), [((7, 5, 3, 3), (0,)), ((5, 7, 3, 3), (1,)), ((7, 5, 3), (0,)), ((7, 5), (0,))]
)
def test_a_weight_as_pytorch_names_it_can_have_its_units_first(shape: Shape, units: Shape) -> None:
    variables = [Variable("c/weight", "c/weight", shape, "float32"), Variable("c/bias", "c/bias", (7,), "float32")]
    assert claimed(variables)["c/weight"][1:3] == ("kernel", units)


@pytest.mark.parametrize("name", ["query", "value_dense", "_qkv_dense", "query_key_value"])
def test_a_bias_of_heads_tells_where_the_layer_is_called_a_part_of_an_attention(name: str) -> None:
    claims = claimed(numbered(f"block/{name}", heads(primes())))
    assert [claim[:3] for claim in claims.values()] == [("shape", "bias", None), ("shape", "kernel", (1, 2))]


@pytest.mark.parametrize("name", ["x", "self_kernel", "heads"])
def test_a_bias_of_heads_is_none_where_the_layer_is_not_called_a_part_of_an_attention(name: str) -> None:
    """It may be a kernel of its own, beside a bank of such kernels."""
    assert not claimed(numbered(f"block/{name}", heads(primes())))


OPEN = [((4, 4, 8, 8), (8,)), ((4, 8, 8), (8,)), ((4, 6, 6), (4, 6))]


@pytest.mark.parametrize(("shape", "of_bias"), OPEN)
def test_lengths_that_fit_two_readings_leave_the_axes_open(shape: Shape, of_bias: Shape) -> None:
    claims = claimed(numbered("x", [kernel(shape, -1), bias(*of_bias)]))
    assert claims["x/vars/0"][:3] == ("shape", "kernel", None)


def test_a_square_matrix_of_keras_is_taken_for_in_and_out_as_keras_orders_all_and_that_is_no_evidence_of_shapes() -> (
    None
):
    claims = claimed(numbered("x", [kernel((8, 8), -1), bias(8)]))
    assert claims["x/vars/0"][:3] == ("name", "kernel", (1,))


def test_a_matrix_called_an_embedding_is_not_taken_for_a_kernel() -> None:
    assert not claimed(numbered("token_embedding", [Array((50, 8), "embedding", (0,)), Array((8,), "unknown")]))


# --- attention


def attention(size: Sizes, first: bool, out_first: bool, biased: bool, groups: int = 1) -> dict[str, list[Array]]:
    """(in, heads, size) or, `first`, (heads, in, size); the output (heads, size, out) or (out, heads, size)."""
    i, j, o, h, d, v = size(), size(), size(), size(), size(), size()
    h, k = h * groups, h

    def part(inner: int, count: int, depth: int) -> list[Array]:
        one = kernel((count, inner, depth), 0, 2) if first else kernel((inner, count, depth), 1, 2)
        return [one, bias(count, depth)] if biased else [one]

    out = kernel((o, h, v), 0) if out_first else kernel((h, v, o), 2)
    return {
        "query": part(i, h, d),
        "key": part(j, k, d),
        "value": part(j, k, v),
        "output": [out, bias(o)] if biased and not out_first else [out],
    }


LAYOUTS = list(itertools.product((False, True), (False, True), (False, True), (1, 2)))
CALLED = [
    "query key value attention_output",
    "query_dense key_dense value_dense output_dense",
    "_query_dense _key_dense _value_dense _output_dense",
    "q_proj k_proj v_proj o_proj",
    "query_projector key_projector value_projector output_projector",
]


def in_block(parts: Mapping[str, Sequence[Array]], called: str) -> tuple[list[Variable], list[Array]]:
    variables = [
        variable
        for name, layer in zip(called.split(), parts.values(), strict=True)
        for variable in numbered(f"a/{name}", layer)
    ]
    return variables, [array for layer in parts.values() for array in layer]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("called", CALLED)
def test_siblings_of_an_attention_tell_where_heads_are(layout: tuple[bool, bool, bool, int], called: str) -> None:
    variables, arrays = in_block(attention(primes(), *layout), called)
    claims = claimed(variables)
    assert [claims[one.key][1:3] for one in variables] == [(one.role, one.units) for one in arrays]


@given(layout=st.sampled_from(LAYOUTS), seed=st.integers(0, 2**32), most=st.sampled_from((2, 4, 9)))
def test_no_claim_contradicts_an_attention_whatever_its_sizes(
    layout: tuple[bool, bool, bool, int], seed: int, most: int
) -> None:
    variables, arrays = in_block(attention(sizes(seed, most), *layout), CALLED[0])
    claims = claimed(variables)
    assert not list(contradictions(arrays, [claims.get(one.key) for one in variables]))


def test_as_many_heads_as_inputs_leave_an_attention_open() -> None:
    parts = {"query": (4, 4, 8), "key": (4, 4, 8), "value": (4, 4, 8), "output": (4, 8, 4)}
    variables = [Variable(f"a/{name}/vars/0", name, shape, "float32") for name, shape in parts.items()]
    claims = claimed(variables)
    assert {name: claims[name].unit_axes for name in ("query", "key", "value")} == dict.fromkeys(
        ("query", "key", "value")
    )


def test_the_usual_layout_of_an_attention_by_name_yields_to_its_shapes() -> None:
    parts = attention(primes(), first=True, out_first=False, biased=False)
    variables = [
        Variable(f"a/{name}/kernel", name, layer[0].shape, "float32", Hint(source="name", weight=f"{name}/kernel"))
        for name, layer in parts.items()
    ]
    found = {one.key: one.identity for one in identify(variables)}
    for name in ("query", "key", "value"):
        identity = found[name]
        assert identity is not None
        assert (identity.unit_axes, identity.axis_source) == ((0, 2), "shape")


def test_an_output_that_takes_all_heads_as_one_axis_tells_too() -> None:
    parts = attention(primes(), first=True, out_first=False, biased=False)
    heads, size, out = parts["output"][0].shape
    parts["output"] = [kernel((heads * size, out), 1)]
    variables, arrays = in_block(parts, CALLED[0])
    claims = claimed(variables)
    assert [claims[one.key].unit_axes for one in variables[:3]] == [one.units for one in arrays[:3]]


def test_projections_wrapped_in_layers_of_their_own_are_an_attention_still() -> None:
    parts = attention(primes(), first=True, out_first=False, biased=False)
    variables = [one for name, layer in parts.items() for one in numbered(f"a/{name}/dense", layer)]
    limits = [Variable(f"a/{name}/vars/0", f"limit of {name}", (1,), "float32") for name in parts]
    assert claimed([*variables, *limits]) == claimed(variables) != {}


def test_what_is_known_to_be_no_kernel_is_no_part_of_an_attention_or_a_cell() -> None:
    parts = attention(primes(), first=True, out_first=False, biased=False)
    variables = [*in_block(parts, CALLED[0])[0], *numbered("cell", KINDS["lstm"](primes()))]
    roles: dict[str, Role] = {variable.key: "lora" for variable in variables if len(variable.shape) > 1}
    assert not any(len(one.shape) > 1 and one.key in claimed(variables, roles) for one in variables)


def test_three_parts_are_no_attention() -> None:
    parts = attention(primes(), first=False, out_first=False, biased=False)
    variables = [Variable(f"a/{name}/vars/0", name, layer[0].shape, "float32") for name, layer in parts.items()]
    assert not claimed(variables[:3])


# --- experts


def experts(size: Sizes, fused: bool, out_first: bool) -> list[Array]:
    """A router (in, experts), then gate, up and down: (experts, in, out), or (experts, out, in)."""
    e, i, o = size(), size(), size()
    up, down = (i, o), (o, i)
    wider = (i, 2 * o) if fused else up
    bank = [wider, down] if fused else [up, up, down]
    if out_first:
        bank = [(one[1], one[0]) for one in bank]
    return [kernel((i, e), 1), *(kernel((e, *one), 0, 1 if out_first else 2) for one in bank)]


def mixture(arrays: Sequence[Array]) -> list[Variable]:
    return [*numbered("moe/router", arrays[:1]), *numbered("moe/experts", arrays[1:])]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("out_first", [False, True])
def test_the_router_tells_the_layout_of_experts(fused: bool, out_first: bool) -> None:
    arrays = experts(primes(), fused, out_first)
    claims = claimed(mixture(arrays))
    bank = [claims[f"moe/experts/vars/{n}"] for n in range(len(arrays) - 1)]
    assert [one[:3] for one in bank] == [("shape", "kernel", array.units) for array in arrays[1:]]


def test_gate_up_and_down_without_a_router_are_each_other_s_mirror_and_stay_open() -> None:
    assert not claimed(numbered("moe/experts", experts(primes(), fused=False, out_first=False)[1:]))


@given(fused=st.booleans(), out_first=st.booleans(), seed=st.integers(0, 2**32), most=st.sampled_from((2, 4, 9)))
def test_no_claim_contradicts_experts_whatever_their_sizes(fused: bool, out_first: bool, seed: int, most: int) -> None:
    arrays = experts(sizes(seed, most), fused, out_first)
    variables = mixture(arrays)
    claims = claimed(variables)
    assert not list(contradictions(arrays, [claims.get(one.key) for one in variables]))


# --- what else a file holds


def test_what_the_config_tells_of_a_layer_is_left_to_it() -> None:
    told = [
        Variable("e/kernel", "k", (5, 7, 3), "float32", Hint("keras", "EinsumDense", "layer", "kernel")),
        Variable("e/bias", "b", (3,), "float32", Hint("keras", "EinsumDense", "layer", "bias")),
    ]
    assert not claimed(told)


@pytest.mark.parametrize(
    "facts", [{"state": "optimizer"}, {"dtype": "int8"}, {"shape": (0, 5)}, {"shape": (1,) * 30 + (5,)}], ids=str
)
def test_of_optimizer_state_integers_and_odd_shapes_nothing_is_claimed(facts: dict[str, object]) -> None:
    given_facts = {"name": "x/vars/0", "key": "k", "shape": (3, 5), "dtype": "float32"} | facts
    assert not claimed([Variable(**given_facts), Variable("x/vars/1", "b", (5,), "float32")])  # type: ignore[arg-type]


@pytest.mark.parametrize("roles", [{"k": "embedding"}, {"k": "lora"}, {"b": "scale"}, {"b": "statistic"}], ids=str)
def test_a_role_that_is_known_stays(roles: dict[str, Role]) -> None:
    pair = [Variable("x/kernel", "k", (3, 5), "float32"), Variable("x/bias", "b", (5,), "float32")]
    assert not claimed(pair, roles)


def test_stored_copies_of_one_weight_are_claimed_together() -> None:
    pair = [Variable("x/vars/0", key, (3, 5), "float32") for key in ("k", "copy")]
    claims = claimed([*pair, Variable("x/vars/1", "b", (5,), "float32")])
    assert claims["k"] == claims["copy"] == Claim("shape", "kernel", (1,), "the bias of 5")


HUGE: dict[str, Callable[[], list[Variable]]] = {
    "one layer of 100,000 numbers": lambda: [
        Variable(f"x/vars/{n}", f"{n}", (3, 5), "float32") for n in range(100_000)
    ],
    "one layer of 100,000 kernels": lambda: [
        Variable(f"x/{word}{n}", f"{word}{n}", shape, "float32")
        for n in range(50_000)
        for word, shape in (("w", (3, 5)), ("b", (5,)))
    ],
    "a block of 50,000 layers": lambda: [
        variable for n in range(50_000) for variable in numbered(f"a/x{n}", [kernel((3, n + 1), -1), bias(n + 1)])
    ],
    "a block of 30,000 banks": lambda: [
        variable for n in range(30_000) for variable in numbered(f"a/x{n}", [kernel((3, 5, 7), 0, 2)] * 3)
    ],
    "routers of 100,000 widths": lambda: [
        *(Variable(f"a/x{n}/vars/0", f"{n}", (3, n + 1), "float32") for n in range(100_000)),
        *(variable for n in range(100) for variable in numbered(f"a/bank{n}", [kernel((3, 5, 7), 0, 2)] * 3)),
    ],
    "names of a megabyte": lambda: [Variable(f"{'w_' * 500_000}{n}", f"{n}", (3, 5), "float32") for n in range(4)],
    "deep paths": lambda: [Variable(f"{'a/' * 5000}{n}/w", f"{n}", (3, 5), "float32") for n in range(1000)],
    "numbers of a thousand digits": lambda: [
        Variable(f"x/vars/{'1' * 1000}{n}", f"{n}", (3, 5), "float32") for n in range(10_000)
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE)
def test_the_cost_is_linear(name: str) -> None:
    variables = HUGE[name]()
    before = time.process_time()
    claimed(variables)
    assert time.process_time() - before < 5
