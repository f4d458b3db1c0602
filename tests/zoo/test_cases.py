"""Files that were once misread: what is known of their weights is true, and all of it is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.cases import CASES
from zoo.judge import Score, identified, score


def judged(name: str, folder: Path) -> Score:
    case = CASES[name]
    variables = identified(case.make(folder))
    by_end = {}
    for variable in variables:
        ends = [end for end in case.known if variable.key == end or variable.key.endswith(f"/{end}")]
        by_end[variable] = case.known[max(ends, key=len)].truth
        assert variable.shape == case.known[max(ends, key=len)].shape
    assert len(by_end) == len(case.known)
    return score(by_end)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_said_with_certainty_that_is_not_true(name: str, tmp_path: Path) -> None:
    assert judged(name, tmp_path).wrong == []


@pytest.mark.parametrize("name", CASES)
def test_every_weight_is_found_with_its_units(name: str, tmp_path: Path) -> None:
    assert judged(name, tmp_path).open == []
