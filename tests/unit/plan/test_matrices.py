"""Which matrices a variable is, under the spectral norm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.variables import keras_variable

from renorm_cli.errors import UsageError
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.norm import SPECTRAL, PNorm, SpectralNorm
from renorm_cli.model.plan import Step
from renorm_cli.model.variable import GraphUse, Variable
from renorm_cli.plan.bounds import OneBound, bound_source
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.plan.rules import Rule, RuleBounds, Rules
from renorm_cli.plan.units import units_of

BOUND = Constraint(1.0, SPECTRAL, "tensor")
OPERATORS = Constraint(None, SpectralNorm(operator=True), "tensor")


def step(variable: Variable, source: Any = None) -> Step:
    (found,) = make_plan([variable], (), Request(source or OneBound(BOUND))).steps
    return found


def axes(found: Step) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of blocks and those of columns."""
    return found.unit_axes, found.columns


@pytest.mark.parametrize(
    ("layer", "weight", "shape", "blocks", "columns"),
    [
        ("Dense", "kernel", (4, 3), (), (1,)),
        ("Conv2D", "kernel", (3, 3, 4, 5), (), (3,)),
        ("Conv2DTranspose", "kernel", (3, 3, 4, 5), (), (2,)),
        ("DepthwiseConv1D", "kernel", (3, 4, 2), (1,), (2,)),
        ("DepthwiseConv2D", "kernel", (3, 3, 4, 2), (2,), (3,)),
        ("DepthwiseConv2D", "depthwise_kernel", (3, 3, 4, 2), (2,), (3,)),
        ("SeparableConv2D", "depthwise_kernel", (3, 3, 4, 2), (2,), (3,)),
        ("SeparableConv2D", "pointwise_kernel", (1, 1, 8, 5), (), (3,)),
        (None, "depthwise_kernel", (3, 3, 4, 2), (2,), (3,)),
        ("LocallyConnected1D", "kernel", (6, 8, 5), (0,), (2,)),
        ("LSTM", "recurrent_kernel", (5, 20), (), (1,)),
        ("MultiHeadAttention", "query/kernel", (8, 2, 4), (), (1, 2)),
        ("MultiHeadAttention", "attention_output/kernel", (2, 4, 8), (), (2,)),
        ("Embedding", "embeddings", (9, 4), (), (1,)),
    ],
)
def test_columns_are_outputs_and_an_axis_that_is_input_and_output_names_blocks(
    layer: str | None, weight: str, shape: tuple[int, ...], blocks: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    assert axes(step(keras_variable("a", "a", shape, layer=layer, weight=weight))) == (blocks, columns)


@pytest.mark.parametrize(
    ("equation", "shape", "blocks", "columns"),
    [
        ("abc,cde->abde", (4, 2, 3), (), (1, 2)),
        ("bhd,hde->bhe", (2, 4, 5), (0,), (2,)),
        ("abcd,cde->abce", (2, 4, 5), (0,), (2,)),
        ("ab,b->ab", (5, 1), (), ()),
        ("bghd,ghde->bghe", (2, 3, 4, 5), (0, 1), (3,)),
    ],
)
def test_the_letters_of_an_equation_tell_blocks(
    equation: str, shape: tuple[int, ...], blocks: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    variable = keras_variable("a/kernel", "a", shape, layer="EinsumDense", weight="kernel", equation=equation)
    found = step(variable)
    if equation != "ab,b->ab":  # which is not of this rank
        assert axes(found) == (blocks, columns)
    assert found.constraint == BOUND


def test_the_name_of_a_depthwise_kernel_and_a_depthwise_op_tell_blocks() -> None:
    assert axes(step(keras_variable("MobilenetV1/Conv2d_1_depthwise/depthwise_weights", "a", (3, 3, 8, 2)))) == (
        (2,),
        (3,),
    )
    used = GraphUse("kernel", (2, 3), ("DepthwiseConv2dNative",))
    assert axes(step(Variable("w", "w", (3, 3, 8, 2), "float32", use=used))) == ((2,), (3,))


@pytest.mark.parametrize(
    ("layer", "shape", "spatial"),
    [
        ("Conv1D", (5, 4, 3), (0,)),
        ("Conv2D", (3, 3, 4, 5), (0, 1)),
        ("Conv2D", (3, 1, 4, 5), (0,)),
        ("Conv2DTranspose", (3, 3, 4, 5), (0, 1)),
        ("Conv3D", (2, 2, 2, 4, 5), (0, 1, 2)),
        ("DepthwiseConv2D", (3, 3, 4, 2), (0, 1)),
        ("ConvLSTM2D", (3, 3, 4, 20), (0, 1)),
        ("LocallyConnected1D", (6, 8, 5), ()),
        ("EinsumDense", (6, 8, 5), ()),
        ("Dense", (8, 5), ()),
    ],
)
def test_the_axes_along_which_a_convolution_moves_are_known(
    layer: str, shape: tuple[int, ...], spatial: tuple[int, ...]
) -> None:
    assert step(keras_variable("a", "a", shape, layer=layer, weight="kernel")).spatial == spatial
    by_graph = GraphUse("kernel", (3,), ("Conv2D",))
    assert step(Variable("w", "w", (3, 3, 8, 2), "float32", use=by_graph)).spatial == (0, 1)


def test_the_user_names_the_columns_and_then_there_are_no_blocks() -> None:
    depthwise = keras_variable("a", "a", (3, 3, 4, 2), layer="DepthwiseConv2D", weight="kernel")
    told = OneBound(BOUND, units_of([(None, "2,3")]))
    assert axes(step(depthwise, told)) == ((), (2, 3))
    rules = RuleBounds(Rules("r", (Rule(1, ("*",), 1.0, SPECTRAL, units=(0,)),)), OneBound(), takes_rest=False)
    found = step(depthwise, rules)
    assert (axes(found), found.axis_source, found.constraint) == (((), (0,)), "rule", BOUND)


def test_the_axes_of_two_are_no_guess_and_those_of_more_are() -> None:
    assert step(keras_variable("a/kernel", "a", (4, 1, 3), weight="kernel")).axis_source == "shape"
    assert step(keras_variable("a/kernel", "a", (4, 2, 3), weight="kernel")).axis_source == "guess"


def test_a_rule_has_its_own_norm_and_what_it_does_not_say_is_as_the_options_have_it() -> None:
    variable = keras_variable("a", "a", (4, 3), layer="Dense", weight="kernel")
    for rule, rest, constraint in (
        (Rule(1, ("*",), 2.0, SPECTRAL), Constraint(), Constraint(2.0, SPECTRAL, "tensor")),
        (Rule(1, ("*",), 2.0, SPECTRAL), OPERATORS, replace(OPERATORS, limit=2.0)),
        (Rule(1, ("*",), 2.0), Constraint(None, SPECTRAL, "tensor"), Constraint(2.0, SPECTRAL, "tensor")),
        (Rule(1, ("*",), 2.0, PNorm(1.0)), Constraint(None, SPECTRAL, "tensor"), Constraint(2.0, PNorm(1.0), "unit")),
    ):
        assert (
            step(variable, RuleBounds(Rules("r", (rule,)), OneBound(rest), takes_rest=False)).constraint == constraint
        )
    with pytest.raises(UsageError, match="rules 'r': rule 1 has per, and a spectral norm is that of a matrix"):
        RuleBounds(Rules("r", (Rule(1, ("*",), 2.0, per="unit"),)), OneBound(BOUND), takes_rest=False)
    with pytest.raises(UsageError, match="declared constraints have their limits"):
        bound_source(Constraint(None, SPECTRAL, "tensor"), declared="check")
