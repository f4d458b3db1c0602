"""The distribution of norms, against NumPy's quantiles and plain counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import examples

from renorm_cli.norms import distribution
from renorm_cli.norms.distribution import BINS, Distribution

NORMS = st.lists(st.floats(0, allow_infinity=False, max_value=1e300), min_size=1, max_size=60)


def collected(norms: list[float], parts: int = 1, bucketed: bool = False) -> Distribution:
    found = Distribution(distribution.KEEP + 1 if bucketed else len(norms))
    for part in np.array_split(np.array(norms), parts):
        found.add(part)
    return found


@given(norms=NORMS, parts=st.integers(1, 5))
def test_few_norms_have_the_quantiles_that_numpy_finds(norms: list[float], parts: int) -> None:
    stats = collected(norms, parts).stats()
    assert stats is not None
    assert (stats.min, stats.max) == (min(norms), max(norms))
    assert (stats.median, stats.p95) == tuple(np.quantile(norms, (0.5, 0.95)))
    assert stats.mean == pytest.approx(math.fsum(norms) / len(norms), rel=1e-13, abs=5e-324)


@given(norms=NORMS, parts=st.integers(1, 5))
@settings(max_examples=examples(30), deadline=None)  # two million buckets each
def test_many_norms_have_quantiles_within_a_thousandth(norms: list[float], parts: int) -> None:
    stats = collected(norms, parts, bucketed=True).stats()
    assert stats is not None
    assert (stats.min, stats.max) == (min(norms), max(norms))
    assert stats.mean == pytest.approx(math.fsum(norms) / len(norms), rel=1e-13, abs=5e-324)
    for found, share in ((stats.median, 0.5), (stats.p95, 0.95)):
        low, high = np.quantile(norms, share, method="lower"), np.quantile(norms, share, method="higher")
        assert low * (1 - 1e-3) <= found <= high * (1 + 1e-3) + 1e-307


def test_a_million_norms_in_buckets_agree_with_the_exact_ones_within_a_thousandth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    norms = np.random.default_rng(5).gamma(2.0, size=1_000_000)
    monkeypatch.setattr(distribution, "KEEP", 1000)
    found = Distribution(norms.size)
    for part in np.array_split(norms, 7):
        found.add(part)
    stats = found.stats()
    assert stats is not None
    assert [stats.median, stats.p95] == pytest.approx(list(np.quantile(norms, (0.5, 0.95))), rel=1e-3)
    assert [stats.min, stats.mean, stats.max] == pytest.approx([norms.min(), norms.mean(), norms.max()], rel=1e-12)
    exact, _ = np.histogram(norms, BINS)
    assert np.abs(np.array(list(found.histogram())) - exact).max() <= 0.001 * norms.size


@given(norms=NORMS, bucketed=st.booleans())
@settings(max_examples=examples(40), deadline=None)
def test_the_histogram_counts_every_finite_norm_once(norms: list[float], bucketed: bool) -> None:
    histogram = collected([*norms, math.nan, math.inf], bucketed=bucketed).histogram()
    assert len(histogram) == BINS
    assert sum(histogram) == len(norms)


@given(norms=st.lists(st.integers(0, 1000).map(float), min_size=2, max_size=60, unique=True))
def test_the_histogram_is_that_of_numpy(norms: list[float]) -> None:
    found = np.array(list(collected(norms).histogram()))
    expected, edges = np.histogram(norms, BINS)
    on_an_edge = np.isclose(np.subtract.outer(np.array(norms), edges), 0, atol=1e-9).any(axis=1).sum()
    assert np.abs(found - expected).sum() <= 2 * on_an_edge


@pytest.mark.parametrize("bucketed", [False, True])
def test_without_a_finite_norm_there_is_nothing_to_say(bucketed: bool) -> None:
    found = collected([math.nan, math.inf], bucketed=bucketed)
    assert found.stats() is None
    assert found.histogram() == ()


@pytest.mark.parametrize("bucketed", [False, True])
def test_norms_that_are_all_the_same_have_that_number_everywhere(bucketed: bool) -> None:
    found = collected([0.3] * 7, bucketed=bucketed)
    stats = found.stats()
    assert stats is not None
    assert {stats.min, stats.median, stats.mean, stats.p95, stats.max} == {0.3}
    assert sum(found.histogram()) == 7
