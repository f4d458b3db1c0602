"""Rules decide: the first that matches, judged by fnmatch over names, keys and aliases, one rule after the other."""

from __future__ import annotations

import fnmatch
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.variables import keras_variable

from renorm_cli.errors import SelectionError, UsageError
from renorm_cli.model.constraint import Constraint, Selection
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Plan
from renorm_cli.model.variable import Variable
from renorm_cli.plan.bounds import bound_source
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.plan.rules import Rule, Rules, decide
from renorm_cli.plan.selection import literal, patterns_of
from renorm_cli.plan.units import Units


def variable(name: str, shape: tuple[int, ...] = (4, 3), dtype: str = "float32", **facts: Any) -> Variable:
    facts.setdefault("weight", name.rpartition("/")[2])
    return keras_variable(name, facts.pop("key", f"file/{name}"), shape, dtype, **facts)


KERNEL = variable("enc/kernel", layer="Dense")
OTHER = variable("dec/kernel", layer="Dense")
BIAS = variable("enc/bias", (3,), layer="Dense")
ODD = variable("mixer/w", weight=None)
ALL = (KERNEL, OTHER, BIAS, ODD)


def of(*rules: dict[str, Any]) -> Rules:
    return Rules("r.toml", tuple(Rule(number, **{"limit": 1.0} | rule) for number, rule in enumerate(rules, 1)))


def plan(*rules: dict[str, Any], variables: tuple[Variable, ...] = ALL, **wanted: Any) -> Plan:
    constraint, units = wanted.pop("constraint", Constraint()), Units(wanted.pop("units", None))
    source = bound_source(constraint, units, rules=of(*rules), measures=wanted.pop("measures", False))
    return make_plan(variables, (), Request(source, **wanted))


def steps(made: Plan) -> dict[str, float | None]:
    return {step.variable.name: step.constraint.limit for step in made.steps}


def reasons(made: Plan) -> dict[str, str]:
    return {skip.variable.name: skip.reason for skip in made.skips}


def test_what_a_rule_matches_is_bounded_and_what_none_matches_is_skipped_with_that_reason() -> None:
    made = plan({"match": ("enc/*", "enc/bias"), "limit": 2.0})
    assert steps(made) == {"enc/kernel": 2.0, "enc/bias": 2.0}
    assert reasons(made) == {"dec/kernel": "no rule matches it", "mixer/w": "no rule matches it"}
    assert made.notes == ()


def test_a_pattern_with_wildcards_takes_the_roles_that_are_asked_for_and_it_is_said_what_it_leaves() -> None:
    made = plan({"match": ("enc/*",), "limit": 2.0})
    assert steps(made) == {"enc/kernel": 2.0}
    assert reasons(made)["enc/bias"] == "not constrained by default"
    assert [note.text for note in made.notes] == ["the patterns match variables that the role leaves out: 1 bias"]
    made = plan({"match": ("enc/*",), "limit": 2.0}, selection=Selection(roles=frozenset({"bias"})))
    assert steps(made) == {"enc/bias": 2.0}


def test_a_rule_that_says_the_units_tells_that_a_matrix_is_a_kernel() -> None:
    (step,) = plan({"match": ("mixer/*",), "units": (0,)}).steps
    assert (step.variable.name, step.role, step.unit_axes, step.axis_source) == ("mixer/w", "kernel", (0,), "rule")
    assert plan({"match": ("mixer/*",)}, must_act=False).steps == ()


def test_with_a_bound_for_the_rest_the_default_selection_holds_for_it() -> None:
    made = plan({"match": ("enc/bias",), "limit": 2.0}, constraint=Constraint(1.0))
    assert steps(made) == {"enc/bias": 2.0, "enc/kernel": 1.0, "dec/kernel": 1.0}
    assert reasons(made) == {"mixer/w": "nothing in the file tells what it is"}


def test_a_look_measures_the_rest_without_a_bound() -> None:
    made = plan({"match": ("enc/bias",), "limit": 2.0}, measures=True, must_act=False)
    assert steps(made) == {"enc/bias": 2.0, "enc/kernel": None, "dec/kernel": None}


