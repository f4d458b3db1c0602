"""The HTML page: its numbers are those of the report, its text is harmless, and it needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import html
from support.matrices import measured
from support.page_reports import HOSTILE, hostile_report, matrices, network, report_of, row_of, skip_of
from support.places import ROOT

from renorm_cli.api.verbs import check, inspect
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.failure import Failure
from renorm_cli.model.findings import findings
from renorm_cli.model.norm import PNorm
from renorm_cli.model.report import Report
from renorm_cli.render.page.axis import Axis, axis_along, axis_of
from renorm_cli.render.page.charts import histogram, trials
from renorm_cli.render.page.page import render_html
from renorm_cli.render.page.pooled import Pool
from renorm_cli.render.page.view import DRAWN, LISTED, SECTIONS, share_text
from renorm_cli.text import number_text, show

NORMS = st.floats(0, 1e300, allow_subnormal=True) | st.floats(0.1, 10)
ROWS = st.lists(st.lists(NORMS, min_size=1, max_size=60), min_size=1, max_size=4)


def parsed(page: str) -> Any:
    return html.document_fromstring(page, parser=html.HTMLParser(encoding="utf-8"))


def texts(elements: Any) -> list[str]:
    return [element.text_content() for element in elements]


def table_rows(document: Any) -> list[Any]:
    return document.xpath("//table[contains(@class, 'all')]/tbody/tr")


def name_of(row: Any) -> str:
    return "".join(row.xpath("./th//text()[not(ancestor::small) and not(ancestor::em)]")).strip()


def sample(name: str, limit: float | None) -> Report:
    path = ROOT / "sample_checkpoints" / name
    return check(path, max_norm=limit) if limit else inspect(path)


def test_the_numbers_in_the_table_are_those_of_the_report() -> None:
    report = network(30, "apply")
    document = parsed(render_html([report]))
    heads = texts(document.xpath("//table[contains(@class, 'all')]/thead//th"))
    shown = table_rows(document)
    for row, line in zip(report.rows, shown, strict=False):
        cells = dict(zip(heads, line.xpath("./th|./td"), strict=True))
        assert name_of(line) == row.step.variable.name
        assert row.norm is not None
        assert row.norm_after is not None
        numbers = {
            "min": row.norm.min,
            "median": row.norm.median,
            "p95": row.norm.p95,
            "max": row.norm.max,
            "max after": row.norm_after.max,
        }
        for head, number in numbers.items():
            cell = cells[head]
            assert float(cell.get("data-v") or cell.text_content()) == pytest.approx(number, rel=1e-8)
            assert float(cell.text_content()) == pytest.approx(number, rel=6e-4)
        assert [int(cells[head].text_content()) for head in ("units", "over")] == [row.units, row.over]
        assert cells["shape"].text_content() == "×".join(map(str, row.step.variable.shape))  # noqa: RUF001


def test_every_variable_has_a_line_and_a_skipped_one_its_reason() -> None:
    report = sample("convolutions.h5", 1.2)
    shown = {name_of(line): line.text_content() for line in table_rows(parsed(render_html([report])))}
    named = {variable.name for variable in (one.step.variable for one in report.rows)}
    assert set(shown) == named | {skip.variable.name for skip in report.skips}
    for skip in report.skips:
        assert f"skipped: {skip.reason}" in shown[skip.variable.name]


def test_the_lines_with_findings_are_marked_and_no_others() -> None:
    report = network(30)
    marked = {name_of(line) for line in table_rows(parsed(render_html([report]))) if line.get("class") == "found"}
    names = {row.step.variable.name for row in report.rows}
    assert marked == {finding.name for finding in findings(report)} & names
    assert marked < names


def test_the_worst_units_are_named_by_index_and_norm() -> None:
    norms = [0.5, 3.25, math.nan, 1.0, math.inf, 2.5]
    (line,) = table_rows(parsed(render_html([report_of([row_of(norms, Constraint(2))])])))
    assert line.xpath("./td")[-1].text_content() == "2: NaN; 4: Inf; 1: 3.250; 5: 2.500; 3: 1.000"


@given(rows=ROWS, limit=st.floats(0.1, 10), at=st.lists(NORMS, min_size=1, max_size=5))
def test_the_share_over_a_bound_is_right_up_to_the_units_in_one_bin_and_exact_at_the_limit(
    rows: list[list[float]], limit: float, at: list[float]
) -> None:
    pool = Pool([row_of(norms, Constraint(limit)) for norms in rows])
    arrays = [np.array(norms) for norms in rows]
    everything = np.concatenate(arrays)
    assert pool.units == everything.size
    assert pool.over([limit])[0] == pytest.approx((everything > limit).sum())
    for bound, found in zip(at, pool.over(at), strict=True):
        unsure = 0
        for norms in arrays:
            edges = np.linspace(norms.min(), norms.max(), 65)
            place = min(max(int(np.searchsorted(edges, bound)) - 1, 0), 63)
            low, high = edges[max(place - 1, 0)], edges[min(place + 2, 64)]
            unsure += int(((norms >= low) & (norms <= high)).sum())
        assert abs(found - (everything > bound).sum()) <= unsure + 1e-6
    assert pool.count_over([limit]) == [(everything > limit).sum()]


def test_the_share_on_the_page_is_that_of_the_norms_in_a_real_file() -> None:
    h5py = pytest.importorskip("h5py")
    report = sample("embedding.h5", 1.5)
    norms = []
    with h5py.File(ROOT / "sample_checkpoints" / "embedding.h5") as file:
        for row in report.rows:
            values = file[row.step.variable.key][...].astype(np.float64)
            others = tuple(axis for axis in range(values.ndim) if axis not in row.step.unit_axes)
            norms.append(np.sqrt((values**2).sum(axis=others)).ravel())
    everything = np.concatenate(norms)
    (share,) = parsed(render_html([report])).xpath("//*[@data-bounds]")
    bounds, over = json.loads(share.get("data-bounds")), json.loads(share.get("data-over"))
    exact = int(share.get("data-exact"))
    assert int(share.get("data-units")) == everything.size
    assert (bounds[exact], over[exact]) == (1.5, (everything > 1.5).sum())
    true = [(everything > bound).sum() for bound in bounds]
    assert np.abs(np.array(over) - true).max() <= 0.05 * everything.size
    assert bounds == sorted(set(bounds))
    assert over == sorted(over, reverse=True)


@given(rows=ROWS, limit=st.floats(0.1, 10))
def test_the_area_of_the_bars_over_the_bound_is_the_share_of_the_units_over_it(
    rows: list[list[float]], limit: float
) -> None:
    made = [row_of(norms, Constraint(limit)) for norms in rows]
    pool = Pool(made)
    drawn = histogram(pool, axis_of(pool, [limit]), limit)

    def area(path: str) -> float:
        bars = re.findall(r"M([\d.]+) 100V([\d.]+)H([\d.]+)V100z", path)
        return sum((float(right) - float(left)) * (100 - float(top)) for left, top, right in bars)

    over, within = area(drawn.over), area(drawn.within)
    assert over + within > 0
    share = sum(row.over for row in made) / pool.units
    if drawn.bound is not None:
        assert over / (over + within) == pytest.approx(share, abs=0.03)


@given(rows=ROWS, limit=st.floats(0.001, 1000))
def test_bounds_to_try_ascend_and_ever_fewer_units_are_over(rows: list[list[float]], limit: float) -> None:
    pool = Pool([row_of(norms, Constraint(limit)) for norms in rows])
    axis = axis_of(pool, [limit])
    tried = trials(pool, axis, limit)
    assert list(tried.bounds) == sorted(set(tried.bounds))
    assert list(tried.over) == sorted(tried.over, reverse=True)
    assert (tried.exact is not None) == axis.has(limit)
    if tried.exact is not None:
        assert tried.bounds[tried.exact] == limit
    assert 0 <= tried.start < len(tried.bounds)


@given(low=st.floats(1e-300, 1e300), factor=st.floats(1.01, 1e6), log=st.booleans(), place=st.floats(0, 1))
def test_a_norm_stands_where_its_place_says(low: float, factor: float, log: bool, place: float) -> None:
    axis = Axis(low, low * factor, log)
    assert axis.place(axis.norm(place)) == pytest.approx(place, abs=1e-6)
    assert (axis.place(axis.low), axis.place(axis.high)) == (0, 1)
    assert len(axis.ticks()) <= 20
    assert list(axis.ticks()) == sorted(set(axis.ticks()))


@pytest.mark.parametrize("dead", [1, 10])
def test_a_few_dead_units_do_not_stretch_the_axis_over_thirty_decades(dead: int) -> None:
    rows = [row_of(np.geomspace(0.5, 90, 300), Constraint(0.01), "w"), row_of([4e-34] * dead, Constraint(0.01), "v")]
    axis = axis_of(Pool(rows), [0.01])
    assert axis.log
    assert axis.high / axis.low < 1e6
    said = parsed(render_html([report_of(rows)])).text_content()
    assert "what lies left of the axis, down to 4.000e-34." in said


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_only_text(text: str) -> None:
    plain, page = render_html([hostile_report("plain")]), render_html([hostile_report(text)])
    page.encode("utf-8")
    before, after = parsed(plain), parsed(page)
    tags = [Counter(element.tag for element in one.iter() if element.tag != "wbr") for one in (before, after)]
    assert tags[0] == tags[1]
    names = {name for element in after.iter() for name in element.attrib}
    assert not {name for name in names if name.startswith("on") or name in ("src", "style", "srcdoc")}
    assert all(link.startswith("#") for link in after.xpath("//@href"))
    assert not re.search(r"[^\n\x20-\x7e\xa0-\ud7ff\ue000-\uffff]", page)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", page)
    assert len(page) < len(plain) + 20_000
    assert name_of(table_rows(after)[0]) == (show(text, 160).strip() or "(no name)")


def test_the_policy_allows_the_style_and_the_script_of_the_page_and_nothing_else() -> None:
    page = render_html([network(6)])
    document = parsed(page)
    (policy,) = document.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}


def test_the_page_names_no_other_resource() -> None:
    page = render_html([network(6), network(9, "apply")])
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|<img|<iframe|<object|\bsrc=|\bstyle=|innerHTML", page)


@pytest.mark.parametrize(("variables", "make"), [(3, network), (300, network), (30, matrices)])
def test_a_page_is_small(variables: int, make: Any) -> None:
    assert len(render_html([make(variables, command="apply")]).encode()) < 60_000 + 1_000 * variables


@pytest.mark.slow
def test_of_very_many_variables_the_worst_are_listed_and_the_page_says_so() -> None:
    report = network(6000)
    page = render_html([report])
    document = parsed(page)
    lines = table_rows(document)
    assert len(lines) == LISTED
    assert len(document.xpath("//svg[@class='r'][@role='img']")) == DRAWN
    assert f"the {LISTED:,} to look at first are here, {6000 - LISTED:,} are only in the JSON report" in page
    assert f"norms are drawn for the {DRAWN:,} to look at first" in page
    excess = sorted((row.excess or 0.0 for row in report.rows), reverse=True)
    worst = {row.step.variable.name for row in report.rows if (row.excess or 0.0) >= excess[LISTED // 2]}
    assert worst <= {name_of(line) for line in lines}
    assert len(page.encode()) < 3_000_000


def test_several_reports_have_a_section_each_and_a_list_of_contents() -> None:
    reports = [sample("dense.h5", 1.0), sample("dense.keras", 9.0), network(6)]
    document = parsed(render_html(reports))
    links = document.xpath("//nav//a/@href")
    assert [f"#{section}" for section in document.xpath("//article/@id")] == links
    assert len(links) == 3
    verdicts = texts(document.xpath("//nav//li"))
    assert ["Violated" in text for text in verdicts] == [not report.holds for report in reports]
    headings = [int(element.tag[1]) for element in document.xpath("//h1|//h2|//h3|//h4")]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_layers_of_several_checkpoints_are_counted_together_by_their_class() -> None:
    reports = [sample("dense.h5", 1.0), sample("convolutions.h5", 1.0), sample("dense.keras", 9.0)]
    assert parsed(render_html(reports[:1])).xpath("//section[@aria-labelledby='layers']") == []
    expected: dict[str, list[Any]] = {}
    for report in reports:
        seen = set()
        for row in report.rows:
            one = expected.setdefault(row.variable.layer or row.step.role, [0, 0, 0, 0, (0.0, "")])
            one[0] += row.variable.layer not in seen
            seen.add(row.variable.layer)
            assert row.norm is not None
            one[1:4] = one[1] + 1, one[2] + row.units, one[3] + row.over
            one[4] = max(one[4], (row.norm.max, report.path), key=lambda norm: norm[0])
    document = parsed(render_html([*reports, Failure("check", "0", "torn.h5", "format", "damaged")]))
    lines = document.xpath("//section[@aria-labelledby='layers']//tbody/tr")
    found = {name: rest for name, *rest in (texts(line.xpath("th|td")) for line in lines)}
    assert found == {
        name: [*(f"{count:,}" for count in counts), number_text(largest), place]
        for name, (*counts, (largest, place)) in expected.items()
    }
    sections = {article.get("id"): " ".join(texts([article])) for article in document.xpath("//article")}
    for line in lines:
        (link,) = line.xpath(".//a")
        assert link.text in sections[link.get("href")[1:]]


def test_of_very_many_reports_those_that_fail_have_sections() -> None:
    held, failed = report_of([row_of([1], Constraint(2))]), report_of([row_of([3], Constraint(2))], path="failed.h5")
    document = parsed(render_html([held] * 70 + [failed] * 3))
    titles = texts(document.xpath("//article/h2"))
    assert len(titles) == SECTIONS
    assert titles.count("failed.h5") == 3
    assert len(document.xpath("//nav//li")) == 73
    (told,) = texts(document.xpath("//nav/p"))
    assert told.startswith("Of the checkpoints that could be read, the worst 50 have a section here")


def test_the_contents_miss_no_section_of_what_could_not_be_read() -> None:
    broken = Failure("check", "0", "torn.h5", "format", "damaged")
    document = parsed(render_html([sample("dense.h5", 1.0), broken, sample("dense.keras", 9.0)]))
    assert len(document.xpath("//article")) == 2
    assert len(document.xpath("//nav//li")) == 3
    assert document.xpath("//nav/p") == []


def test_what_is_out_of_line_with_the_baseline_is_told() -> None:
    document = parsed(render_html([network(30)]))
    (table,) = [one for one in document.xpath("//table") if "earlier.report.json" in one.text_content()]
    cells = [texts(row.xpath("./th|./td")) for row in table.xpath("./tbody/tr")]
    assert [row[1:] for row in cells] == [
        ["grew", "1.250", "1.750", "+40 %"],
        ["vanished", "1.500", "-", "-"],
        ["appeared", "-", "1.500", "-"],
    ]
    assert texts(document.xpath("//tbody//em")) == ["new", "grew"]


ODD = {
    "nothing": [],
    "no variable": [report_of([])],
    "only skipped": [report_of([], [skip_of("b")], command="inspect")],
    "nothing finite": [report_of([row_of([math.nan, math.inf], Constraint(1))])],
    "one zero": [report_of([row_of([0.0], Constraint(1))])],
    "zeros without a bound": [report_of([row_of([0.0, 0.0], Constraint())], command="inspect")],
    "the ends of float64": [report_of([row_of([5e-324, 1.0, 1.7e308], Constraint(1e300))])],
    "equal to the bound": [report_of([row_of([1.5] * 9, Constraint(1.5))])],
    "a bound far off": [report_of([row_of([1, 2, 3], Constraint(1e9))])],
    "different bounds": [
        report_of([row_of([1, 2], Constraint(1), "a"), row_of([3, 4], Constraint(3.5, PNorm(1)), "b")])
    ],
    "lower bounds": [report_of([row_of([1, 2], Constraint(1, low=0.5, nonnegative=True))])],
    "all variables together": [
        report_of([row_of([3], Constraint(5, per="global")), row_of([9], Constraint(5, per="global"))])
    ],
    "a report twice": [network(6)] * 2,
    "matrices": [matrices(11)],
    "one matrix": [matrices(0, None)],
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_report_makes_a_whole_page(kind: str) -> None:
    page = render_html(ODD[kind])
    document = parsed(page)
    ids = document.xpath("//@id")
    assert len(ids) == len(set(ids))
    pointed = {name for value in document.xpath("//@aria-labelledby") for name in value.split()}
    assert pointed <= set(ids)
    assert len(document.xpath("//h1")) == 1
    geometry = "".join(document.xpath("//@d | //@x | //@x1 | //@x2 | //@y"))
    assert not re.search("nan|inf|None|e[+-]", geometry)


def by_depth(document: Any, title: str) -> list[tuple[float, float]]:
    """The dots of a drawing as shares of its width and values, read off its levels."""
    (figure,) = [one for one in document.xpath("//section[@class='depth']//figure") if title in one.text_content()]
    levels = [(float(one.get("y")) + 4, float(one.text)) for one in figure.xpath(".//text[@class='level']")]
    (low, of_low), *_, (high, of_high) = levels
    paths = "".join(figure.xpath(".//path[contains(@class, 'dots')]/@d"))
    return sorted(
        (float(x) / 1000, of_low + (16 + 1.34 * float(y) - low) / (high - low) * (of_high - of_low))
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", paths)
    )


def test_matrices_are_drawn_by_depth_where_their_numbers_say() -> None:
    report = matrices(11, 12.0)
    document = parsed(render_html([report]))
    named = {row.step.variable.name: row.spectral for row in report.rows}
    order = [*(f"h.{number}.w" for number in range(1, 12)), "conv"]
    ranks, norms = by_depth(document, "Stable rank by depth"), by_depth(document, "Spectral and operator norm")
    for at, name in enumerate(order):
        found = named[name]
        assert found is not None
        assert norms[at] == pytest.approx(((at + 0.5) / 12, found.norm), abs=0.02 * max(norm for _, norm in norms))
        assert ranks[at][1] == pytest.approx(found.stable_rank, abs=0.3)
    shown = {name_of(line): line.get("data-d") for line in table_rows(document)}
    assert shown == {name: str(at) for at, name in enumerate(order)} | {"b": None}


def test_a_spectrum_is_drawn_from_the_eigenvalues_of_the_matrix_and_the_edge_of_a_random_one() -> None:
    kernel = np.random.default_rng(7).standard_normal((40, 30)).astype(np.float32)
    with_spectrum = replace(matrices(1), rows=(measured(kernel, spectrum=True),))
    (text,) = parsed(render_html([with_spectrum])).xpath("//tr/@data-s")
    low, high, largest, edge, alpha, least, distance, counts = text.split(" ")
    values = np.linalg.svd(kernel.astype(np.float64), compute_uv=False) ** 2
    assert (float(low), float(high)) == pytest.approx((np.log10(values.min()), np.log10(values.max())), rel=1e-4)
    expected, _ = np.histogram(np.log10(values), 48)
    assert [int(one or 0) for one in counts.split(",")] == expected.tolist()
    assert float(largest) == pytest.approx(values.max(), rel=1e-5)
    assert float(edge) == pytest.approx((kernel**2).mean() * (40**0.5 + 30**0.5) ** 2, rel=1e-5)
    above = values[values >= float(least) * (1 - 1e-5)]
    assert float(alpha) == pytest.approx(1 + above.size / np.log(above / above.min()).sum(), rel=1e-3)
    assert 0 < float(distance) < 1


@pytest.mark.parametrize(("bound", "is_seen"), [(3e4, True), (3.1e4, False), (0.34, True), (0.33, False)])
def test_an_axis_reaches_a_bound_within_three_times_its_numbers(bound: float, is_seen: bool) -> None:
    numbers = [1.0, 1e4]
    axis = axis_along(numbers, bound)
    assert (axis.low <= bound <= axis.high) == is_seen
    assert (axis == axis_along(numbers)) != is_seen


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, limit=st.none() | st.floats(1e-3, 1e3), clip=st.booleans())
def test_any_norms_make_a_drawing_inside_its_frame(rows: list[list[float]], limit: float | None, clip: bool) -> None:
    made = [row_of(norms, Constraint(limit), f"w{at}", clip=clip) for at, norms in enumerate(rows)]
    document = parsed(render_html([report_of(made, command="apply" if clip else "inspect")]))
    for path in document.xpath("//svg[@class='r'][@role='img']/path/@d"):
        numbers = [float(number) for number in re.findall(r"[MH]([-\d.]+)", path)]
        assert all(0 <= number <= 161 for number in numbers)
    for path in document.xpath("//svg[@class='h']/path/@d"):
        assert all(0 <= float(number) <= 96 for number in re.findall(r"M([-\d.]+)", path))


@given(part=st.integers(0, 10**6), more=st.integers(0, 10**6))
def test_a_share_is_said_to_be_all_or_nothing_only_where_it_is(part: int, more: int) -> None:
    said = share_text(part, part + more)
    assert (said == "0 %") == (part == 0)
    assert (said == "100 %") == (part > 0 and more == 0)


@pytest.mark.slow
def test_the_wheel_has_the_templates(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    folder = ROOT / "renorm_cli" / "render" / "page" / "templates"
    with zipfile.ZipFile(wheel) as archive:
        for path in folder.iterdir():
            assert archive.read(f"renorm_cli/render/page/templates/{path.name}") == path.read_bytes()


def test_one_unit_over_a_bound_is_counted_until_the_bound_is_its_norm() -> None:
    pool = Pool([row_of([1.0] * 999 + [2.0], Constraint(None))])
    assert pool.count_over([0.5, 1.999, 2.0]) == [1000, 1, 0]
