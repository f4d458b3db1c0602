"""What names tell of whole models of public code, against the ops and the layers that use their weights there.

`tests/data/names` has what was found in the graphs and layers that the code itself built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from renorm_cli.conventions.identify import identify
from renorm_cli.formats.naming import from_names
from renorm_cli.model.identity import BOUNDED
from renorm_cli.model.variable import Variable

DATA = Path(__file__).parents[3] / "data" / "names"
AXES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "Conv2D": lambda rank: (rank - 1,),
    "Conv3D": lambda rank: (rank - 1,),
    "Conv2DBackpropInput": lambda rank: (rank - 2,),
    "DepthwiseConv2dNative": lambda rank: (rank - 2, rank - 1),
    "MatMul": lambda rank: (rank - 1,),
    "MatMulT": lambda rank: (rank - 2,),
    "GatherV2": lambda _: (0,),
}
"""The axes of outputs in the operand of an op, as its documentation has them (tensorflow/core/api_def/base_api).

GPT-2's kernels of shape (1, in, out) become matrices before they are multiplied.
"""


def recorded(file: str) -> dict[str, list[tuple[Variable, str]]]:
    """The variables of each network, with the op or the layer that has each."""
    found: dict[str, list[tuple[Variable, str]]] = {}
    for line in (DATA / file).read_text("utf-8").splitlines():
        if line.startswith("# "):
            network = found.setdefault(line[2:], [])
            continue
        name, shape, use = line.split()
        network.append((from_names(Variable(name, name, sizes(shape), "float32"), name), use))
    return found


def sizes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


NETWORKS, MODELS = recorded("tf_slim.txt"), recorded("transformers.txt")
TF1_MODELS = recorded("tf1_models.txt")
OPEN = {"reduce/weights", "square/weights"}
"""Square kernels under scopes that say nothing: a convolution and a transposed one look the same."""


TOLD = ("name", "shape")
"""What tells of them: shapes where a bias is beside the kernel, else names."""


@pytest.mark.parametrize("network", NETWORKS)
def test_kernels_of_networks_of_tf_slim_have_the_units_of_the_ops_that_use_them(network: str) -> None:
    identified = identify([variable for variable, _ in NETWORKS[network]])
    kernels = 0
    for variable, (_, use) in zip(identified, NETWORKS[network], strict=True):
        known = variable.identity
        assert known is not None
        if len(variable.shape) < 2:
            assert known.role in ("bias", "scale", "statistic"), variable.name
        elif variable.name in OPEN:
            assert known.axis_source == "guess"
        else:
            assert known.role == "kernel", variable.name
            assert known.unit_axes == AXES[use](len(variable.shape)), variable.name
            assert known.axis_source in TOLD, variable.name
            kernels += 1
    assert kernels >= 8


_RELATIVE = "rel_embeddings.weight"


def axes_in_layer(layer: str, weight: str, rank: int) -> tuple[int, ...] | None:
    """The unit axes of a weight by the class of its layer; None for what is no kernel and no table."""
    if weight == "kernel" and layer in ("Dense", "Conv1D", "Conv2D"):
        return (rank - 1,)
    if weight == "weight" and layer == "TFConv1D":
        return (1,)
    if layer == "TFXLNetRelativeAttention":
        return {"q": (1, 2), "k": (1, 2), "v": (1, 2), "r": (1, 2), "o": (0,)}.get(weight)
    is_table = layer == "Embedding" or (layer.startswith("TF") and "Embedding" in layer)
    return (0,) if is_table and weight in ("weight", "embeddings") and rank == 2 else None


@pytest.mark.parametrize("model", MODELS)
def test_matrices_of_models_of_transformers_have_the_units_of_their_layers(model: str) -> None:
    identified = identify([variable for variable, _ in MODELS[model]])
    for variable, (_, layer) in zip(identified, MODELS[model], strict=True):
        known = variable.identity
        assert known is not None
        of_positions = variable.name.endswith(
            ("positions_embed/embeddings", "position_embeddings/embeddings", _RELATIVE)
        )
        axes = (0,) if of_positions else axes_in_layer(layer, variable.name.rpartition("/")[2], len(variable.shape))
        if axes is None:
            assert known.role not in BOUNDED, variable.name
        else:
            assert known.role in BOUNDED, variable.name
            assert known.unit_axes == axes, variable.name
            assert known.axis_source in TOLD, variable.name


def axes_in_graph(uses: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The unit axes of a weight by the ops that use it; None for ops that tell none."""
    for use in uses.split(";"):
        if use in AXES:
            return AXES[use](len(shape))
        if use.startswith("Einsum:"):
            equation, operand, operand_shape = use.removeprefix("Einsum:").rsplit(":", 2)
            inputs, output = equation.split("->")
            letters = inputs.split(",")[int(operand)]
            groups = grouped(letters, sizes(operand_shape), shape)
            return tuple(axis for axis, group in enumerate(groups) if set(group) <= set(output))
    return None


def grouped(letters: str, lengths: Iterable[int], shape: tuple[int, ...]) -> list[str]:
    """The letters that each axis of the stored array has, which was reshaped for the equation."""
    groups = [""] * len(shape)
    axis, length = 0, 1
    for letter, size in zip(letters, lengths, strict=True):
        groups[axis] += letter
        length *= size
        if length == shape[axis]:
            axis, length = axis + 1, 1
    assert all(groups), (letters, shape)
    return groups


@pytest.mark.parametrize("model", TF1_MODELS)
def test_kernels_of_models_of_tensorflow_1_have_the_units_of_the_ops_that_use_them(model: str) -> None:
    identified = identify([variable for variable, _ in TF1_MODELS[model]])
    kernels = 0
    for variable, (_, uses) in zip(identified, TF1_MODELS[model], strict=True):
        known = variable.identity
        assert known is not None
        axes = axes_in_graph(uses, variable.shape) if len(variable.shape) > 1 else None
        if variable.name.endswith(("token_type_embeddings", "position_embeddings")):
            axes = (0,)  # looked up by a product with rows that have a single 1, and by a slice of rows
        if axes is None:
            assert known.role not in BOUNDED, variable.name
        else:
            assert known.role in BOUNDED, variable.name
            assert known.unit_axes == axes, variable.name
            assert known.axis_source in TOLD, variable.name
            kernels += 1
    assert kernels >= 5
