"""Reports as Python has them: the record of the JSON renderer, a table of pandas, one line, and all unit norms."""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from support import oracle
from support.files import WHOLE
from support.places import SAMPLES
from support.report_maker import ANY, HOSTILE, PLAIN, a_report, a_row, a_skip, has_only_printable_lines, hostile_report

import renorm_cli
from renorm_cli.api.report import Report
from renorm_cli.errors import RenormError, SelectionError, UsageError
from renorm_cli.formats.base import Checkpoint
from renorm_cli.model.blocks import Block
from renorm_cli.model.variable import Variable
from renorm_cli.render.data.csv_report import render_csv
from renorm_cli.render.data.diff_record import render_diff_json
from renorm_cli.render.data.json_report import render_json
from renorm_cli.render.data.suggest_record import render_suggest_json

DENSE = SAMPLES / "dense.h5"


def every_sample() -> Iterator[object]:
    """In the loop, of the models that Keras saved the `.keras` alone."""
    for entry in WHOLE:
        yield pytest.param(SAMPLES / entry["file"], marks=[pytest.mark.slow] if entry["file"].endswith(".h5") else [])


def whole(checkpoint: Checkpoint, variable: Variable) -> np.ndarray:
    """All values of a variable, at once."""
    return np.array(checkpoint.read(variable, Block((0,) * len(variable.shape), variable.shape)))


@pytest.mark.parametrize("path", [*every_sample()], ids=lambda path: path.name)
def test_unit_norms_are_those_of_a_loop_over_every_sample(path: Path) -> None:
    report = renorm_cli.inspect(path)
    assert report.rows
    with renorm_cli.open(path) as checkpoint:
        for row in report.rows:
            variable, axes = row.step.variable, row.step.unit_axes
            weights = whole(checkpoint, variable)
            norms = report.unit_norms(variable.key)
            assert norms.dtype == np.float64
            assert norms.shape == tuple(n if axis in axes else 1 for axis, n in enumerate(variable.shape))
            expected = oracle.unit_norms(weights.astype(np.float64), axes)
            np.testing.assert_allclose(norms.ravel(), expected.ravel(), rtol=1e-12)
            assert np.broadcast_shapes(norms.shape, weights.shape) == weights.shape


@pytest.mark.parametrize("p", [1.0, 3.0, math.inf])
def test_unit_norms_have_the_p_and_the_scope_that_was_asked_for(p: float) -> None:
    with renorm_cli.open(DENSE) as checkpoint:
        report = renorm_cli.inspect(DENSE, p=p, per="tensor")
        for row in report.rows:
            weights = whole(checkpoint, row.step.variable).astype(np.float64)
            expected = np.linalg.norm(weights.ravel(), p)
            np.testing.assert_allclose(report.unit_norms(row.step.variable.name), [[expected]], rtol=1e-12)


