from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.variables import keras_variable

from renorm_cli.conventions.identify import role_of
from renorm_cli.errors import FormatError, SelectionError, UsageError
from renorm_cli.model.constraint import Constraint, Selection
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Plan
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.plan.units import Units, parse_axes, parse_units, units_of


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
    source = OneBound(
        wanted.pop("constraint", Constraint(1.0)), Units(wanted.pop("units", None), wanted.pop("named", ()))
    )
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


def roles(*wanted: Any) -> Selection:
    return Selection(roles=frozenset(wanted))


def test_patterns_choose_among_the_roles() -> None:
    everything = (KERNEL, BIAS, TABLE, STEP, SLOT, ODD)
    assert steps(plan(*everything, selection=Selection(("*",)))) == {"dense/kernel": (1,), "words/embeddings": (0,)}
    assert steps(plan(*everything, selection=Selection(("dense/*",)))) == {"dense/kernel": (1,)}
    assert steps(plan(*everything, selection=roles("optimizer"))) == {"optimizer/momentum": (1,)}
    assert steps(plan(*everything, selection=roles("kernel", "bias"))) == {"dense/kernel": (1,), "dense/bias": ()}
    assert steps(plan(*everything, selection=roles("unknown"))) == {"mixer/w": (1,)}
    assert reasons(plan(*everything, selection=roles("bias")))["mixer/w"] == "not of a role that is asked for"


def test_a_whole_name_takes_its_variable_whatever_the_role_but_no_state_and_no_statistic() -> None:
    mean = variable("norm/moving_mean", (3,), layer="BatchNormalization")
    everything = (KERNEL, BIAS, STEP, SLOT, ODD, mean)
    names = tuple(one.name for one in everything)
    assert set(steps(plan(*everything, selection=Selection(names)))) == {"dense/kernel", "dense/bias", "mixer/w"}
    for one in (SLOT, mean):
        assert steps(plan(*everything, selection=Selection((one.name,), roles=frozenset({role_of(one)})))) != {}
        with pytest.raises(SelectionError, match="none of the 6 variables is selected: the patterns match variables"):
            plan(*everything, selection=Selection((one.name,)))


def test_what_patterns_match_and_the_role_leaves_out_is_said() -> None:
    made = plan(KERNEL, BIAS, SLOT, TABLE, selection=Selection(("*",)))
    assert [str(note) for note in made.notes] == [
        "the patterns match variables that the role leaves out: 1 bias, 1 optimizer;"
        " take roles with role=, or take one by its name with include="
    ]
    assert plan(KERNEL, BIAS, SLOT, TABLE).notes == ()


@pytest.mark.parametrize(
    ("selection", "more"),
    [
        (Selection(("few/kernel",)), ""),
        (Selection(("few/kernel", "flags")), "; nor can 1 more"),
        (roles("quantized"), ""),
    ],
)
def test_what_is_asked_for_and_has_no_numbers_to_measure_is_named(selection: Selection, more: str) -> None:
    few, flags = variable("few/kernel", dtype="uint8", state="quantized"), variable("flags", dtype="bool", weight=None)
    why = f"variables is selected: 'few/kernel' cannot be measured: it is quantized, uint8, no floating type{more}$"
    with pytest.raises(SelectionError, match=why):
        plan(KERNEL, few, flags, selection=selection)


def test_where_nothing_is_left_since_it_is_quantized_the_error_says_so() -> None:
    few = variable("few/kernel", dtype="uint8", state="quantized")
    with pytest.raises(
        SelectionError, match="none of the 2 variables is selected, and 1 is quantized, see `inspect`; "
    ):
        plan(BIAS, few)


def test_a_guessed_axis_is_a_step_that_says_so() -> None:
    (step,) = plan(KERNEL, ODD, selection=Selection(("mixer/w",))).steps
    assert (step.unit_axes, step.axis_source, step.role) == ((1,), "guess", "unknown")


def test_units_with_a_pattern_are_those_of_what_it_names_and_make_a_kernel_of_an_unknown_matrix() -> None:
    vector = variable("mixer/v", (4,), weight=None)
    made = plan(KERNEL, TABLE, ODD, vector, named=(("mixer/*", (0,)),))
    assert {step.variable.name: (step.role, step.unit_axes, step.axis_source) for step in made.steps} == {
        "dense/kernel": ("kernel", (1,), "layer"),
        "words/embeddings": ("embedding", (0,), "layer"),
        "mixer/w": ("kernel", (0,), "option"),
    }
    assert steps(plan(KERNEL, ODD, units=(0,))) == {"dense/kernel": (0,)}
    assert steps(plan(KERNEL, ODD, SLOT, units=(0,), named=(("*", (1,)),))) == {"dense/kernel": (1,), "mixer/w": (1,)}


def test_the_last_pattern_of_units_decides_and_auto_gives_back_what_the_file_tells() -> None:
    one, other = (("dense/*", (0,)), ("*/kernel", (0, 1)))
    assert steps(plan(KERNEL, named=(one, other))) == {"dense/kernel": (0, 1)}
    assert steps(plan(KERNEL, named=(other, one))) == {"dense/kernel": (0,)}
    assert steps(plan(KERNEL, named=(other, ("dense/kernel", None)))) == {"dense/kernel": (1,)}


def test_units_for_a_name_that_is_not_there_name_the_closest() -> None:
    with pytest.raises(
        SelectionError, match=r"units 'dense/kernal' matches none of the 1 variable; closest: 'dense/kernel'"
    ):
        plan(KERNEL, named=(("dense/kernal", (0,)),))


