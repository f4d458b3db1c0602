"""The bound on the norm of every unit as a graph: `norms.policy` and `run.steps` for tensors instead of files.

The steps are those for files. Norms are float64. A unit over the limit is multiplied by limit / norm, rounded as in
`norms.policy` so that no rounding lifts its norm. Units so near the limit that the order of summation could decide are
summed again, exactly. Units that are not over keep their bits.

Why the bound holds: with u = 2**-53 and n elements, the norm has a relative error below b = ((n + 2 + 4p) / min(p, 1)
+ 4) u (`power_sums.doubtful`), division and product each have one of u, and rounding the elements only reduces them or
(float32) adds what the factor was reduced by. So by the factor limit / norm * (1 - d) the norm becomes at most
limit * (1 - d) * (1 + u)**2 / (1 - b), which is below limit * (1 - 8u / min(p, 1)) for d = 2b + 32u / min(p, 1).
float32 takes that factor at once, but a power of two as it is, if the norm is exact. 16 bits take limit / norm first,
lest products that are stored numbers are cut down to their neighbours, and measure the result: d only if it is over.
The bound is also tight: d is about n * 2**-52, far less than the roundoff of the dtype.
Where no unit leaves a doubt, `products` has the same in fewer operations.
float64 has no wider type to round from: units up to limit * (1 + policy.TOLERANCE) are within it, as in files.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from renorm_cli.model.dtypes import FLOATS
from renorm_cli.model.norm import PNorm
from renorm_cli.norms import policy
from renorm_cli.norms.engines.tensor_ops import (
    cut,
    exact_power_sums,
    flushed,
    magnitudes,
    peak_bits,
    power_of_two,
    power_sums,
    toward_zero,
)
from renorm_cli.norms.error_free import is_small_whole
from renorm_cli.norms.power_sums import needs_exponents
from renorm_cli.training import products
from renorm_cli.training.bound import Bound, Mode
from renorm_cli.training.squares import exact_norms, rough_norms

_FLOAT32 = FLOATS["float32"]
_FAR = 2.0**-900
_STRIDE = 512
_WORDS = {2: tf.uint16, 4: tf.int32, 8: tf.int64}


class Norms(NamedTuple):
    """Per unit, summed axes of size 1: the norm is root * 2**exponent; `value` is the norm, or Inf if out of range."""

    root: Any
    exponents: Any
    value: Any
    finite: Any


def is_narrow(dtype: Any, p: float) -> bool:
    """Whether norms are those of `squares`."""
    return p == 2 and dtype != tf.float64


def bounded(x: Any, bound: Bound, mode: Mode) -> tuple[Any, Any]:
    """The tensor with every unit within the limit, and which units were over; units with NaN or Inf are unchanged."""
    if is_narrow(x.dtype, bound.p):
        rough = rough_norms(x, bound.axes, columns=mode == "columns")
        if mode in ("xla", "xla, small"):
            return _clipped(x, bound, mode, rough)  # one loop over the elements, where a branch would copy them
        settled, found = tf.reduce_all(rough <= bound.limit * (1 - bound.band)), [rough]
    else:
        norms = measured(x, bound)
        settled, found = ~tf.reduce_any(_over(x, bound, norms)), list(norms)
    same = lambda: (tf.identity(x), tf.zeros_like(found[0], tf.bool))  # noqa: E731
    value, over = tf.cond(settled, same, lambda: _clipped(x, bound, mode, *found))
    return value, over


def _clipped(x: Any, bound: Bound, mode: Mode, *found: Any) -> tuple[Any, Any]:
    compiled = mode in ("xla", "xla, small")

    def carefully() -> tuple[Any, Any]:
        if not is_narrow(x.dtype, bound.p):
            norms = Norms(*found)
        elif mode == "xla, small":  # sums of so few elements take less time than a branch takes to compile
            norms = _norms_of(exact_norms(x, found[0], bound.axes))
        else:
            norms = _norms_of(_refined(x, bound, found[0]))
        over = _over(x, bound, norms)
        return _scaled_down(x, bound, norms, over), over

    if x.dtype == tf.float64 or (x.dtype == tf.float32 and compiled) or (x.dtype != tf.float32 and bound.p != 2):
        return carefully()
    norms = found[0] if bound.p == 2 else Norms(*found).value
    value, over, sure = products.scaled(x, bound, norms, columns=mode == "columns")
    value, over = tf.cond(sure, lambda: (value, over), carefully)
    return value, over


def _over(x: Any, bound: Bound, norms: Norms) -> Any:
    threshold = policy.threshold(bound.limit, x.dtype.name, PNorm(bound.p))
    return norms.finite & ~(norms.value <= threshold)  # with a limit of NaN all finite units are over


def measured(x: Any, bound: Bound) -> Norms:
    """The norm of every unit; right to the last bit or two where it is near the limit."""
    if math.isinf(bound.p):
        peaks = _peaks(x, bound.axes)
        return Norms(peaks, tf.zeros_like(peaks, tf.int64), peaks, tf.math.is_finite(peaks))
    if is_narrow(x.dtype, bound.p):
        return _norms_of(_refined(x, bound, rough_norms(x, bound.axes, columns=False)))
    sums, exponents = _sums(x, bound, exact=False)
    found = _norms(sums, exponents, bound.p)
    sums, exponents = tf.cond(
        tf.reduce_any(_doubtful(x, found, bound)),
        lambda: _sums(x, bound, exact=True),
        lambda: (sums, exponents),
    )
    return _norms(sums, exponents, bound.p)


def exponents_of(x: Any, axes: Any) -> Any:
    """Per unit, the power of two above its largest |x| (int64); any number if that is not finite.

    A peak below the smallest normal number gets the exponent of that number.
    """
    bits = tf.bitcast(_peaks(x, axes), tf.int64)
    found = tf.bitwise.right_shift(bits, tf.constant(52, tf.int64)) - 1022
    return tf.maximum(found, tf.constant(FLOATS[x.dtype.name].least_exponent + 1, tf.int64))


def halves(exponents: Any) -> list[Any]:
    """Two normal numbers whose product is 2**exponent, because one alone can be out of range."""
    half = exponents // 2
    return [power_of_two(tf, half), power_of_two(tf, exponents - half)]


def root(sums: Any, p: float) -> Any:
    """The p-th root, for sums >= 0."""
    if p == 1:
        return sums
    if p == 2:
        return tf.sqrt(sums)
    found = tf.pow(sums, tf.constant(1.0 / p, tf.float64))
    if p == 3:  # 1 / 3 is rounded: one Newton step
        square = tf.where(sums > 0, found * found, 1.0)
        found -= (found * square - tf.where(sums > 0, sums, 0.0)) / (3.0 * square)
    return found


def _peaks(x: Any, axes: Any) -> Any:
    """Largest |x| per unit in float64; NaN for a unit that holds NaN."""
    bits = tf.maximum(peak_bits(tf, x, axes, keepdims=True), 0)  # the maximum of no elements is negative
    return tf.cast(tf.bitcast(tf.cast(bits, _WORDS[x.dtype.size]), x.dtype), tf.float64)


def _sums(x: Any, bound: Bound, exact: bool) -> tuple[Any, Any]:
    """Sum of (|x| * 2**-exponent) ** p per unit, and the exponents."""
    p, axes = bound.p, bound.axes
    if exact:
        exponents = exponents_of(x, axes)
        return exact_power_sums(tf, magnitudes(tf, x, halves(-exponents)), axes, p), exponents
    whole = int(p) if is_small_whole(p) else None
    scaled = needs_exponents(x.dtype.name, PNorm(p))
    exponents = exponents_of(x, axes) if scaled else None
    base = magnitudes(tf, x, [] if exponents is None else halves(-exponents))
    sums = power_sums(tf, base, axes, tf.constant(p, tf.float64), whole, keepdims=True)
    return sums, tf.zeros_like(sums, tf.int64) if exponents is None else exponents


def _refined(x: Any, bound: Bound, rough: Any) -> Any:
    """The norms of `squares.rough_norms`, and exact ones if that could decide."""
    doubtful = tf.reduce_any(_doubtful(x, _norms_of(rough), bound))
    return tf.cond(doubtful, lambda: exact_norms(x, rough, bound.axes), lambda: rough)


def _norms_of(values: Any) -> Norms:
    return Norms(values, tf.zeros_like(values, tf.int64), values, tf.math.is_finite(values))


def _norms(sums: Any, exponents: Any, p: float) -> Norms:
    found = root(sums, p)
    first, second = halves(exponents)
    return Norms(found, exponents, found * first * second, tf.math.is_finite(sums))


def _doubtful(x: Any, norms: Norms, bound: Bound) -> Any:
    """Units whose verdict or factor needs exact sums; see `power_sums.doubtful`."""
    threshold = policy.threshold(bound.limit, x.dtype.name, PNorm(bound.p))
    near = tf.abs(norms.value - threshold) <= bound.band * threshold
    if x.dtype == tf.float64:
        return near | (norms.finite & (norms.value > threshold))
    if x.dtype == tf.float32:
        quotient = bound.limit / norms.value
        fraction = quotient / cut(tf, quotient, 1)
        return near | (
            (norms.value > threshold) & ((fraction <= 1 + 2 * bound.band) | (fraction >= 2 - 4 * bound.band))
        )
    return near


def _scaled_down(x: Any, bound: Bound, norms: Norms, over: Any) -> Any:
    """The tensor with the units that are over scaled."""
    if x.dtype == tf.float64:
        return _scaled_float64(x, bound.limit, norms, over)
    quotient = bound.limit / norms.value
    if x.dtype != tf.float32:
        return _measured_again(x, bound, over, quotient * policy.LIFT, quotient * (1 - bound.margin))
    factor = _factor_float32(quotient, bound.margin, bound.p)
    return _scaled_float32(x, factor, over)


def _measured_again(x: Any, bound: Bound, over: Any, tried: Any, safe: Any) -> Any:
    """16 bits scaled by the factors `tried`, and by `safe` ones where the result would be over."""
    once = _scaled(x, [tried], over)
    threshold = bound.limit
    if bound.p not in (1, 2, math.inf):  # other roots are rounded
        threshold = threshold * (1 - bound.margin / 4)
    still = over & ~(measured(once, bound).value <= threshold)
    again = lambda: _scaled(x, [tf.where(still, safe, tried)], over)  # noqa: E731
    return tf.cond(tf.reduce_any(still), again, lambda: once)


def _factor_float32(quotient: Any, margin: Any, p: float) -> Any:
    """limit / norm in 24 bits, so that no rounding of a product lifts the norm: as `policy.factors`, with a margin.

    A power of two is taken as it is, as its products are exact, and the norm was exact: `_doubtful`.
    """
    factor = cut(tf, quotient * (1 - margin) / (1 + _FLOAT32.roundoff), _FLOAT32.precision)
    if p not in (1, 2, math.inf):  # other roots are rounded
        return factor
    return tf.where(tf.equal(quotient, cut(tf, quotient, 1)), quotient, factor)


def _scaled_float32(x: Any, factor: Any, over: Any) -> Any:
    """As `_scaled`, with few operations, which XLA compiles for each variable."""
    product = tf.cast(tf.cast(x, tf.float64) * factor, tf.float32)
    old, new = tf.bitcast(x, tf.int32), tf.bitcast(product, tf.int32)
    zero = tf.bitwise.bitwise_and(old, tf.constant(-(1 << 31), tf.int32))
    new = tf.where(tf.abs(product) < _FLOAT32.smallest_normal, zero, new)
    return tf.bitcast(tf.where(over, new, old), tf.float32)


def _scaled_float64(x: Any, limit: Any, norms: Norms, over: Any) -> Any:
    """Multiply units that are over by limit / norm, in two steps if the norm or quotient is out of float64's range."""
    quotient = limit / norms.value
    far = quotient < _FAR
    near_one = halves(norms.exponents - _STRIDE)
    rest = tf.where(far, limit / (norms.root * near_one[0] * near_one[1]), quotient)
    return _scaled(x, [tf.where(far, tf.constant(2.0**-_STRIDE, tf.float64), 1.0), rest], over)


def _scaled(x: Any, factors: list[Any], over: Any) -> Any:
    """Multiply units that are over by the factors, rounding to nearest (16 bits: toward zero); others keep bits."""
    wide = tf.cast(x, tf.float64)
    for factor in factors:
        wide = wide * factor
        if x.dtype != tf.float16:  # its subnormals are normal in wider floats
            wide = flushed(tf, wide, x.dtype)  # and keeps TensorFlow from multiplying two factors first: subnormal
    return _selected(over, toward_zero(tf, wide, x.dtype) if x.dtype.size == 2 else tf.cast(wide, x.dtype), x)


def _selected(where: Any, new: Any, old: Any) -> Any:
    """Select bits of `new` or `old`, because selecting floats could change them (signalling NaN, -0.0)."""
    words = _WORDS[old.dtype.size]
    selectable = tf.int32 if words == tf.uint16 else words  # every device can select these
    new, old_bits = (tf.cast(tf.bitcast(value, words), selectable) for value in (new, old))
    return tf.bitcast(tf.cast(tf.where(where, new, old_bits), words), old.dtype)
