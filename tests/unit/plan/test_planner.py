from __future__ import annotations

from typing import Any

import pytest
from support.variables import keras_variable

from renorm_cli.errors import FormatError, SelectionError, UsageError, Way
from renorm_cli.model.constraint import Constraint, Selection
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Note, Plan
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan, parse_units


def variable(name: str, shape: tuple[int, ...] = (4, 3), dtype: str = "float32", **facts: Any) -> Variable:
    facts.setdefault("weight", name.rpartition("/")[2])
    return keras_variable(name, f"file/{name}", shape, dtype, **facts)


KERNEL = variable("dense/kernel", layer="Dense")
BIAS = variable("dense/bias", (3,), layer="Dense")
TABLE = variable("words/embeddings", (9, 2), layer="Embedding")
STEP = variable("optimizer/iteration", (), "int64", state="optimizer")
SLOT = variable("optimizer/momentum", (4, 3), state="optimizer", weight=None)
ODD = variable("mixer/w", (4, 3), weight=None)


def plan(*variables: Variable, **wanted: Any) -> Plan:
    source = OneBound(wanted.pop("constraint", Constraint(1.0)), wanted.pop("units", None))
    return make_plan(variables, (), Request(source, **wanted))


def steps(made: Plan) -> dict[str, tuple[int, ...]]:
    return {step.variable.name: step.unit_axes for step in made.steps}


def reasons(made: Plan) -> dict[str, str]:
    return {skip.variable.name: skip.reason for skip in made.skips}


def test_kernels_and_embeddings_are_steps_and_everything_else_is_a_skip_with_a_reason() -> None:
    made = plan(KERNEL, BIAS, TABLE, STEP, SLOT, ODD)
    assert steps(made) == {"dense/kernel": (1,), "words/embeddings": (0,)}
    assert set(reasons(made)) == {"dense/bias", "optimizer/iteration", "optimizer/momentum", "mixer/w"}
    assert all(reasons(made).values())
    assert "int64" in reasons(made)["optimizer/iteration"]


def test_a_variable_of_rank_2_that_nothing_tells_about_is_said_with_the_option_that_selects_it() -> None:
    assert plan(KERNEL, ODD).notes == (
        Note("'mixer/w': skipped, nothing in the file tells what it is", True, (Way("include", "select it"),)),
    )
    with pytest.raises(SelectionError, match=r"'mixer/w': .*; select it with include=, or leave out strict=True"):
        plan(KERNEL, ODD, strict=True)


def test_a_guessed_axis_is_said_and_with_strict_is_an_error() -> None:
    made = plan(KERNEL, ODD, selection=Selection(("*",)))
    assert steps(made)["mixer/w"] == (1,)
    assert [str(note) for note in made.notes] == [
        "'mixer/w': the unit axes are a guess from the shape; say them with units="
    ]
    with pytest.raises(SelectionError, match="'mixer/w': the unit axes are a guess"):
        plan(KERNEL, ODD, selection=Selection(("*",)), strict=True)
    assert plan(KERNEL, ODD, selection=Selection(("*",)), strict=True, units=(0,)).notes == ()


def test_a_bias_can_be_asked_for_and_is_one_unit() -> None:
    assert steps(plan(KERNEL, BIAS, selection=Selection(("*bias",)))) == {"dense/bias": ()}


@pytest.mark.parametrize(("units", "axes"), [((-1,), (1,)), ((0,), (0,)), ((1, 0), (0, 1)), ((0, -1), (0, 1))])
def test_units_are_normalized_and_said_to_come_from_the_option(units: tuple[int, ...], axes: tuple[int, ...]) -> None:
    (step,) = plan(KERNEL, units=units).steps
    assert (step.unit_axes, step.axis_source) == (axes, "option")


@pytest.mark.parametrize("units", [(2,), (-3,), (0, 5)])
def test_units_out_of_range_name_the_variable_and_the_range(units: tuple[int, ...]) -> None:
    with pytest.raises(
        SelectionError, match=r"out of range for 'dense/kernel' of shape \[4, 3\]: axes go from -2 to 1"
    ):
        plan(KERNEL, units=units)


def test_one_axis_twice_is_an_error() -> None:
    with pytest.raises(SelectionError, match=r"units 1,-1 names one axis twice"):
        plan(KERNEL, units=(1, -1))


@pytest.mark.parametrize("text", ["", "x", "1.5", "1,", "auto,1", "0;1"])
def test_units_that_are_no_axes_are_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="the units are auto or axes"):
        parse_units(text)


def test_units_are_read_as_integers() -> None:
    assert parse_units("auto") is None
    assert parse_units("-1") == (-1,)
    assert parse_units("0, 2") == (0, 2)


def test_nothing_selected_is_an_error_for_a_gate_and_fine_for_a_look() -> None:
    with pytest.raises(SelectionError, match="none of the 1 variables is selected"):
        plan(BIAS)
    assert plan(BIAS, must_act=False).steps == ()


def test_a_selected_variable_that_cannot_be_read_is_an_error_unless_one_only_looks() -> None:
    locked = variable("enc/kernel", layer="Dense", locked="the filter scaleoffset is lossy")
    with pytest.raises(FormatError, match="'enc/kernel' is selected but is not readable: the filter scaleoffset"):
        plan(KERNEL, locked)
    assert reasons(plan(KERNEL, locked, must_act=False)) == {"enc/kernel": "the filter scaleoffset is lossy"}
    assert steps(plan(KERNEL, locked, selection=Selection((), ("enc/*",)))) == {"dense/kernel": (1,)}


def test_an_empty_variable_is_skipped_also_when_named() -> None:
    empty = variable("none/kernel", (0, 3), layer="Dense")
    assert reasons(plan(KERNEL, empty, selection=Selection(("*",)))) == {"none/kernel": "empty: it has no elements"}


def test_a_stored_copy_that_comes_along_is_said() -> None:
    one = variable("shared/kernel", layer="Dense", copies=("file/b",))
    two = keras_variable("shared/kernel", "file/b", (4, 3), layer="Dense", weight="kernel", copies=(one.key,))
    made = plan(one, two, selection=Selection(("file/b",)))
    assert len(made.steps) == 2
    assert [note.text for note in made.notes] == [
        "'file/shared/kernel' is a stored copy of 'shared/kernel' and is changed with it"
    ]


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_bounds_nothing_is_a_usage_error(limit: float) -> None:
    with pytest.raises(UsageError, match="the bound must be a finite number above 0"):
        Constraint(limit)


@pytest.mark.parametrize("p", [0.0, -2.0, 513.0, float("nan")])
def test_a_p_that_is_no_norm_is_a_usage_error(p: float) -> None:
    with pytest.raises(UsageError, match="p must be above 0 and at most 512, or inf"):
        PNorm(p)
