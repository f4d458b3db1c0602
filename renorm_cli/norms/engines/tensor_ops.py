"""Sums of powers and rounded products on TensorFlow tensors; how files and training compute alike.

Every function takes the `tensorflow` module first, as this one imports none. `axes` are those the sums run over, a
tuple or an integer tensor. TensorFlow may set numbers below the smallest normal one to zero, in some threads and not
in others; `lost` tells where that could matter. Bits are handled as integers, which nothing sets to zero.
"""

from __future__ import annotations

from typing import Any

from renorm_cli.model.dtypes import FLOATS
from renorm_cli.norms.error_free import is_small_whole

LARGEST_P = 512.0
"""Up to here the powers that are set to zero are less than 2**-500 of the sum they are missing in."""

_SIGN = -(1 << 63)
_LIMB = 2.0**26


def magnitude_bits(tf: Any, block: Any) -> Any:
    """The bits of the weights without their sign, as unsigned integers."""
    unsigned = {2: tf.uint16, 4: tf.uint32, 8: tf.uint64}[block.dtype.size]
    mask = tf.constant((1 << (8 * block.dtype.size - 1)) - 1, unsigned)
    return tf.bitwise.bitwise_and(tf.bitcast(block, unsigned), mask)


def peak_bits(tf: Any, block: Any, axes: Any, keepdims: bool = False) -> Any:
    """The largest magnitude per unit as the int64 of its bits: they sort like the numbers, NaN above Inf."""
    return tf.reduce_max(tf.cast(magnitude_bits(tf, block), tf.int64), axis=axes, keepdims=keepdims)


def magnitudes(tf: Any, block: Any, scales: list[Any]) -> Any:
    """|x| in float64, times every scale; the scales broadcast over the block."""
    base = tf.abs(tf.cast(block, tf.float64))
    for scale in scales:
        base = base * scale
    return base


def powers(tf: Any, base: Any, p: Any, whole: int | None) -> Any:
    """`base ** p`; of a small whole p, given as `whole`, as products, like `powers.power` takes them."""
    result = tf.pow(base, p) if whole is None else base
    for _ in range((whole or 1) - 1):
        result = result * base
    return result


def power_sums(tf: Any, base: Any, axes: Any, p: Any, whole: int | None, keepdims: bool = False) -> Any:
    """Sum of `base ** p` per unit; the order of summation is TensorFlow's."""
    return tf.reduce_sum(powers(tf, base, p, whole), axis=axes, keepdims=keepdims)


def exact_power_sums(tf: Any, base: Any, axes: Any, p: float) -> Any:
    """Sum of `base ** p` per unit, kept axes of size 1, for 0 <= base < 1: the last bit does not depend on order.

    The powers are cut at 2**-26 and 2**-52 into two whole numbers and a rest. Up to 2**27 elements the sums of whole
    numbers are exact in any order; the sum of the rests is off by some 2**-104 of the largest power. All is rounded
    once, at the end. Nothing here is changed by fused multiply-adds or by reordering, so eager, graph and XLA agree.
    Squares of float64 are not float64s: their lower half is added to the rests, right to 2**-78 of each.
    """
    lower = 0.0
    if p == 2:
        upper_half = cut(tf, base, 26)  # its square is a float64
        rest = base - upper_half
        base, lower = upper_half, (upper_half + base) * rest
    whole = int(p) if is_small_whole(p) else None
    value = powers(tf, base, tf.constant(p, tf.float64), whole) * _LIMB
    first = tf.floor(value)
    value = (value - first) * _LIMB
    second = tf.floor(value)
    rests = (value - second) + lower * _LIMB**2
    high, middle, low = (tf.reduce_sum(part, axis=axes, keepdims=True) for part in (first, second, rests))
    carried = tf.floor(middle / _LIMB)
    return (high + carried) / _LIMB + ((middle - carried * _LIMB) + low) / _LIMB**2


def lost(tf: Any, block: Any, sizes: Any, target: Any) -> Any:
    """Where a weight that is not zero has a size, taken from it in float64, below the normal range of `target`."""
    bits = magnitude_bits(tf, block)
    least = tf.constant(FLOATS[target.name].smallest_normal, tf.float64)
    return tf.not_equal(bits, tf.zeros([], bits.dtype)) & tf.less(sizes, least)


def toward_zero(tf: Any, wide: Any, target: Any) -> Any:
    """float64 numbers rounded toward zero to `target`, a narrower float.

    In the subnormal range of float32 and bfloat16 the result is the nearest number or zero, as the thread has it; of
    float16, whose subnormals are normal in wider floats, it is rounded toward zero like all others.
    """
    kept = cut(tf, wide, FLOATS[target.name].precision)
    if target == tf.float16:
        small = tf.less(tf.abs(wide), tf.constant(FLOATS["float16"].smallest_normal, tf.float64))
        steps = tf.floor(tf.abs(wide) * 2.0**24) * 2.0**-24
        kept = tf.where(small, _with_sign_of(tf, steps, wide), kept)
    return tf.cast(kept, target)


def flushed(tf: Any, wide: Any, target: Any) -> Any:
    """The float64 numbers, those below the normal range of `target` replaced by zeros of their sign.

    So the result does not depend on what the thread does with subnormals.
    """
    small = tf.less(tf.abs(wide), tf.constant(FLOATS[target.name].smallest_normal, tf.float64))
    return tf.where(small, _with_sign_of(tf, tf.zeros_like(wide), wide), wide)


def cut(tf: Any, wide: Any, bits: int) -> Any:
    """The float64 numbers cut off, toward zero, after so many significant bits."""
    mask = tf.constant(-(1 << (53 - bits)), tf.int64)
    return tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(wide, tf.int64), mask), tf.float64)


def power_of_two(tf: Any, exponents: Any) -> Any:
    """2.0 ** exponent for int64 exponents from -1022 to 1023, made of bits and so exact."""
    return tf.bitcast(tf.bitwise.left_shift(exponents + 1023, tf.constant(52, tf.int64)), tf.float64)


def _with_sign_of(tf: Any, sizes: Any, wide: Any) -> Any:
    """Numbers that are not negative, with the signs of others; a product with -1 or 0 could lose that of a zero."""
    sign = tf.bitwise.bitwise_and(tf.bitcast(wide, tf.int64), tf.constant(_SIGN, tf.int64))
    return tf.bitcast(tf.bitwise.bitwise_or(tf.bitcast(sizes, tf.int64), sign), tf.float64)
