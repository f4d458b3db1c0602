"""The formats of reports: one registry of names, file endings and renderers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from renorm_cli.model.failure import Failure, Outcome

if TYPE_CHECKING:
    from renorm_cli.model.difference import DiffReport
    from renorm_cli.model.suggestion import Suggestion

Kind = Literal["report", "comparison", "suggestion"]
"""What a renderer takes: reports on checkpoints, one comparison of two, or suggestions."""


class Format(NamedTuple):
    """A report format: its `name`, the file name `endings` that choose it, and a usual file name.

    `renderer`, `diff_renderer` and `suggest_renderer` name functions as `module:function` in `renorm_cli.render`, so
    that a run imports only the formats it writes. They take a sequence of reports, a comparison, or a sequence of
    suggestions, and return the text, or the text in parts; None where a format cannot hold such.
    """

    name: str
    endings: tuple[str, ...]
    usual: str
    renderer: str
    diff_renderer: str | None = None
    suggest_renderer: str | None = None


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format(
            *("json", (".json",), "report.json", "data.json_report:render_json"),
            "data.diff_record:render_diff_json",
            "data.suggest_record:render_suggest_json",
        ),
        Format("jsonl", (".jsonl",), "reports.jsonl", "data.json_report:render_jsonl"),
        Format(
            *("csv", (".csv",), "report.csv", "data.csv_report:render_csv"),
            "data.diff_record:render_diff_csv",
            "data.suggest_record:render_suggest_csv",
        ),
        Format(
            *("md", (".md",), "report.md", "ci.markdown:render_markdown"),
            "ci.diff_markdown:render_diff_markdown",
            "ci.suggest_markdown:render_suggest_markdown",
        ),
        Format(
            *("html", (".html",), "report.html", "page.page:render_html"),
            "page.diff_page:render_diff_html",
        ),
        Format("junit", (".xml",), "report.xml", "ci.junit:render_junit"),
        Format("sarif", (".sarif", ".sarif.json"), "report.sarif", "ci.sarif:render_sarif"),
        Format("gitlab", (), "gl-code-quality-report.json", "ci.gitlab:render_gitlab"),
        Format("github", (), "annotations.txt", "ci.github:render_github"),
    )
}
"""All formats by name; those of GitLab and GitHub have no file name ending of their own."""

DIFF_FORMATS: dict[str, Format] = {name: one for name, one in FORMATS.items() if one.diff_renderer is not None}
"""The formats that can hold a comparison."""

SUGGEST_FORMATS: dict[str, Format] = {name: one for name, one in FORMATS.items() if one.suggest_renderer is not None}
"""The formats that can hold suggestions."""


def format_of(file_name: str, formats: Mapping[str, Format] = FORMATS) -> str | None:
    """The name of the format with the longest ending that the file name has, or None."""
    found = [(len(end), one.name) for one in formats.values() for end in one.endings if file_name.endswith(end)]
    return max(found)[1] if found else None


def parts(
    found: Sequence[Outcome] | DiffReport | Sequence[Suggestion | Failure], name: str, kind: Kind
) -> Iterator[str]:
    """Write what was found, of that kind, in the format of that name, in parts.

    Imports the renderer at the first part.
    """
    one = FORMATS[name]
    where = {"report": one.renderer, "comparison": one.diff_renderer, "suggestion": one.suggest_renderer}[kind]
    if where is None:
        raise KeyError(name)
    text = renderer(where)(found)
    yield from (text,) if isinstance(text, str) else text


def renderer(where: str) -> Callable[[Any], str | Iterator[str]]:
    """Import the function that a `Format` names as `module:function`."""
    module, _, function = where.partition(":")
    found: Callable[[Any], str | Iterator[str]] = getattr(
        importlib.import_module(f"renorm_cli.render.{module}"), function
    )
    return found
