"""The spectral norms of the matrices of one variable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from renorm_cli.model.blocks import Block, grid_shape
from renorm_cli.model.norm import SpectralNorm
from renorm_cli.model.plan import Step
from renorm_cli.model.spectral import Span
from renorm_cli.norms.engines.base import SMALL_BYTES, Engine
from renorm_cli.norms.engines.held import Held
from renorm_cli.norms.error_free import Float64
from renorm_cli.norms.spectral.convolution import frequencies, operator
from renorm_cli.norms.spectral.enclosure import Enclosure, enclose
from renorm_cli.norms.spectral.held import for_a_device
from renorm_cli.norms.spectral.matrices import kernels, matrices
from renorm_cli.norms.spectral.tiles import TILE, U
from renorm_cli.parallel.threads import Imap

Read = Callable[[Block], npt.NDArray[Any]]


class SpectralMeasure:
    """Measures the spectral norm of each matrix, in float64, on the device of the engine where it is good at that."""

    def __init__(self, norm: SpectralNorm) -> None: ...

    def units(
        self,
        step: Step,
        engine: Engine,
        read: Read,
        blocks: Sequence[Block],
        imap: Imap,
        advance: Callable[[int], None] = lambda nbytes: None,
        read_again: Read | None = None,
        held: Held | None = None,
    ) -> Float64:
        """The norms of the matrices in `blocks`, as the part of the unit grid they cover; see `measure`."""
        found = enclosures(step, engine, read, blocks, imap)
        advance(step.variable.nbytes * sum(block.elements for block in blocks) // step.variable.elements)
        return bounded_norms(found, grid_shape(_region(blocks).shape, step.unit_axes))


def bounded_norms(found: Sequence[Enclosure], grid: tuple[int, ...]) -> Float64:
    """What is held against a bound, of matrices in the order of the unit grid."""
    return np.array([one.bounded for one in found]).reshape(grid)


def enclosures(
    step: Step, engine: Engine, read: Read, blocks: Sequence[Block], imap: Imap, *, values: bool = False
) -> list[Enclosure]:
    """The enclosures of the matrices in `blocks`, which share none with others, in the order of the unit grid.

    With `values`, they have all singular values. Several blocks are read in other parts, and again: `read` must give
    any block then.
    """
    region = _region(blocks)
    if len(blocks) == 1:
        held, origin = read(blocks[0]), tuple(-at for at in region.start)
        read = lambda block: held[block.shifted(origin).box]  # noqa: E731
    found = [enclose(matrix, step.variable, engine, imap, values=values) for matrix in matrices(step, read, region)]
    if not _is_operator(step):
        return found
    sizes = tuple(step.variable.shape[axis] for axis in step.spatial)
    return [
        _as_operator(one, kernel, sizes, imap) for one, kernel in zip(found, kernels(step, read, region), strict=True)
    ]


def _as_operator(found: Enclosure, kernel: Float64, sizes: tuple[int, ...], imap: Imap) -> Enclosure:
    """With the operator norm: from that of the matrix to that times the square root of the positions, or less."""
    if not 0 < found.upper < math.inf:
        return found._replace(operator=Span(found.lower, found.upper))
    exponent = math.frexp(found.upper)[1]
    widest = Span(found.lower, found.upper * math.sqrt(math.prod(sizes)) * (1 + 4 * U))
    on_grid = operator(np.ldexp(kernel, -exponent), sizes, imap) or Span(0.0, math.inf)
    with np.errstate(over="ignore"):
        low, high = (float(np.ldexp(number, exponent)) for number in on_grid)
    return found._replace(operator=Span(max(widest.lower, low), min(widest.upper, math.nextafter(high, math.inf))))


def _is_operator(step: Step) -> bool:
    """Whether the operator norm of a convolution is asked for."""
    norm = step.constraint.norm
    return isinstance(norm, SpectralNorm) and norm.operator and bool(step.spatial)


def sides(step: Step) -> tuple[int, int]:
    """The rows and the columns of each matrix."""
    shape = step.variable.shape
    columns = math.prod(shape[axis] for axis in step.columns)
    return step.variable.elements // columns // math.prod(shape[axis] for axis in step.unit_axes), columns


def weight(step: Step) -> int:
    """The bytes of a variable, by which jobs are given work: all of them do a large matrix together, as its Gram matrix
    can be larger than the variable."""
    large = step.constraint.is_spectral and (min(sides(step)) > TILE or _is_operator(step))
    return max(step.variable.nbytes, SMALL_BYTES + 1) if large else step.variable.nbytes


def products(step: Step) -> float:
    """The multiplications of float64 that the spectral norms take: of rows and columns, and of a factorization."""
    rows, columns = sides(step)
    side = min(rows, columns)
    return step.variable.elements * side + step.variable.elements // (rows * columns) * side**3 * 0.3


def on_device(step: Step) -> float:
    """Those of them that a device would do, should there be one."""
    return products(step) if for_a_device(*sides(step)) else 0.0


def operator_work(step: Step) -> float:
    """The products of rows and columns that the operator norms of a convolution take."""
    if not _is_operator(step):
        return 0.0
    sizes = tuple(step.variable.shape[axis] for axis in step.spatial)
    rows, columns = sides(step)
    inner = rows // math.prod(sizes)
    small, blocks = min(inner, columns), step.variable.elements // (rows * columns)
    return 0.0 if small == 1 else blocks * frequencies(sizes, small) * 8 * small**2 * (inner + columns)


def _region(blocks: Sequence[Block]) -> Block:
    """The box that blocks cover together."""
    first, last = blocks[0], blocks[-1]
    ends = (at + size for at, size in zip(last.start, last.shape, strict=True))
    return Block(first.start, tuple(end - at for end, at in zip(ends, first.start, strict=True)))
