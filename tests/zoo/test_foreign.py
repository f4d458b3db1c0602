"""Layers of classes that are not Keras', made from or around its layers, in the formats whose config tells of them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import keras_zoo

from zoo import live, ways
from zoo.judge import score_by_bytes

pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(warning) for warning in keras_zoo.WARNINGS)]


def model(keras: ModuleType) -> Any:
    register = keras.saving.register_keras_serializable("Mine")

    @register
    class Turned(keras.layers.EinsumDense):  # type: ignore[name-defined, misc]
        pass

    @register
    class WeightNorm(keras.layers.Wrapper):  # type: ignore[name-defined, misc]
        def build(self, shape: Any) -> None:
            super().build(shape)
            self.v = self.layer.kernel
            self.g = self.add_weight(name="g", shape=(4,))

        def call(self, x: Any) -> Any:
            return self.layer(x)

    @register
    class Several(keras.layers.Layer):  # type: ignore[name-defined, misc]
        """Holds its layers under another name than its config."""

        def __init__(self, blocks: list[Any], **options: Any) -> None:
            super().__init__(**options)
            self.parts = [keras.layers.deserialize(one) if isinstance(one, dict) else one for one in blocks]

        def build(self, shape: Any) -> None:
            for part in self.parts:
                part.build(shape)
            self.built = True

        def call(self, x: Any) -> Any:
            return [part(x) for part in self.parts]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "blocks": [keras.layers.serialize(part) for part in self.parts]}

    def turned(kind: Any, name: str, **options: Any) -> Any:
        return kind("abc,dc->abd", (None, 6), name=name, **options)

    image, line = keras.Input((5, 5, 4)), keras.Input((7, 6))
    up = keras.layers.Conv2DTranspose(4, 3, use_bias=False, name="up")
    deep = keras.layers.DepthwiseConv2D(3, use_bias=False, depth_multiplier=4, name="deep")
    ends = [
        WeightNorm(up, name="around")(image),
        *Several([keras.layers.Conv2DTranspose(4, 3, use_bias=False, name="back"), deep], name="several")(image),
        *Several([turned(keras.layers.EinsumDense, "one"), turned(Turned, "two")], name="more")(line),
        turned(Turned, "alone")(line),
        turned(Turned, "biased", bias_axes="d")(line),
    ]
    return live.trained(keras.Model([image, line], ends))


def saved(made: Any, folder: Path) -> Path:
    made.save(folder / "m", save_format="tf")
    return folder / "m"


FORMATS: dict[str, dict[str, ways.Way]] = {
    "keras": {way: ways.KERAS_3[way] for way in (".keras", ".h5")},
    "tf_keras": {".keras": ways.TF_KERAS[".keras"], "SavedModel": saved},
}
LEFT = {
    ("keras", ".keras"): {"around/vars/0"},
    ("tf_keras", ".keras"): {"around/vars/0", "more/parts/einsum_dense/kernel", "more/parts/turned/vars/0"},
}
"""Kernels of which nothing is said: one that its wrapper stores a second time by number, and where there are no names
of layers, those of a list that the config has under another name.
"""


@pytest.mark.parametrize("flavour", FORMATS)
def test_what_a_config_tells_of_classes_that_are_not_of_keras_is_true(flavour: str, tmp_path: Path) -> None:
    made = model(ways.module(flavour))
    truths = live.truths(made)
    for way, write in FORMATS[flavour].items():
        folder = tmp_path / way
        folder.mkdir()
        found = score_by_bytes(write(made, folder), truths)
        assert found.wrong == [], way
        assert {one.name for one in found.open} == LEFT.get((flavour, way), set()), way
