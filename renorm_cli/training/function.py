"""The public function `renorm`, with its arguments checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from renorm_cli.training.arguments import exponent, floating, limit_tensor, reduced_axes
from renorm_cli.training.gradient import differentiable

_F = TypeVar("_F", bound=Callable[..., Any])


def plain(function: _F) -> _F:
    """The function without AutoGraph, which nothing in it needs and which would rewrite it at every trace."""
    found: _F = tf.autograph.experimental.do_not_convert(function)
    return found


@plain
def renorm(x: Any, axis: int | Sequence[int], max_norm: Any, p: float = 2.0) -> Any:
    """`x` with no unit's p-norm above `max_norm`: a unit that is over is multiplied by max_norm / norm.

    `axis` names the KEPT axes, as `dim` of torch.renorm does: each index along them is a unit, and its norm runs over
    all other axes. (Keras' `MaxNorm(axis=)` and `tf.clip_by_norm(axes=)` name the summed axes.) It is an integer or a
    sequence; negative axes count from the end; `()` makes all of `x` one unit.

    `x` is float16, bfloat16, float32 or float64, of rank 1 to 5, under XLA of any, and of known or unknown shape; XLA
    needs the rank. `max_norm` is a number or a scalar tensor, `p` a Python number, 1/512 <= p <= 512 or inf. The result
    has the dtype and shape of `x`. In eager code, tf.function and XLA alike:

    - No unit is above max_norm: its norm, recomputed in float64 from the result, is at most max_norm (for float64, at
      most 1e-12 above it, relatively). Applying it again changes no bit.
    - A unit that was not over keeps its bits, including -0.0.
    - A unit that was over has a norm of at least max_norm * (1 - 4 * unit roundoff of its dtype). No element grew,
      changed its sign, or is further than one rounding from the exact product.
    - Norms are float64 and neither overflow nor vanish (entries of 1e30 in float32, of 1e200 in float64).

    The gradient is that of x -> x * max_norm / norm(x) for a unit that is over (for p = 2 the scaled projection across
    x), and the identity for any other unit, also a unit of zeros; see `renorm_cli.training.gradient`. A tensor
    `max_norm` has a gradient, too, and second derivatives are right.

    Differences from torch.renorm: torch divides by norm + 1e-7, computes norms in float32 and rounds to nearest. About
    half of all clipped float32 units therefore end above the bound by some roundoffs, tiny norms shrink too far (1e-6
    to 1e-7 gives 9.1e-8), and norms that overflow give zeros; in 16 bits it also rounds the factor. torch needs at
    least two axes; here a vector is fine. max_norm = 0 and inf are errors here. Both leave a unit with NaN unchanged;
    a unit with Inf is unchanged here, and becomes NaN in torch.

    Subnormal numbers: TensorFlow on a CPU may flush those of float32, bfloat16 and float64 to zero. Units that are not
    over keep theirs. In a clipped unit, an element whose product is below the smallest normal number (1.2e-38 in
    float32) becomes a zero of its sign. In norms they may count as zeros: the bound holds as stated for p >= 1 and
    max_norm of 1e-28 or more. The subnormals of float16 are treated like normal numbers.

    Raises TypeError for integers, booleans and complex numbers; ValueError for a scalar `x`, an axis that is out of
    range or named twice, a max_norm that is not finite and above 0, and a bad `p`. If the value of a tensor max_norm is
    known only when the graph runs, a bad one raises tf.errors.InvalidArgumentError, or under XLA, which cannot raise,
    gives NaN.
    """
    tensor = floating(x)
    power = exponent(p)
    axes = reduced_axes(tensor, axis)
    return differentiable(tensor, limit_tensor(max_norm), axes, power)
