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
float64 has no wider type to round from: units up to limit * (1 + policy.TOLERANCE) are within it, as in files.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
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

_ROUNDOFF = FLOATS["float64"].roundoff
_FLOAT32 = FLOATS["float32"]
_FAR = 2.0**-900
_STRIDE = 512
_WORDS = {2: tf.uint16, 4: tf.int32, 8: tf.int64}


@dataclass(frozen=True, slots=True)
class Bound:
    """The p-norm over `axes` is at most `limit`, a float64 scalar; `axes` is a tuple or an integer tensor."""

    axes: Any
    limit: Any
    p: float


class Norms(NamedTuple):
    """Per unit, summed axes of size 1: the norm is root * 2**exponent; `value` is the norm, or Inf if out of range."""

    root: Any
    exponents: Any
    value: Any
    finite: Any


def bounded(x: Any, bound: Bound) -> tuple[Any, Any]:
    """The tensor with every unit within the limit, and which units were over; units with NaN or Inf are unchanged."""
    if x.shape.rank is None:
        return _bounded(x, bound, fused=False)
    result, over = _traced(x.dtype, x.shape.rank, bound.axes, bound.p, _is_fused())(x, bound.limit)
    result.set_shape(x.shape)
    return result, over


@functools.cache
def shared(limit: float) -> Any:
    """The limit as a scalar that is one node of a graph however often it is used.

    TensorFlow makes a copy of `_traced` for each constant that it is called with, and optimizes it anew.
    """
    with tf.init_scope():
        return tf.constant(limit, tf.float64)


def _is_fused() -> bool:
    """Whether XLA compiles what is traced now, and so fuses what would be passes over memory in a graph.

    TensorFlow has no public name for it. Only speed depends on the answer: a version without these names gets False.
    """
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = _asked(graph, "_get_control_flow_context")
        while context is not None:
            if _asked(context, "IsXLAContext"):
                return True
            context = getattr(context, "outer_context", None)
        graph = getattr(graph, "outer_graph", None)
    return False


def _asked(owner: Any, method: str) -> Any:
    return getattr(owner, method, lambda: None)()


@functools.cache
def _traced(dtype: Any, rank: int, axes: tuple[int, ...], p: float, fused: bool) -> Any:
    """One graph for all shapes and modes, so that a model with a hundred layers is not traced a hundred times.

    TensorFlow calls it and does not copy it into the graph of the step, which it would optimize a hundred times.
    """

    def function(x: Any, limit: Any) -> tuple[Any, Any]:
        return _bounded(x, Bound(axes, limit, p), fused)

    signature = [tf.TensorSpec([None] * rank, dtype), tf.TensorSpec([], tf.float64)]
    options: dict[str, Any] = {"input_signature": signature, "autograph": False}
    with tf.init_scope():
        return tf.function(function, **options, experimental_attributes={"_noinline": True}).get_concrete_function()


def _bounded(x: Any, bound: Bound, fused: bool) -> tuple[Any, Any]:
    norms = measured(x, bound)
    threshold = policy.threshold(bound.limit, x.dtype.name, PNorm(bound.p))
    over = norms.finite & ~(norms.value <= threshold)  # with a limit of NaN all finite units are over
    if fused and x.dtype == tf.float32:  # one loop over the elements, where a branch would copy them
        return _clipped(x, bound, norms, over, fused), over
    return tf.cond(tf.reduce_any(over), lambda: _clipped(x, bound, norms, over, fused), lambda: tf.identity(x)), over


def measured(x: Any, bound: Bound) -> Norms:
    """The norm of every unit; right to the last bit or two where it is near the limit."""
    if math.isinf(bound.p):
        peaks = _peaks(x, bound.axes)
        return Norms(peaks, tf.zeros_like(peaks, tf.int64), peaks, tf.math.is_finite(peaks))
    if bound.p == 2 and x.dtype != tf.float64:
        return _euclidean(x, bound)
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


def _euclidean(x: Any, bound: Bound) -> Norms:
    """`measured` for p = 2 and weights whose squares are exact in float64, of which no sum is out of its range.

    With few operations: XLA compiles them anew for each variable, the exact sums too, though they hardly ever run.
    """
    sums = tf.reduce_sum(tf.square(tf.cast(x, tf.float64)), axis=bound.axes, keepdims=True)
    found = _from_squares(sums)
    return _from_squares(
        tf.cond(
            tf.reduce_any(_doubtful(x, found, bound)),
            lambda: _exact_squares(x, sums, bound.axes),
            lambda: sums,
        )
    )


