"""The interface of engines: three operations on one block, blocks that they hold, and Gram matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

BLOCK_BYTES = 4 << 20
"""Preferred block size in bytes, per job, on the CPU."""

Given = Any
"""A block as an engine takes it: an array, or what `hold` of this engine made of one."""

SMALL_BYTES = 16 * BLOCK_BYTES
"""Bytes. Jobs take variables up to this size whole, and larger ones block by block."""


class GramSum(Protocol):
    """The Gram matrix of a matrix that comes in parts, in float64, where the engine holds it.

    Every operation raises MemoryError where the engine has no room for it.
    """

    def add(self, rows: npt.NDArray[np.float64]) -> None:
        """Add B'B, for rows B of the matrix."""
        ...

    def add_sides(self, slabs: Iterable[npt.NDArray[np.float64]], columns: int) -> None:
        """Add BB' for the whole matrix B, given in slabs of rows: the sum over so many of its columns at a time."""
        ...

    def diagonal(self) -> npt.NDArray[np.float64]:
        """The sums of squares of the columns of what was added."""
        ...

    def times(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The product with vectors, of shape (side, count)."""
        ...

    def factored(self, omega: float, panel: int) -> tuple[float, float]:
        """Of a Cholesky factor L of B = omega I - G: the largest row sums of |D + D'| / 2 and of |L||L'|, or more.

        D = B - LL' is summed over so many columns of L at a time. Not finite where no factor is found.
        """
        ...

    def whole(self) -> npt.NDArray[np.float64]:
        """The matrix itself."""
        ...


class Engine(Protocol):
    """Three operations on one block of weights, without any policy, and Gram matrices where it is good at them.

    A block is an array of small rank in its stored dtype, or one that `hold` returned; `kept` are its axes that name
    units. Per-unit arrays have the shape of the kept axes and are float64 (exponents: int64).
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def block_bytes(self) -> int:
        """Preferred block size in bytes."""
        ...

    @property
    def room(self) -> int:
        """Bytes of one variable that it may hold; 0 where it computes on arrays as they are."""
        ...

    def hold(self, block: npt.NDArray[Any]) -> Given:
        """The block in the memory where the engine computes, as long as the result is referred to; the block itself
        where that is no other memory, or has no room, and if it is too small to win by it.

        The memory of `block` may be used again as soon as an operation on the result has returned.
        """
        ...

    def gram_sum(self, side: int) -> GramSum | None:
        """A Gram matrix of zeros. Raises MemoryError. None for NumPy, which has tiles instead."""
        ...

    def peaks(self, block: Given, kept: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Largest |x| per unit; NaN for a unit that holds NaN."""
        ...

    def power_sums(
        self, block: Given, kept: tuple[int, ...], p: float, exponents: npt.NDArray[Any] | None
    ) -> npt.NDArray[np.float64]:
        """Sum of (|x| * 2**-exponent) ** p per unit; not finite for a unit that holds NaN or Inf."""
        ...

    def scale(self, block: Given, kept: tuple[int, ...], factors: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """The block times one factor per unit, rounded to nearest; to 16 bit dtypes, toward zero.

        A unit with factor 1 keeps its numbers; a unit with factor NaN keeps its bytes, including NaN payloads. The
        result is valid until the next call on the same thread.
        """
        ...


def others(rank: int, kept: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that name no units, over which sums run."""
    return tuple(axis for axis in range(rank) if axis not in kept)
