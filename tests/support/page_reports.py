"""Reports for the tests of the HTML page, their norms chosen freely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from renorm_cli.model.constraint import Constraint
from renorm_cli.model.plan import Note, Skip, Step
from renorm_cli.model.report import Baseline, Growth, NormStats, Provenance, Report, Row
from renorm_cli.model.variable import Declared, Hint, Variable
from renorm_cli.norms.distribution import Distribution, Worst
from support.matrices import measured

HOSTILE = [
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "</style></title></svg></script><script>alert(2)//",
    "javascript:alert(3)",
    "{{ 7 * 7 }}{% raw %}",
    "a\nb\r\tc\x00\x1b[31m",
    "\u202egnp.exe\u2066\u200b",
    "lone \udcff surrogate \ud800",
    "n" * 5000,
    "http://example.com/x.js",
    "<!--",
    "",
    "   ",
]


def stats_of(norms: np.ndarray) -> tuple[NormStats | None, tuple[int, ...]]:
    found = Distribution(norms.size)
    found.add(norms)
    return found.stats(), found.histogram()


def row_of(norms: Sequence[float], rule: Constraint, name: str = "w", *, clip: bool = False, **facts: Any) -> Row:
    """A row of a kernel whose units have these norms."""
    found = np.asarray(norms, dtype=np.float64)
    finite = np.isfinite(found)
    worst = Worst((1, found.size), (1,))
    worst.add(found, 0)
    before, histogram = stats_of(found)
    limit = rule.limit
    variable = Variable(name, facts.pop("key", f"g/{name}"), (9, found.size), "float32", Hint(layer="Dense"), **facts)
    return Row(
        Step(variable, "kernel", (1,), "layer", rule),
        units=found.size,
        over=0 if limit is None else int((found[finite] > limit).sum()),
        nonfinite=int((~finite).sum()),
        norm=before,
        norm_after=stats_of(np.minimum(found, limit))[0] if clip and limit is not None else None,
        histogram=histogram,
        worst=worst.units(),
    )


def skip_of(name: str, reason: str = "not constrained by default") -> Skip:
    return Skip(Variable(name, f"g/{name}", (64,), "float32", Hint(layer="Dense")), "bias", "role", reason)


def report_of(rows: Sequence[Row], skips: Sequence[Skip] = (), **facts: Any) -> Report:
    base: dict[str, Any] = {
        "command": "check",
        "version": "1.0",
        "path": "runs/model.h5",
        "format": "keras-h5",
        "bytes": 4096,
        "engine": "numpy",
        "device": "cpu",
    }
    return Report(**base | facts, rows=tuple(rows), skips=tuple(skips))


def network(variables: int, command: str = "check", limit: float | None = 1.5) -> Report:
    """A report of many variables, a third of them skipped, some grown since a baseline."""
    rng = np.random.default_rng(variables)
    rule = Constraint(limit)
    rows = [
        row_of(
            rng.gamma(30, rng.uniform(0.02, 0.05), size=int(rng.choice([64, 128, 256]))),
            rule,
            f"encoder/layer_{number // 6}/attention_{number % 6}/kernel",
            clip=command == "apply",
        )
        for number in range(variables - variables // 3)
    ]
    skips = [skip_of(f"encoder/layer_{number // 6}/attention_{number % 6}/bias") for number in range(variables // 3)]
    growths = (
        Growth(rows[-1].step.variable.name, "grew", 1.25, 1.75),
        Growth("encoder/pooler/kernel", "vanished", 1.5),
        Growth(rows[0].step.variable.name, "appeared", None, 1.5),
    )
    return report_of(
        rows,
        skips,
        command=command,
        notes=(Note("what a note says"), Note("what a warning says", warning=True)),
        baseline=Baseline("runs/earlier.report.json", 0.05, growths) if command == "check" else None,
    )


def matrices(count: int, limit: float | None = 1.0, **facts: Any) -> Report:
    """A report of spectral norms with their spectra, of matrices that are stored as PyTorch's are, and one kernel."""
    found = np.random.RandomState(count)
    rows = [
        _called(f"h.{number}.w", measured(found.standard_normal((24, 16)) * 0.1 * number, limit, spectrum=True))
        for number in sorted(range(1, count + 1), key=str)
    ]
    kernel = measured(found.standard_normal((3, 3, 4, 5)), limit, spatial=(0, 1), spectrum=True)
    return report_of([*rows, _called("conv", kernel)], [skip_of("b")], **{"command": "inspect"} | facts)


def _called(name: str, row: Row) -> Row:
    variable = replace(row.step.variable, name=name, key=f"g/{name}")
    return replace(row, step=replace(row.step, variable=variable))


def hostile_report(text: str) -> Report:
    """A report with a text of a file's author wherever there can be one."""
    declared = Declared("unknown", text, problem=text)
    rule = Constraint(1)
    row = row_of([0.5, 2], rule, text, key=text, declared=declared)
    skip = skip_of(text, reason=text)
    growth = Growth(text, "vanished", 1.0)
    notes = (Note(text), Note(text, warning=True))
    baseline = Baseline(text, 0.05, (growth,))
    made = Provenance(text, ((text, text),), text, text)
    told = {"notes": notes, "baseline": baseline, "output": text, "format": text, "provenance": made}
    return report_of([row], [skip], path=text or "-", **told)
