"""The spectral norm of a matrix between two numbers that are proven."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from renorm_cli.errors import EngineError, UsageError, Way
from renorm_cli.model.spectral import Span
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.spectral.gram import Matrix
from renorm_cli.norms.spectral.held import Held, on_device, on_host, refuse_wrong_products
from renorm_cli.norms.spectral.lanczos import largest, start_vector
from renorm_cli.norms.spectral.tiles import U
from renorm_cli.parallel.threads import Imap

WIDTH = 1e-8
"""How far, relatively, the upper end may be above the lower one: half of the tolerance of a verdict."""

_SLACK = 1e-10
_RESIDUALS = (3e-8, 1e-9, *(1e-12,) * 6)
"""Those at which Lanczos stops, try by try."""


class Enclosure(NamedTuple):
    """A spectral norm, with the numbers that it is proven to be between, and the Frobenius norm.

    All are NaN where a weight is NaN or Inf. `values` are all singular values, and `operator` is what the operator
    norm of a convolution is between, where they were asked for.
    """

    lower: float
    norm: float
    upper: float
    frobenius: float
    values: Float64 | None = None
    operator: Span | None = None

    @property
    def bounded(self) -> float:
        """The number that is held against a limit."""
        return self.norm if self.operator is None else self.operator.upper

    def times_two_to(self, exponent: int) -> Enclosure:
        """That of the matrix times a power of two, also where its norms are subnormal. Raises OverflowError."""
        lower, norm, upper, frobenius = (math.ldexp(number, exponent) for number in self[:4])
        values = None if self.values is None else np.ldexp(self.values, exponent)
        return Enclosure(math.nextafter(lower, 0.0), norm, math.nextafter(upper, math.inf), frobenius, values)


NOT_FINITE = Enclosure(math.nan, math.nan, math.nan, math.nan)


def enclose(matrix: Matrix, variable: Variable, engine: Engine, imap: Imap, *, values: bool = False) -> Enclosure:
    """Enclose the spectral norm of a matrix of a variable; with `values`, find all singular values.

    Raises EngineError where the enclosure stays wider than WIDTH, where products are seen to be wrong, or without room,
    and UsageError where the norm is beyond float64.
    """
    exponent = 0
    if variable.dtype == "float64":  # whose squares can leave the range of float64
        peak = float(np.max([np.abs(matrix.read(slab)).max() for slab in matrix.slabs]))
        if not math.isfinite(peak):
            return NOT_FINITE
        exponent = math.frexp(peak)[1]
        matrix = _scaled(matrix, exponent)
    enclosure = _enclosed(matrix, variable, engine, imap, values=values)
    try:
        return enclosure.times_two_to(exponent) if exponent else enclosure
    except OverflowError:
        raise UsageError(
            f"the spectral norm of {variable.name!r} is beyond the range of float64", Way("exclude", "leave it out")
        ) from None


def _enclosed(matrix: Matrix, variable: Variable, engine: Engine, imap: Imap, *, values: bool) -> Enclosure:
    """On the device of the engine, where it has one for that and room there; else by NumPy."""
    try:
        held = on_device(matrix, engine)
        if held is not None:
            return _enclose(matrix, held, variable, values=values)
    except MemoryError:
        pass
    return _enclose(matrix, on_host(matrix, imap), variable, values=values)


def _enclose(matrix: Matrix, found: Held, variable: Variable, *, values: bool) -> Enclosure:
    if not math.isfinite(found.squares):
        return NOT_FINITE
    if found.squares == 0:
        return Enclosure(0.0, 0.0, 0.0, 0.0, np.zeros(matrix.side) if values else None)
    lower, value, upper = _largest_eigenvalue(matrix, found)
    down, up = math.sqrt(max(lower, 0.0)) * (1 - 4 * U), math.sqrt(upper) * (1 + 4 * U)
    if not up - down <= WIDTH * down:
        known = f"only known to {(up - down) / down:.1g}, relatively" if math.isfinite(up) else "not known"
        raise EngineError(
            f"the spectral norm of {variable.name!r} is {known}, and {WIDTH:g} is needed",
            Way("exclude", "leave it out"),
        )
    all_values = found.singular_values() if values else None
    return Enclosure(down, math.sqrt(value), up, math.sqrt(found.squares), all_values)


def _scaled(matrix: Matrix, exponent: int) -> Matrix:
    """The matrix times 2**-exponent."""
    return matrix._replace(read=lambda slab: np.ldexp(matrix.read(slab), -exponent))


def _largest_eigenvalue(matrix: Matrix, found: Held) -> tuple[float, float, float]:
    """A lower bound of the largest eigenvalue of the true Gram matrix, its value, and an upper bound.

    A factorization that does not complete says that Lanczos has missed the top, which is a cluster or hidden from its
    start: it starts again from what it found and noise, goes on for longer, and then asks for less.
    """
    size = found.size
    if size == 1:  # a vector
        return found.squares - found.error, found.squares, found.squares + found.error
    refuse_wrong_products(matrix, found)
    slack = max(_SLACK, 8 * size * U)
    lower = value = 0.0
    start = start_vector(size)
    for attempt, residual in enumerate(_RESIDUALS):
        ritz = largest(found, start, residual)
        value = max(value, ritz.value)
        lower = max(lower, found.quotient(ritz.vector) - found.error)
        upper = found.bound_above(value * (1 + slack))
        if math.isfinite(upper):
            return lower, value, (upper + found.error) * (1 + U)
        if attempt:
            slack *= 10
        start = start_vector(size, attempt + 1) / math.sqrt(size) + 4 * ritz.vector / np.linalg.norm(ritz.vector)
    return lower, value, math.inf
