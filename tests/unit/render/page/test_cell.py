"""The output cell of a notebook: the numbers of the page, a style of its own, and harmless text."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from lxml import html
from support.page_reports import HOSTILE, hostile_report, matrices, network

from renorm_cli.model.report import Report
from renorm_cli.render.page.page import CELL_LINES, render_cell, render_html


def parsed(cell: str) -> Any:
    return html.fragment_fromstring(cell, parser=html.HTMLParser(encoding="utf-8"))


def lines(document: Any) -> list[list[str]]:
    rows = document.xpath(".//table[contains(@class, 'all')]/tbody/tr")
    return [[cell.text_content() for cell in row] for row in rows]


@pytest.mark.parametrize("report", [network(40, "apply"), matrices(5)], ids=["units", "matrices"])
def test_its_table_and_its_charts_are_those_of_the_page(report: Report) -> None:
    cell, page = parsed(render_cell(report)), html.document_fromstring(render_html([report]))
    assert lines(cell) == lines(page) != []
    charts = [[path.get("d") for path in document.xpath(".//svg//path")] for document in (cell, page)]
    assert charts[0] == charts[1] != []


def test_of_many_variables_it_lists_some_and_says_so() -> None:
    report = network(400)
    cell = parsed(render_cell(report))
    assert len(lines(cell)) == CELL_LINES
    assert f"the {CELL_LINES} to look at first are here, {400 - CELL_LINES} are only in the JSON report" in (
        cell.text_content()
    )


def test_it_needs_no_script_and_has_no_control_that_would() -> None:
    cell = parsed(render_cell(network(9)))
    assert not cell.xpath(".//script | .//input | .//button | .//*[@hidden]")
    assert not re.search(r"slider|can show only|data-bounds", html.tostring(cell.find("article"), encoding="unicode"))


def test_its_style_holds_for_nothing_else_on_the_page() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", render_cell(network(3)), re.DOTALL)
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    outer, depth = "", 0
    for char in style:
        depth += (char == "{") - (char == "}")
        outer += char if depth == 0 else ""
    selectors = [part.strip() for part in re.split("[},]", outer) if part.strip()]
    assert len(selectors) >= 3
    assert all(re.search(r"\.renorm-ckpt$", selector) for selector in selectors)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_only_text(text: str) -> None:
    plain, cell = render_cell(hostile_report("plain")), render_cell(hostile_report(text))
    cell.encode("utf-8")
    tags = [Counter(element.tag for element in parsed(one).iter() if element.tag != "wbr") for one in (plain, cell)]
    assert tags[0] == tags[1]
    names = {name for element in parsed(cell).iter() for name in element.attrib}
    assert not {name for name in names if name.startswith("on") or name in ("src", "style", "srcdoc", "href")}
    assert not re.search(r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\uffff]", cell)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", cell)
