"""The three block operations that every engine has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCK_BYTES = 4 << 20
"""Weights in memory at once, per job, where the CPU computes."""


SMALL_BYTES = 16 * BLOCK_BYTES
"""Variables up to this size are spread over the jobs whole, larger ones block by block."""


class Engine(Protocol):
    """Three operations on one block of weights; they hold no policy.

    A block is a small-rank array in its stored dtype, `kept` are its axes that name units. Per-unit arrays have the
    shape of the kept axes and are float64 (exponents: int64).
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def block_bytes(self) -> int:
        """How many bytes of weights it is best given at a time."""
        ...

    def peaks(self, block: npt.NDArray[Any], kept: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Largest |x| per unit, NaN where a unit holds NaN."""
        ...

    def power_sums(
        self, block: npt.NDArray[Any], kept: tuple[int, ...], p: float, exponents: npt.NDArray[Any] | None
    ) -> npt.NDArray[np.float64]:
        """Sum of (|x| * 2**-exponent) ** p per unit; not finite where a unit holds NaN or Inf."""
        ...

    def scale(
        self, block: npt.NDArray[Any], kept: tuple[int, ...], factors: npt.NDArray[np.float64]
    ) -> npt.NDArray[Any]:
        """The block times one factor per unit, rounded to nearest; of 16 bits, toward zero.

        A unit whose factor is 1 keeps its numbers, one whose factor is NaN its bytes, also those of a NaN in it. The
        result is valid until the next call on the same thread.
        """
        ...


def others(rank: int, kept: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that name no units: those that sums run over."""
    return tuple(axis for axis in range(rank) if axis not in kept)
