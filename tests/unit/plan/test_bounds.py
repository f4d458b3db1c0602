"""The three sources of bounds behind one protocol, and skips that programs tell apart by their codes."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from support.variables import keras_variable

import renorm_cli
from renorm_cli.model.constraint import Constraint, Selection
from renorm_cli.model.identity import Role
from renorm_cli.model.plan import Plan
from renorm_cli.model.variable import Declared, Variable
from renorm_cli.plan.bounds import Bounded, BoundSource, OneBound, why_skipped
from renorm_cli.plan.declared import DeclaredBounds
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.plan.rules import Rule, RuleBounds, Rules

ONE = Declared("MaxNorm", "MaxNorm", 1.0, axis=(0,))
VARIABLES = (
    keras_variable("dense/kernel", "a", (4, 3), layer="Dense", weight="kernel", declared=ONE),
    keras_variable("dense/bias", "b", (3,), layer="Dense", weight="bias"),
    keras_variable("mixer/w", "c", (4, 3)),
    keras_variable("clip/kernel", "d", (4, 3), weight="kernel", declared=Declared("unknown", "Clip", problem="?")),
    keras_variable("plus/kernel", "e", (4, 3), weight="kernel", declared=Declared("NonNeg", "NonNeg")),
    Variable("step", "f", (), "int64"),
    keras_variable("none/kernel", "g", (0, 3), weight="kernel"),
    keras_variable("odd/kernel", "h", (4, 3), weight="kernel", locked="an unknown filter"),
    keras_variable("left/kernel", "i", (4, 3), weight="kernel"),
)
RULES = Rules("r.toml", (Rule(1, ("left/*",)), Rule(2, ("*/kernel",), 2.0)))
SOURCES: dict[str, BoundSource] = {
    "one bound": OneBound(Constraint(1.0)),
    "rules": RuleBounds(RULES, OneBound(), takes_rest=False),
    "rules and a bound for the rest": RuleBounds(RULES, OneBound(Constraint(1.0)), takes_rest=True),
    "declared, to apply": DeclaredBounds("apply"),
    "declared, to check": DeclaredBounds("check"),
}
SELECTIONS = (Selection(), Selection(("*/kernel",)), Selection((), ("dense/*",)), Selection(("*",), ("mixer/*",)))


def plan(source: BoundSource, selection: Selection = SELECTIONS[0]) -> Plan:
    return make_plan(VARIABLES, (), Request(source, selection, must_act=False))


def test_every_code_is_given_for_its_own_reason() -> None:
    codes: dict[str, set[str]] = {}
    for source in SOURCES.values():
        for selection in SELECTIONS:
            for skip in plan(source, selection).skips:
                codes.setdefault(skip.code, set()).add(skip.variable.name)
    everywhere = {one.name for one in VARIABLES} - {"step", "none/kernel"}
    assert codes == {
        "dtype": {"step"},
        "empty": {"none/kernel"},
        "unreadable": {"odd/kernel"},
        "not_included": {"dense/bias", "mixer/w"},
        "excluded": {"dense/kernel", "dense/bias", "mixer/w"},
        "no_rule": {"dense/bias", "mixer/w"},
        "rule_leaves": {"left/kernel"},
        "undeclared": everywhere - {"dense/kernel", "clip/kernel", "plus/kernel", "mixer/w"},
        "unknown_constraint": {"clip/kernel"},
        "not_enforced": {"plus/kernel"},
        "role": {"dense/bias"},
        "unidentified": {"mixer/w"},
    }


@pytest.mark.parametrize("name", SOURCES)
def test_rewording_every_reason_changes_no_note_and_no_verdict(name: str) -> None:
    source = SOURCES[name]
    for selection in SELECTIONS:
        made, bounds = plan(source, selection), source.of(VARIABLES)
        reworded = [replace(skip, reason="whatever it says") for skip in made.skips]
        assert bounds.remarks(made.steps, reworded) == bounds.remarks(made.steps, made.skips)


def test_no_decision_reads_a_reason() -> None:
    package = Path(renorm_cli.__file__).parent
    readers = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        if ".reason" in (source := path.read_text("utf-8"))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr == "reason"
    }
    assert readers == {"api", "render"}  # for people to read


def test_a_source_of_its_own_is_all_that_a_new_kind_of_bound_takes() -> None:
    class ByRank(OneBound):
        """Matrices alone, each bounded by its number of columns."""

        def of(self, variables: object) -> OneBound:
            return self

        def bound(self, variable: Variable, role: object) -> Bounded:
            return Bounded(Constraint(float(variable.shape[-1])), (1,), "rule")

    (step,) = plan(ByRank(), Selection(("dense/kernel",))).steps
    assert (step.constraint.limit, step.unit_axes, step.axis_source) == (3.0, (1,), "rule")


def test_every_reason_is_one_short_line_and_says_that_nothing_tells_what_is_unknown() -> None:
    roles: list[Role] = ["bias", "scale", "statistic", "optimizer", "quantized", "lora", "state", "unknown"]
    reasons = {role: why_skipped(role, Variable("v", "v", (3, 4), "float32")).reason for role in roles}
    assert all(0 < len(reason) < 80 and "\n" not in reason for reason in reasons.values())
    assert reasons["unknown"] == "nothing in the file tells what it is"
    assert "no matrix" in why_skipped("unknown", Variable("v", "v", (3,), "float32")).reason
