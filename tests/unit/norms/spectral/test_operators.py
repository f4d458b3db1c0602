"""What is measured is the norm of what TensorFlow computes: of its operators, applied to unit vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.matrices import RANDOM, largest, measured

pytestmark = pytest.mark.slow

tf = pytest.importorskip("tensorflow")


def operator(apply: Callable[[Any], Any], shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a linear function of arrays of this shape."""
    size = math.prod(shape)
    return np.asarray(apply(tf.constant(np.eye(size).reshape(size, *shape)))).reshape(size, -1)


def norm(array: np.ndarray, **how: Any) -> float:
    row = measured(array, **how)
    assert row.norm is not None
    return row.norm.max


@pytest.mark.parametrize(
    ("equation", "shape", "kernel", "blocks", "columns"),
    [
        ("bd,dhe->bhe", (6,), (6, 4, 5), (), (1, 2)),
        ("bhd,hde->bhe", (4, 6), (4, 6, 5), (0,), (2,)),
        ("bhd,hdo->bo", (4, 6), (4, 6, 5), (), (2,)),
        ("abc,cde->abde", (3, 4), (4, 2, 3), (), (1, 2)),
    ],
)
def test_an_equation_has_the_norm_of_its_matrices(
    equation: str, shape: tuple[int, ...], kernel: tuple[int, ...], blocks: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    weights = RANDOM.standard_normal(kernel)
    whole = operator(lambda x: tf.einsum(equation, x, weights), shape)
    assert norm(weights, blocks=blocks, columns=columns) == pytest.approx(largest(whole), rel=1e-12)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_between_the_norm_of_its_matrix_and_its_operator_norm(padding: str, stride: int) -> None:
    kernel = RANDOM.standard_normal((3, 3, 3, 4))
    whole = largest(operator(lambda x: tf.nn.conv2d(x, kernel, stride, padding), (9, 9, 3)))
    assert norm(kernel) <= whole * (1 + 1e-12)
    assert whole <= norm(kernel, spatial=(0, 1))
    assert whole <= norm(kernel) * math.sqrt(math.ceil(3 / stride) ** 2) * (1 + 1e-12)


def test_a_depthwise_convolution_is_that_of_its_channels() -> None:
    kernel = RANDOM.standard_normal((3, 3, 5, 2))
    whole = largest(operator(lambda x: tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME"), (8, 8, 5)))
    assert norm(kernel, blocks=(2,)) <= whole <= norm(kernel, blocks=(2,), spatial=(0, 1))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_transposed_convolution_is_the_adjoint(stride: int) -> None:
    kernel = RANDOM.standard_normal((3, 3, 4, 3))  # height, width, out, in

    def apply(x: Any) -> Any:
        return tf.nn.conv2d_transpose(x, kernel, (x.shape[0], 7 * stride, 7 * stride, 4), stride, "SAME")

    whole = largest(operator(apply, (7, 7, 3)))
    assert whole <= norm(kernel, columns=(2,), spatial=(0, 1))
    assert stride > 1 or norm(kernel, columns=(2,)) <= whole * (1 + 1e-12)
