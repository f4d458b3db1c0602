"""A gate tells nothing that it has not seen: every matrix is measured, left out or named, and no guess decides."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import builders
from support.cli import refused, renorm_here
from support.memory import Tensor

from renorm_cli.api import verbs
from renorm_cli.errors import SelectionError
from renorm_cli.model.constraint import Constraint
from renorm_cli.model.identity import Identity
from renorm_cli.model.norm import PNorm
from renorm_cli.model.plan import Step
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.run.readings import readings_of

Capture = pytest.CaptureFixture[str]
Run = subprocess.CompletedProcess[str]

WEIGHTS = {
    "x/w": np.full((4, 6), 1.0, np.float32),
    "odd [name] it's/w": np.full((5, 3), 1.0, np.float32),
    "dense/kernel": np.full((6, 4), 1.0, np.float32),
    "dense/bias": np.ones(4, np.float32),
}
UP = np.full((3, 3, 8, 16), 0.1, np.float32)  # a transposed convolution, or not: 0.849 by axis 2, 1.2 by axis 3


@pytest.fixture
def raw(tmp_path: Path) -> str:
    """Of three matrices two that nothing identifies."""
    builders.write_h5(tmp_path / "raw.h5", WEIGHTS)
    return str(tmp_path / "raw.h5")


@pytest.fixture
def guessed(tmp_path: Path) -> str:
    """A kernel of which nothing tells whether its filters are along axis 2 or 3."""
    builders.write_h5(tmp_path / "up.h5", {"up/kernel": UP, "dense/kernel": WEIGHTS["dense/kernel"]})
    return str(tmp_path / "up.h5")


def ways(done: Run) -> list[list[str]]:
    """The ways out that an error names, as arguments; what the user has to fill in is left as it is."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    found = re.split(r", or |; (?=lend|say|leave|accept)", line)
    return [shlex.split(way[way.index(" -") :]) for way in found if " -" in way]


def filled(way: list[str], like: Path) -> list[str]:
    return [word.replace("=AXES", "=-1").replace("CHECKPOINT", str(like)) for word in way]


