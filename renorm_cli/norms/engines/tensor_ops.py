"""Sums of powers and rounded products on TensorFlow tensors, shared by files and training.

Every function takes the `tensorflow` module as its first argument, so that this module does not import it. Sums run
over `axes`, a tuple or an integer tensor. TensorFlow may flush subnormal numbers to zero, in some threads and not in
others; `lost` finds where that could matter. Bits are handled as integers, which are never flushed.
"""

from __future__ import annotations

from typing import Any

from renorm_cli.model.dtypes import FLOATS
from renorm_cli.norms.error_free import is_small_whole

_SIGN = -(1 << 63)
_LIMB = 2.0**26


def magnitude_bits(tf: Any, block: Any) -> Any:
    """The bits of |x| as unsigned integers."""
    unsigned = {2: tf.uint16, 4: tf.uint32, 8: tf.uint64}[block.dtype.size]
    mask = tf.constant((1 << (8 * block.dtype.size - 1)) - 1, unsigned)
    return tf.bitwise.bitwise_and(tf.bitcast(block, unsigned), mask)


def peak_bits(tf: Any, block: Any, axes: Any, keepdims: bool = False) -> Any:
    """The bits of the largest |x| per unit as int64: bits sort like the numbers, with NaN above Inf."""
    return tf.reduce_max(tf.cast(magnitude_bits(tf, block), tf.int64), axis=axes, keepdims=keepdims)


def magnitudes(tf: Any, block: Any, scales: list[Any]) -> Any:
    """|x| in float64, times every scale; scales broadcast over the block.

    An operation between two products keeps TensorFlow from multiplying the scales first: theirs can be subnormal.
    """
    base = tf.abs(tf.cast(block, tf.float64))
    for scale in scales:
        base = tf.abs(base * scale)
    return base


def powers(tf: Any, base: Any, p: Any, whole: int | None) -> Any:
    """`base ** p`; for a small whole p, given as `whole`, by multiplication as in `powers.power`."""
    result = tf.pow(base, p) if whole is None else base
    for _ in range((whole or 1) - 1):
        result = result * base
    return result


def power_sums(tf: Any, base: Any, axes: Any, p: Any, whole: int | None, keepdims: bool = False) -> Any:
    """Sum of `base ** p` per unit; the order of summation is TensorFlow's."""
    return tf.reduce_sum(powers(tf, base, p, whole), axis=axes, keepdims=keepdims)


def exact_power_sums(tf: Any, base: Any, axes: Any, p: float, bits: int = 53) -> Any:
    """Sum of `base ** p` per unit for 0 <= base < 1, summed axes of size 1: the last bit does not depend on order.

    Powers are cut at 2**-26 and 2**-52 into two whole numbers and a rest. The sums of whole numbers are exact in any
    order, up to 2**27 elements; the sum of the rests is off by about 2**-104 of the largest power. The total is rounded
    once, at the end. Fused multiply-adds and reordering change nothing, so eager, graph and XLA agree. The square of a
    float64 is no float64: its lower half is added to the rest, exact to 2**-78 of the square. That of a `base` of at
    most 26 `bits` is.
    """
    lower = 0.0
    if p == 2 and bits > 26:
        upper_half = cut(tf, base, 26)  # its square is exactly a float64
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
    """Where a nonzero weight has a size (computed from it in float64) below the normal range of `target`."""
    bits = magnitude_bits(tf, block)
    least = tf.constant(FLOATS[target.name].smallest_normal, tf.float64)
    return tf.not_equal(bits, tf.zeros([], bits.dtype)) & tf.less(sizes, least)


def toward_zero(tf: Any, wide: Any, target: Any) -> Any:
    """float64 numbers rounded toward zero to `target`, a narrower float.

    In the subnormal range of float32 and bfloat16 the result is the nearest number or zero, depending on the thread.
    Subnormals of float16 are normal in wider floats, so they are rounded toward zero as well.
    """
    kept = cut(tf, wide, FLOATS[target.name].precision)
    if target == tf.float16:
        small = tf.less(tf.abs(wide), tf.constant(FLOATS["float16"].smallest_normal, tf.float64))
        steps = tf.floor(tf.abs(wide) * 2.0**24) * 2.0**-24
        kept = tf.where(small, _with_sign_of(tf, steps, wide), kept)
    return tf.cast(kept, target)


def flushed(tf: Any, wide: Any, target: Any) -> Any:
    """The float64 numbers, with zeros of the same sign for those below the normal range of `target`.

    The result then does not depend on how the thread treats subnormals.
    """
    small = tf.less(tf.abs(wide), tf.constant(FLOATS[target.name].smallest_normal, tf.float64))
    return tf.where(small, _with_sign_of(tf, tf.zeros_like(wide), wide), wide)


def cut(tf: Any, wide: Any, bits: int) -> Any:
    """The float64 numbers truncated, toward zero, to `bits` significant bits."""
    mask = tf.constant(-(1 << (53 - bits)), tf.int64)
    return tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(wide, tf.int64), mask), tf.float64)


def power_of_two(tf: Any, exponents: Any) -> Any:
    """2.0 ** exponent for int64 exponents from -1022 to 1023, built from bits and therefore exact."""
    return tf.bitcast(tf.bitwise.left_shift(exponents + 1023, tf.constant(52, tf.int64)), tf.float64)


def _with_sign_of(tf: Any, sizes: Any, wide: Any) -> Any:
    """The numbers `sizes` >= 0 with the signs of `wide`; multiplying by a sign would lose the sign of a zero."""
    sign = tf.bitwise.bitwise_and(tf.bitcast(wide, tf.int64), tf.constant(_SIGN, tf.int64))
    return tf.bitcast(tf.bitwise.bitwise_or(tf.bitcast(sizes, tf.int64), sign), tf.float64)
