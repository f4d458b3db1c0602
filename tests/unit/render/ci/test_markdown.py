"""Markdown reports, read by GitHub's own Markdown parser: short, cut at rows, and names are only text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
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

from renorm_cli.model.plan import Note
from renorm_cli.model.report import Baseline, Growth
from renorm_cli.render.ci.markdown import render_markdown

LIMIT = 900 * 1024
"""What fits into the summary of a GitHub step."""


class Page(HTMLParser):
    """Tags and text outside of code, and the texts inside of it; rows by table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.codes: list[str] = []
        self.rows: list[list[str]] = []
        self.details = 0
        self.visible_rows = 0
        self._in_code = self._in_cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag == "code":
            self._in_code = True
            self.codes.append("")
        if tag == "tr":
            self.rows.append([])
            self.visible_rows += self.details == 0
        if tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")
        self.details += tag == "details"

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")
        self._in_code = self._in_code and tag != "code"
        self._in_cell = self._in_cell and tag not in ("td", "th")
        self.details -= tag == "details"

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.codes[-1] += data
        else:
            self.text += data
        if self._in_cell:
            self.rows[-1][-1] += data


def github(text: str) -> str:
    """As GitHub's parser makes it, with no HTML filtered away: what gets through is for the test to see."""
    return cmarkgfm.github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE)


def markdown_it(text: str) -> str:
    return MarkdownIt("commonmark").enable("table").render(text)


READERS = {"cmark-gfm": github, "markdown-it": markdown_it}


def like(name: str) -> str:
    """A harmless name that gets the same footnote marks."""
    return PLAIN if name.isascii() else "größe"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("command", ["check", "apply", "inspect"])