def test_what_a_gate_has_not_seen_leaves_it_undecided_and_every_way_out_leads_out(raw: str, capfd: Capture) -> None:
    check = ("check", raw, "--max-norm", "40")
    done = renorm_here(capfd, *check)
    assert done.returncode == 2
    assert done.stdout.startswith(
        "undecided: none of 4 units over 40, in 1 of 3 matrices (38 % of their weights) of "
    ), done.stdout
    assert done.stdout.splitlines()[0].endswith("; 2 not identified: 'odd [name] it's/w' (5x3), 'x/w' (4x6)")
    assert done.stderr.startswith("error: 2 of 3 matrices not identified; lend what they are with --like")
    found = ways(done)
    assert [way[0] for way in found] == ["--like", "--units", "-x", "--allow-unidentified"]
    for way in found[1:]:
        assert renorm_here(capfd, *check, *filled(way, Path())).returncode == 0, way
    quiet = renorm_here(capfd, *check, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (2, "", done.stderr)


def test_a_guess_that_can_change_the_verdict_leaves_it_undecided_and_every_way_out_leads_out(
    guessed: str, capfd: Capture
) -> None:
    largest = {axis: _largest(UP, (axis,)) for axis in range(4)}
    check = ("check", guessed, "--max-norm", str(max(largest.values()) * 0.9))
    done = renorm_here(capfd, *check)
    assert done.returncode == 2
    assert "with guessed unit axes: 'up/kernel' (3x3x8x16)" in done.stdout
    assert "'up/kernel': the unit axes (3 of 3x3x8x16) are a guess: nothing tells them" in done.stdout
    found = ways(done)
    assert [way[0] for way in found] == ["--like", "--units", "-x", "--allow-guess"]
    for way in found[1:]:
        assert renorm_here(capfd, *check, *filled(way, Path())).returncode in (0, 1), way


def test_a_guess_that_cannot_change_the_verdict_is_no_obstacle_and_is_said(guessed: str, capfd: Capture) -> None:
    for limit, code in (("100", 0), ("0.05", 1)):
        done = renorm_here(capfd, "check", guessed, "--max-norm", limit)
        assert done.returncode == code, done
        assert "1 with guessed unit axes that cannot change this: 'up/kernel' (3x3x8x16)" in done.stdout
        assert done.stderr == ""


def test_apply_writes_nothing_where_it_depends_on_a_guess_and_writes_where_it_does_not(
    guessed: str, tmp_path: Path, capfd: Capture
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    apply = ("apply", guessed, "--max-norm", "1", "-q")
    for more in ((), ("--in-place",), ("--dry-run",)):
        refused(renorm_here(capfd, *apply, *more), "the unit axes of 'up/kernel' (3x3x8x16) are a guess; nothing was")
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    done = renorm_here(capfd, *apply)
    for way in ways(done)[1:]:
        assert renorm_here(capfd, *apply, "--force", *filled(way, Path())).returncode == 0, way
    assert renorm_here(capfd, "apply", guessed, "--max-norm", "100", "--force").returncode == 0
    with pytest.raises(SelectionError, match=r"are a guess; nothing was written; .*, or accept it with allow_guess=Tr"):
        verbs.apply(guessed, tmp_path / "other.h5", max_norm=1)


def test_apply_says_also_if_it_is_quiet_that_it_did_not_see_all(raw: str, tmp_path: Path, capfd: Capture) -> None:
    apply = ("apply", raw, "--max-norm", "1", "-o", str(tmp_path / "out.h5"), "--force")
    quiet = renorm_here(capfd, *apply, "-q")
    assert (quiet.returncode, quiet.stdout) == (0, "")
    assert quiet.stderr.startswith("warning: 2 of 3 matrices not identified: 'odd [name] it's/w' (5x3), 'x/w' (4x6)")
    closing = renorm_here(capfd, *apply).stdout
    assert "1 of 3 matrices (38 % of their weights); 2 not identified: 'odd [name] it's/w' (5x3)" in closing
    assert renorm_here(capfd, *apply, "-q", "--allow-unidentified").stderr == ""


def test_every_format_tells_of_what_was_not_seen(raw: str, guessed: str, tmp_path: Path, capfd: Capture) -> None:
    files = {end: tmp_path / f"report.{end}" for end in ("json", "csv", "md", "html", "xml", "sarif")}
    files |= {name: tmp_path / name for name in ("github", "gitlab")}
    told = [f"{name}={path}" if name in ("github", "gitlab") else str(path) for name, path in files.items()]
    done = renorm_here(capfd, "check", raw, "--max-norm", "40", *itertools.chain(*(("--report", one) for one in told)))
    assert done.returncode == 2
    record = json.loads(files["json"].read_text())
    totals = record["totals"]
    assert (record["verdict"], record["allowed"]) == ("undecided", [])
    assert (totals["matrices"], totals["identified"], totals["measured"], totals["elements"]) == (3, 1, 1, 63)
    assert totals["share"] == 24 / 63
    assert {one["name"]: one["coverage"] for one in record["skipped"]} == {
        "x/w": "unidentified",
        "odd [name] it's/w": "unidentified",
        "dense/bias": None,
    }
    suite = ElementTree.fromstring(files["xml"].read_text())[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "2", "1")
    assert {one.get("name") for one in suite.iter("testcase") if one.find("failure") is not None} == {
        "x/w",
        "odd [name] it's/w",
    }
    assert files["github"].read_text().count("::error title=renorm-ckpt%3A A matrix was not seen") == 2
    assert len(json.loads(files["gitlab"].read_text())) == 2
    assert [one["ruleId"] for one in json.loads(files["sarif"].read_text())["runs"][0]["results"]] == [
        "renorm-unidentified"
    ] * 2
    assert files["csv"].read_text().count(",unidentified,") == 2
    for name in ("md", "html"):
        assert "undecided" in files[name].read_text().lower()
        assert "1 of 3 matrices (38 % of their weights)" in files[name].read_text()
    accepted = json.loads(
        renorm_here(capfd, "check", raw, "--max-norm", "40", "--allow-unidentified", "--format", "json").stdout
    )
    assert (accepted["verdict"], accepted["allowed"]) == ("holds", ["unidentified"])


def test_in_python_a_check_that_is_undecided_does_not_hold(raw: str, guessed: str) -> None:
    report = verbs.check(raw, max_norm=40)
    assert (report.holds, report.verdict) == (False, "undecided")
    assert [skip.variable.name for skip in report.unidentified] == ["odd [name] it's/w", "x/w"]
    assert verbs.check(raw, max_norm=40, allow_unidentified=True).holds
    assert verbs.check(raw, max_norm=40, units={"x/w": -1, "odd*": (0,)}).holds
    assert verbs.check(raw, max_norm=40, units=["x/w=-1", "odd*=0"]).holds
    report = verbs.check(guessed, max_norm=1)
    assert [row.step.variable.name for row in report.guessed] == ["up/kernel"]
    assert report.verdict == "undecided"
    assert verbs.check(guessed, max_norm=1, units={"up/*": 2}, exclude="dense/*").verdict == "violated"


def test_a_pattern_never_reaches_optimizer_state(tmp_path: Path, capfd: Capture) -> None:
    path = tmp_path / "m.h5"
    kernel = np.full((4, 4), 9, np.float32)
    builders.write_h5(path, {"dense/kernel": kernel, "optimizer_weights/Adam/m/dense/kernel": kernel})
    for pattern in ("*", "*kernel"):
        done = renorm_here(capfd, "inspect", str(path), "-i", pattern, "--format", "json")
        roles = {one["role"] for one in json.loads(done.stdout)["variables"]}
        assert "optimizer" not in roles


@given(
    st.integers(0, 4).flatmap(lambda rank: st.tuples(*[st.integers(1, 3)] * rank)),
    st.floats(0.5, 4),
    st.sampled_from([1.0, 2.0, np.inf]),
    st.integers(0, 2**32 - 1),
)
def test_readings_are_those_of_all_sets_of_axes(shape: tuple[int, ...], limit: float, p: float, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32) + np.float32(0.25)
    step = Step(Variable("w", "w", shape, "float32"), "kernel", (), "guess", Constraint(limit, PNorm(float(p))))
    (found,) = readings_of([step], Tensor(values), NumpyEngine(), map).values()
    rank = len(shape)
    every = [
        axes
        for count in (range(1, rank) if rank > 1 else (0, rank))
        for axes in itertools.combinations(range(rank), count)
    ]
    over = {_largest(values, axes, p) > limit for axes in every}
    assert found == ("differ" if len(over) == 2 else "fail" if over == {True} else "hold")


@given(st.integers(0, 1), st.floats(0.5, 4), st.integers(0, 2**32 - 1))
def test_readings_of_a_convolution_are_those_along_its_first_two_axes(more: int, limit: float, seed: int) -> None:
    shape = (2, 3, 2, 2, 3)[: 4 + more]
    values = np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32) * np.float32(0.5)
    known = Variable("w", "w", shape, "float32", Hint("torch"), identity=Identity("kernel", (0,), "guess"))
    step = Step(known, "kernel", (0,), "guess", Constraint(limit))
    (found,) = readings_of([step], Tensor(values), NumpyEngine(), map).values()
    over = {_largest(values, axes) > limit for axes in ((0,), (1,), (0, 1))}
    assert found == ("differ" if len(over) == 2 else "fail" if over == {True} else "hold")


def test_three_axes_of_pytorch_may_be_those_of_a_bank_of_matrices() -> None:
    values = np.ones((2, 2, 9), np.float32)  # 3 by axes 0 and 1, 1.414 by axes 0 and 2
    known = Variable("w", "w", values.shape, "float32", Hint("torch"), identity=Identity("kernel", (0,), "guess"))
    step = Step(known, "kernel", (0,), "guess", Constraint(2.0))
    assert set(readings_of([step], Tensor(values), NumpyEngine(), map).values()) == {"differ"}


def _largest(values: np.ndarray, axes: tuple[int, ...], p: float = 2.0) -> float:
    """The largest norm of a unit, by a plain loop over the units."""
    units = np.moveaxis(values, axes, range(len(axes))).reshape(int(np.prod([values.shape[a] for a in axes])), -1)
    return max(float(np.linalg.norm(unit.astype(np.float64), p)) for unit in units)
