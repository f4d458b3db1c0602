"""The sentences that sum up a report: verdict, coverage and totals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from renorm_cli.model.coverage import some_matrices
from renorm_cli.model.report import Report
from renorm_cli.model.variable import Variable
from renorm_cli.render.columns import has_lower, has_signs, has_units, is_bounded, limits, noun, orders
from renorm_cli.text import count_text, counted, exact_text, percent_text, show

Quote = Callable[[str], str]
"""Writes a name from a file so that it is safe where the sentence goes."""


def quoted(name: str) -> str:
    """A name in plain text."""
    return f"'{show(name)}'"


def account(report: Report, quote: Quote = quoted) -> tuple[str, ...]:
    """The numbers of variables, units, matrices and weights of each kind, in parts that the caller joins.

    What a check has seen is in its verdict.
    """
    totals, order = report.totals, orders(report)
    asked = any(row.status == "constrained" for row in report.rows) or not report.rows
    done = "constrained" if asked else "measured"
    units = units_text(report)
    if len(order) == 1 and order != {2.0}:
        units += f" (p = {exact_text(*order)})"
    over = f"{count_text(totals.over)} over {_bound(report)}, " if is_bounded(report) else ""
    over = over if report.joint is None else f"{report.joint.text()}, "
    under = f"{count_text(totals.under)} under their lower bound, " if has_lower(report) else ""
    parts = (
        f"{counted(totals.variables, 'variable')}: {count_text(totals.constrained)} {done}, "
        f"{count_text(totals.skipped)} skipped",
        f"{units}, {over}{under}{count_text(totals.nonfinite)} not finite",
        f"{counted(totals.negative, 'weight')} below zero" if has_signs(report) else "",
        "" if report.command == "check" else "; ".join((*seen(report), *doubts(report, quote))),
    )
    return tuple(part for part in parts if part)


def units_text(report: Report) -> str:
    """The number of units, and what their norms are if not p-norms: `28 units (spectral norm)`."""
    of = "" if has_units(report) else f" ({noun(report)})"
    return counted(report.totals.units, "unit") + of


def seen(report: Report) -> tuple[str, ...]:
    """How much was measured: `2 of 4 matrices (4 % of their weights)`; nothing where there are no matrices.

    The share is left out where it is all.
    """
    totals = report.totals
    if not totals.matrices:
        return ()
    text = f"{count_text(totals.measured)} of {count_text(totals.matrices)} "
    text += "matrix" if totals.matrices == 1 else "matrices"
    whole = totals.share is None or totals.measured == totals.matrices
    return (text if whole else f"{text} ({percent_text(totals.share or 0)} of their weights)",)


def doubts(report: Report, quote: Quote = quoted) -> tuple[str, ...]:
    """What was not identified, may be a convolution, or has guessed axes, also where that cannot change a verdict."""
    guessed = [row for row in report.rows if row.step.axis_source == "guess"]
    open_ones = [row for row in guessed if row.readings not in ("hold", "fail")]
    others = [row for row in report.guessed if row.step.axis_source != "guess"]
    settled = [row for row in guessed if row.readings in ("hold", "fail")]
    found = (
        ([skip.variable for skip in report.unidentified], "not identified"),
        ([row.step.variable for row in open_ones], "with guessed unit axes"),
        ([row.step.variable for row in others], "not known to be a convolution or none"),
        ([row.step.variable for row in settled], "with guessed unit axes that cannot change this"),
    )
    return tuple(f"{count_text(len(ones))} {what}: {_named(ones, quote)}" for ones, what in found if ones)


def verdict(report: Report, quote: Quote = quoted) -> str:
    """Whether a check holds, and if not, why: `violated: 12 of 64 units over 0.9, in 2 of 2 matrices`."""
    return ": ".join(verdict_parts(report, quote))


def verdict_parts(report: Report, quote: Quote = quoted, where: str = "") -> tuple[str, str]:
    """The verdict as its word ("holds", "violated", "undecided") and its explanation; `where` follows what was seen."""
    broken = _broken(report)
    found = ", ".join(broken) if broken else _held(report)
    return report.verdict, "; ".join((", in ".join((found, *seen(report))) + where, *doubts(report, quote)))


def _held(report: Report) -> str:
    units = units_text(report)
    if any(row.step.axis_source == "declared" for row in report.rows):
        return f"{units} within what the file declares"
    if not report.rows:
        return "nothing to check"
    if not is_bounded(report):  # a check without a bound has a baseline
        return f"{units}, none out of line with the baseline"
    baseline = "" if report.baseline is None else ", none out of line with the baseline"
    if report.joint is not None:
        return report.joint.text() + baseline
    return f"none of {units} over {_bound(report)}{baseline}"


def _broken(report: Report) -> list[str]:
    totals, units, joint = report.totals, units_text(report), report.joint
    counts = [
        (totals.over if joint is None else 0, f"over {_bound(report)}"),
        (totals.under, "under their lower bound"),
        (totals.nonfinite, "not finite"),
    ]
    found = [(count_text(count), what) for count, what in counts if count]
    faults = [f"{count} {what}" if index else f"{count} of {units} {what}" for index, (count, what) in enumerate(found)]
    if joint is not None and joint.over:
        faults.insert(0, joint.text())
    if totals.negative:
        faults.append(f"{counted(totals.negative, 'weight')} below zero")
    if report.baseline is not None and report.baseline.growths:
        faults.append(f"{counted(len(report.baseline.growths), 'variable')} out of line with the baseline")
    return faults


def _bound(report: Report) -> str:
    return exact_text(*limits(report)) if len(limits(report)) == 1 else "their limit"


def _named(variables: Sequence[Variable], quote: Quote) -> str:
    return some_matrices([(quote(one.name), one.shape) for one in variables[:4]], len(variables))
