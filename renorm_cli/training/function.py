"""The public function `renorm`, with its arguments checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from renorm_cli.training.arguments import exponent, floating, limit_tensor, reduced_axes
from renorm_cli.training.gradient import differentiable

_F = TypeVar("_F", bound=Callable[..., Any])


def plain(function: _F) -> _F:
    """The function, traced as it is: nothing in it needs AutoGraph, which would rewrite it at every trace."""
    found: _F = tf.autograph.experimental.do_not_convert(function)
    return found


@plain
def renorm(x: Any, axis: int | Sequence[int], max_norm: Any, p: float = 2.0) -> Any:
    """`x` with no unit's p-norm above `max_norm`: a unit that is over is multiplied by max_norm / norm.

    `axis` names the axes that are KEPT, as `dim` of torch.renorm does: one unit for each index along them, its norm
    over all others. (Keras' `MaxNorm(axis=)` and `tf.clip_by_norm(axes=)` name those that are summed.) An integer or
    several, negative ones counted from the end; `()` makes all of `x` one unit.

    `x` is float16, bfloat16, float32 or float64, of any rank from 1, of any shape known or not; under XLA the rank
    must be known. `max_norm` is a number or a scalar tensor, `p` a Python number, 0 < p <= 512 or inf. The result has
    the dtype and shape of `x`. In eager code, tf.function and XLA alike:

    - No unit is above max_norm: its norm, recomputed in float64 from the result, is at most max_norm (float64 results:
      up to 1e-12 more, relatively). Applying it again changes no bit.
    - A unit that was not over keeps its bits, -0.0 included.
    - A unit that was over has a norm of at least max_norm * (1 - 4 * unit roundoff of its dtype); no element grew,
      changed its sign, or is further than one rounding from the exact product.
    - Norms are float64 and neither overflow nor vanish (entries of 1e30 in float32, of 1e200 in float64).

    The gradient is that of x -> x * max_norm / norm(x) for a unit that is over (for p = 2 the projection across x,
    scaled), and the identity for any other, a unit of zeros included; see `renorm_cli.training.gradient`. `max_norm`
    has a gradient too where it is a tensor, and second derivatives are right.

    Where it differs from torch.renorm: torch divides by norm + 1e-7, takes norms in float32 and rounds to nearest, so
    that about half of all clipped float32 units end above the bound by some roundoffs, tiny norms are shrunk too far
    (1e-6 to 1e-7 gives 9.1e-8) and norms that overflow give zeros; in 16 bits it also rounds the factor. It wants two
    axes or more; here a vector is fine. max_norm = 0 and inf are errors here. A unit with NaN is left as it is, by
    both; a unit with Inf is left as it is here, and torch makes NaN of it.

    Subnormal numbers: TensorFlow on a CPU may take those of float32, bfloat16 and float64 for zeros. Units that are
    not over keep theirs. In a clipped unit, an element whose product is below the smallest normal number (1.2e-38 in
    float32) becomes a zero of its sign. In a norm they may count as zeros: the bound holds as said for p >= 1 and
    max_norm of 1e-28 or more. The subnormals of float16 are ordinary numbers here.

    Raises TypeError for integers, booleans and complex numbers; ValueError for a scalar `x`, an axis out of range or
    named twice, max_norm not above 0 or not finite, a bad `p`. What a tensor max_norm holds may be known only when the
    graph runs: then tf.errors.InvalidArgumentError, or under XLA, which cannot raise, a result of NaN.
    """
    tensor = floating(x)
    power = exponent(p)
    axes = reduced_axes(tensor, axis)
    return differentiable(tensor, limit_tensor(max_norm), axes, power)
