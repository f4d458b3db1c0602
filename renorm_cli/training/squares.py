"""Norms of weights of 32 bits and fewer for p = 2: their squares are exact in float64, and no sum is out of its range.

XLA compiles all of this anew for each variable, so there are few operations here. Sums keep the summed axes, as 1.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_EXPONENT = 0x7FF << 52
_BIAS = 1023 << 52
_LEAST = (1023 - 310) << 52
_WHOLE = 51


def rough_norms(x: Any, axes: Any, columns: bool) -> Any:
    """The norms, up to the rounding errors of a float64 sum in any order; `columns` as in `norms_of`."""
    return norms_of(tf.cast(x, tf.float64), axes, columns)


def norms_of(x: Any, axes: Any, columns: bool) -> Any:
    """The norms, up to the rounding errors of a sum in any order, in the dtype of `x`.

    `columns` says that all axes but the last are summed, for at most 2**31 - 1 elements: TensorFlow has a sum for that,
    which is twice as fast on a CPU.
    """
    squares = tf.square(x)
    if not columns:
        return tf.sqrt(tf.reduce_sum(squares, axis=axes, keepdims=True))
    return tf.reshape(tf.sqrt(tf.raw_ops.BiasAddGrad(out_backprop=squares)), [*[1] * (x.shape.rank - 1), -1])


def exact_norms(x: Any, rough: Any, axes: Any) -> Any:
    """The roots of the sums of squares, rounded once, whatever the order of summation; `rough` are they, nearly.

    Squares are scaled by a power of two that brings their sum to 2**51 to 2**52, and cut into whole numbers and rests.
    The whole numbers sum up exactly. The rests, each below 1, sum up to 2**-53 of their sum, which is n at most: the
    total is off by n**2 * 2**-105 of itself before it is rounded. A fused multiply-add changes nothing.
    """
    bits = tf.bitwise.bitwise_and(tf.bitcast(rough * rough, tf.int64), tf.constant(_EXPONENT, tf.int64))
    bits = tf.maximum(bits, tf.constant(_LEAST, tf.int64))  # a unit of zeros
    up = tf.bitcast(tf.constant(2 * _BIAS + (_WHOLE << 52), tf.int64) - bits, tf.float64)
    down = tf.bitcast(bits - tf.constant(_WHOLE << 52, tf.int64), tf.float64)
    return tf.sqrt(_summed(x, up, axes) * down)


def _summed(x: Any, up: Any, axes: Any) -> Any:
    scaled = _squares(x) * up
    whole = tf.floor(scaled)
    return tf.reduce_sum(whole, axis=axes, keepdims=True) + tf.reduce_sum(scaled - whole, axis=axes, keepdims=True)


def _squares(x: Any) -> Any:
    return tf.square(tf.cast(x, tf.float64))
