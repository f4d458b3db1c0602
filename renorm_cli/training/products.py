"""Products in float32: the bound of weights of 32 bits and fewer in few operations, for units that leave no doubt.

A product of 24 by 24 bits is rounded from float64 and from float32 alike, so that float32 weights get the values that
`clip` gives them, unless a product or a factor is subnormal.

For p = 2, 16 bits are multiplied by limit / norm rounded up, so that a product is within 2**-22 of the exact one, and
cut. Sums of squares in float32 show that the result is within the limit: with the root they are off by (n + 8) * 0.55 *
2**-24 of it at most, while cutting takes some 2**-12 from a norm (bfloat16: 2**-9). Squares that vanish are below
n * 2**-126, next to nothing beside a limit of 2**-40.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from renorm_cli.model.dtypes import FLOATS
from renorm_cli.norms import policy
from renorm_cli.norms.engines.tensor_ops import cut
from renorm_cli.training.bound import ROUNDOFF, Bound
from renorm_cli.training.squares import norms_of

_FLOAT32 = FLOATS["float32"]
_MANTISSA = (1 << 52) - 1
_LEAST_LIMIT = 2.0**-40


def scaled(x: Any, bound: Bound, norms: Any, columns: bool) -> tuple[Any, Any, Any]:
    """The bounded tensor, which units were over, and whether no unit leaves a doubt, so that the first two are right.

    `norms` are right up to `bound.band`. A unit is in doubt if it is near the limit, or so far above it that limit /
    norm is near a power of two, which is exact or is not (near 1 it is both), or subnormal; or if it is not finite.
    16 bits: for p = 2 alone. `columns` as in `squares.norms_of`.
    """
    under = norms <= bound.limit * (1 - (bound.band + policy.TOLERANCE))
    quotient = bound.limit / norms
    mantissa = tf.bitwise.bitwise_and(tf.bitcast(quotient, tf.int64), tf.constant(_MANTISSA, tf.int64))
    middle = tf.abs(tf.cast(mantissa, tf.float64) * 2.0**-52 - 0.5) < 0.5 - 4 * (bound.band + policy.TOLERANCE)
    sure = tf.reduce_all(under | (middle & (quotient >= 2 * _FLOAT32.smallest_normal)))
    narrow = x.dtype != tf.float32
    rounding = 1 + 2.0**-22 if narrow else (1 - bound.margin) / (1 + _FLOAT32.roundoff)
    factor = cut(tf, quotient * rounding, _FLOAT32.precision)
    products = tf.cast(x, tf.float32) * tf.cast(tf.where(under, tf.constant(1.0, tf.float64), factor), tf.float32)
    if x.dtype != tf.float16:  # float16 has zeros and normal numbers of float32 alone
        sure &= tf.reduce_min(tf.abs(products)) >= _FLOAT32.smallest_normal
    if not narrow:
        return products, ~under, sure
    kept = _cut(products, x.dtype)
    return tf.cast(kept, x.dtype), ~under, sure & tf.reduce_all(under | _fits(kept, x.dtype, bound, columns))


def _cut(products: Any, dtype: Any) -> Any:
    mask = -(1 << (_FLOAT32.precision - FLOATS[dtype.name].precision))
    return tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(products, tf.int32), tf.constant(mask, tf.int32)), tf.float32)


def _fits(kept: Any, dtype: Any, bound: Bound, columns: bool) -> Any:
    """Where sums in float32 show that the norm is within the limit."""
    terms = bound.band / ROUNDOFF  # or a few more
    highest = bound.limit * (1 - terms * (0.55 * _FLOAT32.roundoff))
    if dtype == tf.float16:  # subnormals are rounded to nearest, by half of 2**-24
        highest -= tf.sqrt(terms) * 2.0**-25
    norms = tf.cast(norms_of(kept, bound.axes, columns), tf.float64)
    return (norms <= highest) & (bound.limit >= _LEAST_LIMIT)
