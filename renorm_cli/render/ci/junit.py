"""Reports as JUnit XML: a suite for each checkpoint, a test case for each variable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

from renorm_cli.model.report import Report
from renorm_cli.render.problems import NAMED_IN_FULL, PATH_LIMIT, Subject, level, rule_id, subjects
from renorm_cli.text import LINE_LIMIT, shape_text, show


def render_junit(reports: Sequence[Report]) -> str:
    """Write a suite for each report, with a case for each constrained variable, for each that only a finding names (one
    of the baseline, a matrix that was not seen), and (as skipped) for each other variable.

    A case fails if its findings make `check` fail. All foreign text passes through `show`, which leaves only legal
    characters of XML 1.0.
    """
    root = ElementTree.Element("testsuites", {"name": "renorm-ckpt"})
    suites = [_suite(report) for report in reports]
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.set("time", _time(sum(report.seconds for report in reports)))
    root.extend(suites)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report) -> ElementTree.Element:
    path, checked = show(report.path, PATH_LIMIT), subjects(report)
    told = {subject.key for subject in checked if subject.row is None}
    skips = [skip for skip in report.skips if skip.variable.key not in told]
    names = [subject.name for subject in checked] + [skip.variable.name for skip in skips]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    failed = [_fails(report, subject) for subject in checked]
    counts = {"tests": len(names), "failures": sum(failed), "errors": 0, "skipped": len(skips)}
    suite = ElementTree.Element("testsuite", {"name": path, **{key: str(count) for key, count in counts.items()}})
    suite.set("time", _time(report.seconds))
    for subject, fails in zip(checked, failed, strict=True):
        case = _case(suite, path, subject.name, subject.key if subject.name in repeated else None)
        if subject.findings:
            _tell(case, subject, fails)
    for skip in skips:
        name, key = skip.variable.name, skip.variable.key
        case = _case(suite, path, name, key if name in repeated else None)
        ElementTree.SubElement(case, "skipped", {"message": f"{skip.role}: {show(skip.reason, LINE_LIMIT)}"})
    if report.notes:
        out = ElementTree.SubElement(suite, "system-out")
        out.text = "\n".join(f"note: {show(str(note), LINE_LIMIT)}" for note in report.notes)
    return suite


def _fails(report: Report, subject: Subject) -> bool:
    return any(level(report, finding) == "error" for finding in subject.findings)


def _case(suite: ElementTree.Element, path: str, name: str, key: str | None) -> ElementTree.Element:
    """Add a case; `key` distinguishes it from others of the same name."""
    shown = show(name, NAMED_IN_FULL) if key is None else f"{show(name, NAMED_IN_FULL)} ({show(key, NAMED_IN_FULL)})"
    return ElementTree.SubElement(suite, "testcase", {"classname": path, "name": shown, "file": path})


def _tell(case: ElementTree.Element, subject: Subject, fails: bool) -> None:
    lines = [finding.text for finding in subject.findings]
    if subject.row is not None:
        variable = subject.row.step.variable
        key = show(variable.key, NAMED_IN_FULL)
        lines.append(f"{show(variable.dtype)} {shape_text(variable.shape)}, stored as '{key}'")
        worst = ", ".join(f"{' '.join(map(str, unit.index)) or 'all'}: {unit.norm:.9g}" for unit in subject.row.worst)
        lines += [f"worst units and their norms: {worst}"] if worst else []
    if fails:
        kind = rule_id(subject.findings[0].fault)
        ElementTree.SubElement(case, "failure", {"message": subject.text, "type": kind}).text = "\n".join(lines)
    else:
        ElementTree.SubElement(case, "system-out").text = "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
