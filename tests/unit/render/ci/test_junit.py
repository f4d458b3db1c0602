"""JUnit reports, read by lxml, by the standard library and by junitparser: every variable is a case."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from support.report_maker import (
    ANY,
    HOSTILE,
    PLAIN,
    a_report,
    a_row,
    a_skip,
    commands_a_runner,
    has_only_printable_lines,
    hostile_report,
    unescaped,
)

from renorm_cli.model.report import Baseline, Growth
from renorm_cli.render.ci.junit import render_junit


def read(text: str) -> etree._Element:
    """As a parser that follows XML 1.0 to the letter reads it."""
    return etree.fromstring(text.encode())


def cases(text: str) -> list[junitparser.TestCase]:
    return [case for suite in junitparser.JUnitXml.fromstring(text.encode()) for case in suite]


def shape(element: etree._Element) -> list[tuple[object, ...]]:
    return [(found.tag, sorted(found.attrib)) for found in element.iter()]


@pytest.mark.parametrize("command", ["check", "apply", "inspect"])
@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_a_hostile_name_in_junit_is_only_an_attribute(name: str, command: str) -> None:
    text = render_junit([hostile_report(name, command)])  # type: ignore[arg-type]
    found = read(text)
    assert shape(found) == shape(read(render_junit([hostile_report(PLAIN, command)])))  # type: ignore[arg-type]
    assert has_only_printable_lines(text)
    assert not commands_a_runner(text)
    if len(name) <= 100 and "\\u{" not in name:
        assert unescaped(found.findall(".//testcase")[0].get("classname")) == name


@pytest.mark.parametrize("bad", ["\x1b", "\ufffe", "<b>", "&x;"])
def test_the_check_for_hostile_xml_can_fail(bad: str) -> None:
    text = render_junit([a_report([a_row(PLAIN)])])
    with pytest.raises(etree.XMLSyntaxError):
        read(text.replace(PLAIN, bad))


@given(ANY)
def test_any_name_in_junit_leaves_it_well_formed(name: str) -> None:
    text = render_junit([hostile_report(name)])
    assert len(read(text).findall(".//testcase")) == len(cases(text)) == 3
    ElementTree.fromstring(text)


COUNTS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=6)


@given(rows=COUNTS, skipped=st.integers(0, 4), vanished=st.integers(0, 3), files=st.integers(0, 3))
def test_every_variable_is_a_case_and_the_counts_are_those_of_the_cases(
    rows: list[tuple[bool, bool]], skipped: int, vanished: int, files: int
) -> None:
    report = a_report(
        [a_row(f"v{at}", 2.0 if over else 0.5, nonfinite=int(bad)) for at, (over, bad) in enumerate(rows)],
        [a_skip(f"b{at}") for at in range(skipped)],
        baseline=Baseline("old.json", 0.05, tuple(Growth(f"g{at}", "vanished", 1.0) for at in range(vanished))),
    )
    text = render_junit([report] * files)
    failed = vanished + sum(over or bad for over, bad in rows)
    total = len(rows) + skipped + vanished
    every = [*read(text).iter("testsuites", "testsuite")]
    for element, times in zip(every, [files, *[1] * files], strict=True):
        counts = {name: int(element.get(name)) for name in ("tests", "failures", "errors", "skipped")}
        expected = {"tests": total, "failures": failed, "errors": 0, "skipped": skipped}
        assert counts == {name: count * times for name, count in expected.items()}
        assert math.isclose(float(element.get("time")), 0.25 * times)
    judged = junitparser.JUnitXml.fromstring(text.encode())
    judged.update_statistics()  # junitparser counts anew
    assert (judged.tests, judged.failures, judged.skipped) == (total * files, failed * files, skipped * files)


def test_a_case_names_its_variable_and_its_failure_says_what_is_wrong() -> None:
    growths = (Growth("v", "grew", 1.0, 3.0), Growth("gone", "vanished", 1.0))
    rows = [a_row("v", 3.0, nonfinite=2), a_row("w", 0.5)]
    report = a_report(rows, [a_skip("b")], baseline=Baseline("old.json", 0.05, growths))
    bad, good, gone, skipped = cases(render_junit([report]))
    assert (bad.classname, bad.name) == ("runs/model.weights.h5", "v")
    (failure,) = bad.result
    assert failure.type == "renorm-nonfinite"
    assert failure.message == (
        "2 of 8 units have NaN or Inf; 1 of 8 units has a norm over 1; the largest is 3 (unit 3); "
        "the largest norm grew from 1 to 3, more than the 5 % allowed"
    )
    assert "float32 4x8, stored as 'layers/v'" in failure.text
    assert "worst units and their norms: 3: 3" in failure.text
    assert (good.name, good.result) == ("w", [])
    assert (gone.name, gone.result[0].message) == ("gone", "is in the baseline and not in the checkpoint")
    assert skipped.is_skipped
    assert skipped.result[0].message == "bias: not constrained by default"


def test_variables_of_one_name_are_told_apart_by_their_keys() -> None:
    report = a_report([a_row("v", key="a/v"), a_row("v", key="b/v")], [a_skip("w")])
    assert [case.name for case in cases(render_junit([report]))] == ["v (a/v)", "v (b/v)", "w"]


def test_what_the_baseline_says_of_a_name_is_said_of_the_first_variable_that_has_it() -> None:
    grown = Baseline("old.json", 0.05, (Growth("v", "grew", 1.0, 3.0),))
    report = a_report([a_row("v", 0.5, key="a/v"), a_row("v", 0.5, key="b/v")], baseline=grown)
    assert [case.is_failure for case in cases(render_junit([report]))] == [True, False]


def test_a_command_that_does_not_fail_has_no_failed_case() -> None:
    for command in ("inspect", "apply"):
        (case,) = cases(render_junit([a_report([a_row("v")], command=command)]))
        assert case.is_passed
        assert "norm over 1" in case.system_out


def test_the_same_report_is_the_same_text() -> None:
    report = a_report([a_row("v")], [a_skip("b")])
    assert render_junit([report]) == render_junit([report])
    assert not {"timestamp", "hostname"} & set(read(render_junit([report])).find("testsuite").attrib)
