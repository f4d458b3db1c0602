"""What another checkpoint of the same model lends, and that one of another model lends nothing."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import builders
from support.cli import refused, renorm_here
from support.places import SAMPLES
from support.variables import keras_variable

import renorm_cli
from renorm_cli.errors import SelectionError
from renorm_cli.model.variable import Hint, Variable
from renorm_cli.plan.like import Like, lent

KNOWN = (
    keras_variable("up/kernel", "layers/up/vars/0", (3, 3, 8, 16), layer="Conv2DTranspose", weight="kernel"),
    keras_variable("words/embeddings", "layers/words/vars/0", (9, 2), layer="Embedding", weight="embeddings"),
    keras_variable("norm/gamma", "layers/norm/vars/0", (8,), layer="BatchNormalization", weight="gamma"),
)
LIKE = Like.of("model.keras", KNOWN)


def told(*variables: Variable, like: Like = LIKE) -> dict[str, tuple[Any, ...]]:
    found, _ = lent(variables, like)
    return {
        one.name: (one.identity.role, one.identity.unit_axes, one.identity.axis_source)
        for one in found
        if one.identity is not None
    }


def unknown(name: str, key: str, shape: tuple[int, ...], **facts: Any) -> Variable:
    return Variable(name, key, shape, "float32", **facts)


def test_variables_of_the_same_name_alias_or_key_and_shape_get_role_axes_and_class() -> None:
    up = unknown("up/kernel", "a", (3, 3, 8, 16))
    words = unknown("v", "b", (9, 2), aliases=("words/embeddings",))
    norm = unknown("w", "layers/norm/vars/0", (8,))
    assert told(up, words, norm) == {
        "up/kernel": ("kernel", (2,), "like"),
        "v": ("embedding", (0,), "like"),
        "w": ("scale", (), "guess"),
    }
    (found, *_), notes = lent([up, words, norm], LIKE)
    assert (found.layer, notes) == ("Conv2DTranspose", ())


def test_the_names_of_the_other_are_further_names() -> None:
    (found,), _ = lent([unknown("vars/0", "layers/up/vars/0", (3, 3, 8, 16))], LIKE)
    assert "up/kernel" in found.aliases


def test_what_has_another_shape_gets_nothing_and_is_named() -> None:
    head = keras_variable("head/kernel", "layers/head/vars/0", (8, 10), layer="Dense", weight="kernel")
    like = Like.of("model.keras", (*KNOWN, head))
    found, (note,) = lent([unknown("up/kernel", "a", (3, 3, 8, 16)), unknown("head/kernel", "b", (8, 1000))], like)
    assert note.warning
    assert note.text == "'model.keras' lends nothing to 'head/kernel' (8x1000); the first is 8x10 there"
    assert found[1].layer is None


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ([unknown("a", "b", (3, 3))], "none of its 3 variables has a name of these 1"),
        (
            [unknown("up/kernel", "a", (3, 3, 8, 8)), unknown("norm/gamma", "b", (8,))],
            r"most shapes differ: 'up/kernel' \(3x3x8x8\); the first is 3x3x8x16 there",
        ),
    ],
)
def test_a_checkpoint_of_another_model_lends_nothing_and_is_an_error(variables: list[Variable], why: str) -> None:
    with pytest.raises(SelectionError, match=f"^'model.keras' does not fit: {why}; give another"):
        lent(variables, LIKE)


def test_a_guess_of_the_other_is_not_lent_and_a_name_that_two_weights_have_is_none() -> None:
    guess = Like.of("x", (keras_variable("up/kernel", "a", (3, 3, 8, 16), weight="kernel"),))
    assert told(unknown("up/kernel", "k", (3, 3, 8, 16)), like=guess)["up/kernel"][2] == "guess"
    two = Like.of("x", (*KNOWN, keras_variable("up/kernel", "z", (3, 3, 8, 16), layer="Conv2D", weight="kernel")))
    with pytest.raises(SelectionError, match="does not fit"):
        lent([unknown("up/kernel", "k", (3, 3, 8, 16))], two)


def test_what_the_file_knows_otherwise_is_a_conflict_and_no_axes_are_sure() -> None:
    own = keras_variable("up/kernel", "a", (3, 3, 8, 16), layer="Conv2D", weight="kernel")
    (found,), _ = lent([own], LIKE)
    assert found.identity is not None
    assert found.identity.axis_source == "guess"
    assert "'up/kernel' in 'model.keras'" in (found.identity.conflict or "")


@pytest.fixture
def bare(tmp_path: Path) -> tuple[str, dict[str, tuple[int, ...]]]:
    """The kernels of a sample without config and biases, and the unit axes that its layers have."""
    like = SAMPLES / "convolutions.keras"
    rows = renorm_cli.inspect(like).rows
    with renorm_cli.open(like) as source:
        arrays = {one.name: np.asarray(source.read(one), np.float32) for one in source.variables if len(one.shape) > 1}
    builders.write_h5(tmp_path / "bare.h5", arrays)
    return str(tmp_path / "bare.h5"), {row.step.variable.name: row.step.unit_axes for row in rows}


def test_the_way_out_that_an_error_names_first_leads_out(
    bare: tuple[str, dict[str, tuple[int, ...]]], capfd: pytest.CaptureFixture[str]
) -> None:
    path, axes = bare
    check = ("check", path, "--max-norm", "1.3")
    like = ("--like", str(SAMPLES / "convolutions.keras"))
    done = renorm_here(capfd, *check)
    assert done.returncode == 2
    assert "; lend what they are with --like CHECKPOINT, or " in done.stderr
    assert renorm_here(capfd, *check, *like).returncode in (0, 1)
    report = renorm_cli.check(path, max_norm=1.3, like=SAMPLES / "convolutions.keras")
    assert {row.step.variable.name: row.step.unit_axes for row in report.rows} == axes
    assert report.verdict != "undecided"
    assert {row.step.axis_source for row in report.rows} == {"like"}
    for verb in ("inspect", "suggest"):
        assert renorm_here(capfd, verb, path, *like).returncode == 0
    out = str(Path(path).with_name("out.h5"))
    assert renorm_here(capfd, "apply", path, "--max-norm", "1", *like, "-o", out).returncode == 0
    assert renorm_here(capfd, "diff", path, out, "--expect-renorm", "--max-norm", "1", *like).returncode == 0
    assert renorm_here(capfd, "check", out, "--max-norm", "1", *like).returncode == 0


def test_rules_that_were_suggested_with_a_checkpoint_like_it_hold_without_it(
    bare: tuple[str, dict[str, tuple[int, ...]]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, axes = bare
    rules = tmp_path / "r.toml"
    suggest = ("suggest", path, "--like", str(SAMPLES / "convolutions.keras"), "-o", str(rules))
    assert renorm_here(capfd, *suggest).returncode == 0
    report = renorm_cli.check(path, rules=rules)
    assert {row.step.variable.name: row.step.unit_axes for row in report.rows} == axes
    assert report.verdict == "violated"


def test_a_checkpoint_of_another_model_is_refused_on_the_command_line(
    bare: tuple[str, dict[str, tuple[int, ...]]], capfd: pytest.CaptureFixture[str]
) -> None:
    for verb in ("check", "apply"):
        done = renorm_here(capfd, verb, bare[0], "--max-norm", "1", "--like", str(SAMPLES / "dense.keras"))
        refused(done, "does not fit: ")


@pytest.mark.parametrize(("own", "like"), [("C", "F"), ("F", "C"), ("C", "C")])
def test_axes_are_lent_across_orders_of_storage_as_numpy_sees_them(own: str, like: str, tmp_path: Path) -> None:
    array, bias = 3 * np.random.default_rng(1).normal(size=(5, 5)), np.zeros(5)
    orders: dict[str, Any] = {"C": np.ascontiguousarray, "F": np.asfortranarray}
    np.savez(tmp_path / "own.npz", **{"d/kernel": orders[own](array)})
    np.savez(tmp_path / "like.npz", **{"d/kernel": orders[like](array), "d/bias": bias})
    out = tmp_path / "out.npz"
    renorm_cli.apply(tmp_path / "own.npz", out, max_norm=1.0, like=tmp_path / "like.npz")
    norms = np.linalg.norm(np.load(out)["d/kernel"], axis=0)
    assert norms == pytest.approx(np.ones(5), abs=1e-6)


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_a_lent_axis_is_the_one_that_numpy_finds_by_its_length(order: tuple[int, ...]) -> None:
    kernel = np.empty((5, 3, 2))
    hint = Hint(convention="torch", layer="Conv1d", order=order)
    like = Like.of("x", (unknown("c.weight", "c.weight", kernel.transpose(order).shape, hint=hint),))
    for own in permutations(range(3)):
        shape = kernel.transpose(own).shape
        _, axes, source = told(unknown("c.weight", "k", shape, hint=Hint(order=own)), like=like)["c.weight"]
        assert ([shape[axis] for axis in axes], source) == ([5], "like")
