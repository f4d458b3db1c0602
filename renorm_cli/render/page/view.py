"""Chooses what the HTML page shows, and turns it into texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from renorm_cli.model.failure import Failure, Outcome
from renorm_cli.model.plan import Note
from renorm_cli.model.report import Joint, Report
from renorm_cli.render.columns import counts_over, has_matrices, is_bounded, limits, noun, orders
from renorm_cli.render.page.axis import Axis, axis_of
from renorm_cli.render.page.charts import Trials, histogram, trials
from renorm_cli.render.page.layers import Layers
from renorm_cli.render.page.parts import Change, Chart, Entry, Page, Section
from renorm_cli.render.page.pooled import Pool
from renorm_cli.render.page.spectra import by_depth, depth_of
from renorm_cli.render.page.table import TEXT_LIMIT, listed_rows, named, sortable, table_of
from renorm_cli.render.problems import ranks, subjects, worst
from renorm_cli.render.sentences import doubts, seen, units_text, verdict
from renorm_cli.text import an, bytes_text, count_text, counted, exact_text, number_text, show

DRAWN = 500
"""Variables per page whose norms are drawn, the worst first."""

LISTED = 3000
"""Variables per page that get a line in a table, the worst first."""

SECTIONS = 50
"""Checkpoints per page that get a section, the worst first."""

PATHS = 2000
"""Checkpoints that the contents list."""

FINDINGS = 10
GROWTHS = 200
NOTES = 50
REASONS = 40
DECLARED = 40
PATH_LIMIT = 1000


def page_of(found: Sequence[Outcome]) -> Page:
    """Choose what a page of reports shows, and turn it into texts; foreign text passes through `show`.

    What failed is in the contents alone.
    """
    listed = worst(found, PATHS)
    failed = sum(kind == 0 for kind, _ in ranks(found))
    shown = worst(found, min(PATHS, failed + SECTIONS))
    reports = {at: report for at in shown if isinstance(report := found[at], Report)}
    share = max(1, len(reports))
    sections = tuple(section_of(one, DRAWN // share, LISTED // share) for one in reports.values())
    numbers = {at: number for number, at in enumerate(reports, 1)}
    entries, layers = [], Layers()
    for at in listed:
        one = reports.get(at) or found[at]
        entries.append(_entry(one, numbers.get(at)))
        if isinstance(one, Report):
            layers.add(one, entries[-1].path, numbers.get(at))
    title = sections[0].title if len(found) == 1 and sections else counted(len(found), "checkpoint")
    version = found[0].version if found else ""
    left = len(listed) - min(failed, len(listed)) - len(sections)
    more = len(found) - len(listed)
    return Page(title, show(version), tuple(entries), more, sections, left, layers.lines())


def _entry(found: Outcome, section: int | None) -> Entry:
    path = named(found.path, PATH_LIMIT)
    if isinstance(found, Failure):
        return Entry(path, "bad", f"Failed: {show(found.text, TEXT_LIMIT)}", None)
    return Entry(path, _state(found), _verdict(found), section)


def section_of(report: Report, drawn: int, listed: int) -> Section:
    """Choose what one checkpoint's section shows: `listed` variables in its table, `drawn` of them with a drawing."""
    found = subjects(report)
    bounds = [limit for limit in limits(report) if limit is not None]
    bound = bounds[0] if len(limits(report)) == 1 and bounds else None
    is_joint = report.joint is not None
    pool = Pool(report.rows)
    axis = axis_of(pool, [] if is_joint else bounds) if pool.units else None
    problems = sorted(
        ((subject.name, finding) for subject in found for finding in subject.findings),
        key=lambda one: -one[1].severity,
    )
    deep = by_depth(listed_rows(found, listed))
    growths = () if report.baseline is None else report.baseline.growths
    return Section(
        title=named(report.path.rstrip("/").rpartition("/")[2] or report.path),
        path=named(report.path, PATH_LIMIT),
        state=_state(report),
        verdict=_verdict(report),
        figures=_figures(report),
        facts=tuple(_facts(report)),
        notes=noted(report.notes),
        more_notes=max(0, len(report.notes) - NOTES),
        findings=tuple((named(name), show(one.text, TEXT_LIMIT), one.fault) for name, one in problems[:FINDINGS]),
        more_findings=max(0, len(problems) - FINDINGS),
        chart=None if axis is None or is_joint else _chart(report, pool, axis, bound),
        depth=depth_of(report, deep),
        table=table_of(report, found, axis, deep, drawn, listed),
        skipped=tuple(
            (count_text(count), role, show(reason, TEXT_LIMIT))
            for (role, reason), count in Counter((one.role, one.reason) for one in report.skips).most_common(REASONS)
        ),
        declared=_declared(report),
        provenance=_provenance(report),
        baseline=None if report.baseline is None else show(report.baseline.path, PATH_LIMIT),
        changes=tuple(
            Change(
                named(growth.name),
                growth.kind,
                number_text(growth.before),
                number_text(growth.after),
                _change(growth.before, growth.after),
                (sortable(growth.before), sortable(growth.after), sortable(_ratio(growth.before, growth.after))),
            )
            for growth in growths[:GROWTHS]
        ),
        more_changes=max(0, len(growths) - GROWTHS),
    )


