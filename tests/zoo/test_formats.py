"""What the product says of many layer variants in every format, judged by the live layer objects."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from support import keras_zoo

from zoo import live, table, ways
from zoo.judge import Fault, Score, score_by_bytes
from zoo.table import Made

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    *(pytest.mark.filterwarnings(warning) for warning in keras_zoo.WARNINGS),
]


def wrong(scores: Iterable[tuple[Made, Score]]) -> list[tuple[Made, Fault]]:
    return [(made, fault) for made, found in scores for fault in found.wrong if not _is_turned(made, fault)]


SAY_NO_MORE = {("keras", "checkpoint"), ("tf_keras", ".h5 of weights"), ("TF1", "alone")}


def _is_turned(made: Made, fault: Fault) -> bool:
    """Of an EinsumDense "abc,dc->abd" without a bias, where nothing but the name "kernel" is stored: (out, in).

    By convention a kernel of rank 2 is (in, out), and these files say no more of this one.
    """
    return (made.flavour, made.way) in SAY_NO_MORE and (fault.shape, fault.truth.units, fault.units, fault.source) == (
        (7, 6),
        (0,),
        (1,),
        "name",
    )


MODELS = list(itertools.product(("keras", "tf_keras"), table.STRUCTURES, live.NAMED))


@pytest.mark.parametrize(("flavour", "structure", "names"), MODELS)
def test_no_variant_in_any_format_is_told_wrong_with_certainty(
    flavour: str, structure: str, names: str, tmp_path: Path
) -> None:
    assert wrong(table.in_formats(flavour, structure, names, tmp_path)) == []


@pytest.mark.parametrize("names", ["neutral", pytest.param("default", marks=pytest.mark.exhaustive)])
def test_no_variant_in_a_checkpoint_of_tensorflow_1_is_told_wrong_with_certainty(names: str, tmp_path: Path) -> None:
    assert wrong(table.in_tensorflow_1(names, tmp_path)) == []


@pytest.mark.exhaustive
def test_no_variant_by_itself_is_told_wrong_with_certainty(tmp_path: Path) -> None:
    assert wrong(table.everything(tmp_path, each=True)) == []


def test_names_lost_in_a_checkpoint_are_not_cut_into_names_of_other_classes(tmp_path: Path) -> None:
    import keras

    kinds = {
        "depthwise_conv2d": keras.layers.DepthwiseConv2D(3, use_bias=False),
        "depthwise_conv2d_1": keras.layers.DepthwiseConv2D(3, use_bias=False),
        "up_conv2d": keras.layers.Conv2DTranspose(5, 3, use_bias=False, name="up_conv2d"),
        "up_conv2d_1": keras.layers.Conv2DTranspose(6, 3, use_bias=False, name="up_conv2d_1"),
    }

    class Net(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = list(kinds.values())

        def call(self, x: object) -> object:
            for part in self.parts:
                x = part(x)
            return x

    net = Net()
    net(np.zeros((1, 9, 9, 4), "float32"))
    model = live.trained(net)
    assert score_by_bytes(ways.objects(model, tmp_path), live.truths(model)).wrong == []
