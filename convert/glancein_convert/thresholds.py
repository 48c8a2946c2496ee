"""Cosine thresholds for wanted false match rates, with intervals, from impostor pairs.

Counted where there are enough pairs; beyond that a generalised Pareto tail (Pickands 1975) is fitted to the
scores over a high threshold by probability-weighted moments (Hosking and Wallis 1987) and the result marked
as extrapolated.
Intervals come from resampling people, not pairs: pairs that share a person are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glancein.model_card import ThresholdPoint
from glancein.types import Floats
from glancein_convert.errors import ConversionError

RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
# A rate is counted where this many pairs of people (not of pictures) lie over it; below, the tail decides.
ENOUGH_PAIRS_OF_PEOPLE = 30
TAIL_RATE = 1e-3
FEWEST_IN_TAIL = 3  # scores over that threshold: fewer have no shape
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tail:
    """The highest impostor scores, falling, and the people they belong to."""

    scores: Doubles  # (k,)
    first: Indices  # (k,) person of one side, 0 ... people - 1
    second: Indices  # (k,)
    pictures: Indices  # (people,) pictures of each person
    excluded: int  # pairs left out because they are thought to show one person


@dataclass(frozen=True, slots=True)
class Pareto:
    """Tail above ``start``: P(score > start + x) = rate * (1 + shape * x / scale) ** (-1 / shape)."""

    start: float
    rate: float
    shape: float
    scale: float

    def threshold(self, rate: float) -> float:
        """The score that is passed at this rate."""
        ratio = rate / self.rate
        if abs(self.shape) < 1e-6:
            return self.start - self.scale * float(np.log(ratio))
        return self.start + self.scale / self.shape * float(ratio**-self.shape - 1)


def impostor_tail(
    vectors: Floats,
    identity: NDArray[np.int64],
    *,
    templates: Floats | None = None,
    keep_rate: float = 0.03,
    same_person: NDArray[np.bool_] | None = None,
) -> Tail:
    """The upper ``keep_rate`` of the scores of all pairs of different people.

    vectors (n, d) unit rows of looks, identity (n,). With ``templates`` (n, d) the earlier picture of each
    pair is enrolled and the later one looks. ``same_person`` (n, n) marks pairs to leave out although their
    identities differ: labels are sometimes wrong.
    """
    _, person = np.unique(identity, return_inverse=True)
    enrolled = vectors if templates is None else templates
    scores, rows, columns = _high_scores(enrolled, vectors, person, keep_rate)
    excluded = 0
    if same_person is not None:
        doubtful = same_person[rows, columns]
        excluded = int(doubtful.sum())
        scores, rows, columns = scores[~doubtful], rows[~doubtful], columns[~doubtful]
    order = np.argsort(-scores)
    return Tail(
        scores[order].astype(np.float64),
        person[rows[order]],
        person[columns[order]],
        np.bincount(person),
        excluded,
    )


def calibrate(
    tail: Tail, *, rates: Sequence[float] = RATES, rounds: int = 200, seed: int = 0
) -> list[ThresholdPoint]:
    """A threshold with its 95 % interval for each rate, rates falling.

    Raises ConversionError if there are too few pairs for a tail.
    """
    rng = np.random.default_rng(seed)
    people = len(tail.pictures)
    over = int(TAIL_RATE * pairs_of_pictures(np.asarray(tail.pictures, np.float64)))
    if min(over, len(tail.scores) - 1) < FEWEST_IN_TAIL:
        raise ConversionError(
            f"{int(tail.pictures.sum())} crops of {people} people are too few to set a threshold by: "
            f"add people, or ask for more with --people"
        )
    middle = thresholds(tail, np.ones(people), rates)
    drawn = [
        thresholds(tail, np.bincount(rng.integers(0, people, people), minlength=people).astype(float), rates)
        for _ in range(rounds)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    pairs_of_people = people * (people - 1) / 2
    return [
        ThresholdPoint(
            false_match_rate=rate,
            threshold_cos=_cosine(middle[i]),
            low_cos=_cosine(low[i]),
            high_cos=_cosine(high[i]),
            extrapolated=rate * pairs_of_people < ENOUGH_PAIRS_OF_PEOPLE,
        )
        for i, rate in enumerate(rates)
    ]


def thresholds(tail: Tail, weight: Doubles, rates: Sequence[float]) -> Doubles:
    """(rates,) thresholds when each person counts ``weight`` times."""
    pair_weight = weight[tail.first] * weight[tail.second]
    total = pairs_of_pictures(weight * tail.pictures) - tail.excluded * float(weight.mean() ** 2)
    passed = np.cumsum(pair_weight)
    pareto = fit_pareto(tail.scores, pair_weight, total)
    lowest = lowest_counted(len(tail.pictures))
    out = [
        _counted(tail.scores, passed, rate * total) if rate >= lowest else pareto.threshold(rate)
        for rate in rates
    ]
    return np.maximum.accumulate(np.array(out))


def lowest_counted(people: int) -> float:
    """The lowest rate that is counted; the tail, which begins at TAIL_RATE, says nothing above its start."""
    return min(TAIL_RATE, ENOUGH_PAIRS_OF_PEOPLE / (people * (people - 1) / 2))


def pairs_of_pictures(pictures: Doubles) -> float:
    """Pairs of pictures of different people; pictures (people,) of each."""
    return float((pictures.sum() ** 2 - (pictures**2).sum()) / 2)


def fit_pareto(scores: Doubles, weight: Doubles, total: float) -> Pareto:
    """Tail over the score of rate TAIL_RATE. scores (k,) falling, weight (k,) how often each counts.

    Where a resample leaves but one score over it, or none, the tail is exponential: nothing tells its shape.
    """
    passed = np.cumsum(weight)
    start = _counted(scores, passed, TAIL_RATE * total)
    over = scores > start
    excess, share = scores[over][::-1] - start, weight[over][::-1]
    mass = share.sum()
    if mass == 0:
        return Pareto(start, TAIL_RATE, 0.0, 0.0)
    # E[x] and E[x (1 - F(x))] with F in the middle of each score's own weight.
    survival = 1 - (np.cumsum(share) - share / 2) / mass
    mean = float((share * excess).sum() / mass)
    weighted = float((share * excess * survival).sum() / mass)
    spread = mean - 2 * weighted
    if spread <= 1e-9 * mean:
        return Pareto(start, mass / total, 0.0, mean)
    return Pareto(start, mass / total, 2 - mean / spread, 2 * mean * weighted / spread)


def _counted(scores: Doubles, passed: Doubles, wanted: float) -> float:
    """The highest threshold that at most ``wanted`` weight of pairs lies over."""
    index = int(np.searchsorted(passed, wanted, side="right"))
    return float(scores[min(index, len(scores) - 1)])


def _high_scores(
    templates: Floats, vectors: Floats, person: Indices, keep_rate: float
) -> tuple[Floats, Indices, Indices]:
    sample = np.random.default_rng(0).integers(0, len(vectors), (2, 400_000))
    sample = sample[:, person[sample[0]] != person[sample[1]]]
    floor = np.quantile(np.einsum("ij,ij->j", templates[sample[0]].T, vectors[sample[1]].T), 1 - keep_rate)
    scores, rows, columns = [], [], []
    for start in range(0, len(vectors), 512):
        block = templates[start : start + 512] @ vectors.T
        here = np.arange(start, start + len(block))
        block[person[here][:, None] == person[None]] = -2
        block[here[:, None] >= np.arange(len(vectors))[None]] = -2
        i, j = np.nonzero(block > floor)
        scores.append(block[i, j])
        rows.append(here[i])
        columns.append(j)
    return np.concatenate(scores), np.concatenate(rows), np.concatenate(columns)


def _cosine(value: float) -> float:
    return round(float(np.clip(value, -1, 1)), 4)
