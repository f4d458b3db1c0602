"""The sentences that sum up a comparison, and the order in which its rows are listed."""

from __future__ import annotations

from renorm_cli.model.difference import DiffReport, DiffRow, Verdict
from renorm_cli.text import count_text, counted, exact_text

PLACES: tuple[Verdict, ...] = (
    "other",
    "shape changed",
    "dtype changed",
    "renamed",
    "missing",
    "added",
    "not compared",
    "pure renorm",
)
"""The verdicts whose variables get a line, the worst first."""

SCOPE = "Variables were compared; a model's configuration, graph and other files were not."
CONTEXT = "Variables were compared, and to the byte what else a loader reads in these files."


def listed(report: DiffReport) -> list[DiffRow]:
    """The rows that differ, the worst first."""
    return [row for verdict in PLACES for row in report.rows if row.verdict == verdict]


def scope(report: DiffReport) -> str:
    """What was compared."""
    return SCOPE if not report.expected or report.context is None else CONTEXT


def account(report: DiffReport) -> str:
    """How many variables there are, and how many of each verdict."""
    counts = [f"{count_text(count)} {verdict}" for verdict, count in report.totals.items() if count]
    norm = f"; unit norms are {report.constraint.norm.text}s" if report.constraint.is_spectral else ""
    return f"{counted(len(report.rows), 'variable')}: {', '.join(counts)}{norm}"


def is_fine(row: DiffRow, report: DiffReport) -> bool:
    """Whether a row that differs is what was expected, or a renorm where nothing was."""
    return row.is_renorm_within(report.constraint) if report.expected else row.verdict == "pure renorm"


def reason(row: DiffRow, report: DiffReport) -> str | None:
    """Why a row has its verdict, where that does not say it all."""
    if row.reason is not None or row.verdict != "pure renorm" or not report.expected:
        return row.reason
    found = [f"{counted(row.over, 'unit')} over {exact_text(report.constraint.limit)}"] if row.over else []
    found += [f"{counted(row.nonfinite, 'unit')} not finite"] if row.nonfinite else []
    return ", ".join(found) or None


def _beside(report: DiffReport) -> str:
    """Why a renorm of the variables is not all that happened, or not known to be."""
    if report.guessed:
        return f"of {counted(len(report.guessed), 'variable')} it is a guess which axes name units"
    if report.context is None:
        return "the variables are, but what else is in files of two formats cannot be compared"
    unknown = sum(row.verdict == "not compared" for row in report.context)
    if unknown == len(report.context):
        return f"the variables are, but {count_text(unknown)} besides them could not be compared"
    return f"the variables are, but {count_text(len(report.context) - unknown)} besides them changed"


def _wrong(report: DiffReport, bound: str) -> str:
    """How many variables are no renorm, and how many are one that is not within the bound."""
    wrong = [row.verdict for row in report.rows if row.verdict != "identical" and not is_fine(row, report)]
    beyond = wrong.count("pure renorm")
    found = [f"{counted(len(wrong) - beyond, 'variable')} neither identical nor a pure renorm"]
    found = found if len(wrong) > beyond else []
    found += [f"{counted(beyond, 'variable')} changed by a renorm, but not within {bound}"] if beyond else []
    return "; ".join(found)


def verdict(report: DiffReport) -> str:
    """What became of the checkpoint, in one sentence."""
    totals = report.totals
    changed = counted(totals["pure renorm"], "variable")
    if report.expected:
        bound = exact_text(report.constraint.limit)
        if not report.proven:
            if report.is_renorm_within(report.constraint):
                return f"not proven: {_beside(report)}"
            return f"not proven: {_wrong(report, bound)}"
        if not totals["pure renorm"]:
            return "proven: nothing changed"
        return f"proven: {changed} changed by a renorm within {bound} alone, all others are identical"
    if report.same:
        return "same"
    if report.renorm_only:
        return f"different: {changed} changed, by a renorm alone"
    if report.exit_code == 1:
        return "different"
    unknown = totals["not compared"]
    return f"unknown: {counted(unknown, 'variable')} {'was' if unknown == 1 else 'were'} not compared"
