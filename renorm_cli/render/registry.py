"""The formats a report can be written in: one registry of names, file endings and renderers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from renorm_cli.model.report import Report

if TYPE_CHECKING:
    from renorm_cli.model.difference import DiffReport

Renderer = Callable[[Sequence[Report]], Iterator[str]]
"""Gives the text in parts, as many as the format allows."""

DiffRenderer = Callable[["DiffReport"], str]


class Format(NamedTuple):
    """A format by its `name`, the `endings` of file names that choose it, and a file name that is usual for it.

    `renderer` and `diff_renderer` import what they return, so that a run pays for its own formats only;
    `diff_renderer` is None where a comparison cannot be written so.
    """

    name: str
    endings: tuple[str, ...]
    usual: str
    renderer: Callable[[], Renderer]
    diff_renderer: Callable[[], DiffRenderer] | None = None


def _whole(render: Callable[[Sequence[Report]], str]) -> Renderer:
    return lambda reports: iter((render(reports),))


def _json() -> Renderer:
    from renorm_cli.render.data.json_report import render_json

    return render_json


def _diff_json() -> DiffRenderer:
    from renorm_cli.render.data.diff_record import render_diff_json

    return render_diff_json


def _csv() -> Renderer:
    from renorm_cli.render.data.csv_report import render_csv

    return _whole(render_csv)


def _diff_csv() -> DiffRenderer:
    from renorm_cli.render.data.diff_record import render_diff_csv

    return render_diff_csv


def _markdown() -> Renderer:
    from renorm_cli.render.ci.markdown import render_markdown

    return _whole(render_markdown)


def _html() -> Renderer:
    from renorm_cli.render.page.page import render_html

    return _whole(render_html)


def _junit() -> Renderer:
    from renorm_cli.render.ci.junit import render_junit

    return _whole(render_junit)


def _sarif() -> Renderer:
    from renorm_cli.render.ci.sarif import render_sarif

    return _whole(render_sarif)


def _gitlab() -> Renderer:
    from renorm_cli.render.ci.gitlab import render_gitlab

    return _whole(render_gitlab)


def _github() -> Renderer:
    from renorm_cli.render.ci.github import render_github

    return _whole(render_github)


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("json", (".json",), "report.json", _json, _diff_json),
        Format("csv", (".csv",), "report.csv", _csv, _diff_csv),
        Format("md", (".md",), "report.md", _markdown),
        Format("html", (".html",), "report.html", _html),
        Format("junit", (".xml",), "report.xml", _junit),
        Format("sarif", (".sarif", ".sarif.json"), "report.sarif", _sarif),
        Format("gitlab", (), "gl-code-quality-report.json", _gitlab),
        Format("github", (), "annotations.txt", _github),
    )
}
"""All formats by name; GitLab's and GitHub's have no ending of their own."""

DIFF_FORMATS: dict[str, Format] = {name: one for name, one in FORMATS.items() if one.diff_renderer is not None}
"""The formats of a comparison."""


def format_of(file_name: str, formats: Mapping[str, Format] = FORMATS) -> str | None:
    """The name of the format that a file name's ending chooses, the longest ending first; None if none does."""
    found = [(len(end), one.name) for one in formats.values() for end in one.endings if file_name.endswith(end)]
    return max(found)[1] if found else None


def parts(found: Sequence[Report] | DiffReport, name: str) -> Iterator[str]:
    """Write reports or a comparison in the format of that name, in parts; the renderer is imported at the first."""
    if isinstance(found, Sequence):
        yield from FORMATS[name].renderer()(found)
        return
    make = FORMATS[name].diff_renderer
    if make is None:
        raise KeyError(name)
    yield make()(found)
