"""Each row of the table of Keras layers off in turn: less is known, and nothing is told wrong with certainty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import keras_zoo

import renorm_cli
from renorm_cli.conventions.identify import identify
from renorm_cli.conventions.keras.layers import LAYERS, Weight
from zoo import live, ways
from zoo.judge import WEIGHTS, Score, Truth, by_bytes, score

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    *(pytest.mark.filterwarnings(warning) for warning in keras_zoo.WARNINGS),
]

WAYS = {"keras": (".keras", ".h5"), "tf_keras": (".keras", ".h5")}
"""Formats whose config tells the classes: there the table of layers speaks first."""

NOT_IN_THE_ZOO = {
    "CuDNNLSTM",
    "ConvLSTM3D",
    "CuDNNGRU",
    "SyncBatchNormalization",
    "STFTSpectrogram",
    "DynamicLookup",
} | {*("Normalization", "Discretization", "RandomFourierFeatures", "UnitNormalization")}
"""Classes that need a GPU, data, or another package, or that store nothing."""

NO_AXES = {"EinsumDense"} | {f"{name}Cell" for name in ("SimpleRNN", "LSTM", "GRU", "ConvLSTM")}
"""Classes whose axes the equation tells, and those whose weights go by the class of the layer around them."""


class Saved(NamedTuple):
    path: Path
    truths: dict[str, Truth]
    """By storage key."""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> list[Saved]:
    files = []
    for flavour, some in WAYS.items():
        model = live.functional(ways.module(flavour), "neutral", train=False)
        truths = live.truths(model)
        for way in some:
            path = ways.FLAVOURS[flavour][way](model, tmp_path_factory.mktemp("zoo"))
            files.append(Saved(path, {variable.key: truth for variable, truth in by_bytes(path, truths).items()}))
    return files


def scores(zoo: list[Saved]) -> Iterator[Score]:
    for saved in zoo:
        with renorm_cli.open(saved.path) as checkpoint:
            variables = identify(checkpoint.variables)
        yield score({one: saved.truths[one.key] for one in variables if one.key in saved.truths})


def test_with_the_whole_table_all_is_right(zoo: list[Saved]) -> None:
    assert [set(found.counts) for found in scores(zoo)] == [{"right", "other right"}] * len(zoo)


ROWS = [name for name in LAYERS if name not in NOT_IN_THE_ZOO]
BOUNDED = [name for name in ROWS if any(one.role in WEIGHTS for one in LAYERS[name]) and name not in NO_AXES]


@pytest.mark.parametrize("layer", ROWS)
def test_without_a_row_nothing_is_told_wrong_with_certainty(
    layer: str, zoo: list[Saved], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(LAYERS, layer)
    assert [found.wrong for found in scores(zoo) if found.wrong] == []


@pytest.mark.parametrize("layer", BOUNDED)
def test_a_row_with_other_axes_is_noticed(layer: str, zoo: list[Saved], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, layer, tuple(_turned(weight) for weight in LAYERS[layer]))
    assert any(found.wrong or found.open for found in scores(zoo))


def _turned(weight: Weight) -> Weight:
    """With the first axis naming units, or the last where the first does."""
    if weight.role not in WEIGHTS:
        return weight
    return weight._replace(units={rank: (-1,) if weight.unit_axes(rank) == (0,) else (-rank,) for rank in weight.ranks})
