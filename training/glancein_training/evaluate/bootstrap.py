"""Confidence intervals by resampling people, not pictures: pictures of one person are not independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the interval it lies in; both ends None where the data cannot tell."""

    value: float
    low: float | None = None
    high: float | None = None


def person_weights(people: int, count: int, *, seed: int) -> Weights:
    """(count, people) how often each person is drawn in each resample (Efron 1979)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(people, np.full(people, 1 / people), size=count).astype(np.float64)


def estimate(value: float, resampled: NDArray[np.floating] | list[float], *, level: float = 0.95) -> Estimate:
    """The figure with its percentile interval; without one if a resample could not be evaluated."""
    samples = np.asarray(resampled, np.float64)
    if len(samples) < 2 or not np.isfinite(samples).all():
        return Estimate(float(value))
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high))
