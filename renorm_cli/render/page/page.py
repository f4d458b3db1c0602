"""Reports as one HTML page with drawings, which works offline and loads nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from renorm_cli.model.failure import Outcome
from renorm_cli.model.report import Report
from renorm_cli.render.page.view import page_of, section_of
from renorm_cli.text import show


def render_html(found: Sequence[Outcome]) -> str:
    """Write one HTML page for all reports, with a section for each and, for several, a list of contents.

    The page contains its style and its script; its content security policy allows only these two, by their SHA-256.
    All text from files is escaped as `show` does, then as HTML. The result is valid Unicode.
    """
    return document("page.html.j2", page_of(found))


_SCRIPT = ("table.js", "bound.js", "opened.js")
"""The parts of the script: what sorts and filters, the bound to try, and lines that open."""


def document(template: str, page: object) -> str:
    """Fill a template of a whole page, with the style and the script."""
    environment = _environment()
    style, script = _resource(environment, "style.css"), "\n".join(_resource(environment, name) for name in _SCRIPT)
    return environment.get_template(template).render(
        page=page, style=style, script=script, style_hash=_hash(style), script_hash=_hash(script)
    )


CELL_LINES = 100
"""Variables that a cell of a notebook lists, and draws, the worst first."""


def render_cell(report: Report) -> str:
    """Write the section of one report as HTML for the output cell of a notebook.

    It is that of the page, without script, with fewer lines, and in the colours of the notebook. Its style holds for it
    alone. Text from files is escaped as on the page.
    """
    environment = _environment()
    section = section_of(report, CELL_LINES, CELL_LINES)
    number = zlib.crc32(f"{section.path} {section.verdict}".encode())  # the ids of other cells begin with another one
    style, cell_style = (_resource(environment, name) for name in ("style.css", "cell.css"))
    return environment.get_template("cell.html.j2").render(
        section=section, number=number, style=style, cell_style=cell_style
    )


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("renorm_cli.render.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _shown(value: Any) -> Any:
    """Pass every plain string through `show`, as a second safeguard after `page_of`; markup of templates is exempt."""
    return show(value, None) if type(value) is str else value


def _resource(environment: Environment, name: str) -> str:
    """A style or script of this package, unchanged but for LF line ends, which a browser uses for its hash."""
    loader = environment.loader
    if loader is None:
        raise AssertionError("the environment has a loader")
    source, _, _ = loader.get_source(environment, name)
    return source.replace("\r\n", "\n")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
