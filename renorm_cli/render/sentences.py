"""The sentences that sum up a report: verdict and totals."""

from __future__ import annotations

from renorm_cli.model.report import Report
from renorm_cli.render.columns import has_lower, has_signs, is_bounded, limits, orders
from renorm_cli.text import count_text, counted, exact_text


def account(report: Report) -> tuple[str, ...]:
    """The numbers of variables, units and weights of each kind, in parts that the caller joins."""
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
    """Whether a check holds, and if not, why: `violated: 12 of 64 units over 0.9`."""
    return ": ".join(verdict_parts(report))


def verdict_parts(report: Report) -> tuple[str, str]:
    """The verdict as its word, "holds" or "violated", and its explanation."""
    return ("holds", _held(report)) if report.holds else ("violated", ", ".join(_broken(report)))


def _held(report: Report) -> str:
    units = counted(report.totals.units, "unit")
    if any(row.step.axis_source == "declared" for row in report.rows):
        return f"{units} within what the file declares"
    if not report.rows:
        return "nothing to check"
    if not is_bounded(report):  # a check without a bound has a baseline
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
    faults = [f"{count} {what}" if index else f"{count} of {units} {what}" for index, (count, what) in enumerate(found)]
    if totals.negative:
        faults.append(f"{counted(totals.negative, 'weight')} below zero")
    if report.baseline is not None and report.baseline.growths:
        faults.append(f"{counted(len(report.baseline.growths), 'variable')} out of line with the baseline")
    return faults


def _bound(report: Report) -> str:
    return exact_text(*limits(report)) if len(limits(report)) == 1 else "their limit"
