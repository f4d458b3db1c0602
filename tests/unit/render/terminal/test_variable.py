"""One variable for people: what is printed of its units, judged by NumPy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders
from support.cli import renorm_here
from support.places import SAMPLES

import renorm_cli
from renorm_cli.errors import SelectionError
from renorm_cli.render.terminal.variable import render_variable


def shown(path: Path, name: str, width: int | None = None, *, colour: bool = False, **asked: Any) -> str:
    report = renorm_cli.show(path, name, **asked)
    norms = report.unit_norms(name)
    return render_variable(report, report.row(name), norms, width=width, colour=colour, ascii=False)


@pytest.fixture
def kernel(tmp_path: Path) -> tuple[Path, np.ndarray]:
    values = np.random.default_rng(3).normal(size=(5, 4, 30)).astype(np.float32)
    builders.write_h5(tmp_path / "m.h5", {"dense/kernel": values})
    return tmp_path / "m.h5", np.sqrt((values.astype(np.float64) ** 2).sum(axis=0))


def test_the_largest_and_the_least_units_are_listed_with_their_place(kernel: tuple[Path, np.ndarray]) -> None:
    path, norms = kernel
    text = shown(path, "dense/kernel", units=(1, 2))
    table = text[text.index("\nlargest") + 1 :].partition("\n\n")[0].splitlines()[2:]
    order = np.argsort(norms.ravel())
    for line, large, small in zip(table, order[::-1], order, strict=False):
        places = [np.unravel_index(at, norms.shape) for at in (large, small)]
        found = re.findall(r"unit (\d+), (\d+) +(\S+)", line)
        assert [(int(one), int(two)) for one, two, _ in found] == places
        assert [float(norm) for *_, norm in found] == pytest.approx([norms[place] for place in places], rel=1e-3)
    assert len(table) == 8


def test_the_histogram_counts_all_units_and_those_over_the_bound_are_red(kernel: tuple[Path, np.ndarray]) -> None:
    path, norms = kernel
    limit = float(np.median(norms))
    text = shown(path, "dense/kernel", units=(1, 2), max_norm=limit, colour=True)
    bars = re.findall(r"^ *[\d.]+ +(\d+)  (?:\x1b\[1;31m)?█", text, re.MULTILINE)
    red = re.findall(r"^ *([\d.]+) +\d+  \x1b\[1;31m█", text, re.MULTILINE)
    assert sum(map(int, bars)) == norms.size
    assert float(red[0]) == pytest.approx(limit, abs=(norms.max() - norms.min()) / 16)
    assert f"{np.count_nonzero(norms > limit)} over {limit!r}" in text


def test_the_strip_is_as_high_as_the_norms_in_their_order(kernel: tuple[Path, np.ndarray]) -> None:
    path, norms = kernel
    text = shown(path, "dense/kernel", units=(1, 2))
    strip = text.splitlines()[next(at for at, line in enumerate(text.splitlines()) if "in the order" in line) + 1]
    parts = [part.max() for part in np.array_split(norms.ravel(), 64)]
    heights = ["▁▂▃▄▅▆▇█".index(char) for char in strip]
    assert heights == [int(np.ceil(8 * part / norms.max())) - 1 for part in parts]


@pytest.mark.parametrize("width", [20, 24, 30, 36, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(kernel: tuple[Path, np.ndarray], width: int) -> None:
    lines = shown(kernel[0], "dense/kernel", width, units=(1, 2)).splitlines()
    assert max(len(line) for line in lines if "stored as" not in line and str(kernel[0]) not in line) <= width


def test_a_variable_is_shown_by_name_or_key_whatever_its_role() -> None:
    dense = SAMPLES / "dense.h5"
    by_key = shown(dense, "model_weights/hidden/hidden/bias")
    assert by_key == shown(dense, "hidden/bias")
    assert "bias" in by_key.splitlines()[0]
    slot = next(skip.variable for skip in renorm_cli.inspect(dense).skips if skip.role == "optimizer")
    assert f"stored as {slot.key}" in shown(dense, slot.key)
    with pytest.raises(
        SelectionError, match=r"the name 'hiden/kernel' matches none of the 14 .*; closest: 'hidden/ker"
    ):
        renorm_cli.show(dense, "hiden/kernel")


def test_units_that_are_not_finite_are_named_first_and_one_unit_alone_has_no_list(tmp_path: Path) -> None:
    values = np.ones((2, 3), np.float32)
    values[1, 2] = np.nan
    builders.write_h5(tmp_path / "m.h5", {"dense/kernel": values, "dense/bias": np.ones(3, np.float32)})
    text = shown(tmp_path / "m.h5", "dense/kernel")
    assert re.search(r"^unit 2 +not finite ", text, re.MULTILINE)
    assert "1 unit not finite" in text
    assert "largest" not in shown(tmp_path / "m.h5", "dense/bias")


def test_wildcards_in_a_name_are_letters(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    builders.write_h5(tmp_path / "m.h5", {"a[0]/kernel": np.ones((2, 3), np.float32)})
    assert renorm_here(capfd, "show", str(tmp_path / "m.h5"), "a[0]/kernel").returncode == 0
    assert renorm_here(capfd, "show", str(tmp_path / "m.h5"), "*").returncode == 2
