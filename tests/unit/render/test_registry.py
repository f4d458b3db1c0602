"""The registry of report formats: it names its renderers, and imports each only when it writes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from renorm_cli.render.registry import DIFF_FORMATS, FORMATS, SUGGEST_FORMATS, renderer

NAMED = [
    where
    for one in FORMATS.values()
    for where in (one.renderer, one.diff_renderer, one.suggest_renderer)
    if where is not None
]


@pytest.mark.parametrize("where", NAMED)
def test_every_renderer_that_a_format_names_is_there(where: str) -> None:
    assert callable(renderer(where))


def test_a_renderer_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError):
        renderer("data.csv_report:render_tsv")


def test_a_format_that_cannot_hold_a_comparison_is_none_of_its_formats() -> None:
    assert set(DIFF_FORMATS) == {"json", "csv", "md", "html"}
    assert set(SUGGEST_FORMATS) == {"json", "csv", "md"}


def test_writing_one_format_imports_no_other() -> None:
    code = (
        "import sys, json; from renorm_cli.render.registry import parts; ''.join(parts([], 'csv', 'report'));"
        "print(json.dumps(sorted(m for m in sys.modules if m.startswith('renorm_cli.render.'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert loaded == {
        *("renorm_cli.render.registry", "renorm_cli.render.columns"),
        *("renorm_cli.render.data", "renorm_cli.render.data.csv_report"),
    }