@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_a_hostile_name_in_markdown_is_only_code(name: str, command: str, reader: str) -> None:
    read = READERS[reader]
    text = render_markdown([hostile_report(name, command)])  # type: ignore[arg-type]
    page, harmless = Page(read(text)), Page(read(render_markdown([hostile_report(like(name), command)])))  # type: ignore[arg-type]
    assert (page.tags, page.attributes, page.text) == (harmless.tags, harmless.attributes, harmless.text)
    assert not {"a", "img", "script"} & set(page.tags)
    assert has_only_printable_lines(text)
    assert not commands_a_runner(text)
    if 0 < len(name) <= 100 and not re.search(r"\\u\{|^\s+$", name):
        assert [unescaped(code) for code in page.codes].count(name) >= 6


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bad", ["a|b", "<b>", "[a](http://x)", "a`\n\n# b"])
def test_the_check_for_hostile_markdown_can_fail(bad: str, reader: str) -> None:
    text = render_markdown([hostile_report(PLAIN)])
    read = READERS[reader]
    broken, page = Page(read(text.replace(f"`{PLAIN}`", bad))), Page(read(text))
    assert (broken.tags, broken.text) != (page.tags, page.text)


@given(ANY)
def test_any_name_in_markdown_leaves_its_structure(name: str) -> None:
    text = render_markdown([hostile_report(name)])
    page, harmless = Page(github(text)), Page(github(render_markdown([hostile_report(like(name))])))
    assert (page.tags, page.text) == (harmless.tags, harmless.text)
    assert has_only_printable_lines(text)


def test_a_check_that_holds_is_a_heading_a_verdict_and_folded_tables() -> None:
    text = render_markdown([a_report([a_row(PLAIN, 0.5)], [a_skip("dense/bias")])])
    assert text == (
        "## `runs/model.weights.h5`\n\n"
        "**holds**: none of 8 units over 1, in 1 of 1 matrix\n\n"
        "2 variables: 1 constrained, 1 skipped · 8 units, 0 over 1, 0 not finite · "
        "`keras-weights-h5`, 11.8 MiB, `numpy` on `cpu`\n\n"
        "<details><summary>1 variable that holds</summary>\n\n"
        "| variable | shape | units | median | norm max | unit norms |\n"
        "| --- | --- | --: | --: | --: | --- |\n"
        "| `dense/kernel` | 4×8 | 8 | 0.5000 | 0.5000 | `▄ ▇█` |\n\n"  # noqa: RUF001
        "</details>\n\n"
        "<details><summary>1 skipped</summary>\n\n"
        "| variable | role | shape | dtype | reason |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| `dense/bias` | bias | 8 | `float32` | `not constrained by default` |\n\n"
        "</details>\n"
    )


def test_ten_findings_are_visible_the_worst_first_and_every_variable_has_one_row() -> None:
    rows = [a_row(f"v{number}", 1.1 + number % 17 / 10) for number in range(30)] + [a_row("fine", 0.5)]
    growths = (Growth("gone", "vanished", 1.0), Growth("fine", "grew", 0.1, 0.5))
    report = a_report(rows, [a_skip("b")], baseline=Baseline("old.json", 0.05, growths))
    page = Page(github(render_markdown([report])))
    assert page.details == 0
    assert page.visible_rows == 11
    cells = [row for row in page.rows if row[0] != "variable"]
    assert sorted(row[0] for row in cells) == sorted([f"v{number}" for number in range(30)] + ["fine", "gone", "b"])
    largest = [float(row[5]) for row in cells if row[0].startswith("v")]
    assert largest == sorted(largest, reverse=True)
    assert cells[0][:2] == ["fine", "the largest norm grew from 0.1 to 0.5, more than the 5 % allowed"]
    assert ["gone", "is in the baseline and not in the checkpoint"] in [row[:2] for row in cells]


def test_an_apply_says_what_was_written_and_gives_no_verdict() -> None:
    text = render_markdown([a_report([a_row(PLAIN)], command="apply", output="out.h5", notes=(Note("kept"),))])
    assert "Wrote `out.h5`" in text
    assert "violated" not in text
    assert "- `kept`" in text
    assert "Would write `out.h5`" in render_markdown([a_report(command="apply", output="out.h5", dry_run=True)])


def test_several_checks_begin_with_how_many_are_violated() -> None:
    text = render_markdown([a_report([a_row("v", 0.5)]), a_report([a_row("v", 5.0)])])
    assert text.startswith("**1 of 2 checkpoints violated**\n\n## ")


def test_no_report_is_no_text() -> None:
    assert render_markdown([]) == ""


def _many() -> list[tuple[int, str]]:
    return [(number, f"größe_{number}" if number % 3 else f"v{number}") for number in range(60)]


MANY = [
    a_report([a_row(name, 0.5 + number % 40 / 20) for number, name in _many()], [a_skip("b")] * 5),
    a_report([a_row("w", 0.5)], [a_skip("c")] * 5, notes=(Note("one"), Note("two"))),
]
WHOLE = render_markdown(MANY)


@given(st.integers(0, len(WHOLE.encode()) + 10))
def test_a_cut_text_is_below_its_limit_and_says_how_many_rows_are_left_out(limit: int) -> None:
    text = render_markdown(MANY, limit)
    assert len(text.encode()) < max(limit, 1)
    if len(WHOLE.encode()) < limit:
        assert text == WHOLE
        return
    if not text:
        return
    *lines, last = text.splitlines()
    assert set(lines) <= set(WHOLE.splitlines())  # no line is cut
    page = Page(github(text))
    assert page.tags.count("details") == page.tags.count("/details")
    notes = page.tags.count("li")
    kept = sum(row[0] != "variable" for row in page.rows) + notes
    said = re.match(r"\*\*(\d+) rows are left out", last)
    assert said is not None
    assert kept + int(said[1]) == 60 + 5 + 1 + 5 + 2


@given(st.integers(4000, len(WHOLE.encode())))
def test_what_is_cut_first_is_what_matters_least(limit: int) -> None:
    cells = [row for row in Page(github(render_markdown(MANY, limit))).rows if row[0] != "variable"]
    found = [row for row in cells if "norm over" in row[1]]
    broken = sum(0.5 + number % 40 / 20 > 1 for number, _ in _many())
    assert len(found) >= 10
    assert len(found) == broken or len(found) == len(cells)


def test_ten_thousand_variables_fit_a_step_summary() -> None:
    report = a_report([a_row(f"encoder/layer_{number}/attention/query/kernel", 3.0) for number in range(10_000)])
    whole, cut = render_markdown([report]), render_markdown([report], LIMIT)
    assert len(whole.encode()) > LIMIT > len(cut.encode()) > LIMIT - 500
    assert cut.count("\n| `") + int(re.findall(r"([\d,]+) rows are", cut)[0].replace(",", "")) == 10_000
