"""Norms of weights of 32 bits and fewer for p = 2: their squares are exact in float64, and no sum is out of its range.

XLA compiles all of this anew for each variable, so there are few operations here. Sums keep the summed axes, as 1.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from renorm_cli.norms.engines.tensor_ops import power_of_two

_EXPONENT = 0x7FF << 52
_BIAS = 1023 << 52
_LEAST = (1023 - 310) << 52
_WHOLE = 51
_WHOLE_AT_LIMIT = 42
_WIDEST_LIMIT = 200

LEAST_EXACT_QUOTIENT = 2.0**-4
"""limit / norm of `norms_near` is right to the last bit from here on."""


def rough_norms(x: Any, axes: Any, columns: bool) -> Any:
    """The norms, up to the rounding errors of a float64 sum in any order.

    `columns` says that all axes but the last are summed, for at most 2**31 - 1 elements: TensorFlow has a sum for that,
    which is twice as fast on a CPU.
    """
    squares = _squares(x)
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


def norms_near(x: Any, limit: Any, axes: Any) -> Any:
    """As `exact_norms` for norms up to 16 * limit, which is all that decides, and rough ones beyond; in one pass.

    The power of two brings limit**2 to 2**42 to 2**44: up to 2**53 all whole numbers are exact, and 2**16 rests are off
    by 2**-63 of the sum.
    """
    exponent = tf.bitwise.right_shift(tf.bitcast(limit, tf.int64), tf.constant(52, tf.int64)) - 1023
    exponent = 2 * tf.clip_by_value(
        exponent, tf.constant(-_WIDEST_LIMIT, tf.int64), tf.constant(_WIDEST_LIMIT, tf.int64)
    )
    up, down = power_of_two(tf, _WHOLE_AT_LIMIT - exponent), power_of_two(tf, exponent - _WHOLE_AT_LIMIT)
    return tf.sqrt(_summed(x, up, axes) * down)


def _summed(x: Any, up: Any, axes: Any) -> Any:
    scaled = _squares(x) * up
    whole = tf.floor(scaled)
    return tf.reduce_sum(whole, axis=axes, keepdims=True) + tf.reduce_sum(scaled - whole, axis=axes, keepdims=True)


def _squares(x: Any) -> Any:
    return tf.square(tf.cast(x, tf.float64))
