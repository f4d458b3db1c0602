"""The operator norm of a convolution is at most its bound on images of every size, as the operators themselves tell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.effort import examples
from support.matrices import RANDOM, largest, measured, scaled

from renorm_cli.model.spectral import Span
from renorm_cli.norms.spectral import convolution
from renorm_cli.parallel.threads import threads


def bounds(kernel: np.ndarray, **how: Any) -> Span:
    """What the operator norm of a kernel (*spatial, in, out) is between."""
    row = measured(kernel, spatial=tuple(range(kernel.ndim - 2)), **how)
    assert row.spectral is not None
    assert row.spectral.operator is not None
    assert row.norm is not None
    assert row.norm.max == row.spectral.operator.upper
    return row.spectral.operator


def on_a_circle(kernel: np.ndarray, points: int) -> float:
    """The largest norm on a grid of so many frequencies along each axis: that of a convolution on such a circle."""
    axes = tuple(range(kernel.ndim - 2))
    symbols = np.fft.fftn(kernel.astype(np.float64), s=(points,) * len(axes), axes=axes)
    return float(np.linalg.norm(symbols, 2, axis=(-2, -1)).max())


def windows(size: int, kernel: int, *, padded: bool, stride: int, dilation: int) -> Iterator[list[int]]:
    """The places of the input that each place of the output sees, along one axis."""
    reach = (kernel - 1) * dilation
    first, last = (-(reach // 2), size - reach // 2) if padded else (0, size - reach)
    for start in range(first, last, stride):
        yield [start + dilation * at for at in range(kernel)]


def as_matrix(kernel: np.ndarray, size: int, *, padded: bool, stride: int = 1, dilation: int = 1) -> np.ndarray:
    """The convolution of images of that size, by a plain loop."""
    height, width, inputs, outputs = kernel.shape
    rows = list(windows(size, height, padded=padded, stride=stride, dilation=dilation))
    columns = list(windows(size, width, padded=padded, stride=stride, dilation=dilation))
    if not (rows and columns):
        return np.zeros((1, 1))
    found = np.zeros((len(rows), len(columns), outputs, size, size, inputs))
    for y, seen_y in enumerate(rows):
        for x, seen_x in enumerate(columns):
            for a, at_y in enumerate(seen_y):
                for b, at_x in enumerate(seen_x):
                    if 0 <= at_y < size and 0 <= at_x < size:
                        found[y, x, :, at_y, at_x] += kernel[a, b].T
    return found.reshape(len(rows) * len(columns) * outputs, -1)


def smooth(height: int, width: int, inputs: int, outputs: int) -> np.ndarray:
    bell = np.exp(-((np.arange(height) - (height - 1) / 2) ** 2))[:, None]
    bell = bell * np.exp(-((np.arange(width) - (width - 1) / 2) ** 2))
    return bell[:, :, None, None] * RANDOM.standard_normal((inputs, outputs))


KERNELS = {
    "normal": RANDOM.standard_normal((3, 3, 4, 5)),
    "long": RANDOM.standard_normal((1, 5, 3, 3)),
    "even": RANDOM.standard_normal((2, 2, 4, 4)),
    "one input": RANDOM.standard_normal((3, 3, 1, 4)),
    "one output": RANDOM.standard_normal((3, 2, 4, 1)),
    "smooth": smooth(3, 3, 4, 5),
    "ones": np.ones((3, 3, 3, 3)),
    "identity": np.eye(4) * (np.arange(9) == 4).reshape(3, 3, 1, 1),
}


@pytest.mark.parametrize("name", KERNELS)
def test_no_operator_on_any_image_has_a_larger_norm(name: str) -> None:
    kernel = KERNELS[name].astype(np.float32)
    lower, upper = bounds(kernel)
    matrix = largest(kernel.reshape(-1, kernel.shape[-1]))
    for size in (5, 8):
        for padded in (True, False):
            for stride, dilation in ((1, 1), (2, 1), (1, 2)):
                norm = largest(as_matrix(kernel, size, padded=padded, stride=stride, dilation=dilation))
                assert norm <= upper
                assert padded or (stride, dilation) != (1, 1) or matrix <= norm * (1 + 1e-12)
        assert on_a_circle(kernel, size) <= upper
    supremum = on_a_circle(kernel, 240)
    assert lower <= supremum * (1 + 1e-4)
    assert supremum <= upper <= min(supremum * 1.012, matrix * math.sqrt(math.prod(kernel.shape[:2])) * (1 + 2e-9))


def test_the_bound_holds_between_the_points_of_a_coarse_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_FINENESS", (2, 2))
    convolution._grid.cache_clear()
    missed = 0
    for _ in range(examples(60)):
        height, width, inputs, outputs = RANDOM.randint(1, 5, 4)
        kernel = RANDOM.standard_normal((height, width, inputs, outputs))
        span = convolution.operator(kernel.reshape(-1, inputs, outputs), (height, width), map)
        assert span is not None
        supremum = on_a_circle(kernel, 120)
        missed += span.lower < supremum * (1 - 1e-6)
        assert supremum <= span.upper
    convolution._grid.cache_clear()
    assert missed > examples(60) // 4  # the grid alone would not do


@pytest.mark.parametrize("shape", [(5, 4, 3), pytest.param((2, 3, 2, 3, 4), marks=pytest.mark.slow)])
def test_kernels_of_one_and_of_three_axes_are_bounded(shape: tuple[int, ...]) -> None:
    kernel = RANDOM.standard_normal(shape)
    _, upper = bounds(kernel)
    assert on_a_circle(kernel, 96 if len(shape) == 3 else 24) <= upper <= on_a_circle(kernel, 24) * 1.06


def test_a_depthwise_kernel_is_bounded_channel_by_channel() -> None:
    kernel = RANDOM.standard_normal((3, 3, 5, 2))
    row = measured(kernel, blocks=(2,), spatial=(0, 1))
    norms = [on_a_circle(kernel[:, :, at : at + 1], 240) for at in range(5)]
    assert row.norm is not None
    assert row.units == 5
    assert max(norms) <= row.norm.max <= max(norms) * 1.01
    assert min(norms) <= row.norm.min <= min(norms) * 1.01


def test_a_kernel_of_too_many_positions_has_the_bound_of_its_matrix() -> None:
    kernel = RANDOM.standard_normal((64, 64, 1, 1))
    assert convolution.operator(kernel.reshape(-1, 1, 1), (64, 64), map) is None
    lower, upper = bounds(kernel)
    norm = float(np.linalg.norm(kernel))
    assert (lower, upper) == (pytest.approx(norm), pytest.approx(64 * norm))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_float64_is_bounded_over_all_of_its_range(scale: float) -> None:
    kernel = KERNELS["normal"]
    assert bounds(kernel * scale).upper == pytest.approx(bounds(kernel).upper * scale, rel=1e-12)


def test_a_kernel_of_zeros_has_norm_zero_and_one_of_nan_none() -> None:
    assert bounds(np.zeros((3, 3, 2, 2))) == (0, 0)
    row = measured(np.full((3, 3, 2, 2), math.nan), spatial=(0, 1))
    assert (row.nonfinite, row.spectral) == (1, None)


def test_the_operator_is_bounded_and_a_second_pass_changes_nothing() -> None:
    kernel = RANDOM.standard_normal((3, 2, 3, 4)).astype(np.float16)
    after, row = scaled(kernel, 1.0, spatial=(0, 1))
    assert row.norm_after is not None
    assert row.norm_after.max <= 1
    assert on_a_circle(after, 240) <= 1
    again, second = scaled(after, 1.0, spatial=(0, 1))
    assert (second.over, again.tobytes()) == (0, after.tobytes())


def test_the_bounds_are_the_same_on_any_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = RANDOM.standard_normal((2, 3, 10, 12))
    alone = bounds(kernel)
    for tile in (512, 8):  # jobs take frequencies, or tiles
        monkeypatch.setattr(convolution, "TILE", tile)
        with threads(3) as imap:
            assert bounds(kernel, imap=imap) == alone


def test_a_factorization_that_never_completes_leaves_a_bound_that_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "bound_above", lambda upper, omega, imap: math.inf)
    kernel = KERNELS["normal"]
    span = convolution.operator(kernel.reshape(-1, 4, 5), (3, 3), map)
    assert span is not None
    assert on_a_circle(kernel, 240) <= span.upper