def test_the_first_rule_that_matches_decides_and_leave_leaves_alone() -> None:
    made = plan(
        {"match": ("enc/kernel",), "limit": 2.0}, {"match": ("enc/*",), "limit": None}, {"match": ("*",), "limit": 3.0}
    )
    assert steps(made) == {"enc/kernel": 2.0, "dec/kernel": 3.0}
    assert reasons(made) == {
        "enc/bias": "left alone by rule 2",
        "mixer/w": "nothing in the file tells what it is",
    }


def test_what_is_left_alone_is_not_said_to_be_unknown() -> None:
    made = plan({"match": ("mixer/*",), "limit": None}, constraint=Constraint(1.0))
    assert reasons(made)["mixer/w"] == "left alone by rule 1"
    assert made.notes == ()


def test_exclude_wins_and_include_restricts() -> None:
    rule = {"match": ("enc/*", "enc/bias"), "limit": 2.0}
    made = plan(rule, selection=Selection((), ("*/bias",)))
    assert steps(made) == {"enc/kernel": 2.0}
    assert reasons(made)["enc/bias"] == "named by exclude"
    made = plan(rule, selection=Selection(("*/kernel",), ()))
    assert steps(made) == {"enc/kernel": 2.0}
    assert reasons(made) == {
        "enc/bias": "not named by include",
        "dec/kernel": "no rule matches it",
        "mixer/w": "not named by include",
    }
    made = plan(rule, selection=Selection(("*/kernel", "mixer/w"), ()), constraint=Constraint(1.0), units=(1,))
    assert steps(made) == {"enc/kernel": 2.0, "dec/kernel": 1.0, "mixer/w": 1.0}


@pytest.mark.parametrize(
    ("rule", "option", "axes", "source"),
    [
        ({}, None, (1,), "layer"),
        ({"units": (0,)}, None, (0,), "rule"),
        ({"units": (-1, 0)}, None, (0, 1), "rule"),
        ({"units": (0,)}, (1,), (1,), "option"),
        ({"per": "tensor"}, None, (), "rule"),
    ],
)
def test_the_option_beats_the_rule_and_the_rule_the_layer(
    rule: dict[str, Any], option: tuple[int, ...] | None, axes: tuple[int, ...], source: str
) -> None:
    (step,) = plan({"match": ("enc/kernel",)} | rule, units=option).steps
    assert (step.unit_axes, step.axis_source) == (axes, source)


def test_what_a_rule_does_not_say_is_as_the_options_have_it() -> None:
    rules = ({"match": ("enc/kernel",), "norm": PNorm(math.inf), "per": "unit"}, {"match": ("dec/kernel",)})
    one, other = plan(*rules, constraint=Constraint(norm=PNorm(1.0), per="tensor")).steps
    assert (one.constraint, one.unit_axes) == (Constraint(1.0, PNorm(math.inf), "unit"), (1,))
    assert (other.constraint, other.unit_axes, other.axis_source) == (
        Constraint(1.0, PNorm(1.0), "tensor"),
        (),
        "option",
    )


def test_a_pattern_that_matches_nothing_names_file_rule_and_the_closest() -> None:
    with pytest.raises(
        SelectionError,
        match=r"^rules 'r.toml': rule 2: match 'enc/kernal' matches none of the 4 variables; closest: 'enc/kernel'",
    ):
        plan({"match": ("*",)}, {"match": ("enc/kernal",)})
    with pytest.raises(SelectionError, match="rule 1: match 'none' matches none"):
        plan({"match": ("*", "none")})


def test_axes_that_do_not_fit_name_the_rule() -> None:
    with pytest.raises(SelectionError, match=r"rule 1: units 1 is out of range for 'enc/bias' of shape \[3\]"):
        plan({"match": ("enc/bias",), "units": (1,)})
    with pytest.raises(SelectionError, match="rule 1: units 1,-1 names one axis twice for 'enc/kernel'"):
        plan({"match": ("enc/kernel",), "units": (1, -1)})


def test_a_rule_that_decides_nothing_is_said() -> None:
    rules = ({"match": ("*kernel",)}, {"match": ("enc/kernel",)})
    (note,) = plan(*rules).notes
    assert note.warning
    assert note.text == (
        "rules 'r.toml': rule 2 decides nothing: earlier rules match all that it matches; put it first"
    )


