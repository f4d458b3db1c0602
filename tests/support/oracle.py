"""Max-norm as a person would do it: one unit after the other, one element after the other, in Python floats.

`unit_axes` are the axes that name units; the norm runs over all others. Every value of float16, bfloat16, float32 and
float64 is a Python float exactly, and each unit is first divided by the power of two above its largest element (exact
too), so nothing overflows or vanishes. Sums are `math.fsum`, which rounds once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

INF = math.inf


def units_of(array: np.ndarray, unit_axes: tuple[int, ...]) -> dict[tuple[int, ...], list[float]]:
    """The elements of every unit, by the unit's position along the unit axes (in the order of the array)."""
    axes = sorted(axis % array.ndim for axis in unit_axes)
    units: dict[tuple[int, ...], list[float]] = {
        unit: [] for unit in itertools.product(*(range(array.shape[axis]) for axis in axes))
    }
    for position in itertools.product(*map(range, array.shape)):
        units[tuple(position[axis] for axis in axes)].append(float(array[position]))
    return units


def scaled_norm(values: list[float], p: float) -> tuple[float, int]:
    """The p-norm as (number, power of two): the norm is number * 2**power; NaN or Inf stay what they are."""
    if any(math.isnan(value) for value in values):
        return math.nan, 0
    largest = max((abs(value) for value in values), default=0.0)
    if largest in (0.0, INF):
        return largest, 0
    power = math.frexp(largest)[1]
    parts = [math.ldexp(abs(value), -power) for value in values]
    if p == INF:
        return max(parts), power
    if p == 2:
        return math.sqrt(math.fsum(part * part for part in parts)), power
    return root(math.fsum(part**p for part in parts), p), power


def root(value: float, p: float) -> float:
    """The p-th root; of a whole p the float64 nearest to it, found in fractions."""
    found = value ** (1 / p)
    if p != int(p):
        return found
    while (Fraction(found) + Fraction(above := math.nextafter(found, INF))) ** int(p) < 2 ** int(p) * Fraction(value):
        found = above
    while (Fraction(found) + Fraction(below := math.nextafter(found, 0))) ** int(p) > 2 ** int(p) * Fraction(value):
        found = below
    return found


def _joined(number: float, power: int) -> float:
    try:
        return math.ldexp(number, power)
    except OverflowError:
        return INF


def _per_unit(array: np.ndarray, unit_axes: tuple[int, ...], answers: Mapping[tuple[int, ...], float]) -> np.ndarray:
    shape = [array.shape[axis] for axis in sorted(axis % array.ndim for axis in unit_axes)]
    return np.array(list(answers.values()), dtype=np.float64).reshape(shape)


def unit_norms(array: np.ndarray, unit_axes: tuple[int, ...], p: float = 2.0) -> np.ndarray:
    """The norm of every unit, float64, in the shape of the unit axes (in the order of the array)."""
    units = units_of(array, unit_axes)
    return _per_unit(array, unit_axes, {unit: _joined(*scaled_norm(values, p)) for unit, values in units.items()})


def over(array: np.ndarray, unit_axes: tuple[int, ...], limit: float, p: float = 2.0) -> np.ndarray:
    """True for every unit whose norm is above the limit; a unit with NaN or Inf is not over, it is not finite."""
    units = units_of(array, unit_axes)
    answers = {
        unit: all(map(math.isfinite, values)) and _joined(*scaled_norm(values, p)) > limit
        for unit, values in units.items()
    }
    return _per_unit(array, unit_axes, answers).astype(bool)


def nonfinite(array: np.ndarray, unit_axes: tuple[int, ...]) -> np.ndarray:
    """True for every unit with NaN or Inf in it."""
    answers = {unit: not all(map(math.isfinite, values)) for unit, values in units_of(array, unit_axes).items()}
    return _per_unit(array, unit_axes, answers).astype(bool)


def renorm(array: np.ndarray, unit_axes: tuple[int, ...], limit: float, p: float = 2.0) -> np.ndarray:
    """The array in float64 with every unit that is over multiplied by limit / norm, before rounding to its dtype.

    The product is taken in fractions and rounded once, to float64.
    """
    axes = sorted(axis % array.ndim for axis in unit_axes)
    factors = {}
    for unit, values in units_of(array, unit_axes).items():
        number, power = scaled_norm(values, p)
        if math.isfinite(number) and _joined(number, power) > limit:
            factors[unit] = Fraction(limit) / (Fraction(number) * Fraction(2) ** power)
    result = array.astype(np.float64)
    for position in itertools.product(*map(range, array.shape)):
        factor = factors.get(tuple(position[axis] for axis in axes))
        value = float(array[position])
        if factor is not None and value != 0:
            result[position] = float(Fraction(value) * factor)
    return result
