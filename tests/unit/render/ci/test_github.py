"""GitHub annotations, read as the runner reads its commands."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from support.report_maker import ANY, HOSTILE, a_report, a_row, a_skip, has_only_printable_lines, hostile_report

from renorm_cli.model.report import Baseline, Growth, Report
from renorm_cli.render.ci.github import render_github
from renorm_cli.render.ci.gitlab import render_gitlab
from renorm_cli.render.ci.junit import render_junit
from renorm_cli.render.ci.markdown import render_markdown
from renorm_cli.render.ci.sarif import render_sarif

Command = tuple[str, dict[str, str], str]


def runner(text: str) -> list[Command]:
    """The commands the runner takes from a step's output: name, properties and message, each unescaped."""
    found = []
    for line in re.split(r"\r\n|\r|\n", text):
        if not line.lstrip().startswith("::"):
            continue
        head, separator, message = line.lstrip()[2:].partition("::")
        if not separator:
            continue
        name, _, properties = head.partition(" ")
        pairs = (pair.partition("=") for pair in properties.split(",") if pair)
        for escape, char in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            message = message.replace(escape, char)
        found.append((name, {key.strip(): _unescaped(value) for key, _, value in pairs}, message))
    return found


def _unescaped(text: str) -> str:
    for escape, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, char)
    return text


def old_commands(text: str) -> list[str]:
    """Commands of the older form, which may stand anywhere in a line."""
    return re.findall(r"##\w*(?:\.\w+)?\[", text)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_a_hostile_name_in_an_annotation_is_only_its_message(name: str) -> None:
    text = render_github([hostile_report(name)])
    commands = runner(text)
    assert text.count("\n") == len(text.splitlines()) == len(commands) == 3
    assert old_commands(text) == []
    assert has_only_printable_lines(text)
    for command, properties, message in commands:
        assert command == "error"
        assert list(properties) == ["title", "file", "line"]
        assert properties["line"] == "1"
        assert message.startswith("'")
        assert has_only_printable_lines(message)
    if 0 < len(name) <= 100 and name.isprintable() and not re.match(r"\s*::|##", name):
        assert commands[0][1]["file"] == name
        assert commands[0][2].startswith(f"'{name}': ")


@given(ANY)
def test_any_name_leaves_three_annotations(name: str) -> None:
    text = render_github([hostile_report(name)])
    assert [(command, list(properties)) for command, properties, _ in runner(text)] == [
        ("error", ["title", "file", "line"])
    ] * 3
    assert text.count("\n") == 3


@pytest.mark.parametrize("bad", ["a\n::error::x", "a,b=c", "a::b"])
def test_the_check_for_hostile_annotations_can_fail(bad: str) -> None:
    text = render_github([a_report([a_row("v")], path="model.h5")])
    assert runner(text.replace("model.h5", bad)) != [(c, {**p, "file": bad}, m) for c, p, m in runner(text)]


def test_an_annotation_names_the_file_the_rule_and_the_variable() -> None:
    report = a_report([a_row("v")], [a_skip("b")], path="./runs/a,b:100%.h5")
    assert render_github([report]) == (
        "::error title=renorm-ckpt%3A A norm is above the bound,file=runs/a%2Cb%3A100%25.h5,line=1"
        "::'v': 1 of 8 units has a norm over 1; the largest is 2 (unit 3)\n"
    )


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 500])
def test_all_reports_together_have_at_most_ten_annotations_the_worst_first(count: int) -> None:
    reports = [a_report([a_row(f"v{at}", 2.0 + at)], path=f"model-{at}.h5") for at in range(count)]
    commands = runner(render_github(reports))
    worst = [f"model-{at}.h5" for at in reversed(range(count))]
    if count <= 10:
        assert [properties["file"] for _, properties, _ in commands] == worst
    else:
        assert [properties.get("file") for _, properties, _ in commands] == [*worst[:9], None]
        assert commands[-1][0] == "error"
        assert commands[-1][2].startswith(f"and {count - 9} more findings")


def test_what_does_not_fail_a_command_is_no_error() -> None:
    report = a_report([a_row("v", nonfinite=1)], command="apply")
    assert [command for command, _, _ in runner(render_github([report]))] == ["warning", "notice"]
    many = a_report([a_row(f"v{at}") for at in range(20)], command="inspect")
    assert {command for command, _, _ in runner(render_github([many]))} == {"notice"}


def test_nothing_found_is_no_annotation() -> None:
    assert render_github([]) == render_github([a_report([a_row("v", 0.5)])]) == ""


RENDERERS: list[Callable[[Sequence[Report]], str]] = [
    render_github,
    render_gitlab,
    render_junit,
    render_markdown,
    partial(render_markdown, limit_bytes=900 * 1024),
    render_sarif,
]


@pytest.mark.slow
@pytest.mark.parametrize("render", RENDERERS, ids=["github", "gitlab", "junit", "markdown", "cut markdown", "sarif"])
def test_ten_thousand_variables_take_less_than_two_seconds(render: Callable[[Sequence[Report]], str]) -> None:
    names = [f"encoder/layer_{number}/attention/query/kernel" for number in range(10_000)]
    grown = Baseline("old.json", 0.05, tuple(Growth(name, "grew", 1.0, 2.0) for name in names[::2]))
    report = a_report([a_row(name) for name in names], [a_skip(f"{name}/bias") for name in names], baseline=grown)
    started = time.process_time()
    text = render([report])
    assert time.process_time() - started < 2
    assert len(text) > 1000