def noted(notes: Sequence[Note]) -> tuple[tuple[str, str], ...]:
    """The first notes, each with what it is."""
    return tuple(("Warning" if note.warning else "Note", show(str(note), TEXT_LIMIT)) for note in notes[:NOTES])


def _state(report: Report) -> str:
    if report.command == "check" or report.baseline is not None:
        return "good" if report.holds else "bad"
    return "bad" if report.totals.nonfinite else "plain"


def _verdict(report: Report) -> str:
    text = _sentence(report)
    return text[:1].upper() + text[1:]


def _sentence(report: Report) -> str:
    if report.command == "check" or report.baseline is not None:
        return verdict(report)
    return "; ".join((", in ".join((_told(report), *seen(report))), *doubts(report)))


def _told(report: Report) -> str:
    totals, units = report.totals, units_text(report)
    broken = f", {count_text(totals.nonfinite)} not finite" if totals.nonfinite else ""
    if not is_bounded(report):
        return f"measured: {units} in {counted(totals.constrained, 'variable')}{broken}"
    now, past = ("is", "was") if totals.over == 1 else ("are", "were")
    if report.joint is not None:
        now, past = "is", "was"
    word, verb = ("clipped", past) if report.command == "apply" and totals.over else ("measured", now)
    if report.dry_run:
        word, verb = "to be clipped" if totals.over else word, now
    if report.joint is not None:
        return f"{word}: {report.joint.text(verb)}{broken}"
    return f"{word}: {count_text(totals.over)} of {units} {verb} over {_bound_text(report)}{broken}"


def _figures(report: Report) -> tuple[tuple[str, str, str], ...]:
    """The few large numbers: title, number and remark."""
    totals = report.totals
    found = [("Units", count_text(totals.units), f"in {counted(totals.constrained, 'variable')}")]
    if counts_over(report):
        found.insert(
            0, ("Over the bound", count_text(totals.over), f"{share_text(totals.over, totals.units)} of all units")
        )
    if totals.nonfinite:
        found.insert(0, ("Not finite", count_text(totals.nonfinite), "units hold NaN or Inf"))
    if report.joint is not None:
        return (*_joint_figures(report.joint), *found)
    largest = max(((row.norm.max, -at) for at, row in enumerate(report.rows) if row.norm is not None), default=None)
    if largest is not None:
        norm, at = largest
        found.append((f"Largest {noun(report)}", number_text(norm), named(report.rows[-at].step.variable.name)))
        after = [row.norm_after.max for row in report.rows if row.norm_after is not None]
        if after:
            found.append(("Largest after", number_text(max(after)), f"bound {_bound_text(report)}"))
    return tuple(found)


def _joint_figures(joint: Joint) -> Iterator[tuple[str, str, str]]:
    bound = "no bound" if joint.limit is None else f"bound {exact_text(joint.limit)}"
    yield "Joint norm", number_text(joint.norm), f"of {counted(joint.variables, 'variable')}, {bound}"
    if joint.norm_after is not None:
        yield "Joint norm after", number_text(joint.norm_after), bound


def _facts(report: Report) -> list[tuple[str, str]]:
    totals = report.totals
    found = [
        ("Command", report.command),
        ("Bound", _bound_text(report) if is_bounded(report) else "none"),
        ("Norm", _norms_text(report)),
        (
            "Variables",
            f"{count_text(totals.variables)}: {count_text(totals.constrained)} selected, "
            f"{count_text(totals.skipped)} skipped",
        ),
        *(("Matrices", f"{text} measured") for text in seen(report)),
        ("Format", f"{show(report.format)}, {bytes_text(report.bytes)}"),
        ("Engine", f"{show(report.engine)} on {show(report.device)}, {number_text(report.seconds)} s"),
    ]
    if totals.under:
        found.append(("Under the lower bound", count_text(totals.under)))
    if totals.negative:
        found.append(("Weights below 0", count_text(totals.negative)))
    if report.dry_run:
        found.append(("Output", "dry run: nothing written"))
    elif report.output is not None:
        found.append(("Output", show(report.output, PATH_LIMIT)))
    return found


