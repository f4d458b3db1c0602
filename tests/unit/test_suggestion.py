"""Bounds against NumPy's quantiles and plain counting, and from a suggestion through rules to a checkpoint."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import builders, oracle
from support.cli import refused, renorm, renorm_here
from support.effort import examples
from support.places import SAMPLES

from renorm_cli.errors import UsageError
from renorm_cli.model.suggestion import SHARES
from renorm_cli.norms import distribution
from renorm_cli.norms.distribution import Distribution
from renorm_cli.render.suggested import bound_text
from renorm_cli.suggestion import aim_of, bounds_of

CHECKPOINTS = sorted(
    path.name
    for path in SAMPLES.iterdir()
    if path.suffix in (".h5", ".keras", ".hdf5")
    and not path.name.startswith("dense_0000")
    and "generic" not in path.name
)
NORMS = st.lists(
    st.floats(0, 1e300) | st.sampled_from([0.0, 1.0, 1.00000001, 1.5, math.nextafter(1.5, 0)]), min_size=1, max_size=60
)


def collected(norms: list[float], *, bucketed: bool = False) -> Distribution:
    found = Distribution(distribution.KEEP + 1 if bucketed else len(norms))
    found.add(np.array(norms))
    return found


@given(norms=NORMS, shares=st.lists(st.floats(0, 0.999), min_size=1, max_size=4))
def test_a_bound_is_the_quantile_of_numpy_and_what_it_clips_is_counted(norms: list[float], shares: list[float]) -> None:
    for bound, share in zip(bounds_of(collected(norms), shares), shares, strict=True):
        quantile = float(np.quantile(norms, 1 - share))
        assert (bound.share, bound.units) == (share, len(norms))
        if bound.limit is None:
            assert quantile == 0
            continue
        assert quantile <= bound.limit <= quantile * (1 + 1.1e-8) + 5e-324
        assert quantile < bound.limit or quantile < 1e-300  # summed in another order, the norm must not be over
        assert bound.over == sum(norm > bound.limit for norm in norms)
        distinct = sum(norm > quantile for norm in norms) - sum(quantile < norm <= bound.limit for norm in norms)
        assert bound.over == distinct


@given(norms=st.lists(st.integers(1, 10**6).map(float), min_size=1, max_size=80, unique=True), share=st.floats(0, 0.99))
def test_of_norms_that_all_differ_the_share_is_met_to_one_unit(norms: list[float], share: float) -> None:
    (bound,) = bounds_of(collected(norms), [share])
    assert abs(bound.over - share * len(norms)) <= 1
    assert bound.clipped == bound.over / len(norms)


@given(norms=NORMS)
@example(norms=[math.nextafter(1.5, 0)] * 2 + [1.5] * 2)  # on both sides of the end of a bucket
@settings(max_examples=examples(30), deadline=None)  # two million buckets each
def test_of_very_many_norms_the_bound_is_near_and_the_count_exact(norms: list[float]) -> None:
    for bound, share in zip(bounds_of(collected(norms, bucketed=True), SHARES), SHARES, strict=True):
        low, high = np.quantile(norms, 1 - share, method="lower"), np.quantile(norms, 1 - share, method="higher")
        if bound.limit is None:
            assert low < 1e-307
            continue
        assert high > 0
        assert low <= bound.limit <= high * (1 + 1e-3) + 1e-307
        assert bound.over == sum(norm > bound.limit for norm in norms)


@given(parts=st.lists(NORMS, min_size=1, max_size=4), pooled=st.booleans())
@settings(max_examples=examples(30), deadline=None)
def test_merged_norms_have_the_bounds_of_all_of_them(parts: list[list[float]], pooled: bool) -> None:
    whole = Distribution(distribution.KEEP + 1 if pooled else sum(map(len, parts)))
    for part in parts:
        whole.merge(collected(part, bucketed=pooled and len(part) % 2 == 0))
    everything = [norm for part in parts for norm in part]
    assert bounds_of(whole, SHARES) == bounds_of(collected(everything, bucketed=pooled), SHARES)


def test_norms_in_buckets_a_few_at_a_time_are_counted_as_all_at_once() -> None:
    norms = np.random.default_rng(3).gamma(2.0, size=100_000)
    one, other = Distribution(distribution.KEEP + 1), Distribution(distribution.KEEP + 1)
    one.add(norms)
    for part in np.array_split(norms, 500):
        other.add(part)
    assert bounds_of(one, SHARES) == bounds_of(other, SHARES)


def test_without_a_finite_norm_there_is_no_bound() -> None:
    (bound,) = bounds_of(collected([math.nan, math.inf]), [0.5])
    assert (bound.limit, bound.over, bound.units, bound.clipped) == (None, 0, 0, 0.0)


@given(limit=st.floats(5e-324, 1.7e308))
def test_a_bound_on_screen_is_rounded_up_and_has_five_digits(limit: float) -> None:
    text = bound_text(limit)
    assert limit <= float(text) <= limit * (1 + 1.1e-4) + 5e-324
    assert len(text.partition("e")[0].replace(".", "").strip("0")) <= 5


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("0", 0.0), (" 0.1 % ", 0.001), ("99.9%", 0.999)]
)
def test_a_share_is_a_percentage_or_a_fraction(text: str, share: float) -> None:
    assert aim_of(text).clip == pytest.approx(share, rel=1e-15)


@pytest.mark.parametrize("text", ["5", "100%", "1", "-1%", "nan", "inf", "", "%", "a"])
def test_what_is_no_share_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"a share of the units .* such as 5% or 0\.05.*; give one with clip="):
        aim_of(text)


def suggested(path: Path, *arguments: object) -> dict[str, Any]:
    done = renorm("suggest", path, "--format", "json", *arguments)
    assert done.returncode == 0, done
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_the_numbers_are_those_of_the_weights_in_the_file() -> None:
    found = suggested(SAMPLES / "dense.h5")
    everything = []
    with h5py.File(SAMPLES / "dense.h5") as file:
        for variable in found["variables"]:
            norms = oracle.unit_norms(file[variable["key"]][:], tuple(variable["unit_axes"]))
            everything.append(norms)
            _agrees(variable["bounds"], norms)
    _agrees(found["together"], np.concatenate(everything))


def _agrees(bounds: list[dict[str, float]], norms: np.ndarray) -> None:
    assert [bound["share"] for bound in bounds] == list(SHARES)
    for bound in bounds:
        assert bound["limit"] == pytest.approx(np.quantile(norms, 1 - bound["share"]), rel=1.1e-8)
        assert bound["over"] == np.count_nonzero(norms > bound["limit"])
        assert bound["clipped"] == bound["over"] / norms.size


@pytest.mark.slow
@pytest.mark.parametrize("clip", ["25%", "0%"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_apply_with_the_rules_clips_what_was_promised_and_check_then_passes(
    name: str, clip: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rules say what apply would otherwise be told; one bound for all does the same."""
    shutil.copytree(SAMPLES, tmp_path / "in")
    source, rules, out = tmp_path / "in" / name, tmp_path / "rules.toml", tmp_path / f"out-{name}"
    for more in ((), ("--one-bound",)):
        words = ["suggest", str(source), "--clip", clip, "-o", str(rules), "--force", "--format", "json", *more]
        done = renorm_here(capfd, *words)
        assert done.returncode == 0, done
        found = json.loads(done.stdout)
        done = renorm_here(
            capfd, "apply", str(source), "--rules", str(rules), "-o", str(out), "--force", "--format", "json"
        )
        assert done.returncode == 0, done
        report = json.loads(done.stdout)
        assert [one["key"] for one in report["variables"]] == [one["key"] for one in found["variables"]]
        if more:
            (bound,) = found["together"]
            assert report["totals"]["over"] == bound["over"]
            assert {one["limit"] for one in report["variables"]} == {bound["limit"]}
        else:
            promised = [one["bounds"][0]["over"] for one in found["variables"]]
            assert [one["over"] for one in report["variables"]] == promised
        assert renorm_here(capfd, "check", str(out), "--rules", str(rules)).returncode == 0
        before = renorm_here(capfd, "check", str(source), "--rules", str(rules)).returncode
        assert before == (1 if report["totals"]["over"] else 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Kernels with names that mean something to globs, TOML, CSV, terminals and CI; one is all zeros."""
    rng = np.random.default_rng(7)
    names = ("a[b]*?", 'say "x"', "back\\slash", "##[error]x", "=1+1", "é\u202e", "a", "tab\there", "zero")
    path = tmp_path / "model.h5"
    arrays = {f"{name}/kernel": rng.normal(size=(3, 40)).astype(np.float32) for name in names}
    arrays["zero/kernel"][:] = 0
    builders.write_h5(path, arrays)
    with h5py.File(path, "a") as file:
        file[b"byte\xff/kernel"] = rng.normal(size=(3, 40)).astype(np.float32)
    return path


def test_hostile_names_come_through_rules_and_every_format(model: Path, tmp_path: Path) -> None:
    rules, out = tmp_path / "rules.toml", tmp_path / "out.h5"
    done = renorm("suggest", model, "--clip", "10%", "-o", rules)
    assert done.returncode == 0, done
    assert done.stdout.replace("\n", "").isprintable()
    assert "##[" not in done.stdout + rules.read_text()
    text = rules.read_text("ascii")
    tables = tomllib.loads(text)["rule"]
    assert [table for table in tables if "leave" in table] == [{"match": "zero/kernel", "leave": True}]
    assert len(tables) == 10
    done = renorm("apply", model, "--rules", rules, "-o", out, "--format", "json")
    assert done.returncode == 0, done
    report = json.loads(done.stdout)
    assert [one["over"] for one in report["variables"]] == [4] * 9
    place = 1 + [table["match"] for table in tables].index("zero/kernel")
    assert [one["reason"] for one in report["skipped"]] == [f"left alone by rule {place}"]
    lines = list(csv.DictReader(io.StringIO(renorm("suggest", model, "--format", "csv").stdout)))
    assert len(lines) == 11 * len(SHARES)
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line.values())


def test_options_of_the_measuring_are_in_the_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    options = ("--p", "inf", "--units", "-2", "-i", "*kernel", "-x", "digit/*")
    assert renorm("suggest", SAMPLES / "dense.h5", *options, "-o", rules, "-q").returncode == 0
    (table,) = tomllib.loads(rules.read_text())["rule"]
    assert table == {"match": "hidden/kernel", "max_norm": table["max_norm"], "p": math.inf, "units": [0]}
    done = renorm("apply", SAMPLES / "dense.h5", "--rules", rules, "--dry-run", "--format", "json")
    (one,) = json.loads(done.stdout)["variables"]
    assert (one["p"], one["unit_axes"], one["axis_source"]) == ("inf", [0], "rule")
    assert renorm("suggest", SAMPLES / "dense.h5", "--per", "tensor", "-o", rules, "-q", "--force").returncode == 0
    assert {table["per"] for table in tomllib.loads(rules.read_text())["rule"]} == {"tensor"}


def test_what_is_written_is_refused_over_a_checkpoint_and_over_a_file_without_force(tmp_path: Path) -> None:
    model, rules = tmp_path / "m.h5", tmp_path / "r.toml"
    shutil.copy(SAMPLES / "dense.h5", model)
    rules.write_text("mine")
    exists = "exists; give the rules another name with -o, or replace it with --force"
    refused(renorm("suggest", model, "-o", rules), exists)
    refused(renorm("suggest", model, "-o", model, "--force"), "is the checkpoint; give the rules another name")
    refused(
        renorm("suggest", model, SAMPLES / "dense.keras", "-o", rules, "--force"),
        "-o writes the rules of one checkpoint, 2 are given",
    )
    assert rules.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.h5", "r.toml"]


def test_several_checkpoints_are_several_suggestions_and_one_that_is_missing_is_2(tmp_path: Path) -> None:
    done = renorm("suggest", SAMPLES / "dense.h5", tmp_path / "gone.h5", SAMPLES / "dense.keras", "--format", "json")
    assert done.returncode == 2
    assert ["error" in one for one in json.loads(done.stdout)] == [False, True, False]
    assert done.stderr.count("error: ") == 1


def test_rules_on_the_command_line_reach_the_report_and_every_format(tmp_path: Path) -> None:
    rules = tmp_path / "r.toml"
    rules.write_text(
        '[[rule]]\nmatch = ["hidden/*", "hidden/bias"]\nmax_norm = 1\np = 1\n[[rule]]\nmatch = "*/bias"\nleave = true\n'
    )
    files = [tmp_path / f"r.{end}" for end in ("json", "csv", "md", "html", "xml", "sarif")]
    reports = [word for file in files for word in ("--report", file)]
    done = renorm("check", SAMPLES / "dense.h5", "--rules", rules, "--max-norm", 3, *reports)
    assert (done.returncode, done.stderr.count("error")) == (1, 0), done
    found = json.loads(files[0].read_text())
    limits = {one["name"]: (one["limit"], one["p"]) for one in found["variables"]}
    assert limits == {"hidden/bias": (1.0, 1.0), "hidden/kernel": (1.0, 1.0), "digit/kernel": (3.0, 2.0)}
    assert [one["reason"] for one in found["skipped"] if one["name"] == "digit/bias"] == ["left alone by rule 2"]
    assert all(file.stat().st_size for file in files)
    done = renorm("inspect", SAMPLES / "dense.h5", "--rules", rules, "--format", "json")
    limits = {one["name"]: one["limit"] for one in json.loads(done.stdout)["variables"]}
    assert limits == {"hidden/bias": 1.0, "hidden/kernel": 1.0, "digit/kernel": None}
    for other in (("--declared",), ("--per", "global")):
        refused(renorm("check", SAMPLES / "dense.h5", "--rules", rules, *other), "--rules")
    refused(renorm("check", SAMPLES / "dense.h5", "--rules", rules, "--report", f"json={rules}"), "another name")
    assert rules.read_text().startswith("[[rule]]")


def test_with_a_baseline_the_rest_is_measured_and_what_rules_leave_alone_is_not_missed(tmp_path: Path) -> None:
    baseline, rules = tmp_path / "base.json", tmp_path / "r.toml"
    assert renorm("inspect", SAMPLES / "dense.h5", "--report", baseline, "-q").returncode == 0
    rules.write_text('[[rule]]\nmatch = "hidden/kernel"\nleave = true\n')
    done = renorm("check", SAMPLES / "dense.h5", "--baseline", baseline, "--rules", rules, "--format", "json")
    assert done.returncode == 0, done
    assert [one["name"] for one in json.loads(done.stdout)["variables"]] == ["digit/kernel"]


@pytest.mark.parametrize("more", [(), ("--one-bound",)])
def test_without_a_share_rules_aim_at_5_percent_of_the_table(
    tmp_path: Path, more: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.toml"
    words = ("suggest", str(SAMPLES / "dense.h5"), "-o", str(rules), "--format", "json", *more)
    found = json.loads(renorm_here(capfd, *words).stdout)
    assert found["rules"] == str(rules)
    places = [found["together"]] if more else [variable["bounds"] for variable in found["variables"]]
    expected = [next(bound["limit"] for bound in bounds if bound["share"] == 0.05) for bounds in places]
    assert [table["max_norm"] for table in tomllib.loads(rules.read_text())["rule"]] == expected


def test_suggestions_are_written_as_reports_in_each_of_their_formats(tmp_path: Path, capfd: Any) -> None:
    files = [tmp_path / f"bounds.{ending}" for ending in ("json", "csv", "md")]
    options = [text for file in files for text in ("--report", str(file))]
    done = renorm_here(capfd, "suggest", str(SAMPLES / "dense.h5"), *options)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(files[0].read_text())
    limits = [bound["limit"] for bound in record["together"]]
    assert [float(line.split(",")[-3]) for line in files[1].read_text().splitlines()[1:8]] == limits
    lines = files[2].read_text().splitlines()
    assert [float(line.split("|")[2]) for line in lines if line.startswith("| to clip")] == [
        float(bound_text(limit)) for limit in limits
    ]
    assert sum(line.startswith("| `") for line in lines) == len(record["variables"])
    assert renorm_here(capfd, "suggest", str(SAMPLES / "dense.h5"), "--report", "page.html").returncode == 2