def _exact_squares(x: Any, sums: Any, axes: Any) -> Any:
    """The sums of squares per unit, rounded once; `sums` are those up to rounding, which tell how to scale them."""
    above = tf.bitwise.right_shift(tf.bitcast(sums, tf.int64), tf.constant(53, tf.int64)) - 510  # of their roots
    base = tf.cast(x, tf.float64) * power_of_two(tf, -above)
    back = power_of_two(tf, above)
    return exact_power_sums(tf, base, axes, 2.0, bits=_FLOAT32.precision) * back * back


def _from_squares(sums: Any) -> Norms:
    found = tf.sqrt(sums)
    return Norms(found, tf.zeros_like(found, tf.int64), found, tf.math.is_finite(sums))


def _norms(sums: Any, exponents: Any, p: float) -> Norms:
    found = root(sums, p)
    first, second = halves(exponents)
    return Norms(found, exponents, found * first * second, tf.math.is_finite(sums))


def _doubtful(x: Any, norms: Norms, bound: Bound) -> Any:
    """Units whose verdict or factor needs exact sums; see `power_sums.doubtful`."""
    threshold = policy.threshold(bound.limit, x.dtype.name, PNorm(bound.p))
    band = _band(x, norms, bound.p)
    near = tf.abs(norms.value - threshold) <= band * threshold
    if x.dtype == tf.float64:
        return near | (norms.finite & (norms.value > threshold))
    if x.dtype == tf.float32:
        quotient = bound.limit / norms.value
        fraction = quotient / cut(tf, quotient, 1)
        return near | ((norms.value > threshold) & ((fraction <= 1 + 2 * band) | (fraction >= 2 - 4 * band)))
    return near


def _band(x: Any, norms: Norms, p: float) -> Any:
    """The largest relative error of a norm from fast sums."""
    if math.isinf(p):
        return tf.constant(4 * _ROUNDOFF, tf.float64)
    units = tf.maximum(tf.size(norms.value, tf.int64), 1)
    terms = tf.cast(tf.size(x, tf.int64) // units, tf.float64)
    return ((terms + 2 + 4 * p) / min(p, 1.0) + 4) * _ROUNDOFF


def _clipped(x: Any, bound: Bound, norms: Norms, over: Any, fused: bool) -> Any:
    """The tensor with the units that are over scaled."""
    if x.dtype == tf.float64:
        return _scaled_float64(x, bound.limit, norms, over)
    quotient = bound.limit / norms.value
    margin = 2 * _band(x, norms, bound.p) + 32 * _ROUNDOFF / min(bound.p, 1.0)
    if x.dtype == tf.float32:
        factor = _factor_float32(quotient, margin, bound.p)
        return _scaled(x, [factor], over) if fused else _scaled_float32(x, factor, over, norms)
    tried = _scaled(x, [quotient * policy.LIFT], over)
    threshold = (
        bound.limit if bound.p in (1, 2, math.inf) else bound.limit * (1 - margin / 4)
    )  # other roots are rounded
    still = over & ~(measured(tried, bound).value <= threshold)
    safe = quotient * (1 - margin)
    return tf.cond(
        tf.reduce_any(still),
        lambda: _scaled(x, [tf.where(still, safe, quotient * policy.LIFT)], over),
        lambda: tried,
    )


def _factor_float32(quotient: Any, margin: Any, p: float) -> Any:
    """limit / norm in 24 bits, so that no rounding of a product lifts the norm: as `policy.factors`, with a margin.

    A power of two is taken as it is, as its products are exact, and the norm was exact: `_doubtful`.
    """
    factor = cut(tf, quotient * (1 - margin) / (1 + _FLOAT32.roundoff), _FLOAT32.precision)
    if p not in (1, 2, math.inf):  # other roots are rounded
        return factor
    return tf.where(tf.equal(quotient, cut(tf, quotient, 1)), quotient, factor)


def _scaled_float32(x: Any, factor: Any, over: Any, norms: Norms) -> Any:
    """As `_scaled`, by products in float32: those of 24 by 24 bits are rounded as from float64.

    Unless a product is subnormal, or zero, or a factor is subnormal, or a unit must keep a NaN.
    """
    least = _FLOAT32.smallest_normal
    usual = tf.reduce_all(norms.finite & (~over | (factor >= least)))
    products = x * tf.cast(tf.where(over, factor, 1.0), tf.float32)
    normal = tf.reduce_min(tf.abs(products)) >= least
    return tf.cond(usual & normal, lambda: products, lambda: _scaled(x, [factor], over))


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
