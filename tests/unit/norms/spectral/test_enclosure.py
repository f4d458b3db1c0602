"""A spectral norm is where it is proven to be, as NumPy's singular values and mpmath's have it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.effort import examples
from support.matrices import KINDS, RANDOM, hadamard, largest, measured, orthogonal, wide, with_values
from support.tensors import DTYPES, dtype_of

from renorm_cli.errors import EngineError, UsageError
from renorm_cli.model.spectral import Spectral
from renorm_cli.norms.spectral import enclosure, gram, matrices, proof
from renorm_cli.norms.spectral.lanczos import Ritz
from renorm_cli.norms.spectral.tiles import Symmetric, gamma
from renorm_cli.parallel.threads import threads

SVD = 2e-14
"""How far, relatively, NumPy's largest singular value may be off."""


def found(array: np.ndarray, **how: Any) -> Spectral:
    row = measured(array, **how)
    assert row.spectral is not None
    assert row.norm is not None
    assert row.norm.max == row.spectral.norm
    return row.spectral


def assert_encloses(one: Spectral, norm: float, off: float = SVD) -> None:
    assert one.lower <= norm * (1 + off)
    assert norm <= one.upper * (1 + off)
    assert one.lower <= one.norm * (1 + off) <= one.upper * (1 + 2 * off)
    assert one.upper - one.lower <= 1e-8 * one.lower


def sizes(count: int) -> list[tuple[int, int]]:
    several = np.exp(RANDOM.uniform(0, 5.8, (count, 2))).astype(int)
    return [(1, 1), (1, 7), (7, 1), *((int(rows), int(columns)) for rows, columns in several)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_is_inside_its_enclosure_and_so_is_that_of_numpy(kind: str, dtype: str) -> None:
    for rows, columns in sizes(examples(24)):
        with np.errstate(all="ignore"):
            array = KINDS[kind](rows, columns).astype(dtype_of(dtype))
        if not np.isfinite(wide(array)).all() or not array.any():
            continue
        norm = largest(array)
        assert_encloses(found(array), norm)
        one = found(array)
        assert one.frobenius == pytest.approx(np.linalg.norm(wide(array)), rel=1e-12)
        assert one.stable_rank == pytest.approx((np.linalg.norm(wide(array)) / norm) ** 2, rel=1e-7)
        assert one.rms_norm == pytest.approx(norm * math.sqrt(rows / columns), rel=1e-7)


def test_sixty_digits_of_mpmath_are_inside_the_enclosure() -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        for number in range(examples(40)):
            array = RANDOM.standard_normal(RANDOM.randint(1, 9, 2)) * 10.0 ** RANDOM.randint(-3, 4)
            array = array.astype(("float32", "float64", "float16")[number % 3])
            exact = mpmath.matrix([[mpmath.mpf(float(value)) for value in row] for row in array])
            norm = max(mpmath.svd_r(exact, compute_uv=False))
            one = found(array)
            assert mpmath.mpf(one.lower) <= norm <= mpmath.mpf(one.upper)


EXACT: dict[str, tuple[Callable[[], np.ndarray], float]] = {
    "identity": (lambda: np.eye(100), 1),
    "permutation": (lambda: np.eye(100)[RANDOM.permutation(100)], 1),
    "Hadamard": (lambda: hadamard(64), 8),
    "ones": (lambda: np.ones((100, 81)), 90),
    "a vector": (lambda: np.array([[3.0, 4.0]]), 5),
    "a diagonal of two close values": (lambda: np.diag([1, 1 - 2.0**-24]), 1),
    "the largest hidden from others": (lambda: np.diag([2.0, *np.ones(99)]), 2),
    "a block below zeros": (lambda: np.pad(hadamard(4), (40, 60)), 2),
    "ten within 1e-9": (lambda: with_values(120, 80, [*(1 - 1e-9 * np.arange(10)), *np.linspace(0.9, 0, 70)]), 1),
    "two within 1e-13": (lambda: with_values(120, 80, [1, 1 - 1e-13, *np.linspace(0.9, 0, 70)]), 1),
    "falling to 1e-16": (lambda: with_values(120, 80, 10.0 ** np.linspace(0, -16, 80)), 1),
}


@pytest.mark.parametrize("name", EXACT)
def test_norms_that_are_known_are_found(name: str) -> None:
    make, norm = EXACT[name]
    one = found(make())
    assert_encloses(one, norm, 1e-15 if name in ("a vector", "ones") else 4e-15)
    assert one.norm == pytest.approx(norm, rel=5e-9 if "within" in name else 1e-12)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 2.0**-1060, 2.0**900])
