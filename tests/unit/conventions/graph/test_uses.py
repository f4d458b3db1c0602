"""What is told of weights in graphs that TensorFlow wrote, against a judge that differentiates."""

from __future__ import annotations

import pytest
from support import stored_graphs
from support.stored_graphs import Judged

ALL = [(name, each) for name in ("module.pb", "tf1.meta") for each in stored_graphs.judged(name)]


@pytest.mark.parametrize(("name", "truth"), ALL, ids=lambda value: value.name if isinstance(value, Judged) else "")
def test_role_and_unit_axes_are_those_of_the_judge(name: str, truth: Judged) -> None:
    use = stored_graphs.uses(name).uses[truth.name]
    assert (use.role, use.unit_axes, use.state) == (truth.role, truth.units, truth.state), use
