"""Matrices of every kind, and what is found of an array that is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from renorm_cli.model.constraint import Constraint
from renorm_cli.model.norm import SpectralNorm
from renorm_cli.model.plan import Step
from renorm_cli.model.report import Row
from renorm_cli.model.variable import Variable
from renorm_cli.norms.engines.base import Engine
from renorm_cli.norms.engines.numpy_engine import NumpyEngine
from renorm_cli.parallel.threads import Imap
from renorm_cli.run.matrices import run_matrices
from renorm_cli.run.steps import Work
from support.memory import Tensor

RANDOM = np.random.RandomState(21)


def orthogonal(rows: int, columns: int) -> np.ndarray:
    """Orthonormal columns, or rows where these are fewer."""
    found = np.linalg.qr(RANDOM.standard_normal((max(rows, columns), min(rows, columns))))[0]
    return found if rows >= columns else found.T


def with_values(rows: int, columns: int, values: Iterable[float]) -> np.ndarray:
    """A matrix with these singular values."""
    values = np.array(list(values))
    return (orthogonal(rows, values.size) * values) @ orthogonal(columns, values.size).T


def hadamard(size: int) -> np.ndarray:
    found = np.ones((1, 1))
    while len(found) < size:
        found = np.block([[found, found], [found, -found]])
    return found


KINDS: Mapping[str, Callable[[int, int], np.ndarray]] = {
    "normal": lambda rows, columns: RANDOM.standard_normal((rows, columns)),
    "one above noise": lambda rows, columns: (
        np.outer(RANDOM.standard_normal(rows), RANDOM.standard_normal(columns))
        + 1e-3 * RANDOM.standard_normal((rows, columns))
    ),
    "rank 1": lambda rows, columns: np.outer(RANDOM.standard_normal(rows), RANDOM.standard_normal(columns)),
    "orthogonal": orthogonal,
    "identity": lambda rows, columns: np.eye(rows, columns),
    "integers": lambda rows, columns: np.round(RANDOM.standard_normal((rows, columns))),
    "rows far apart": lambda rows, columns: (
        RANDOM.standard_normal((rows, columns)) * 10.0 ** RANDOM.uniform(-4, 4, (rows, 1))
    ),
    "signs": lambda rows, columns: np.where(RANDOM.rand(rows, columns) < 0.5, 1.0, -1.0),
    "sparse": lambda rows, columns: (
        RANDOM.standard_normal((rows, columns)) * (RANDOM.rand(rows, columns) < 0.1) + np.eye(rows, columns)
    ),
    "power law": lambda rows, columns: with_values(
        rows, columns, np.arange(1, min(rows, columns) + 1, dtype=float) ** -0.7
    ),
}


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def largest(matrix: np.ndarray) -> float:
    """The largest singular value as NumPy has it, of a matrix that is scaled first, as its squares can overflow."""
    scale = 2.0 ** np.frexp(np.abs(wide(matrix)).max())[1] if matrix.any() else 1.0
    return float(np.linalg.svd(wide(matrix) / scale, compute_uv=False)[0]) * scale


def matrix_step(
    array: np.ndarray,
    limit: float | None = None,
    columns: tuple[int, ...] = (-1,),
    blocks: tuple[int, ...] = (),
    spatial: tuple[int, ...] | None = None,
) -> Step:
    """A step for matrices; with `spatial` axes they are a convolution that is bounded as an operator."""
    variable = Variable("w", "w", array.shape, array.dtype.name)
    constraint = Constraint(limit, SpectralNorm(operator=spatial is not None), "tensor")
    rank = array.ndim
    return Step(
        variable,
        "kernel",
        tuple(axis % rank for axis in blocks),
        "option",
        constraint,
        columns=tuple(axis % rank for axis in columns if rank),
        spatial=tuple(axis for axis in spatial or () if array.shape[axis] > 1),
    )


def measured(
    array: np.ndarray,
    limit: float | None = None,
    columns: tuple[int, ...] = (-1,),
    blocks: tuple[int, ...] = (),
    spatial: tuple[int, ...] | None = None,
    imap: Imap = map,
    engine: Engine | None = None,
    **work: Any,
) -> Row:
    """The row of an array whose matrices have these columns, and blocks along these axes."""
    step = matrix_step(array, limit, columns, blocks, spatial)
    (row,) = run_matrices([step], Work(Tensor(array), engine or NumpyEngine(), **work), imap)
    return row


def scaled(
    array: np.ndarray,
    limit: float,
    engine: Engine | None = None,
    *,
    blocks: tuple[int, ...] = (),
    spatial: tuple[int, ...] | None = None,
    **work: Any,
) -> tuple[np.ndarray, Row]:
    """What `apply` would store, and the row."""
    sink = Tensor(array.copy())
    done = Work(Tensor(array), engine or NumpyEngine(), bound=True, **({"sink": sink} | work))
    (row,) = run_matrices([matrix_step(array, limit, blocks=blocks, spatial=spatial)], done)
    return sink.array, row
