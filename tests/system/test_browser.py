"""The HTML page in a real browser: nothing is loaded, nothing is wrong, and what can be operated does what it says."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.matrices import measured, with_values
from support.page_reports import HOSTILE, hostile_report, matrices, network, report_of, row_of

from renorm_cli.model.constraint import Constraint
from renorm_cli.model.plan import Note, Skip
from renorm_cli.model.report import Provenance, Report, Row
from renorm_cli.model.variable import Variable
from renorm_cli.render.page.page import render_html
from renorm_cli.render.page.pooled import Pool

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")]

LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light"},
    "dark phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
    "calm": {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"},
}
FAR_APART = ("light", "dark phone")

VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""
WIDE = """() => document.documentElement.scrollWidth > window.innerWidth"""
RULES = """() => axe.run().then((found) => found.violations.map((one) => one.id))"""
SHOWN = """() => [...document.querySelectorAll("table.all tbody tr")].filter((row) => !row.hidden).map((row) =>
    [...row.cells].map((cell) => cell.dataset.v || cell.firstChild?.parentElement.textContent || ""))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of a check of 30 variables."""
    context = browser.new_context(**LOOKS["light"])
    opened = context.new_page()
    opened.goto(written(render_html([network(30)]), tmp_path))
    yield opened
    context.close()


def written(text: str, folder: Path) -> str:
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    return file.as_uri()


def troubles(browser: Any, text: str, folder: Path, look: str) -> set[str]:
    """What is wrong with a page: errors, requests, refused content, a page too wide, and what axe-core finds."""
    context = browser.new_context(**LOOKS[look])
    found: set[str] = set()
    opened = context.new_page()
    opened.add_init_script(VIOLATIONS)
    address = written(text, folder)
    opened.on("console", lambda message: found.add(f"console {message.type}"))
    opened.on("pageerror", lambda error: found.add("script error"))
    opened.on("dialog", lambda dialog: (found.add("dialog"), dialog.dismiss()))
    opened.on("request", lambda request: request.url == address or found.add("request"))
    opened.goto(address)
    opened.wait_for_timeout(50)
    found |= {f"refused {directive}" for directive in opened.evaluate("window.violations")}
    if opened.evaluate(WIDE):
        found.add("too wide")
    opened.evaluate(axe.AXE_SCRIPT)
    found |= {f"axe {rule}" for rule in opened.evaluate(RULES)}
    context.close()
    return found


def pages() -> dict[str, list[Report]]:
    long = "block" + "_of_a_name_without_a_break" * 12
    odd = report_of([row_of([0.5, float("nan"), 4], Constraint(2), long)], path=f"/{long}/{long}.h5")
    return {
        "check": [network(24)],
        "apply": [network(9, "apply")],
        "several": [network(6), odd, network(6, "inspect", None)],
        "empty": [report_of([])],
        "matrices": [matrices(11), matrices(5, None, path="other.npz")],
        "hostile": [hostile_report(text) for text in HOSTILE],
    }


SEEN = [(kind, look) for kind in pages() for look in LOOKS if kind in ("check", "hostile") or look in FAR_APART]
"""The pages with the most in them in every look, the others in those that have least in common."""


@pytest.mark.parametrize(("kind", "look"), SEEN)
def test_nothing_is_wrong_with_a_page(browser: Any, tmp_path: Path, kind: str, look: str) -> None:
    assert troubles(browser, render_html(pages()[kind]), tmp_path, look) == set()


BROKEN = {
    "an image from elsewhere": ("</main>", "<img alt='' src='http://127.0.0.1:9/x.png'></main>", "refused img-src"),
    "a style attribute": ("<main>", "<main style='color: red'>", "refused style-src-attr"),
    "a changed script": ('"use strict";', '"use strict"; ', "refused script-src-elem"),
    "an inline handler": ("<main>", "<main onclick='1'>", "refused script-src-attr"),
    "a field without a label": ("<main>", "<main><input type='text'>", "axe label"),
    "a heading of the wrong level": ("<h2", "<h4", "axe heading-order"),
    "a word too long": ("<main>", f"<main><pre>{'wide ' * 90}</pre>", "too wide"),
}
WITHOUT_POLICY = {
    "an image from elsewhere": ("</main>", "<img alt='' src='http://127.0.0.1:9/x.png'></main>", "request"),
    "a dialog": ('"use strict";', "alert(1);", "dialog"),
    "an error in the script": ('"use strict";', 'throw new Error("x");', "script error"),
    "a line on the console": ('"use strict";', "console.log(1);", "console log"),
    "grey on grey": ("--soft: #555d66", "--soft: #aab0b6", "axe color-contrast"),
}


def without_policy(text: str) -> str:
    return re.sub(r"<meta http-equiv[^>]*>", "", text)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_page_would_be_found(browser: Any, tmp_path: Path, kind: str) -> None:
    old, new, trouble = BROKEN[kind]
    text = render_html([network(24)])
    assert old in text
    assert trouble in troubles(browser, text.replace(old, new, 1), tmp_path, "phone")


@pytest.mark.parametrize("kind", WITHOUT_POLICY)
def test_a_page_broken_inside_would_be_found(browser: Any, tmp_path: Path, kind: str) -> None:
    old, new, trouble = WITHOUT_POLICY[kind]
    text = without_policy(render_html([network(24)]))
    assert old in text
    assert trouble in troubles(browser, text.replace(old, new, 1), tmp_path, "light")


def column(page: Any, title: str) -> list[str]:
    heads = page.eval_on_selector_all("table.all thead th", "heads => heads.map(head => head.textContent)")
    at = heads.index(title)
    return [row[at] for row in page.evaluate(SHOWN) if len(row) == len(heads)]


def names(page: Any) -> list[str]:
    return [row[0] for row in page.evaluate(SHOWN)]


def test_a_header_sorts_one_way_then_the_other_then_not_at_all(page: Any) -> None:
    head = page.locator("table.all thead th", has_text=re.compile("^max$"))
    before = names(page)
    found = []
    for _ in range(3):
        head.locator("button").click()
        found.append((head.get_attribute("aria-sort"), [float(number) for number in column(page, "max")], names(page)))
    (down, falling, first), (up, rising, _), (none, _, last) = found
    assert (down, up, none) == ("descending", "ascending", None)
    assert falling == sorted(falling, reverse=True)
    assert rising == falling[::-1]
    assert falling != rising
    assert last == before
    assert all("bias" in name for name in first[-10:])  # skipped variables have no norm and come last


def test_sorting_works_by_keyboard_and_orders_names_as_people_do(page: Any, tmp_path: Path) -> None:
    page.goto(written(render_html([network(96)]), tmp_path))
    head = page.locator("table.all thead th").first
    page.locator(".doubtful").focus()
    page.keyboard.press("Tab")  # the box that scrolls
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    numbers = [int(number) for name in names(page) for number in re.findall(r"layer_(\d+)", name)]
    assert numbers == sorted(numbers)
    assert max(numbers) == 10
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"


def test_only_one_column_is_said_to_be_sorted(page: Any) -> None:
    for title in ("min", "p95"):
        page.locator("table.all thead button", has_text=re.compile(f"^{title}$")).click()
    assert page.locator("table.all th[aria-sort]").count() == 1


def test_the_filter_keeps_the_lines_that_have_all_words(page: Any) -> None:
    everything = names(page)
    field = page.get_by_label("Filter", exact=False).first
    field.focus()
    page.keyboard.type("LAYER_1/ attention_3")
    assert names(page) == [name for name in everything if "layer_1/" in name and "attention_3" in name]
    assert page.locator(".count").text_content() == "2 of 30 shown"
    field.fill("not constrained")
    assert names(page) == [name for name in everything if "bias" in name]
    field.fill("no such thing")
    assert names(page) == []
    field.fill("")
    assert names(page) == everything


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_only_findings_can_be_shown(page: Any, by: str) -> None:
    box = page.get_by_label("Only findings")
    if by == "mouse":
        box.click()
    else:
        box.focus()
        page.keyboard.press("Space")
    shown = page.evaluate(SHOWN)
    marked = page.locator("table.all tr.found").count()
    assert 0 < len(shown) == marked < 30
    overs = column(page, "over")
    assert sum(over == "0" for over in overs) <= 2  # those that only grew


def told(page: Any) -> tuple[float, str, int]:
    match = re.fullmatch(
        r"bound ([\d.e+-]+): ([<>]? ?[\d.]+ %) of units over, (?:about )?([\d,]+) of [\d,]+",
        page.locator(".told").text_content(),
    )
    assert match is not None
    return float(match[1]), match[2], int(match[3].replace(",", ""))


def test_the_slider_tells_the_share_at_the_bound_and_elsewhere(page: Any) -> None:
    report = network(30)
    over, units = report.totals.over, report.totals.units
    assert told(page) == (1.5, f"{100 * over / units:.1f} %", over)
    slider = page.get_by_label("Bound to try")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    higher, share, fewer = told(page)
    assert higher > 1.5
    assert fewer < over
    assert slider.get_attribute("aria-valuetext") == f"bound {higher:g}: {share} of units over"
    page.keyboard.press("End")
    assert told(page)[1:] == ("0 %", 0)
    page.keyboard.press("Home")
    assert told(page)[1:] == ("100 %", units)


def test_a_click_on_a_drawing_moves_the_slider(page: Any) -> None:
    plot = page.locator(".plot").first
    area = plot.bounding_box()
    found = []
    for place in (0.25, 0.75):
        page.mouse.click(area["x"] + place * area["width"], area["y"] + area["height"] / 2)
        found.append(told(page))
    most = float(page.get_by_label("Bound to try").get_attribute("max"))
    assert float(page.get_by_label("Bound to try").input_value()) == pytest.approx(0.75 * most, abs=1)
    assert found[0][0] < found[1][0]
    assert found[0][2] > found[1][2]


def test_all_there_is_to_operate_can_be_reached_by_keyboard_with_a_visible_focus(page: Any) -> None:
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        kind, outline = page.evaluate(
            "() => [document.activeElement.className || document.activeElement.tagName,"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(kind)
        assert kind == "BODY" or outline != "none", kind
    assert {"filter", "only", "doubtful", "log", "open", "BUTTON", "INPUT", "box tall", "SUMMARY"} <= reached


def over_in(row: Row, bound: float) -> float:
    """The units of a row over a bound, as the pool of the page estimates them."""
    return float(Pool([row]).over([bound])[0])


def test_the_slider_counts_the_lines_and_the_findings_again_and_comes_back(page: Any) -> None:
    report = network(30)
    before, findings = column(page, "over"), page.locator(".faults li:visible").all_text_contents()
    drawn = page.eval_on_selector_all("table.all svg path", "paths => paths.map((path) => path.getAttribute('d'))")
    slider = page.get_by_label("Bound to try")
    start = slider.input_value()
    slider.focus()
    for _ in range(25):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    bound = told(page)[0]
    expected = [over_in(row, bound) for row in report.rows]
    assert [int(text) for text in column(page, "over")] == pytest.approx(expected, abs=1.01)
    found = page.locator(".faults li.tried:visible").all_text_contents()
    assert len(found) == min(10, sum(int(text) > 0 for text in column(page, "over")))
    assert all(f" over {bound:g}; the largest is " in text for text in found)
    marked = page.eval_on_selector_all(
        "tr[data-h] svg.h", "all => all.map((svg) => !!svg.querySelector('.o')?.getAttribute('d'))"
    )
    assert marked == [int(text) > 0 for text in column(page, "over")]
    slider.fill(start)
    page.wait_for_timeout(100)
    assert (column(page, "over"), page.locator(".faults li:visible").all_text_contents()) == (before, findings)
    again = page.eval_on_selector_all("table.all svg path", "paths => paths.map((path) => path.getAttribute('d'))")
    assert [path for path in again if path] == [path for path in drawn if path]


def test_the_command_line_for_the_bound_chosen_can_be_copied(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(**LOOKS["light"], permissions=["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    line = "renorm-ckpt apply --max-norm {bound} 'a b.h5' -i '*/kernel'"
    asked = Provenance("2026-01-31T12:00:00Z", (), bounding=line)
    opened.goto(written(render_html([dataclasses.replace(network(9), provenance=asked)]), tmp_path))
    opened.get_by_label("Bound to try").focus()
    opened.keyboard.press("ArrowRight")
    opened.locator(".copy").click()
    expected = line.replace("{bound}", f"{told(opened)[0]:g}")
    assert opened.locator(".again code").text_content() == expected
    assert opened.evaluate("navigator.clipboard.readText()") == expected
    assert opened.locator(".copy").text_content() == "Copied"
    context.close()


def test_a_page_without_a_bound_gets_a_column_for_the_bound_to_try(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(**LOOKS["light"])
    opened = context.new_page()
    report = network(9, "inspect", None)
    opened.goto(written(render_html([report]), tmp_path))
    opened.wait_for_timeout(100)
    expected = [over_in(row, told(opened)[0]) for row in report.rows]
    assert [int(text) for text in column(opened, "over")] == pytest.approx(expected, abs=1.01)
    context.close()


def test_a_line_opens_to_its_histogram_large_and_closes_again(page: Any) -> None:
    row = network(30).rows[0]
    button = page.locator("table.all .open").first
    button.click()
    detail = page.locator("tr.detail")
    assert button.get_attribute("aria-expanded") == "true"
    bars = "".join(detail.locator("path").evaluate_all("paths => paths.map((path) => path.getAttribute('d'))"))
    assert bars.count("M") == sum(count > 0 for count in row.histogram)
    assert f"Highest bar: {max(row.histogram)} units" in detail.text_content()
    assert f"Stored as {row.step.variable.key}." in detail.text_content()
    button.click()
    assert (page.locator("tr.detail").count(), button.get_attribute("aria-expanded")) == (0, "false")


def test_a_line_that_is_open_is_drawn_again_for_the_bound_to_try(page: Any) -> None:
    page.locator("table.all .open").first.click()
    slider, over = page.get_by_label("Bound to try"), page.locator("tr.detail svg.h .o")
    drawn = []
    for key in ("End", "Home"):
        slider.focus()
        page.keyboard.press(key)
        page.wait_for_timeout(100)
        drawn.append((over.get_attribute("d") or "").count("M"))
    assert drawn == [0, sum(count > 0 for count in network(30).rows[0].histogram)]
    assert page.locator("table.all .open").first.get_attribute("aria-expanded") == "true"


def test_guesses_and_what_is_not_identified_can_be_shown_alone_and_have_a_colour(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(**LOOKS["light"])
    opened = context.new_page()
    row = row_of([0.5, 1.0, 3.0], Constraint(2))
    guess = dataclasses.replace(row, step=dataclasses.replace(row.step, axis_source="guess"))
    unseen = Skip(Variable("mixture", "g/mixture", (8, 8), "float32"), "unknown", "unidentified", "nothing tells it")
    rows = [guess, row_of([0.5, 1.0], Constraint(2), "known")]
    report = report_of(rows, [unseen], notes=(Note("not all was seen", warning=True),))
    opened.goto(written(render_html([report]), tmp_path))
    opened.get_by_label("Only guesses and warnings").click()
    shown = names(opened)
    assert [any(one in name for one in ("guess", "not identified")) for name in shown] == [True, True]
    colour = "one => getComputedStyle(one).color"
    colours = {opened.locator(one).first.evaluate(colour) for one in ("em.warn", ".notes .warning")}
    assert colours == {"rgb(133, 82, 0)"}
    context.close()


def test_a_switch_draws_the_bars_by_the_logarithm_of_their_units(page: Any) -> None:
    low = (
        "svg => [...svg.querySelectorAll('path')].flatMap((path) =>"
        " [...path.getAttribute('d').matchAll(/V([\\d.]+)H/g)]).map((found) => 100 - Number(found[1]))"
    )
    counts = page.locator("svg.counts").first
    before = counts.evaluate(low)
    page.locator(".log").click()
    after = counts.evaluate(low)
    tallest = float(counts.get_attribute("data-tallest"))
    assert after == pytest.approx(
        [100 * math.log1p(one / 100 * tallest) / math.log1p(tallest) for one in before], abs=0.3
    )


def test_a_matrix_opens_to_its_spectrum_with_power_law_and_the_edge_of_a_random_one(
    browser: Any, tmp_path: Path
) -> None:
    context = browser.new_context(**LOOKS["light"])
    opened = context.new_page()
    row = measured(with_values(60, 50, np.arange(1.0, 51) ** -0.7), spectrum=True)
    assert row.spectral is not None
    assert row.spectral.spectrum is not None
    law = row.spectral.spectrum.power_law
    assert law is not None
    opened.goto(written(render_html([report_of([row])]), tmp_path))
    opened.locator("table.all .open").click()
    detail = opened.locator("tr.detail")
    counts = row.spectral.spectrum.counts
    tops = [float(top) for top in re.findall(r"V([\d.]+)H", detail.locator(".bars").get_attribute("d"))]
    height = [math.log(2 * count) / math.log(2 * max(counts)) for count in counts if count]
    assert tops == pytest.approx([100 - 100 * one for one in height], abs=0.06)
    drawn = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", detail.locator(".law").get_attribute("d"))
    (x, y), (end, floor) = ((float(one), float(other)) for one, other in drawn)
    edges = [float(one) for one in re.findall(r"M([\d.]+) 100V", detail.locator(".bars").get_attribute("d"))]
    per_bin = edges[1] - edges[0]  # the bins of the small eigenvalues, of which none is empty
    decades = (row.spectral.spectrum.high - row.spectral.spectrum.low) / len(counts)
    fall = (floor - y) / 100 * math.log10(2 * max(counts)) / ((end - x) / per_bin * decades)
    assert fall == pytest.approx(law.alpha - 1, rel=0.02)
    said = detail.text_content()
    assert f"alpha {law.alpha:.4g} from {law.xmin:.4g} on, at a distance of {law.distance:.4g}" in said
    assert "times the Marchenko-Pastur edge" in said
    assert "Highest bar" not in said
    context.close()


def test_a_pointer_on_the_drawings_by_depth_tells_the_matrix_under_it(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(**LOOKS["light"])
    opened = context.new_page()
    opened.goto(written(render_html([matrices(11)]), tmp_path))
    plot = opened.locator(".depth .plot").last
    area = plot.bounding_box()
    opened.locator(".depth").scroll_into_view_if_needed()
    plot.hover(position={"x": area["width"] * 9.5 / 12, "y": 60})
    assert opened.locator(".depth .told").text_content().startswith("10 h.10.w: spectral ")
    context.close()


@pytest.mark.parametrize("width", [1440, 1280, 768, 390])
def test_no_column_is_cut_and_no_table_scrolls_sideways(browser: Any, tmp_path: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    opened = context.new_page()
    opened.goto(written(render_html([network(12, "apply")]), tmp_path))
    assert opened.locator(".box.tall").evaluate("box => box.scrollWidth <= box.clientWidth")
    assert not opened.evaluate(WIDE)
    opened.goto(written(render_html([matrices(11)]), tmp_path))
    for one in opened.locator(".open").all()[:2]:
        one.click()
    assert opened.locator(".box.tall").evaluate("box => box.scrollWidth <= box.clientWidth")
    assert not opened.evaluate(WIDE)
    opened.goto(written(render_html([network(12, "apply")]), tmp_path))
    if width == 390:
        tops = (
            opened.locator("tr[data-h]")
            .first.locator("> *:visible")
            .evaluate_all(
                "all => [...new Set(all.map((one) => Math.round(one.getBoundingClientRect().top / 12)))].length"
            )
        )
        assert tops <= 3
        box = opened.locator("tr[data-h]").first.bounding_box()
        assert box["height"] < 75
    context.close()


def test_without_its_script_a_page_offers_nothing_that_would_not_work(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(written(render_html([network(12)]), tmp_path))
    assert opened.locator("button:visible, input:visible").count() == 0
    assert "of 1," in opened.locator(".told").text_content() or "units over" in opened.locator(".told").text_content()
    context.close()


def test_in_print_the_whole_table_is_there(page: Any) -> None:
    page.emulate_media(media="print")
    box = page.locator(".box.tall")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    assert page.locator(".controls:visible").count() == 0


def test_three_thousand_variables_open_and_filter_while_one_waits(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(**LOOKS["light"])
    opened = context.new_page()
    opened.goto(written(render_html([network(3000, "apply")]), tmp_path))
    loaded = opened.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    filtered = opened.evaluate(
        """() => { const field = document.querySelector(".filter"); const start = performance.now();
        field.value = "layer_7/"; field.dispatchEvent(new Event("input")); document.body.offsetHeight;
        return performance.now() - start; }"""
    )
    assert opened.locator(".count").text_content() == "12 of 3,000 shown"
    assert loaded < 15_000  # a bound for slow machines; some 700 ms on a fast one
    assert filtered < 3_000
    context.close()