def test_a_norm_that_is_not_finite_is_nan_or_inf(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "model.h5"
    shutil.copy(DENSE, path)
    key = renorm_cli.inspect(path).row("hidden/kernel").step.variable.key
    with h5py.File(path, "r+") as file:
        file[key][0, 3], file[key][0, 5] = np.nan, np.inf
    norms = renorm_cli.inspect(path).unit_norms("hidden/kernel")
    assert np.flatnonzero(~np.isfinite(norms)).tolist() == [3, 5]


def test_apply_and_check_keep_the_norms_before_also_when_the_file_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    shutil.copy(DENSE, path)
    before = renorm_cli.inspect(path).unit_norms("hidden/kernel")
    checked = renorm_cli.check(path, max_norm=1)
    applied = renorm_cli.apply(path, max_norm=1, in_place=True)
    np.testing.assert_array_equal(checked.unit_norms("hidden/kernel"), before)
    np.testing.assert_array_equal(applied.unit_norms("hidden/kernel"), before)
    assert renorm_cli.inspect(path).unit_norms("hidden/kernel").max() <= 1 < before.max()


def test_an_array_of_norms_is_the_callers_own() -> None:
    report = renorm_cli.inspect(DENSE)
    report.unit_norms("hidden/kernel")[:] = 0
    assert report.unit_norms("hidden/kernel").all()


def test_without_its_norms_a_report_says_how_to_have_them() -> None:
    report = renorm_cli.inspect(DENSE, keep_norms=False)
    with pytest.raises(UsageError, match="keep_norms=True"):
        report.unit_norms("hidden/kernel")


def test_a_name_that_does_not_tell_a_row_is_an_error_that_says_why() -> None:
    rows = [a_row("a", key="k1"), a_row("a", key="k2"), a_row("b", key="a row")]
    report = Report.of(a_report(rows, [a_skip("bias", "not constrained by default")]))
    assert report.row("k2") is rows[1]
    assert report.row("b") is rows[2]
    with pytest.raises(SelectionError, match=r"2 variables are called 'a'.*'k1', 'k2'"):
        report.row("a")
    with pytest.raises(SelectionError, match=r"'bias' is skipped: not constrained by default; .*include="):
        report.row("bias")
    with pytest.raises(SelectionError, match="has no variable 'c'"):
        report.row("c")


def verbs(tmp_path: Path) -> list[tuple[Any, str]]:
    """What every verb returns, and the JSON that is written of it."""
    report = renorm_cli.inspect(DENSE, max_norm=1)
    gate = renorm_cli.check(DENSE, max_norm=1, p=math.inf)
    bounded = renorm_cli.apply(DENSE, tmp_path / "out.h5", max_norm=1)
    difference = renorm_cli.diff(DENSE, tmp_path / "out.h5")
    suggestion = renorm_cli.suggest(DENSE)
    return [
        *((one, "".join(render_json([one]))) for one in (report, gate, bounded)),
        (difference, render_diff_json(difference)),
        (suggestion, render_suggest_json([suggestion])),
    ]


def test_to_dict_is_the_object_that_the_json_output_has(tmp_path: Path) -> None:
    for found, text in verbs(tmp_path):
        assert found.to_dict() == json.loads(text)
        assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == json.loads(text)


@given(ANY)
def test_to_dict_of_whatever_names_is_what_was_written(name: str) -> None:
    report = Report.of(hostile_report(name))
    assert report.to_dict() == json.loads("".join(render_json([report])))


def test_a_report_is_one_short_line_and_says_what_was_found(tmp_path: Path) -> None:
    shown = [repr(found) for found, _ in verbs(tmp_path)]
    assert shown[0] == f"<Report of inspect '{DENSE}': 34 units in 2 variables, 17 over the bound, 12 skipped>"
    assert [text.split()[0] for text in shown] == ["<Report", "<Report", "<Report", "<DiffReport", "<Suggestion"]
    assert all(len(text) < 400 for text in shown)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_path_breaks_the_line_of_a_report(name: str) -> None:
    text = repr(Report.of(hostile_report(name)))
    assert "\n" not in text
    assert has_only_printable_lines(text)
    assert len(text) < 500


def test_a_notebook_shows_the_cell_of_the_page() -> None:
    from renorm_cli.render.page.page import render_cell

    report = renorm_cli.inspect(DENSE, max_norm=1)
    assert report._repr_html_() == render_cell(report)


def test_a_report_and_its_norms_come_back_from_another_process() -> None:
    report = renorm_cli.inspect(DENSE)
    copy = pickle.loads(pickle.dumps(report))
    assert copy == report
    np.testing.assert_array_equal(copy.unit_norms("hidden/kernel"), report.unit_norms("hidden/kernel"))


def test_without_pandas_a_table_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RenormError, match=r"pandas is not installed; pip install 'renorm-ckpt\[pandas\]'"):
        Report.of(a_report()).to_pandas()


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


REPORTS: dict[str, Callable[[], Report]] = {
    "sample": lambda: renorm_cli.inspect(DENSE, max_norm=1.5),
    "dry run": lambda: renorm_cli.apply(DENSE, max_norm=1.5, dry_run=True),
    "only skipped": lambda: Report.of(a_report([], [a_skip("bias")])),
    "empty": lambda: Report.of(a_report()),
    "no norm": lambda: Report.of(a_report([a_row(PLAIN, limit=None)])),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_the_table_of_pandas_is_the_csv_with_exact_values(kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    report = REPORTS[kind]()
    table = report.to_pandas()
    header, *lines = cells("".join(render_csv([report])))
    assert list(table.columns) == header
    assert len(table) == len(lines) == len(report.rows) + len(report.skips)
    for (_, row), line in zip(table.iterrows(), lines, strict=True):
        for value, text in zip(row, line, strict=True):
            assert (text == "") if pandas.isna(value) else (str(value) == text or float(value) == float(text))


def test_counts_in_the_table_are_whole_numbers_also_beside_skipped_variables() -> None:
    pytest.importorskip("pandas")
    table = renorm_cli.inspect(DENSE).to_pandas()
    assert str(table["units"].dtype) == "Int64"
    assert table["units"].sum() == 34
    assert str(table["norm_max"].dtype) == "float64"
