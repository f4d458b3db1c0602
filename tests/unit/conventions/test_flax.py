"""Roles and unit axes of flax' weights: by name, and by what is beside them; and as live layers of flax compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from renorm_cli.conventions.identify import identify
from renorm_cli.formats.frameworks import described
from renorm_cli.model.identity import BOUNDED
from renorm_cli.model.variable import Variable

Shapes = dict[str, tuple[int, ...]]
Told = tuple[str, tuple[int, ...] | None]


def told(shapes: Shapes) -> dict[str, Told]:
    """Role and unit axes, None where they are a guess or there are none."""
    found = {}
    for one in identify(described([Variable(name, name, shape, "float32") for name, shape in shapes.items()], "flax")):
        assert one.identity is not None
        has_axes = one.identity.role in BOUNDED and one.identity.axis_source != "guess"
        found[one.name] = one.identity.role, one.identity.unit_axes if has_axes else None
    return found


RULES: dict[str, tuple[Shapes, Told]] = {
    "a dense layer": ({"Dense_0/kernel": (4, 6)}, ("kernel", (1,))),
    "a bias that fits no output": ({"Dense_0/kernel": (4, 6), "Dense_0/bias": (4,)}, ("kernel", None)),
    "a convolution": ({"Conv_0/kernel": (3, 3, 4, 6), "Conv_0/bias": (6,)}, ("kernel", (3,))),
    "one without a bias": ({"Conv_0/kernel": (3, 3, 4, 6)}, ("kernel", (3,))),
    "a transposed one that tells": ({"up/kernel": (3, 3, 4, 6), "up/bias": (4,)}, ("kernel", (2,))),
    "a transposed one without a bias": ({"ConvTranspose_0/kernel": (3, 3, 4, 6)}, ("kernel", None)),
    "a square called up": ({"up/kernel": (3, 3, 4, 4), "up/bias": (4,)}, ("kernel", None)),
    "heads": ({"query/kernel": (8, 2, 4), "query/bias": (2, 4)}, ("kernel", (1, 2))),
    "three axes that nothing tells": ({"x/kernel": (8, 2, 4)}, ("kernel", None)),
    "an attention without biases": (
        {f"a/{part}/kernel": (8, 2, 4) for part in ("query", "key", "value")} | {"a/out/kernel": (2, 4, 8)},
        ("kernel", (1, 2)),
    ),
    "a fused projection": ({"qkv/kernel": (16, 3, 4, 8)}, ("kernel", None)),
    "a fused projection and its bias": ({"qkv/kernel": (16, 3, 4, 8), "qkv/bias": (3, 4, 8)}, ("kernel", (1, 2, 3))),
    "a window without a name": ({"proj/kernel": (3, 3, 4, 6)}, ("kernel", (3,))),
    "an image's patches": ({"patch/kernel": (16, 16, 3, 8)}, ("kernel", (3,))),
    "patches of no image": ({"patch/kernel": (16, 16, 8, 8)}, ("kernel", None)),
    "a window that is not square": ({"Conv_0/kernel": (1, 7, 4, 6)}, ("kernel", (3,))),
    "a kernel for each position": ({"ConvLocal_0/kernel": (5, 5, 36, 8)}, ("kernel", None)),
    "positions that the bias has": (
        {"ConvLocal_0/kernel": (5, 4, 36, 8), "ConvLocal_0/bias": (5, 4, 8)},
        ("kernel", (0, 1, 3)),
    ),
    "a stack of convolutions": ({"blocks/Conv_0/kernel": (12, 3, 3, 4, 6)}, ("kernel", None)),
    "a stack of dense layers": ({"d/kernel": (3, 4, 6), "d/bias": (3, 6)}, ("kernel", (0, 2))),
    "a bias of other outputs": ({"d/kernel": (3, 4, 6), "d/bias": (3, 5)}, ("kernel", None)),
    "a stack as high as its inputs": ({"d/kernel": (4, 4, 6), "d/bias": (4, 6)}, ("kernel", None)),
    "as many heads as inputs": (
        {f"a/{part}/kernel": (8, 8, 4) for part in ("query", "key", "value")}
        | {"a/query/bias": (8, 4), "a/out/kernel": (8, 4, 8)},
        ("kernel", (1, 2)),
    ),
    "a table": ({"Embed_0/embedding": (9, 4)}, ("embedding", (0,))),
    "a scale": ({"LayerNorm_0/scale": (4,)}, ("scale", None)),
    "statistics": ({"batch_stats/BatchNorm_0/var": (4,)}, ("statistic", None)),
    "an optimizer": ({"opt_state/0/mu/Dense_0/kernel": (4, 6)}, ("optimizer", None)),
    "positions": ({"pos_embedding": (5, 4)}, ("embedding", (0,))),
    "a position": ({"pos_embedding": (1, 5, 4)}, ("parameter", None)),
    "a name that nothing knows": ({"w0": (4, 6)}, ("unknown", None)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("separator", "/.")
def test_a_weight_is_told_by_its_name_and_by_what_is_beside_it(rule: str, separator: str) -> None:
    shapes, expected = RULES[rule]
    shapes = {name.replace("/", separator): shape for name, shape in shapes.items()}
    assert told(shapes)[next(iter(shapes))] == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_is_told_of_live_layers_is_what_their_outputs_hang_on() -> None:
    """A unit of a kernel is what reaches one output channel: the others do not change with it."""
    linen, jax = pytest.importorskip("flax.linen"), pytest.importorskip("jax")
    cases: list[tuple[Any, tuple[int, ...], int]] = [
        (linen.Dense(6), (2, 4), 1),
        (linen.Conv(6, (3, 3)), (1, 5, 5, 4), 1),
        (linen.ConvTranspose(6, (2, 2)), (1, 5, 5, 4), 1),
        (linen.ConvTranspose(6, (2, 2), transpose_kernel=True), (1, 5, 5, 4), 1),
        (linen.Conv(6, (3, 3), feature_group_count=2), (1, 5, 5, 4), 1),
        (linen.DenseGeneral((2, 3)), (2, 4), 2),
        (linen.DenseGeneral(6, axis=(-2, -1)), (2, 3, 4), 1),
        (linen.DenseGeneral((3, 2, 2), use_bias=False), (2, 4), 3),
        (linen.DenseGeneral((2, 3), axis=(-2, -1), use_bias=False), (2, 3, 4), 2),
        (linen.ConvLocal(6, (3, 3)), (1, 5, 4, 2), 3),
        (linen.ConvLocal(6, (3, 3), use_bias=False), (1, 5, 4, 2), 3),
    ]
    for layer, inputs, rank in cases:
        x = np.random.default_rng(0).normal(size=inputs).astype(np.float32)
        params = layer.init(jax.random.PRNGKey(0), x)["params"]
        kernel = np.asarray(params["kernel"])
        name = f"{type(layer).__name__}_0"
        role, axes = told({f"{name}/{own}": tuple(array.shape) for own, array in params.items()})[f"{name}/kernel"]
        if axes is None:
            continue
        assert role == "kernel"
        place = tuple(0 if axis in axes else slice(None) for axis in range(kernel.ndim))
        changed = kernel.copy()
        changed[place] += 1
        before, after = (np.asarray(layer.apply({"params": {**params, "kernel": one}}, x)) for one in (kernel, changed))
        channels = np.argwhere((before != after).any(axis=tuple(range(before.ndim - rank))))
        assert len(channels) == 1, (layer, axes)
