"""Checks arguments and converts them for the graph. Raises only ValueError or TypeError."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from contextlib import suppress
from numbers import Real
from typing import Any

import tensorflow as tf

from renorm_cli.errors import UsageError
from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.norm import PNorm
from renorm_cli.norms.engines.base import others
from renorm_cli.training.traced import shared


def floating(x: Any) -> Any:
    """`x` as a tensor. Raises TypeError unless it is a float of 16, 32 or 64 bits, ValueError for a scalar."""
    tensor = tf.convert_to_tensor(x)
    if tensor.dtype.name not in FLOATS:
        raise TypeError(f"x must be {', '.join(FLOATS)}, got {tensor.dtype.name}; cast it first")
    if tensor.shape.rank == 0:
        raise ValueError("x must have at least one axis, got a scalar: it has no units")
    return tensor


def exponent(p: Any) -> float:
    """`p` as a float of the range that `PNorm` has."""
    if isinstance(p, bool) or not isinstance(p, Real):
        raise TypeError(f"p must be a Python number, got {type(p).__name__}")
    try:
        return PNorm(_float(p, "p")).p
    except UsageError as error:
        raise ValueError(error.text) from None


def number_above_zero(limit: Any, name: str) -> float:
    """`limit` as a finite number above 0."""
    if isinstance(limit, bool) or not isinstance(limit, Real):
        raise TypeError(f"{name} must be a number, got {type(limit).__name__}")
    found = _float(limit, name)
    if not 0 < found < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {limit}")
    return found


def _float(number: Real, name: str) -> float:
    """A Python number as a float; one beyond its range is a ValueError too."""
    try:
        return float(number)
    except OverflowError:
        raise ValueError(f"{name} is beyond the range of float64") from None


def limit_tensor(max_norm: Any) -> Any:
    """`max_norm` as a float64 scalar.

    A tensor without a static value is checked when it runs, and raises InvalidArgumentError. XLA has no errors at run
    time; there, and wherever the error is caught, a bad value turns all finite units into NaN: no bound is ever wrong.
    """
    if isinstance(max_norm, Real):
        return shared(number_above_zero(max_norm, "max_norm"))
    tensor = tf.convert_to_tensor(max_norm)
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer):
        raise TypeError(f"max_norm must be a number, got a tensor of {tensor.dtype.name}")
    if tensor.shape.rank not in (0, None):
        raise ValueError(f"max_norm must be one number, got a tensor of shape {tensor.shape}")
    limit = tf.cast(tensor, tf.float64)
    known = tf.get_static_value(limit)
    if known is not None:
        number_above_zero(float(known), "max_norm")
        return limit
    good = (limit > 0) & tf.math.is_finite(limit)
    check = tf.debugging.Assert(good, ["max_norm must be a finite number above 0, got", limit])
    with tf.control_dependencies([check]):
        return tf.where(good, limit, tf.constant(math.nan, tf.float64))


def axes_of(axis: Any, name: str) -> tuple[int, ...]:
    """`axis`, an integer or a sequence of integers, as a tuple."""
    with suppress(TypeError):
        several = tuple(axis) if isinstance(axis, Iterable) and not isinstance(axis, str | bytes) else (axis,)
        if not any(isinstance(one, bool) for one in several):
            return tuple(operator.index(one) for one in several)
    raise TypeError(f"{name} must be an integer or a sequence of integers, got {axis!r}")


def positive_axes(axes: tuple[int, ...], rank: int, name: str) -> tuple[int, ...]:
    """The axes as sorted numbers >= 0. Raises ValueError if one is out of range or named twice."""
    for axis in axes:
        if not -rank <= axis < rank:
            raise ValueError(f"{name} {axis} is out of range for rank {rank}: axes go from {-rank} to {rank - 1}")
    found = sorted({axis % rank for axis in axes})
    if len(found) < len(axes):
        raise ValueError(f"{name} {axes} names one axis twice for rank {rank}")
    return tuple(found)


def reduced_axes(x: Any, axis: Any) -> Any:
    """The axes over which the norms of units run: all but the kept `axis`. A tensor if the rank is unknown."""
    axes = axes_of(axis, "axis")
    rank = x.shape.rank
    if rank is not None:
        kept = positive_axes(axes, rank, "axis")
        return others(rank, kept)
    return _reduced_at_run_time(x, axes)


def _reduced_at_run_time(x: Any, axes: tuple[int, ...]) -> Any:
    rank = tf.rank(x)
    kept = tf.constant(axes, tf.int32)
    kept = tf.where(kept < 0, kept + rank, kept)
    every = tf.range(rank)
    is_kept = tf.equal(every[:, tf.newaxis], kept[tf.newaxis, :])
    fits = tf.reduce_all((kept >= 0) & (kept < rank)) & tf.reduce_all(tf.reduce_sum(tf.cast(is_kept, tf.int32), 1) <= 1)
    check = tf.debugging.Assert(fits, [f"axis {axes} is out of range, or names one axis twice, for rank", rank])
    with tf.control_dependencies([check]):
        return tf.boolean_mask(every, ~tf.reduce_any(is_kept, axis=1))