def test_float64_is_measured_over_all_of_its_range(scale: float) -> None:
    array = RANDOM.standard_normal((40, 30)) * scale
    norm = largest(array)
    one = found(array)
    assert one.lower <= norm * (1 + SVD) + 5e-324
    assert norm * (1 - SVD) - 5e-324 <= one.upper


def test_a_norm_beyond_float64_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"the spectral norm of 'w' is beyond the range of float64; leave it out"):
        measured(np.full((10, 10), 1e308))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_have_norm_zero_and_no_rank(dtype: str) -> None:
    one = found(np.zeros((5, 6), dtype_of(dtype)), spectrum=True)
    assert (one.lower, one.norm, one.upper, one.frobenius, one.stable_rank, one.spectrum) == (0, 0, 0, 0, None, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_matrix_with_nan_or_inf_has_no_norm(dtype: str, bad: float) -> None:
    array = np.ones((30, 20), dtype_of(dtype))
    array[7, 3] = bad
    row = measured(array)
    assert (row.nonfinite, row.norm, row.spectral) == (1, None, None)


LAYOUTS = [
    ((40, 30), (1,), ()),
    ((40, 30), (0,), ()),
    ((30, 40), (1,), ()),
    ((3, 3, 5, 7), (3,), ()),
    ((3, 3, 5, 7), (2,), ()),
    ((3, 3, 5, 7), (0, 1, 3), ()),
    ((4, 5, 6, 7), (1, 3), ()),
    ((6, 5, 1), (0, 1), ()),
    ((1, 50), (1,), ()),
    ((7,), (), ()),
    ((7,), (0,), ()),
    ((), (), ()),
    ((3, 3, 6, 2), (3,), (2,)),
    ((4, 6, 5), (2,), (0,)),
    ((4, 1, 5), (2,), (0,)),
    ((4, 6, 5), (1,), (0, 2)),
    ((2, 3, 4, 5), (3,), (0, 1)),
]


def unfolded(array: np.ndarray, columns: tuple[int, ...], blocks: tuple[int, ...]) -> list[np.ndarray]:
    """The matrices by a plain loop."""
    rows = [axis for axis in range(array.ndim) if axis not in (*columns, *blocks)]
    width = math.prod(array.shape[axis] for axis in columns)
    several = array.transpose(*blocks, *rows, *columns)
    return [several[index].reshape(-1, width) for index in np.ndindex(several.shape[: len(blocks)])]


@pytest.mark.parametrize(("shape", "columns", "blocks"), LAYOUTS)
@pytest.mark.parametrize("elements", [1 << 21, 8])
def test_a_matrix_is_read_from_every_layout_in_parts_of_any_size(
    shape: tuple[int, ...],
    columns: tuple[int, ...],
    blocks: tuple[int, ...],
    elements: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = RANDOM.standard_normal(shape).astype(np.float32)
    monkeypatch.setattr(matrices.matrices, "__defaults__", (elements,))
    row = measured(array, columns=columns, blocks=blocks, block_bytes=64)
    norms = [largest(matrix) for matrix in unfolded(array, columns, blocks)]
    assert row.units == len(norms)
    assert row.norm is not None
    assert row.norm.max == pytest.approx(max(norms), rel=1e-12)
    assert row.norm.min == pytest.approx(min(norms), rel=1e-12)
    one = row.spectral
    assert one is not None
    assert (one.rows, one.columns) == unfolded(array, columns, blocks)[0].shape
    assert one.matrices == len(norms)
    assert one.frobenius == pytest.approx(float(np.linalg.norm(array)), rel=1e-6)
    places = list(np.ndindex(*(shape[axis] for axis in blocks)))
    assert row.worst[0].index == places[int(np.argmax(norms))]


def test_blocks_of_very_different_sizes_are_measured_each_for_itself() -> None:
    array = RANDOM.standard_normal((3, 8, 8)) * np.array([1e-200, 1, 1e200]).reshape(3, 1, 1)
    row = measured(array, blocks=(0,))
    assert [unit.norm for unit in row.worst] == pytest.approx([largest(one) for one in array[::-1]], rel=1e-12)


@pytest.mark.parametrize("shape", [(900, 700), (600, 1500)])
def test_the_bits_are_the_same_on_any_number_of_jobs(shape: tuple[int, int]) -> None:
    array = RANDOM.standard_normal(shape).astype(np.float32)
    alone = found(array)
    for jobs in (2, 3, 8):
        with threads(jobs) as imap:
            assert found(array, imap=imap) == alone


def test_a_matrix_in_an_unnamed_file_has_the_same_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    array = RANDOM.standard_normal((40, 50)).astype(np.float32)
    turned = RANDOM.standard_normal((3, 6, 5)).astype(np.float32)
    in_memory = found(array), found(turned, columns=(1,))
    monkeypatch.setattr(gram.room, "__defaults__", (0,))
    monkeypatch.setattr(matrices, "_REARRANGED", 0)
    assert (found(array), found(turned, columns=(1,))) == in_memory


def test_a_matrix_without_room_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gram.room, "__defaults__", (0,))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(EngineError, match=r"a matrix needs 7,200 bytes .*: No such file or directory; make room"):
        measured(np.ones((40, 30), np.float32))


# What a broken part of it does


def test_a_blas_that_multiplies_wrongly_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    true = gram._tall

    def lies(matrix: Any, upper: np.ndarray, imap: Any) -> None:
        true(matrix, upper, imap)
        upper[3, 5] *= 1.001

    monkeypatch.setattr(gram, "_tall", lies)
    with pytest.raises(EngineError, match="BLAS, as NumPy has it here, multiplies matrices wrongly: 2 of 200 sums"):
        measured(RANDOM.standard_normal((500, 200)))


@pytest.mark.parametrize("off", [1, -1])
@pytest.mark.parametrize("columns", [1, 2])
def test_an_enclosure_holds_where_all_sums_are_off_by_as_much_as_rounding_can(
    columns: int, off: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by fractions: the square of the norm is the number of rows."""
    rows = 5000
    array = np.zeros((rows, columns), np.float32)
    array[:, 0] = 1
    true = gram._tall

    def rounds(matrix: Any, upper: np.ndarray, imap: Any) -> None:
        true(matrix, upper, imap)
        upper *= 1 + off * gamma(rows)

    monkeypatch.setattr(gram, "_tall", rounds)
    one = found(array)
    assert Fraction(one.lower) ** 2 <= rows <= Fraction(one.upper) ** 2


def test_a_factorization_that_always_succeeds_makes_no_bound_that_is_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    array = RANDOM.standard_normal((400, 300))
    upper = array.T @ array
    highest = float(np.linalg.eigvalsh(upper)[-1])
    true = np.linalg.cholesky

    def succeeds(corner: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(corner)
        return np.asarray(true((vectors * np.maximum(values, 1e-6)) @ vectors.T + 1e-9 * np.eye(len(corner))))

    assert proof.bound_above(upper.copy(), highest * (1 - 1e-9), map) == math.inf
    assert highest <= proof.bound_above(upper.copy(), highest * (1 + 1e-9), map) <= highest * (1 + 2e-9)
    monkeypatch.setattr(np.linalg, "cholesky", succeeds)
    for part in (0.5, 0.9, 0.999, 1.0, 1.01):
        assert proof.bound_above(upper.copy(), highest * part, map) >= highest


def test_a_search_that_misses_the_largest_is_an_error_and_no_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    def second(matrix: Symmetric, start: np.ndarray, residual: float) -> Ritz:
        whole = np.array([matrix.times(one) for one in np.eye(matrix.size)])
        values, vectors = np.linalg.eigh(whole)
        return Ritz(float(values[-2]), vectors[:, -2])

    monkeypatch.setattr(enclosure, "largest", second)
    with pytest.raises(EngineError, match=r"the spectral norm of 'w' is (only known to|not known)"):
        measured(RANDOM.standard_normal((60, 50)))


def test_a_norm_that_is_known_too_badly_is_an_error_that_says_how_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosure, "WIDTH", 1e-12)
    with pytest.raises(EngineError, match=r"'w' is only known to \d+e-\d+, relatively, and 1e-12 is needed; leave it"):
        measured(RANDOM.standard_normal((60, 50)))


def test_a_cluster_that_hides_its_largest_is_found_by_trying_again() -> None:
    one = found(orthogonal(400, 400).astype(np.float32))
    assert_encloses(one, 1, 1e-7)


@pytest.mark.parametrize("width", [1e-9, 1e-8])
def test_clusters_are_known_as_well(width: float) -> None:
    for _ in range(examples(64)):
        array = with_values(120, 80, [*(1 - width * np.arange(10)), *np.linspace(0.9, 0, 70)])
        assert_encloses(found(array), largest(array))
