from __future__ import annotations

from dataclasses import replace

from renorm_cli.model.constraint import Constraint
from renorm_cli.model.coverage import Matrices, matrices
from renorm_cli.model.plan import Skip, Step
from renorm_cli.model.variable import Variable


def test_copies_of_one_weight_are_one_matrix() -> None:
    one = Variable("w", "a", (2, 3), "float32", copies=("b",))
    other = replace(one, key="b", copies=("a",))
    step = Step(one, "kernel", (1,), "layer", Constraint())
    assert matrices([step, Skip(other, "unknown", "unidentified", "")]) == Matrices(1, 1, 1, 6, 6)
    assert matrices([step, Skip(replace(other, copies=()), "unknown", "unidentified", "")]) == Matrices(2, 1, 1, 12, 6)
