"""Which part of the values int8 covers."""

from __future__ import annotations

import numpy as np
import pytest

from glancein_convert.ranges import BINS, METHODS, Histogram, choose


def histogram(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Histogram:
    """The histogram of some values."""
    low, high = float(values.min()), float(values.max())
    return Histogram(low, high, np.histogram(values, BINS, (low, high))[0])


VALUES = np.random.default_rng(0).normal(size=200_000)


def test_minmax_covers_everything_and_zero() -> None:
    """All values, and zero even where no value is near it."""
    assert choose(histogram(VALUES), "minmax") == (VALUES.min(), VALUES.max())
    assert choose(histogram(VALUES + 10), "minmax")[0] == 0


def test_percentile_leaves_out_its_share() -> None:
    """p99.99 cuts five values of a hundred thousand on each side."""
    low, high = choose(histogram(VALUES), "p99.99")

    assert np.mean((low > VALUES) | (high < VALUES)) == pytest.approx(1e-4, abs=1e-4)


def test_least_error_cuts_a_lonely_outlier() -> None:
    """One value far out is clipped rather than every other one coarsened."""
    with_outlier = np.append(VALUES[:5000], 1000.0)

    _, high = choose(histogram(with_outlier), "mse")

    assert high < 1000


@pytest.mark.parametrize("method", METHODS)
def test_activation_after_relu_starts_at_zero(method: str) -> None:
    """No step is wasted on negative values that cannot occur."""
    low, high = choose(histogram(np.maximum(VALUES, 0)), method)  # type: ignore[arg-type]  # from METHODS

    assert low == 0
    assert high > 3
