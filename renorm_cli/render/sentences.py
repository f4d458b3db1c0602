"""What a report comes to, in words: its verdict and the account of its variables, for all reports that people read."""

from __future__ import annotations

from renorm_cli.model.report import Report
from renorm_cli.render.columns import has_lower, has_signs, is_bounded, limits, orders
from renorm_cli.text import count_text, counted, exact_text


def account(report: Report) -> tuple[str, ...]:
    """Say how many variables, units and weights there are of each kind, in parts that the caller joins."""
    totals, order = report.totals, orders(report)
    done = "constrained" if is_bounded(report) or report.command != "inspect" else "measured"
    units = counted(totals.units, "unit")
    if len(order) == 1 and order != {2.0}:
        units += f" (p = {exact_text(*order)})"
    over = f"{count_text(totals.over)} over {_bound(report)}, " if is_bounded(report) else ""
    under = f"{count_text(totals.under)} under their lower bound, " if has_lower(report) else ""
    parts = (
        f"{counted(totals.variables, 'variable')}: {count_text(totals.constrained)} {done}, "
        f"{count_text(totals.skipped)} skipped",
        f"{units}, {over}{under}{count_text(totals.nonfinite)} not finite",
        f"{counted(totals.negative, 'weight')} below zero" if has_signs(report) else "",
    )
    return tuple(part for part in parts if part)


def verdict(report: Report) -> str:
    """Say whether a check holds, and if not, what is wrong: `violated: 12 of 64 units over 0.9`."""
    return f"holds: {_held(report)}" if report.holds else f"violated: {', '.join(_broken(report))}"


def _held(report: Report) -> str:
    units = counted(report.totals.units, "unit")
    if any(row.step.axis_source == "declared" for row in report.rows):
        return f"{units} within what the file declares"
    if not report.rows:
        return "nothing to check"
    if not is_bounded(report):  # then there is a baseline
        return f"{units}, none out of line with the baseline"
    baseline = "" if report.baseline is None else ", none out of line with the baseline"
    return f"none of {units} over {_bound(report)}{baseline}"


def _broken(report: Report) -> list[str]:
    totals, units = report.totals, counted(report.totals.units, "unit")
    counts = [
        (totals.over, f"over {_bound(report)}"),
        (totals.under, "under their lower bound"),
        (totals.nonfinite, "not finite"),
    ]
    found = [(count_text(count), what) for count, what in counts if count]
    told = [f"{count} {what}" if number else f"{count} of {units} {what}" for number, (count, what) in enumerate(found)]
    if totals.negative:
        told.append(f"{counted(totals.negative, 'weight')} below zero")
    if report.baseline is not None and report.baseline.growths:
        told.append(f"{counted(len(report.baseline.growths), 'variable')} out of line with the baseline")
    return told


def _bound(report: Report) -> str:
    return exact_text(*limits(report)) if len(limits(report)) == 1 else "their limit"
