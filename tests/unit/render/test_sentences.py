"""The verdict of a check in words, where a baseline has a say in it."""

from __future__ import annotations

import pytest
from support.report_maker import a_report, a_row

from renorm_cli.model.report import Baseline, Growth
from renorm_cli.render.sentences import verdict

GREW = Growth("v", "grew", 1.0, 2.0)


@pytest.mark.parametrize(
    ("largest", "limit", "growths", "said"),
    [
        (2.0, None, (), "holds: 8 units, none out of line with the baseline, in 1 of 1 matrix"),
        (0.5, 1.0, (), "holds: none of 8 units over 1, none out of line with the baseline, in 1 of 1 matrix"),
        (2.0, None, (GREW,), "violated: 1 variable out of line with the baseline, in 1 of 1 matrix"),
        (0.5, 1.0, (GREW, GREW), "violated: 2 variables out of line with the baseline, in 1 of 1 matrix"),
        (
            2.0,
            1.0,
            (GREW,),
            "violated: 1 of 8 units over 1, 1 variable out of line with the baseline, in 1 of 1 matrix",
        ),
    ],
)
def test_the_verdict_of_a_check_against_a_baseline(
    largest: float, limit: float | None, growths: tuple[Growth, ...], said: str
) -> None:
    report = a_report([a_row("v", largest, limit)], baseline=Baseline("old.json", 0.05, growths))
    assert verdict(report) == said
    assert report.holds == said.startswith("holds")