def test_where_only_matrices_that_nothing_identifies_are_left_the_error_names_them_and_the_ways() -> None:
    with pytest.raises(
        SelectionError,
        match=r"none of the 2 variables is selected: 1 of 1 matrix not identified: 'mixer/w' \(4x3\);"
        r" lend what they are with like='CHECKPOINT', or say the axes with units='mixer/w=AXES'$",
    ):
        plan(BIAS, ODD)


def test_a_bias_can_be_asked_for_and_is_one_unit() -> None:
    assert steps(plan(KERNEL, BIAS, selection=Selection(("dense/bias",)))) == {"dense/bias": ()}


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
        parse_axes(text)


def test_units_are_read_as_integers_behind_the_last_equals_sign() -> None:
    assert parse_axes("auto") is None
    assert parse_axes("-1") == (-1,)
    assert parse_axes("0, 2") == (0, 2)
    assert parse_units("0, 2") == (None, "0, 2")
    assert parse_units("a=b/*=0,1") == ("a=b/*", "0,1")
    assert units_of([("a", "0"), (None, "1"), ("b", "auto"), (None, "-1")]) == Units((-1,), (("a", (0,)), ("b", None)))


def test_nothing_selected_is_an_error_for_a_gate_and_fine_for_a_look() -> None:
    with pytest.raises(SelectionError, match="none of the 1 variable is selected, see"):
        plan(BIAS)
    assert plan(BIAS, must_act=False).steps == ()


def test_a_selected_variable_that_cannot_be_read_is_an_error_unless_one_only_looks() -> None:
    locked = variable("enc/kernel", layer="Dense", locked="the filter scaleoffset is lossy")
    with pytest.raises(FormatError, match="'enc/kernel' is selected but is not readable: the filter scaleoffset"):
        plan(KERNEL, locked)
    assert reasons(plan(KERNEL, locked, must_act=False)) == {"enc/kernel": "the filter scaleoffset is lossy"}
    assert steps(plan(KERNEL, locked, selection=Selection((), ("enc/*",)))) == {"dense/kernel": (1,)}


def test_a_selected_variable_that_can_only_be_read_is_measured_and_an_error_where_it_would_be_changed() -> None:
    fixed = variable("enc/kernel", layer="Dense", fixed="its numbers vary in length")
    assert steps(plan(KERNEL, fixed)) == {"dense/kernel": (1,), "enc/kernel": (1,)}
    with pytest.raises(FormatError, match="'enc/kernel' is selected but cannot be changed: its numbers vary"):
        plan(KERNEL, fixed, changes=True)
    assert steps(plan(KERNEL, fixed, changes=True, selection=Selection((), ("enc/*",)))) == {"dense/kernel": (1,)}


def test_an_empty_variable_is_skipped_also_when_named() -> None:
    empty = variable("none/kernel", (0, 3), layer="Dense")
    assert reasons(plan(KERNEL, empty, selection=Selection(("*",)))) == {"none/kernel": "empty: it has no elements"}


def test_stored_copies_that_are_decided_otherwise_stay_apart() -> None:
    one = variable("shared/kernel", layer="Dense", copies=("file/b",))
    two = replace(one, key="file/b", copies=(one.key,), locked="the filter scaleoffset is lossy")
    made = plan(one, two, must_act=False)
    assert ([step.copies for step in made.steps], [skip.copies for skip in made.skips]) == ([()], [()])


def test_stored_copies_whose_units_lie_along_other_axes_are_steps_of_their_own() -> None:
    one = variable("shared/kernel", layer="Dense", copies=("file/b",))
    two = keras_variable("ids/embeddings", "file/b", one.shape, layer="Embedding", weight="embeddings")
    made = plan(one, replace(two, copies=(one.key,)))
    assert [(step.role, step.unit_axes, step.copies) for step in made.steps] == [
        ("kernel", (1,), ()),
        ("embedding", (0,), ()),
    ]


def test_copies_of_one_weight_that_is_skipped_are_one_skip() -> None:
    one = variable("shared/bias", shape=(3,), copies=("file/b",))
    (skip,) = plan(one, replace(one, key="file/b", copies=(one.key,)), must_act=False).skips
    assert [copy.key for copy in skip.copies] == ["file/b"]


def test_a_stored_copy_that_comes_along_is_said() -> None:
    one = variable("shared/kernel", layer="Dense", copies=("file/b",))
    two = keras_variable("shared/kernel", "file/b", (4, 3), layer="Dense", weight="kernel", copies=(one.key,))
    made = plan(one, two, selection=Selection(("file/b",)))
    assert [[each.key for each in step.stored] for step in made.steps] == [[one.key, two.key]]
    assert [note.text for note in made.notes] == [
        "'file/shared/kernel' is a stored copy of 'shared/kernel' and is changed with it"
    ]


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_bounds_nothing_is_a_usage_error(limit: float) -> None:
    with pytest.raises(UsageError, match="the bound must be a finite number above 0"):
        Constraint(limit)


@pytest.mark.parametrize("p", [0.0, 0.00195, -2.0, 513.0, float("nan")])
def test_a_p_that_is_no_norm_is_a_usage_error(p: float) -> None:
    with pytest.raises(UsageError, match="p must be from 1/512 to 512, or inf"):
        PNorm(p)