def test_rules_that_leave_all_alone_are_an_error_for_a_gate() -> None:
    with pytest.raises(SelectionError, match="none of the 4 variables is selected: a rule with max_norm has to match"):
        plan({"match": ("*",), "limit": None})


def test_options_that_make_no_sense_with_rules_are_usage_errors() -> None:
    rules = of({"match": ("*",), "per": "tensor"})
    with pytest.raises(UsageError, match=r"^rules and declared .*; leave out rules=, or leave out declared=True"):
        bound_source(Constraint(), declared="apply", rules=rules)
    with pytest.raises(UsageError, match=r"a joint norm has one bound .*; leave out per=, or leave out rules="):
        bound_source(Constraint(1.0, per="global"), rules=rules)
    with pytest.raises(UsageError, match='rule 1 has per = "tensor", which has no units; leave out units='):
        bound_source(Constraint(), Units((0,)), rules=rules)


def test_stored_copies_of_one_weight_follow_together_and_it_is_said() -> None:
    one = variable("shared/kernel", key="a", layer="Dense", copies=("b",))
    two = variable("shared/kernel", key="b", layer="Dense", copies=("a",))
    made = plan({"match": ("b",), "limit": 2.0}, variables=(one, two))
    assert [(step.constraint.limit, [each.key for each in step.stored]) for step in made.steps] == [(2.0, ["a", "b"])]
    assert [note.text for note in made.notes] == ["'a' is a stored copy of 'shared/kernel' and is changed with it"]


NAMES = st.text("ab*?[]!/", min_size=1, max_size=6)


@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True), patterns=st.lists(NAMES, min_size=1, max_size=4))
def test_each_variable_has_the_first_rule_that_fnmatch_finds(names: list[str], patterns: list[str]) -> None:
    variables = [Variable(name, f"k{number}", (2, 2), "float32") for number, name in enumerate(names)]
    rules = of(*({"match": (pattern,)} for pattern in patterns))
    hits = {pattern: {v.key for v in variables if _matches(v, pattern)} for pattern in patterns}
    if not all(hits.values()):
        with pytest.raises(SelectionError):
            decide(variables, rules)
        return
    found = decide(variables, rules)
    for one in variables:
        expected = next((number for number, pattern in enumerate(patterns, 1) if one.key in hits[pattern]), None)
        assert (found[one.key].rule.number if one.key in found else None) == expected


def _matches(variable: Variable, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(label, pattern) for label in (variable.name, variable.key))


@given(pattern=NAMES, text=NAMES)
def test_a_pattern_without_wildcards_matches_its_own_text_alone(pattern: str, text: str) -> None:
    only = literal(pattern)
    if only is not None:
        assert fnmatch.fnmatchcase(only, pattern)
        assert fnmatch.fnmatchcase(text, pattern) == (text == only)


ANY_NAME = st.text(min_size=1, max_size=8) | NAMES | st.sampled_from(["caf\udce9", "caf\udcea", "x\n", "k0", "k1"])


@given(names=st.lists(ANY_NAME, min_size=1, max_size=6))
def test_the_pattern_of_a_variable_matches_it_and_no_other_by_fnmatch(names: list[str]) -> None:
    variables = [Variable(name, f"k{number}", (2, 2), "float32") for number, name in enumerate(names)]
    try:
        patterns = patterns_of(variables, variables)
    except SelectionError:
        if not {one.key for one in variables} & set(names):
            raise
        return  # the name of one is the key of another: where its own name is taken, too, no pattern is left
    for one, pattern in zip(variables, patterns, strict=True):
        assert [other.key for other in variables if _matches(other, pattern)] == [one.key]
        pattern.encode()


def test_copies_have_one_pattern_and_names_that_are_too_long_give_way_to_keys() -> None:
    copies = [Variable("s", "a", (1,), "float32", copies=("b",)), Variable("s", "b", (1,), "float32", copies=("a",))]
    assert patterns_of(copies, copies) == ["s", "s"]
    assert patterns_of(
        [Variable("n" * 2000, "key", (1,), "float32")] * 1, [Variable("n" * 2000, "key", (1,), "float32")]
    )
    with pytest.raises(SelectionError, match="no pattern matches"):
        patterns_of(
            [Variable("n" * 2000, "k" * 2000, (1,), "float32")], [Variable("n" * 2000, "k" * 2000, (1,), "float32")]
        )
