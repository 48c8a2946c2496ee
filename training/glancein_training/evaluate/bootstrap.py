"""Confidence intervals by resampling people, not pictures: pictures of one person are not independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Indices = NDArray[np.int64]
Interval = tuple[float, float] | None  # both ends, or None where the data cannot tell
ENDS = (0.025, 0.975)  # of an interval of 95 %


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


def estimate(value: float, resampled: NDArray[np.floating] | list[float]) -> Estimate:
    """The figure with its percentile interval; without one if a resample could not be evaluated."""
    return Estimate(float(value), *(percentiles(resampled) or ()))


def percentiles(resampled: NDArray[np.floating] | list[float]) -> Interval:
    """The interval alone, for a figure that stands beside it; None as ``estimate`` has none."""
    samples = np.asarray(resampled, np.float64)
    if len(samples) < 2 or not np.isfinite(samples).all():
        return None
    low, high = np.quantile(samples, ENDS)
    return float(low), float(high)


def pair_counts(weight: Weights, first: Indices, second: Indices) -> Weights:
    """(m,) how often each pair is there when its people are drawn so often, nobody paired with a copy.

    A genuine pair as often as its person, an impostor pair by the product of both.
    """
    return np.where(first == second, weight[first], weight[first] * weight[second])


def cumulated(counts: Weights) -> Weights:
    """(m + 1,) sums of the first 0, 1, ... m."""
    return np.concatenate([[0.0], np.cumsum(counts)])


def half_samples(people: int, count: int, *, seed: int) -> NDArray[np.bool_]:
    """(count, people) which half of the people is left in each time: nobody twice, unlike a resample."""
    rng = np.random.default_rng(seed)
    rank = np.argsort(rng.random((count, people)), axis=1)
    return np.asarray(rank < people // 2, np.bool_)


def jackknife_percentiles(value: float, halves: NDArray[np.floating] | list[float], people: int) -> Interval:
    """The interval of a figure from the same figure of random halves of the people (delete-d jackknife).

    For figures that may not see anybody twice. Halves of the people vary as all of them would from one draw
    to the next: the scale sqrt((people - d) / d) is 1 at half (Shao and Wu 1989; for the percentiles Wu 1990,
    "On the asymptotic properties of the jackknife histogram"). About their own mean, as fewer people may be
    easier throughout. Ends lie in [-1, 1].
    """
    samples = np.asarray(halves, np.float64)
    kept = people // 2
    if kept == 0 or len(samples) == 0:
        return None
    spread = (samples - samples.mean()) * np.sqrt(kept / (people - kept))
    return percentiles(np.clip(value + spread, -1, 1))
