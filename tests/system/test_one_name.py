"""One model has one set of names, in whatever format it is saved: judged by Keras' own paths of its variables."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import keras_zoo, six_formats

import renorm_cli
from renorm_cli.conventions.identify import identify
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.model.variable import Variable
from renorm_cli.render.data.json_report import render_json

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(line) for line in keras_zoo.WARNINGS)]

PAIRS = [(before, six_formats.FORMATS[(at + by) % 6]) for at, before in enumerate(six_formats.FORMATS) for by in (1, 2)]
"""Each format before two others and after two: what holds for neighbours holds for all."""
LOSES_NAMES = ("m.keras", "m.weights.h5")
"""Formats that store the own weights of a custom class under numbers alone."""


@pytest.fixture(scope="module", params=six_formats.MODELS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, six_formats.save_all(request.param, folder)


def weights(path: Path) -> list[Variable]:
    with open_checkpoint(path) as checkpoint:
        found = identify(checkpoint.variables)
    return [each for each in found if each.dtype == "float32" and each.identity and each.identity.role != "optimizer"]


@pytest.mark.parametrize("name", six_formats.FORMATS)
def test_names_are_the_paths_of_keras_without_the_name_of_the_model(saved: tuple[Path, Any], name: str) -> None:
    folder, model = saved
    real = {variable.path.removeprefix(f"{model.name}/") for variable in model.weights if "float" in variable.dtype}
    found = {variable.name for variable in weights(folder / name)}
    numbered = {f"{block}/gain": f"{block}/vars/0" for block in ("block", "block_1", "block_2")}
    assert found == ({numbered.get(path, path) for path in real} if name in LOSES_NAMES else real)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_two_formats_of_one_model_differ_in_no_weight(saved: tuple[Path, Any], before: str, after: str) -> None:
    folder, model = saved
    rows = renorm_cli.diff(folder / before, folder / after).rows
    verdicts = [row.verdict for row in rows if "optimizer" not in row.name and "adam" not in row.name]
    assert verdicts.count("identical") >= sum("float" in variable.dtype for variable in model.weights)
    own = {variable.name for variable in weights(folder / before)}
    assert {row.verdict for row in rows if row.name in own} == {"identical"}


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_rules_and_baselines_of_one_format_hold_the_others(
    saved: tuple[Path, Any], before: str, after: str, tmp_path: Path
) -> None:
    folder, _ = saved
    report, rules = tmp_path / "report.json", tmp_path / "rules.toml"
    report.write_text("".join(render_json([renorm_cli.inspect(folder / before)])))
    renorm_cli.suggest(folder / before, output=rules)
    look = partial(renorm_cli.check, folder / after)
    by_rules, by_baseline = look(rules=rules), look(baseline=report)
    assert by_baseline.baseline is not None
    assert by_baseline.baseline.growths == ()
    kernels = {row.step.variable.name for row in renorm_cli.inspect(folder / before).rows}
    assert {row.step.variable.name for row in by_rules.rows} == kernels
