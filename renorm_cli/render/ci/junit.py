"""Reports as JUnit XML: a suite for each checkpoint, a test case for each variable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

from renorm_cli.model.failure import MANY, Failure, Outcome
from renorm_cli.model.findings import findings
from renorm_cli.model.report import Report
from renorm_cli.render.problems import NAMED_IN_FULL, Subject, level, rule_id, subjects
from renorm_cli.render.sentences import verdict_parts
from renorm_cli.text import LINE_LIMIT, PATH_LIMIT, shape_text, show

_LISTED = 20
"""Findings of one checkpoint of many."""


def render_junit(found: Sequence[Outcome]) -> str:
    """Write a suite for each report, with a case for each constrained variable, for each that only a finding names (one
    of the baseline, a matrix that was not seen), and (as skipped) for each other variable.

    Of many checkpoints there is one suite, with a case for each: services do not show some 100,000 cases. A case fails
    if its findings make `check` fail, and is an error where a checkpoint failed. All foreign text passes through
    `show`, which leaves only legal characters of XML 1.0.
    """
    root = ElementTree.Element("testsuites", {"name": "renorm-ckpt"})
    suites = [_suite_of_many(found)] if len(found) > MANY else list(map(_suite, found))
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.set("time", _time(sum(float(suite.get("time", "0")) for suite in suites)))
    root.extend(suites)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite_of_many(found: Sequence[Outcome]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": "renorm-ckpt", "tests": str(len(found))})
    failures = errors = 0
    seconds = 0.0
    for one in found:
        path = show(one.path, PATH_LIMIT)
        case = ElementTree.SubElement(suite, "testcase", {"classname": "renorm-ckpt", "name": path, "file": path})
        if isinstance(one, Failure):
            errors += 1
            _error(case, one)
            continue
        seconds += one.seconds
        case.set("time", _time(one.seconds))
        told = [finding for finding in findings(one) if level(one, finding) == "error"]
        if told:
            failures += 1
            lines = [f"'{show(finding.name)}': {finding.text}" for finding in told]
            kind = {"message": ": ".join(verdict_parts(one)), "type": rule_id(told[0].fault)}
            ElementTree.SubElement(case, "failure", kind).text = "\n".join(lines[:_LISTED])
    for name, count in (("failures", failures), ("errors", errors), ("skipped", 0)):
        suite.set(name, str(count))
    suite.set("time", _time(seconds))
    return suite


def _error(case: ElementTree.Element, failure: Failure) -> None:
    ElementTree.SubElement(case, "error", {"message": show(failure.text, LINE_LIMIT), "type": failure.kind})


def _suite(report: Outcome) -> ElementTree.Element:
    if isinstance(report, Failure):
        path = show(report.path, PATH_LIMIT)
        counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0", "time": _time(0)}
        suite = ElementTree.Element("testsuite", {"name": path, **counts})
        _error(_case(suite, path, path, None), report)
        return suite
    path, checked = show(report.path, PATH_LIMIT), subjects(report)
    told = {subject.key for subject in checked if subject.row is None}
    skips = [skip for skip in report.skips if skip.variable.key not in told]
    names = [subject.name for subject in checked] + [skip.variable.name for skip in skips]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    failed = [_fails(report, subject) for subject in checked]
    totals = {"tests": len(names), "failures": sum(failed), "errors": 0, "skipped": len(skips)}
    suite = ElementTree.Element("testsuite", {"name": path, **{key: str(count) for key, count in totals.items()}})
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
        lines.append(f"{show(variable.stored_dtype)} {shape_text(variable.shape)}, stored as '{key}'")
        worst = ", ".join(f"{' '.join(map(str, unit.index)) or 'all'}: {unit.norm:.9g}" for unit in subject.row.worst)
        lines += [f"worst units and their norms: {worst}"] if worst else []
    if fails:
        kind = rule_id(subject.findings[0].fault)
        ElementTree.SubElement(case, "failure", {"message": subject.text, "type": kind}).text = "\n".join(lines)
    else:
        ElementTree.SubElement(case, "system-out").text = "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
