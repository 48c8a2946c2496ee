"""How far off the labels themselves are: three raters of the same landmarks tell each one's own error.

Where the errors of three raters have nothing to do with each other, the variance of a difference is the sum
of two raters' variances, and three differences give three variances (Grubbs 1948, "On Estimating Precision of
Measuring Instruments and Product Variability", section 2; the "three-cornered hat" of Gray and Allan 1974).
What two raters have in common, such as what one learnt from the other, goes unseen: it is counted as the
third's. Each rater has its own idea of where a nose tip is; the median of each point's difference is taken
off first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from glancein_training.finder.data import Floats

MEDIAN_OF_SQUARE = 2 * np.log(2)  # of the squared length of a plane Gaussian, in squares of its deviation
MEAN_LENGTH = np.sqrt(np.pi / 2)  # of the same, in deviations
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class OwnError:
    """What one rater adds: the mean distance of its landmarks from what it means, in eye distances."""

    mean: float
    low: float  # 95 % interval by faces
    high: float


def own_errors(ratings: Sequence[Floats], rng: Generator) -> tuple[OwnError, ...]:
    """Each of three raters' own error. ratings: three times (n, 5, 2), one frame and scale for each face.

    Medians of squares instead of means, so that a few lost faces do not count. Raises ValueError if there are
    not three raters or no face.
    """
    if len(ratings) != 3 or not len(ratings[0]):
        raise ValueError("three raters of at least one face are needed")
    count = len(ratings[0])
    drawn = [_errors(ratings, rng.integers(count, size=count)) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    means = _errors(ratings, np.arange(count))
    return tuple(OwnError(*map(float, row)) for row in zip(means, low, high, strict=True))


def disagreement(one: Floats, other: Floats) -> float:
    """Median over faces of the mean distance of the five points (n, 5, 2), each rater's habit taken off."""
    gap = one - other
    return float(np.median(np.linalg.norm(gap - np.median(gap, axis=0), axis=2).mean(axis=1)))


def upright(landmarks: Floats, labelled: Floats) -> Floats:
    """(5, 2) in the frame of the labelled face: its eyes level and one apart, their middle the origin."""
    across = labelled[1] - labelled[0]
    turn = np.array([[across[0], across[1]], [-across[1], across[0]]]) / (across @ across)
    return np.asarray((landmarks - (labelled[0] + labelled[1]) / 2) @ turn.T, np.float32)


def _errors(ratings: Sequence[Floats], rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    """(3,) own errors, of these faces."""
    first, second, third = (rating[rows] for rating in ratings)
    ab, ac, bc = (_variance(gap) for gap in (first - second, first - third, second - third))
    own = np.stack([ab + ac - bc, ab + bc - ac, ac + bc - ab]) / 2  # (3, 5)
    return np.asarray(MEAN_LENGTH * np.sqrt(own.clip(0)).mean(axis=1), np.float32)


def _variance(gap: Floats) -> Floats:
    """(5,) variance along an axis of each point's difference (n, 5, 2)."""
    length = np.square(gap - np.median(gap, axis=0)).sum(axis=2)
    return np.asarray(np.median(length, axis=0) / MEDIAN_OF_SQUARE, np.float32)
