"""A convention is found by the name that a hint gives it, so that a further one is one file and one line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.memory import Tensor

from renorm_cli.conventions.identify import CONVENTIONS, identity_of, role_of, unit_axes
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.identity import Claim
from renorm_cli.model.variable import GraphUse, Hint, Variable
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.plan.bounds import OneBound
from renorm_cli.plan.planner import Request, make_plan
from renorm_cli.run.steps import Work, renorm_variable


class Rows:
    """Outputs come first: a unit is a row of a matrix, as in PyTorch."""

    def claims(self, hint: Hint, shape: tuple[int, ...]) -> Iterator[Claim]:
        yield Claim("name", "kernel" if hint.weight == "weight" else "bias", (0,), f"the name {hint.weight!r}")


def test_a_trial_convention_decides_roles_and_units_and_its_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVENTIONS, "rows", Rows())
    values = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    kernel = Variable("fc.weight", "fc.weight", values.shape, "float32", Hint("rows", weight="weight"))
    bias = Variable("fc.bias", "fc.bias", (3,), "float32", Hint("rows", weight="bias"))
    other = Variable("dense/kernel", "dense/kernel", values.shape, "float32", Hint("keras", "Dense", weight="kernel"))
    plan = make_plan([kernel, bias, other], (), Request(OneBound(Constraint(2.0))))
    assert [(step.variable.name, step.unit_axes, step.axis_source) for step in plan.steps] == [
        ("fc.weight", (0,), "name"),
        ("dense/kernel", (1,), "layer"),
    ]
    assert [(skip.variable.name, skip.role, skip.code) for skip in plan.skips] == [("fc.bias", "bias", "role")]
    bounded = values.copy()
    row = renorm_variable(plan.steps[0], Work(Tensor(values), NumpyEngine(), bound=True, sink=Tensor(bounded)))
    assert (row.units, row.over) == (3, 3)
    for unit in bounded.astype(np.float64):
        assert 2 * (1 - 2.0**-22) <= sum(weight**2 for weight in unit) ** 0.5 <= 2


def test_a_variable_without_a_hint_is_unknown_and_its_units_are_a_guess() -> None:
    bare = Variable("w", "w", (4, 3), "float32")
    assert (role_of(bare), unit_axes(bare)) == ("unknown", ((1,), "guess"))


def test_a_use_as_a_kernel_overrules_the_name_of_a_kernel_but_not_that_of_a_table() -> None:
    use = GraphUse("kernel", (1,), ("MatMul",))
    kernel = Variable("a/kernel", "a", (4, 3, 2), "float32", Hint(weight="query/kernel"), use=use)
    table = Variable("b/embeddings", "b", (4, 3), "float32", Hint(weight="embeddings"), use=use)
    assert unit_axes(table) == ((1,), "guess")
    conflict = identity_of(table).conflict
    assert conflict is not None
    assert "MatMul" in conflict
    assert "embeddings" in conflict
    assert unit_axes(kernel) == ((1,), "graph")


def test_what_the_file_says_of_a_state_comes_before_its_convention() -> None:
    slot = Variable("m/kernel", "m", (4, 3), "float32", Hint(layer="Dense", weight="kernel"), state="optimizer")
    assert role_of(slot) == "optimizer"
