"""Spectral norms through the command line: reported, bounded, checked, compared, suggested."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.cli import refused, renorm_here
from support.matrices import largest
from support.places import SAMPLES

from renorm_cli.render.registry import FORMATS
from renorm_cli.run import matrices

SAMPLE = "convolutions.weights.h5"
BLOCKS = "9\u00d72 (8)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(SAMPLES / SAMPLE, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def truth(path: Path) -> dict[tuple[int, ...], float]:
    """The largest singular value of each kernel by its shape, as h5py reads it and a plain loop unfolds it."""
    found: dict[tuple[int, ...], float] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 4:
            array = item[()]
            if item.shape in ((3, 3, 8, 2), (3, 3, 16, 1)):  # depthwise
                found[item.shape] = max(largest(array[:, :, at].reshape(9, -1)) for at in range(item.shape[2]))
            elif item.shape == (3, 3, 6, 12):  # transposed
                found[item.shape] = largest(array.transpose(0, 1, 3, 2).reshape(-1, 6))
            else:
                found[item.shape] = largest(array.reshape(-1, item.shape[-1]))

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


@pytest.mark.parametrize("option", ["--spectral", "--spectrum"])
def test_the_norms_of_all_matrices_are_those_of_numpy(
    folder: Path, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    done = renorm_here(capfd, "inspect", SAMPLE, option, "--format", "json")
    expected = truth(folder / SAMPLE)
    found = {tuple(one["shape"]): one for one in json.loads(done.stdout)["variables"]}
    assert found.keys() == expected.keys()
    for shape, one in found.items():
        figures = one["spectral"]
        assert (one["norm_kind"], one["p"], one["per"], one["tolerance"]) == ("spectral", None, "tensor", 2e-8)
        assert figures["lower"] <= expected[shape] * (1 + 1e-14)
        assert expected[shape] <= figures["upper"] * (1 + 1e-14)
        assert one["norm"]["max"] == figures["norm"] == pytest.approx(expected[shape], rel=1e-12)
        assert (figures["effective_rank"] is not None) == (option == "--spectrum")


def test_csv_and_table_have_the_columns_of_matrices(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = renorm_here(capfd, "inspect", SAMPLE, "--spectral", "--report", "out.csv")
    assert "matrix  " in done.stdout
    assert BLOCKS in done.stdout
    assert "units  " not in done.stdout
    rows = list(csv.DictReader(io.StringIO((folder / "out.csv").read_text("utf-8"))))
    one = next(row for row in rows if row["matrix"] == BLOCKS)
    assert float(one["spectral_lower"]) < float(one["spectral"]) < float(one["spectral_upper"])
    assert float(one["stable_rank"]) == pytest.approx((float(one["frobenius"]) / float(one["spectral"])) ** 2)


def test_what_is_bounded_holds_is_proven_and_stays(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bound = ("--norm", "spectral", "--max-norm", "1.5")
    assert renorm_here(capfd, "check", SAMPLE, *bound).returncode == 1
    assert renorm_here(capfd, "apply", SAMPLE, *bound, "-o", "out.weights.h5").returncode == 0
    assert all(norm <= 1.5 for norm in truth(folder / "out.weights.h5").values())
    assert renorm_here(capfd, "check", "out.weights.h5", *bound).returncode == 0
    assert renorm_here(capfd, "diff", SAMPLE, "out.weights.h5", *bound, "--expect-renorm").returncode == 0
    assert renorm_here(capfd, "apply", "out.weights.h5", *bound, "-o", "again.weights.h5").returncode == 0
    assert (folder / "again.weights.h5").read_bytes() == (folder / "out.weights.h5").read_bytes()
    for jobs in ("1", "3"):
        renorm_here(capfd, "apply", SAMPLE, *bound, "-o", f"{jobs}.weights.h5", "--jobs", jobs)
        assert (folder / f"{jobs}.weights.h5").read_bytes() == (folder / "out.weights.h5").read_bytes()


def test_convolutions_are_bounded_as_operators_and_others_as_matrices(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bound = ("--norm", "spectral", "--conv", "operator", "--max-norm", "1", "-i", "edges/*", "-i", "textures/p*")
    assert renorm_here(capfd, "apply", SAMPLE, *bound, "-o", "out.weights.h5", "--report", "r.json").returncode == 0
    for one in json.loads((folder / "r.json").read_text("utf-8"))["variables"]:
        figures, positions = one["spectral"], one["shape"][0] * one["shape"][1]
        assert (figures["operator"] is None) == (positions == 1)
        if positions > 1:
            assert figures["norm"] < figures["operator"]["lower"] < figures["operator"]["upper"] < 3 * figures["norm"]
            assert one["norm"]["max"] == figures["operator"]["upper"]
        assert one["norm_after"]["max"] <= 1
    assert renorm_here(capfd, "check", "out.weights.h5", *bound).returncode == 0
    done = renorm_here(capfd, "diff", SAMPLE, "out.weights.h5", *bound, "--expect-renorm")
    assert done.returncode == 0, done
    assert truth(folder / "out.weights.h5")[3, 3, 3, 8] < 0.8


def test_every_report_names_the_norm(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = dict.fromkeys(FORMATS, "spectral norm") | {"json": '"norm_kind": "spectral"', "csv": ",spectral,"}
    told |= {"jsonl": '"norm_kind":"spectral"'}
    bound = ("--norm", "spectral", "--max-norm", "1.9")
    reports = [f"--report={name}={name}" for name in FORMATS]
    assert "units (spectral norm) over 1.9" in renorm_here(capfd, "check", SAMPLE, *bound, *reports).stdout
    for name, words in told.items():
        assert words in (folder / name).read_text("utf-8"), name
    done = renorm_here(capfd, "check", SAMPLE, *bound, "--conv", "operator", "-i", "edges/*", "--report=md=-")
    assert "has an operator norm over 1.9" in done.stdout
    assert "| spectral | operator |" in done.stdout
    assert "unit norms are spectral norms" in renorm_here(capfd, "diff", SAMPLE, SAMPLE, *bound).stdout
    assert "28 units (spectral norm)" in renorm_here(capfd, "suggest", SAMPLE, *bound[:2]).stdout


def test_a_note_says_how_far_a_convolution_is_from_its_matrix_and_what_bounds_it(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    note = "a convolution of 3x3 is up to 3 times the norm of its matrix; bound it with --conv operator"
    assert note in renorm_here(capfd, "inspect", SAMPLE, "--spectral").stdout
    assert "Lipschitz" not in renorm_here(capfd, "inspect", SAMPLE, "--spectral", "--conv", "operator").stdout
    with h5py.File("own.hdf5", "w") as file:
        file["a/kernel"] = np.ones((2, 3, 4), np.float32)
    done = renorm_here(capfd, "inspect", "own.hdf5", "-i", "*", "--spectral", "--conv", "operator")
    assert "'a/kernel': it is not known whether it is a convolution: its norm is that of a matrix" in done.stderr


def test_work_that_takes_long_is_told_before(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "spectral norms take some"
    assert said not in renorm_here(capfd, "inspect", SAMPLE, "--spectral").stderr
    monkeypatch.setattr(matrices, "_LONG", 1e-9)
    assert f"{SAMPLE}: {said} " in renorm_here(capfd, "inspect", SAMPLE, "--spectral").stderr
    assert said not in renorm_here(capfd, "inspect", SAMPLE, "--spectral", "-q").stderr


def test_suggested_rules_have_the_norm_and_hold(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = renorm_here(capfd, "suggest", SAMPLE, "--norm", "spectral", "--clip", "50%", "-o", "rules.toml")
    assert done.returncode == 0, done
    assert (folder / "rules.toml").read_text("utf-8").count('norm = "spectral"') == 6
    assert renorm_here(capfd, "apply", SAMPLE, "--rules", "rules.toml", "-o", "out.weights.h5").returncode == 0
    assert renorm_here(capfd, "check", "out.weights.h5", "--rules", "rules.toml").returncode == 0


def test_a_baseline_of_another_norm_is_an_error(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for norm in ("p", "spectral"):
        renorm_here(capfd, "inspect", SAMPLE, "--norm", norm, "--report", f"{norm}.json", "-q")
    assert renorm_here(capfd, "check", SAMPLE, "--norm", "spectral", "--baseline", "spectral.json").returncode == 0
    refused(renorm_here(capfd, "check", SAMPLE, "--baseline", "spectral.json"), "with norm spectral, this run with p")
    refused(
        renorm_here(capfd, "check", SAMPLE, "--norm", "spectral", "--baseline", "p.json"),
        "with norm p, this run with spectral",
    )
    renorm_here(capfd, "inspect", SAMPLE, "--spectral", "--conv", "operator", "--report", "operator.json", "-q")
    done = renorm_here(capfd, "check", SAMPLE, "--norm", "spectral", "--baseline", "operator.json")
    refused(done, "with conv operator, this run with matrix")
    old = json.loads((folder / "p.json").read_text("utf-8"))
    for one in old["variables"]:
        del one["norm_kind"], one["spectral"]  # a report from before there were spectral norms
    (folder / "p.json").write_text(json.dumps(old))
    assert renorm_here(capfd, "check", SAMPLE, "--baseline", "p.json").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("inspect --norm spectral --p 3", "a spectral norm has no p, got 3; leave out --p, or leave out --norm"),
        ("inspect --spectral --p 3", "a spectral norm has no p, got 3; leave out --p, or leave out --spectral"),
        ("inspect --spectrum --per global", "of one matrix, not per global; leave out --per, or leave out --spectrum"),
        ("check --norm spectral --max-norm 1 --per tensor", "not per tensor; leave out --per, or leave out --norm"),
        ("check --norm spectral --declared", "leave out --declared, or leave out --norm"),
        ("check --conv operator --max-norm 1", "an operator norm is a spectral norm; ask for it with --norm spectral"),
        ("check --norm schatten --max-norm 1", "'schatten' is not one of 'p', 'spectral'"),
    ],
)
def test_options_that_make_no_sense_together_are_named(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    refused(renorm_here(capfd, *arguments.split(), SAMPLE), said)


def test_a_matrix_of_nan_is_refused_and_counted(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with h5py.File("nan.hdf5", "w") as file:
        file["a/kernel"] = np.full((6, 5), np.nan, np.float32)
        file["b/kernel"] = np.eye(6, dtype=np.float32)
    bound = ("--norm", "spectral", "--max-norm", "1")
    done = renorm_here(capfd, "apply", "nan.hdf5", *bound, "-i", "*/kernel", "-o", "out.hdf5")
    refused(done, "'a/kernel' holds NaN or Inf in 1 of 1 unit; nothing was written")
    assert renorm_here(capfd, "check", "nan.hdf5", *bound).returncode == 1
    assert renorm_here(capfd, "check", "nan.hdf5", *bound, "-x", "a/*").returncode == 0


@pytest.mark.parametrize("stored", [np.ascontiguousarray, np.asfortranarray])
def test_an_operator_is_bounded_in_whichever_order_its_axes_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stored: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    kernel = np.random.default_rng(3).normal(size=(6, 4, 3, 3))
    np.savez("a.npz", **{"c.weight": stored(kernel), "c.bias": np.zeros(6)})
    how = ("--norm", "spectral", "--conv", "operator")
    assert renorm_here(capfd, "apply", "a.npz", *how, "--max-norm", "1", "-o", "b.npz", "-q").returncode == 0
    transfer = np.fft.fft2(np.load("b.npz")["c.weight"], (96, 96)).transpose(2, 3, 0, 1)
    assert 0.9 < np.linalg.svd(transfer, compute_uv=False).max() <= 1


@pytest.mark.parametrize("asked", [("--spectral",), ("--norm", "spectral"), ("--norm", "spectral", "--conv", "matrix")])
def test_the_page_offers_a_command_that_bounds_the_norm_it_shows(
    folder: Path, capfd: pytest.CaptureFixture[str], asked: tuple[str, ...]
) -> None:
    np.savez("offer.npz", **{"d/kernel": np.eye(4, 3, dtype=np.float32), "d/bias": np.zeros(3, np.float32)})
    assert renorm_here(capfd, "inspect", "offer.npz", *asked, "--report", "offer.html", "-q").returncode == 0
    assert "--norm spectral" in (folder / "offer.html").read_text("utf-8").partition("apply --max-norm")[2][:200]


@pytest.mark.parametrize(
    ("asked", "said"), [(("--spectral",), ""), (("--per", "tensor"), "the whole array"), ((), "axes 1 from ")]
)
def test_where_no_axes_name_units_none_are_said(
    folder: Path, capfd: pytest.CaptureFixture[str], asked: tuple[str, ...], said: str
) -> None:
    np.savez("one.npz", **{"d/kernel": np.eye(4, 3, dtype=np.float32), "d/bias": np.zeros(3, np.float32)})
    done = renorm_here(capfd, "inspect", "one.npz", *asked, "--report", "one.html")
    page = (folder / "one.html").read_text("utf-8")
    assert "axes none" not in page
    assert said in page
    assert "axes from option" not in done.stdout


def test_what_may_be_a_convolution_is_no_verdict_and_not_bounded_as_an_operator(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32) / 5
    np.savez("own.npz", **{"c1/kernel": kernel})
    norm, whole = largest(kernel.reshape(-1, 5)), float(np.abs(kernel).sum())
    conv = ("own.npz", "--norm", "spectral", "--conv", "operator", "--max-norm")
    known = ("--units", "-1")
    done = renorm_here(capfd, "check", *conv, str(norm * 1.1), *known)
    assert (done.returncode, "undecided" in done.stdout + done.stderr) == (2, True), done
    assert "it is not known of 1 variable whether it is a convolution" in done.stderr
    assert renorm_here(capfd, "check", *conv, str(norm * 1.1), *known, "--allow-guess").returncode == 0
    assert renorm_here(capfd, "check", *conv, str(norm * 1.1)).returncode == 2
    assert renorm_here(capfd, "check", *conv, str(norm * 0.9), *known).returncode == 1
    assert renorm_here(capfd, "check", *conv, str(whole * 1.1), *known).returncode == 0
    assert renorm_here(capfd, "check", *conv, str(np.linalg.norm(kernel) * 1.01)).returncode == 2
    for bound in (norm * 1.1, norm * 0.9):
        done = renorm_here(capfd, "apply", *conv, str(bound), *known, "-o", "out.npz")
        assert done.returncode == 2
        assert "whether it is a convolution: the norm is that of a matrix; nothing was written" in done.stderr
    assert not (folder / "out.npz").exists()
    assert renorm_here(capfd, "apply", *conv, str(norm * 0.9), *known, "--allow-guess", "-o", "out.npz").returncode == 0


def test_rules_suggested_by_what_another_file_tells_are_of_the_same_matrices(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    like = ("--like", str(SAMPLES / "convolutions.keras"))
    done = renorm_here(capfd, "suggest", SAMPLE, "--norm", "spectral", "--clip", "0", *like, "-o", "rules.toml")
    assert done.returncode == 0, done
    for lent in ((), like):
        done = renorm_here(capfd, "inspect", SAMPLE, "--rules", "rules.toml", *lent, "--format", "json")
        found = {tuple(one["shape"]): one for one in json.loads(done.stdout)["variables"]}
        for shape, norm in truth(folder / SAMPLE).items():
            assert found[shape]["spectral"]["norm"] == pytest.approx(norm, rel=1e-12)
            assert found[shape]["over"] == 0
            assert found[shape]["axis_source"] == "rule"
    rules = (folder / "rules.toml").read_text("utf-8").replace("units = [3]\nblocks = [2]", "blocks = [2, 3]")
    (folder / "rules.toml").write_text(rules)
    done = renorm_here(capfd, "inspect", SAMPLE, "--rules", "rules.toml", "--format", "json")
    found = {tuple(one["shape"]): one for one in json.loads(done.stdout)["variables"]}
    assert (found[3, 3, 8, 2]["spectral"]["matrix"], found[3, 3, 8, 2]["units"]) == ([9, 1], 16)
    for wrong, said in (("[3]", "has axis 3 of 'filters/kernel' both in units and in blocks"), ("[9]", "blocks 9 is")):
        rule = f'[[rule]]\nmatch = "filters/kernel"\nmax_norm = 1\nnorm = "spectral"\nunits = [3]\nblocks = {wrong}\n'
        (folder / "wrong.toml").write_text(rule)
        refused(renorm_here(capfd, "check", SAMPLE, "--rules", "wrong.toml"), said)
    (folder / "wrong.toml").write_text('[[rule]]\nmatch = "*"\nmax_norm = 1\nblocks = [2]\n')
    refused(renorm_here(capfd, "check", SAMPLE, "--rules", "wrong.toml"), 'blocks, which go with norm = "spectral"')


def test_rules_of_spectral_norms_bound_operators_if_asked(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rule = '[[rule]]\nmatch = "edges/kernel"\nmax_norm = 1.9\n'
    (folder / "rules.toml").write_text(rule + 'norm = "spectral"\n')
    (folder / "other.toml").write_text(rule)
    assert renorm_here(capfd, "check", SAMPLE, "--rules", "rules.toml").returncode == 0
    assert renorm_here(capfd, "check", SAMPLE, "--rules", "rules.toml", "--conv", "operator").returncode == 1
    both = ("--norm", "spectral", "--conv", "operator")
    assert renorm_here(capfd, "check", SAMPLE, "--rules", "rules.toml", *both).returncode == 1
    done = renorm_here(capfd, "check", SAMPLE, "--rules", "other.toml", "--conv", "operator")
    refused(done, "an operator norm is a spectral norm; ask for it with --norm spectral")


@pytest.mark.parametrize("conv", ["matrix", "operator"])
def test_show_has_operator_norms_only_where_they_are_asked_for(
    folder: Path, capfd: pytest.CaptureFixture[str], conv: str
) -> None:
    done = renorm_here(capfd, "show", SAMPLE, "edges/kernel", "--norm", "spectral", "--conv", conv)
    assert done.returncode == 0, done
    assert ("operator " in done.stdout.split("matrix 27", 1)[1].split("Frobenius")[0]) == (conv == "operator")
