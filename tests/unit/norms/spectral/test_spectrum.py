"""Figures of all singular values are those of NumPy's singular values, and of a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.matrices import RANDOM, measured, orthogonal, with_values

from renorm_cli.model.spectral import Spectrum
from renorm_cli.norms.spectral import spectrum as module
from renorm_cli.norms.spectral.spectrum import power_law


def spectrum(array: np.ndarray, blocks: tuple[int, ...] = ()) -> Spectrum:
    row = measured(array, blocks=blocks, spectrum=True)
    assert row.spectral is not None
    assert row.spectral.spectrum is not None
    return row.spectral.spectrum


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (3, 30, 20)])
def test_effective_rank_and_condition_are_those_of_numpy(shape: tuple[int, ...]) -> None:
    array = RANDOM.standard_normal(shape)
    values = np.linalg.svd(array, compute_uv=False).ravel()  # of all blocks together
    shares = values / values.sum()
    found = spectrum(array, blocks=() if len(shape) == 2 else (0,))
    assert found.effective_rank == pytest.approx(math.exp(-sum(one * math.log(one) for one in shares)), rel=1e-9)
    assert found.condition == pytest.approx(values.max() / values.min(), rel=1e-7)


def test_equal_singular_values_have_full_effective_rank_and_condition_one() -> None:
    found = spectrum(3 * orthogonal(50, 50))
    assert found.effective_rank == pytest.approx(50)
    assert found.condition == pytest.approx(1)


@pytest.mark.parametrize(("smallest", "known"), [(1e-4, True), (2e-6, True), (1e-7, False), (0.0, False)])
def test_a_condition_number_is_known_up_to_a_million(smallest: float, known: bool) -> None:
    found = spectrum(with_values(40, 30, [*np.linspace(1, 0.5, 29), smallest]))
    assert found.condition == (pytest.approx(1 / smallest, rel=1e-3) if known else None)


def test_the_histogram_counts_every_eigenvalue() -> None:
    values = np.array([10.0, 1, 1, 0.1, 0])
    found = spectrum(with_values(8, 5, values))
    assert (found.low, found.high) == (pytest.approx(-10), pytest.approx(2))
    assert sum(found.counts) == 5
    assert found.counts[0] == found.counts[-1] == 1


@pytest.mark.parametrize("scale", [2.0**-1060, 2.0**-600, 2.0**600, 2.0**1000])
def test_a_spectrum_is_told_over_all_of_float64_and_a_law_where_eigenvalues_are_float64s(scale: float) -> None:
    small = np.outer(np.ones(5), np.ones(5))
    array = np.block([[small, np.zeros((5, 20))], [np.zeros((20, 5)), 2.0 ** np.arange(0, -20, -1) * np.eye(20)]])
    found = spectrum(array * scale)
    assert found.high == pytest.approx(2 * math.log10(5) + 2 * math.log10(scale), abs=1e-3)
    assert math.isfinite(found.low)
    assert sum(found.counts) == 25
    assert found.power_law is None
    assert spectrum(array).power_law is not None


def by_a_loop(eigenvalues: np.ndarray) -> tuple[float, float, float]:
    """alpha, least eigenvalue and distance as the definition has them."""
    ordered = sorted(eigenvalues)
    best = (math.nan, math.nan, math.inf)
    for first in range(len(ordered) - 8):
        tail = ordered[first:]
        total = sum(math.log(one / tail[0]) for one in tail)
        alpha = 1 + len(tail) / total
        laws = [1 - (one / tail[0]) ** (1 - alpha) for one in tail]
        distance = max(abs(law - at / len(tail)) for at, law in enumerate(laws))
        if distance < best[2]:
            best = alpha, tail[0], distance
    return best


@pytest.mark.parametrize("alpha", [2.0, 3.0, 4.0])
def test_a_power_law_is_found_and_is_the_one_of_a_plain_loop(alpha: float) -> None:
    eigenvalues = np.random.RandomState(3).pareto(alpha - 1, 300) + 1
    found = power_law(np.sqrt(eigenvalues))
    assert found is not None
    assert tuple(found) == pytest.approx(by_a_loop(eigenvalues), rel=1e-9)
    assert found.alpha == pytest.approx(alpha, rel=0.25)
    assert found.distance < 0.06


def test_values_that_follow_no_law_are_far_from_it_and_too_few_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = power_law(np.full(50, 2.0) + np.arange(50) % 2)
    assert found is not None
    assert found.distance > 0.2
    assert power_law(np.full(50, 2.0)) is None
    assert power_law(np.arange(1.0, 9.0)) is None
    monkeypatch.setattr(module, "_MOST_FITTED", 100)
    assert power_law(np.arange(1.0, 120.0)) is None
