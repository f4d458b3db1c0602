"""Every rendering of `--per global` speaks of the one norm that is held against the bound, and of no unit's."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from support.page_reports import report_of, row_of

from renorm_cli.api.report import Report as PublicReport
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.failure import Outcome
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Note
from renorm_cli.model.report import Report
from renorm_cli.render.ci.github import render_github
from renorm_cli.render.ci.gitlab import render_gitlab
from renorm_cli.render.ci.junit import render_junit
from renorm_cli.render.ci.markdown import render_markdown
from renorm_cli.render.ci.sarif import render_sarif
from renorm_cli.render.data.json_report import report_dict
from renorm_cli.render.page.page import render_html
from renorm_cli.render.terminal.table import render_table
from renorm_cli.render.terminal.verdict import render_verdict

NORMS = (2.0, 9.0, 6.0)
PLAIN: dict[str, Any] = {"width": None, "colour": False, "ascii": False}


def jointly(limit: float | None, norms: tuple[float, ...] = NORMS, p: float = 2.0, **facts: Any) -> Report:
    """A report on variables of these norms, of which one norm is held against the limit."""
    sizes = [norm for norm in norms if math.isfinite(norm)]
    over = limit is not None and len(sizes) == len(norms) and sum(norm**p for norm in sizes) ** (1 / p) > limit
    rule = Constraint(limit, PNorm(p), "global")
    rows = [row_of([norm], rule, f"v{at}") for at, norm in enumerate(norms)]
    return report_of([replace(row, over=int(over)) for row in rows], **facts)


def page_of(found: list[Outcome]) -> str:
    """The page without its script and its style."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", render_html(found), flags=re.DOTALL)


SAYS: dict[str, Any] = {
    "verdict": lambda found: render_verdict(found[0], **PLAIN),
    "table": lambda found: render_table(found[0], **PLAIN),
    "markdown": render_markdown,
    "junit": render_junit,
    "sarif": render_sarif,
    "gitlab": render_gitlab,
    "github": lambda found: "".join(render_github(found)),
    "page": lambda found: page_of(found),
    "Python": lambda found: repr(PublicReport.of(found[0])),
}


@pytest.mark.parametrize("form", SAYS)
def test_each_form_names_the_joint_norm_and_says_of_no_unit_that_it_is_over(form: str) -> None:
    found: list[Outcome] = [jointly(3.0)]
    text = SAYS[form](found)
    assert re.search(r"joint norm of 3 variables is 11(?!\d)", text)
    assert "over 3" in text
    assert not re.search(r"units? (has|have) a norm over|of \d+ units (are |were )?over|\d+ over 3", text)
    assert "the largest is" not in text


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_the_joint_norm_is_that_of_all_norms_together(p: float) -> None:
    expected = max(NORMS) if p == math.inf else sum(norm**p for norm in NORMS) ** (1 / p)
    joint = jointly(None, p=p).joint
    assert joint is not None
    assert joint.norm == pytest.approx(expected, rel=1e-14)
    assert (joint.variables, joint.over, joint.norm_after) == (3, None, None)


def test_a_report_of_single_norms_has_no_joint_norm() -> None:
    assert report_of([row_of([2.0], Constraint(1.0, per="tensor"))]).joint is None
    assert report_of([]).joint is None


def test_a_joint_norm_that_is_not_over_holds_though_the_sentence_has_its_value() -> None:
    text = render_verdict(jointly(11.5), **PLAIN)
    assert text.startswith("holds: the joint norm of 3 variables is 11, not over 11.5")


def test_with_nan_the_joint_norm_is_that_of_the_finite_variables_and_not_judged() -> None:
    report = jointly(3.0, (2.0, math.nan, 6.0))
    assert report.joint is not None
    assert (report.joint.variables, report.joint.over) == (2, None)
    assert report.joint.norm == pytest.approx(math.hypot(2, 6), rel=1e-14)
    assert render_verdict(report, **PLAIN).startswith("violated: 1 of 3 units not finite")


def test_the_json_has_the_joint_norm() -> None:
    record = json.loads(json.dumps(report_dict(jointly(3.0))))
    assert record["joint"] == {"variables": 3, "norm": 11.0, "norm_after": None, "limit": 3.0, "over": True}


@pytest.mark.parametrize("limit", [None, 3.0, 20.0])
def test_the_page_has_the_joint_norm_as_its_number_and_offers_no_bound_by_units(limit: float | None) -> None:
    page = page_of([jointly(limit, notes=[Note("one")])])
    assert "<dt>Joint norm</dt><dd><b>11" in page
    for other in ("Bound to choose", "Largest norm<", "Over the bound", 'type="range"', "units over"):
        assert other not in page
    assert 'class="o"' not in page.partition('<table class="sortable all"')[2]  # no norm is drawn as over
