"""Findings: there is one exactly where a report does not hold, and it names the unit that NumPy finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memory import Tensor

from renorm_cli.model.constraint import Constraint
from renorm_cli.model.findings import FAULTS, findings
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Baseline, Growth, Report, Row
from renorm_cli.model.variable import Variable
from renorm_cli.norms.distribution import WORST, Worst
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.run.steps import Work, renorm_variable

NORMS = st.lists(st.floats(0, 100) | st.just(math.nan) | st.just(math.inf), min_size=1, max_size=40)


def row(values: np.ndarray, limit: float, *axes: int, block_bytes: int = 1 << 20) -> Row:
    variable = Variable("w", "group/w", values.shape, values.dtype.name)
    step = Step(variable, "kernel", axes, "option", Constraint(limit))
    return renorm_variable(step, Work(Tensor(values), NumpyEngine(), block_bytes=block_bytes))


def report(*rows: Row, baseline: Baseline | None = None) -> Report:
    return Report("check", "0", "model.h5", "hdf5", 0, "numpy", "cpu", rows, (), baseline=baseline)


@given(norms=NORMS, limit=st.floats(0.1, 100))
def test_there_is_a_finding_exactly_where_a_report_does_not_hold(norms: list[float], limit: float) -> None:
    made = report(row(np.array([norms], dtype=np.float32), limit, 1))
    assert bool(findings(made)) == (not made.holds)
    assert {finding.fault for finding in findings(made)} <= set(FAULTS)


@given(norms=NORMS, parts=st.integers(1, 6))
def test_the_worst_units_are_the_first_of_all_units_sorted(norms: list[float], parts: int) -> None:
    worst, seen = Worst((1, len(norms)), (1,)), 0
    for part in np.array_split(np.array(norms), parts):
        worst.add(part, seen)
        seen += part.size
    ordered = sorted(range(len(norms)), key=lambda unit: -norms[unit] if math.isfinite(norms[unit]) else -math.inf)
    assert [unit.index for unit in worst.units()] == [(unit,) for unit in ordered[:WORST]]


@pytest.mark.parametrize("block_bytes", [64, 1 << 20])
@pytest.mark.parametrize("axes", [(0,), (2,), (0, 2), (1, 2), (0, 1), ()])
def test_a_finding_names_the_unit_with_the_largest_norm(axes: tuple[int, ...], block_bytes: int) -> None:
    values = np.random.default_rng(3).normal(size=(6, 5, 4)).astype(np.float32)
    others = tuple(axis for axis in range(3) if axis not in axes)
    norms = np.sqrt((values.astype(np.float64) ** 2).sum(axis=others))
    largest = np.unravel_index(norms.argmax(), norms.shape)
    (found,) = findings(report(row(values, 0.5, *axes, block_bytes=block_bytes)))
    named = f" (unit {', '.join(map(str, largest))})" if axes else ""
    assert found.text.endswith(f"the largest is {norms.max():.9g}{named}")
    assert f"of {norms.size} unit{'' if norms.size == 1 else 's'} " in found.text


def test_the_worst_finding_comes_first() -> None:
    little, much = row(np.array([[1.1]], np.float32), 1.0, 1), row(np.array([[9.0]], np.float32), 1.0, 1)
    broken = row(np.array([[np.nan]], np.float32), 1.0, 1)
    grown = Baseline("old.json", 0.05, (Growth("v", "grew", 1.0, 3.0), Growth("x", "vanished", 1.0)))
    assert [finding.text for finding in findings(report(little, much, broken, baseline=grown))] == [
        "1 of 1 unit has NaN or Inf (unit 0)",
        "1 of 1 unit has a norm over 1; the largest is 9 (unit 0)",
        "the largest norm grew from 1 to 3, more than the 5 % allowed",
        "1 of 1 unit has a norm over 1; the largest is 1.10000002 (unit 0)",
        "is in the baseline and not in the checkpoint",
    ]
