"""Models of TensorFlow Lite: what their operators tell, and what TensorFlow's interpreter computes from an output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import oracle, tflite_files
from support.files import bound, look
from support.found import file_at
from support.memory_file import MemoryFile
from support.tflite_files import flatbuffer, model, operator

from renorm_cli.api.verbs import inspect
from renorm_cli.formats.registry import open_checkpoint
from renorm_cli.formats.tflite.checkpoint import open_tflite
from renorm_cli.model.variable import Variable


def opened(content: bytes) -> dict[str, Variable]:
    with open_tflite(file_at(Path("m.tflite"), MemoryFile(Path("m.tflite"), content))) as source:
        return {variable.key: variable for variable in source.variables}


def taking(
    code: int, place: int, shape: Sequence[int], options: Mapping[int, Any] | None = None, dtype: str = "f4"
) -> bytes:
    """A model whose one operator takes a weight by an operand, and data by the others."""
    tensors: dict[str, np.ndarray | None] = {"w": np.ones(shape, dtype), "x": None, "y": None}
    inputs = [*[1] * place, 0, *([1] if code in (0, 18, 36, 41, 42, 126) and not place else [])]
    return flatbuffer(model(tensors, [operator(code, inputs, [2], options)]))


@pytest.mark.parametrize(
    ("code", "place", "shape", "role", "units"),
    [
        (3, 1, (4, 2, 2, 3), "kernel", (0,)),
        (3, 2, (4, 3), "bias", None),
        (4, 1, (1, 2, 2, 4), "kernel", (3,)),
        (9, 1, (5, 4), "kernel", (0,)),
        (67, 1, (4, 2, 2, 3), "kernel", (0,)),
        (67, 3, (4, 3), "bias", None),
        (132, 1, (2, 2, 2, 3, 4), "kernel", (4,)),
        (133, 1, (2, 2, 2, 4, 3), "kernel", (3,)),
        (7, 1, (6, 4), "embedding", (0,)),
        *((code, place, (8, 4), "kernel", (0,)) for code in (16, 44) for place in (1, 8, 16)),
        *(
            (44, place, (8, 4), role, None)
            for place, role in ((9, "scale"), (12, "bias"), (18, "state"), (20, "scale"))
        ),
        *((code, place, (8, 4), "kernel", (0,)) for code in (24, 35) for place in (1, 2)),
        (54, 1, (1, 1, 4), "scale", None),
        (0, 0, (4, 3), "bias", None),
        *((code, 0, (4, 1), role, None) for code, role in ((41, "bias"), (18, "scale"), (42, "scale"))),
    ],
)
def test_an_operator_tells_the_role_and_the_unit_axes_of_the_weight_it_takes(
    code: int, place: int, shape: Sequence[int], role: str, units: Sequence[int] | None
) -> None:
    use = opened(taking(code, place, shape))["w"].use
    assert (use and use.role, use and use.unit_axes) == (role, units)


@pytest.mark.parametrize(("flags", "units"), [((0, 0), (1,)), ((0, 1), (0,))])
def test_a_factor_that_is_transposed_has_its_units_along_the_other_axis(
    flags: Sequence[int], units: Sequence[int]
) -> None:
    options = {number: ("u1", flag) for number, flag in enumerate(flags)}
    use = opened(taking(126, 1, (4, 4), options))["w"].use
    assert use is not None
    assert use.unit_axes == units


@pytest.mark.parametrize(("axis", "units"), [(0, (0,)), (1, (1,)), (-1, (1,))])
def test_a_gather_tells_units_along_its_axis(axis: int, units: Sequence[int]) -> None:
    use = opened(taking(36, 0, (4, 3), {0: ("i4", axis)}))["w"].use
    assert use is not None
    assert (use.role, tuple(one % 2 for one in use.unit_axes or ())) == ("embedding", units)


def test_a_weight_is_followed_through_what_moves_its_axes() -> None:
    tensors: dict[str, np.ndarray | None] = {
        "w": np.ones((3, 2, 2), "f4"),
        "sizes": np.array([3, 4], "i4"),
        "order": np.array([1, 0], "i4"),
        **dict.fromkeys(("x", "flat", "turned", "y")),
    }
    operators = [operator(22, [0, 1], [4]), operator(39, [4, 2], [5]), operator(126, [3, 5], [6])]
    use = opened(flatbuffer(model(tensors, operators)))["w"].use
    assert use is not None
    assert (use.role, use.unit_axes, use.via) == ("kernel", (0,), ())


def test_weights_of_few_bits_are_quantized_and_float16_that_is_widened_is_a_kernel(tmp_path: Path) -> None:
    for dtype, state in (("i1", "quantized"), ("f2", None)):
        tensors: dict[str, np.ndarray | None] = {"w": np.ones((3, 2), dtype), **dict.fromkeys(("x", "wide", "y"))}
        found = opened(flatbuffer(model(tensors, [operator(6, [0], [2]), operator(9, [1, 2], [3])])))["w"]
        assert found.state == state
        assert found.use is not None
        assert dtype == "i1" or (found.use.unit_axes, found.use.via) == ((0,), ())


def test_tensors_of_one_buffer_are_one_variable_and_names_that_come_again_are_numbered() -> None:
    tensors: dict[str, np.ndarray | None] = {name: np.ones((3, 3), "f4") for name in ("w", "tied", "again")}
    stored = dict(model({**tensors, "x": None, "y": None}, [operator(9, [3, place], [4]) for place in range(3)]))
    described = stored[2][0][0]
    described[1][2], described[2][3] = described[0][2], "w"
    found = opened(flatbuffer(stored))
    assert {key: variable.aliases for key, variable in found.items()} == {"w": ("tied",), "w#0.2": ()}
    assert all(variable.use and variable.use.unit_axes == (0,) for variable in found.values())


def test_operator_norms_are_those_over_the_axes_between(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(tflite_files.small_model())
    report = inspect(tmp_path / "m.tflite", norm="spectral", include=("conv", "depthwise", "dense"))
    assert {row.step.variable.name: row.step.spatial for row in report.rows} == {
        "conv": (1, 2),
        "depthwise": (1, 2),
        "dense": (),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_interpreter_computes_from_an_output_what_keras_does_with_bounded_weights(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    tensorflow = pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3), batch_size=1),
            layers.Conv2D(4, 3),
            layers.DepthwiseConv2D(2, activation="relu"),
            layers.Conv2DTranspose(5, 2),
            layers.Flatten(),
            layers.Dense(7, activation="relu"),
            layers.Dense(3),
        ]
    )
    axes = {4: {"conv2d": (3,), "depthwise_conv2d": (2, 3), "conv2d_transpose": (2,)}, 2: {"dense": (1,)}}
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(network)
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    report = bound(tmp_path / "m.tflite", tmp_path / "out.tflite", limit=0.5)
    assert report.totals.over > 0
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    before = np.asarray(network(x))
    for layer in network.layers:
        for weight in layer.weights:
            if len(weight.shape) > 1:
                name = next(one for one in axes[len(weight.shape)] if layer.name.rstrip("_0123456789") == one)
                exact = oracle.renorm(np.asarray(weight), axes[len(weight.shape)][name], 0.5)
                weight.assign(exact.astype(np.float32))
    interpreter = tensorflow.lite.Interpreter(str(tmp_path / "out.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, np.asarray(network(x)), rtol=1e-4, atol=1e-6)
    assert not np.allclose(found, before, rtol=1e-2)


def test_listing_a_model_reads_none_of_its_numbers(tmp_path: Path) -> None:
    large = np.zeros((1000, 500), "f4")
    content = flatbuffer(model({"w": large, "x": None, "y": None}, [operator(9, [1, 0], [2])]))
    (tmp_path / "m.tflite").write_bytes(content)
    with open_checkpoint(tmp_path / "m.tflite") as source:
        assert [variable.shape for variable in source.variables] == [(1000, 500)]
    assert look(tmp_path / "m.tflite").rows[0].step.unit_axes == (0,)
