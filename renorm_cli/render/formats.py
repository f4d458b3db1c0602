"""The formats a report can be written in: one registry of names, file endings and renderers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from renorm_cli.model import Report

if TYPE_CHECKING:
    from renorm_cli.differences import DiffReport

Renderer = Callable[[Sequence[Report]], str]
DiffRenderer = Callable[["DiffReport"], str]
Parts = Callable[[Sequence[Report]], Iterator[str]]


class Format(NamedTuple):
    """A format by its `name`, the `endings` of file names that choose it, and a file name that is usual for it.

    `renderer`, `diff_renderer` and `parts` import what they return, so that a run pays for its own formats only;
    `diff_renderer` is None where a comparison cannot be written so, `parts` where a report is only written as a whole.
    """

    name: str
    endings: tuple[str, ...]
    usual: str
    renderer: Callable[[], Renderer]
    diff_renderer: Callable[[], DiffRenderer] | None = None
    parts: Callable[[], Parts] | None = None


def _json() -> Renderer:
    from renorm_cli.render.json_report import render_json

    return render_json


def _json_parts() -> Parts:
    from renorm_cli.render.json_report import json_parts

    return json_parts


def _diff_json() -> DiffRenderer:
    from renorm_cli.render.diff_record import render_diff_json

    return render_diff_json


def _csv() -> Renderer:
    from renorm_cli.render.csv_report import render_csv

    return render_csv


def _diff_csv() -> DiffRenderer:
    from renorm_cli.render.diff_record import render_diff_csv

    return render_diff_csv


def _markdown() -> Renderer:
    from renorm_cli.render.markdown import render_markdown

    return render_markdown


def _html() -> Renderer:
    from renorm_cli.render.page import render_html

    return render_html


def _junit() -> Renderer:
    from renorm_cli.render.junit import render_junit

    return render_junit


def _sarif() -> Renderer:
    from renorm_cli.render.sarif import render_sarif

    return render_sarif


def _gitlab() -> Renderer:
    from renorm_cli.render.gitlab import render_gitlab

    return render_gitlab


def _github() -> Renderer:
    from renorm_cli.render.github import render_github

    return render_github


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("json", (".json",), "report.json", _json, _diff_json, _json_parts),
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
    """What `render` writes, in parts where the format allows."""
    in_parts = FORMATS[name].parts
    if in_parts is None or not isinstance(found, Sequence):
        yield render(found, name)
    else:
        yield from in_parts()(found)


def render(found: Sequence[Report] | DiffReport, name: str) -> str:
    """Write reports or a comparison in the format of that name; the renderer is imported here and now."""
    if not isinstance(found, Sequence):
        make = FORMATS[name].diff_renderer
        if make is None:
            raise KeyError(name)
        return make()(found)
    return FORMATS[name].renderer()(found)