def _norms_text(report: Report) -> str:
    """Which norms the report has, and what they run over."""
    order = sorted(orders(report))
    per = sorted({row.step.constraint.per for row in report.rows if not row.step.constraint.is_spectral})
    matrices = sorted({row.noun for row in report.rows if row.step.constraint.is_spectral})
    found = [f"p = {' or '.join(map(exact_text, order))}, per {' or '.join(per)}"] if order else []
    found += [f"{' or '.join(matrices)} of each matrix"] if matrices else []
    return "; ".join(found) or "-"


def _bound_text(report: Report) -> str:
    known = sorted(limit for limit in limits(report) if limit is not None)
    if len(limits(report)) == 1:
        return exact_text(known[0]) if known else "none"
    return "their limit" if not known else f"their limits, {exact_text(known[0])} to {exact_text(known[-1])}"


def _declared(report: Report) -> tuple[tuple[str, str], ...]:
    """The constraints that the file's config declares, with the number of variables of each."""
    variables = (*(row.step.variable for row in report.rows), *(skip.variable for skip in report.skips))
    counts = Counter(variable.declared.text for variable in variables if variable.declared is not None)
    return tuple((show(text, TEXT_LIMIT), counted(count, "variable")) for text, count in counts.most_common(DECLARED))


def _chart(report: Report, pool: Pool, axis: Axis, bound: float | None) -> Chart:
    name = noun(report) if not orders(report) else "unit norm"
    drawn, tried = histogram(pool, axis, bound), trials(pool, axis, bound)
    over = sum(row.over for row in report.rows)
    facts = []
    if bound is not None and not axis.has(bound):
        facts.append(f"The bound, {exact_text(bound)}, lies to the right of the axis.")
    if bound is None and is_bounded(report):
        facts.append(f"Variables have {_bound_text(report)}; the table draws each.")
    if axis.low > pool.low:
        facts.append(f"The first bar also holds what lies left of the axis, down to {number_text(pool.low)}.")
    if len(orders(report)) > 1:
        facts.append("Norms of different p are drawn together.")
    if has_matrices(report) and orders(report):
        facts.append("Norms of matrices and of other units are drawn together.")
    if report.totals.nonfinite:
        facts.append(f"Without {counted(report.totals.nonfinite, 'unit')} that hold NaN or Inf.")
    described = (
        f"{counted(pool.units, name)} from {number_text(pool.low)} to {number_text(pool.high)}, "
        f"median {number_text(pool.quantile(0.5))}."
    )
    if bound is not None:
        described += f" {count_text(over)} are over the bound {exact_text(bound)}."
    return Chart(
        f"{name}s",
        an(noun(report)),
        drawn,
        tried,
        axis.log,
        pool.units,
        None if bound is None else exact_text(bound),
        _again(report),
        " ".join(facts),
        described,
        tuple(_quantiles(pool, tried)),
    )


def _again(report: Report) -> str | None:
    """A command line that bounds the same weights, if it can be shown as it is."""
    line = None if report.provenance is None else report.provenance.bounding
    return line if line is not None and show(line, PATH_LIMIT) == line else None


def _provenance(report: Report) -> tuple[tuple[str, str], ...]:
    made = report.provenance
    if made is None:
        return ()
    found = [("Started", show(made.started))]
    if made.command is not None:
        found.append(("Command line", show(made.command, PATH_LIMIT)))
    if made.sha256 is not None:
        found.append(("SHA-256 of the checkpoint", show(made.sha256)))
    versions = (("renorm-ckpt", report.version), *made.versions)
    return (*found, ("Versions", ", ".join(show(f"{name} {version}") for name, version in versions)))


def _quantiles(pool: Pool, tried: Trials) -> list[tuple[str, str, str]]:
    """For some shares, the smallest of the bounds tried that has at most that share of the units over it."""
    found = []
    for percent in (0, 1, 5, 10, 25, 50):
        allowed = percent / 100 * pool.units
        at = next((at for at, count in enumerate(tried.over) if count <= allowed), None)
        if at is not None:
            count = tried.over[at]
            found.append((f"{percent} %", exact_text(tried.bounds[at]), count_text(count)))
    return found


def _ratio(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None or before == 0 else after / before - 1


def _change(before: float | None, after: float | None) -> str:
    ratio = _ratio(before, after)
    return "-" if ratio is None else f"{ratio * 100:+.4g} %"


def share_text(part: int, whole: int) -> str:
    """A share in percent with one decimal; 0 % and 100 % only if they are exact."""
    if part in (0, whole):
        return "100 %" if part else "0 %"
    percent = 100 * part / whole
    return "< 0.1 %" if percent < 0.1 else "> 99.9 %" if percent > 99.9 else f"{percent:.1f} %"
