"""Suggestions for people: tables that fit the terminal."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from support.places import SAMPLES

import renorm_cli
from renorm_cli.render.terminal.suggest_table import Advice, render_suggestion


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("width", [20, 24, 28, 33, 36, 60, 100])
def test_no_line_of_a_suggestion_is_wider_than_the_terminal(width: int, clip: float | None) -> None:
    found = renorm_cli.suggest(SAMPLES / "dense.h5", clip=clip)
    advice = Advice("digits", "bounds", "rules")
    lines = render_suggestion(found, width=width, colour=False, ascii=False, advice=advice).splitlines()
    assert max(map(cell_len, lines)) <= width
