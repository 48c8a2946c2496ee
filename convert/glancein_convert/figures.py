"""What a set of vectors is worth: verification, LFW-style accuracy, one-shot identification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glancein.types import Floats
from glancein_convert.thresholds import Doubles, Indices, Tail, impostor_tail

FOLDS = 10
PAIRS_PER_FOLD = 800


@dataclass(frozen=True, slots=True)
class Scored:
    """All scores of a set of vectors: genuine ones with their person, and the upper tail of the impostors."""

    tail: Tail
    genuine: Doubles  # (g,)
    genuine_person: Indices  # (g,)


def score(vectors: Floats, identity: NDArray[np.int64], *, keep_rate: float = 0.03) -> Scored:
    """Compare every pair. vectors (n, d) unit rows."""
    names, person = np.unique(identity, return_inverse=True)
    values, owners = [], []
    for index in range(len(names)):
        rows = np.flatnonzero(person == index)
        cosines = vectors[rows] @ vectors[rows].T
        upper = cosines[np.triu_indices(len(rows), 1)]
        values.append(upper)
        owners.append(np.full(len(upper), index))
    tail = impostor_tail(vectors, identity, keep_rate=keep_rate)
    return Scored(tail, np.concatenate(values).astype(np.float64), np.concatenate(owners))


def accept_rate(scored: Scored, rate: float, weight: Doubles | None = None) -> float:
    """Share of genuine pairs over the threshold that impostor pairs pass at ``rate``.

    weight (people,): how often each person counts, for resampling.
    """
    tail = scored.tail
    people = np.ones(len(tail.pictures)) if weight is None else weight
    mass = people * tail.pictures
    total = (mass.sum() ** 2 - (mass**2).sum()) / 2
    passed = np.cumsum(people[tail.first] * people[tail.second])
    threshold = tail.scores[min(int(np.searchsorted(passed, rate * total, side="right")), len(passed) - 1)]
    counts = people[scored.genuine_person]
    return float((counts * (scored.genuine > threshold)).sum() / counts.sum())


def loss_interval(
    before: Scored, after: Scored, rate: float, *, rounds: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """Accept rate lost from ``before`` to ``after``, and its 95 % interval over resampled people."""
    rng = np.random.default_rng(seed)
    people = len(before.tail.pictures)
    lost = []
    for _ in range(rounds):
        weight = np.bincount(rng.integers(0, people, people), minlength=people).astype(float)
        lost.append(accept_rate(before, rate, weight) - accept_rate(after, rate, weight))
    low, high = np.percentile(lost, [2.5, 97.5])
    return accept_rate(before, rate) - accept_rate(after, rate), float(low), float(high)


def accept_interval(scored: Scored, rate: float, *, rounds: int = 200, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the accept rate over resampled people."""
    rng = np.random.default_rng(seed)
    people = len(scored.tail.pictures)
    weights = [np.bincount(rng.integers(0, people, people), minlength=people) for _ in range(rounds)]
    low, high = np.percentile([accept_rate(scored, rate, w.astype(float)) for w in weights], [2.5, 97.5])
    return float(low), float(high)


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of a few independent values, by the normal distribution."""
    spread = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)) - spread, float(np.mean(values)) + spread


def pair_accuracies(vectors: Floats, identity: NDArray[np.int64], *, seed: int = 0) -> list[float]:
    """Accuracies in LFW's manner: ten folds of 800 + 800 pairs, the threshold from the other nine."""
    scores, same = _drawn_pairs(vectors, identity, np.random.default_rng(seed))
    fold = np.arange(len(scores)) % FOLDS
    return [
        float(
            np.mean(
                (scores[fold == f] > _best_threshold(scores[fold != f], same[fold != f])) == same[fold == f]
            )
        )
        for f in range(FOLDS)
    ]


def one_shot_miss_rates(
    vectors: Floats,
    identity: NDArray[np.int64],
    *,
    enrolled: int = 400,
    strangers_taken: float = 0.01,
    seeds: Sequence[int] = range(10),
) -> list[float]:
    """FNIR at this FPIR: one picture of each enrolled person, all others as probes; one value a draw."""
    enrolled = min(enrolled, len(np.unique(identity)) // 2)
    return [_one_draw(vectors, identity, enrolled, strangers_taken, seed) for seed in seeds]


def search_false_positives(
    vectors: Floats, identity: NDArray[np.int64], *, enrolled: int, threshold: float, seeds: Sequence[int]
) -> float:
    """FPIR as counted: share of strangers' probes whose best of ``enrolled`` scores is over the threshold."""
    rates = []
    for seed in seeds:
        gallery, probes, known = _enrol(vectors, identity, enrolled, np.random.default_rng(seed))
        rates.append(np.mean((vectors[probes[~known]] @ vectors[gallery].T).max(1) > threshold))
    return float(np.mean(rates))


def margin_effect(  # noqa: PLR0913  # one measurement, all of it by name
    vectors: Floats,
    identity: NDArray[np.int64],
    *,
    enrolled: int,
    threshold: float,
    margin: float,
    seed: int = 0,
) -> tuple[float, float]:
    """What asking for this lead over the runner-up does to looks that pass the threshold.

    Returns the share of rightly named ones that it refuses, and the share of strangers that it refuses.
    """
    gallery, probes, known = _enrol(vectors, identity, enrolled, np.random.default_rng(seed))
    scores = vectors[probes] @ vectors[gallery].T
    best = scores.argmax(1)
    second, first = np.sort(scores, axis=1)[:, -2:].T
    passed, close = first > threshold, first - second < margin
    right = passed & known & (identity[gallery][best] == identity[probes])
    wrong = passed & ~known
    return float(close[right].mean()) if right.any() else 0.0, float(
        close[wrong].mean()
    ) if wrong.any() else 0.0


def _one_draw(
    vectors: Floats, identity: NDArray[np.int64], enrolled: int, strangers_taken: float, seed: int
) -> float:
    gallery, probes, known = _enrol(vectors, identity, enrolled, np.random.default_rng(seed))
    scores = vectors[probes] @ vectors[gallery].T
    threshold = np.quantile(scores[~known].max(1), 1 - strangers_taken)
    best = scores[known].argmax(1)
    right = identity[gallery][best] == identity[probes[known]]
    return float(1 - np.mean(right & (scores[known].max(1) > threshold)))


def _enrol(
    vectors: Floats, identity: NDArray[np.int64], enrolled: int, rng: np.random.Generator
) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    """Rows of the gallery (one a person), rows of the probes, and which probes show someone enrolled."""
    names = rng.permutation(np.unique(identity))[:enrolled]
    rows = rng.permutation(len(vectors))
    _, first = np.unique(identity[rows], return_index=True)
    gallery = rows[first]
    gallery = gallery[np.isin(identity[gallery], names)]
    probes = np.setdiff1d(np.arange(len(vectors)), gallery)
    return gallery, probes, np.isin(identity[probes], names)


def _drawn_pairs(
    vectors: Floats, identity: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Doubles, NDArray[np.bool_]]:
    count = FOLDS * PAIRS_PER_FOLD
    order = np.argsort(identity, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(identity[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])
    several = np.flatnonzero(sizes > 1)
    chosen = rng.choice(several, count)
    a = rng.integers(0, sizes[chosen])
    b = (a + rng.integers(1, sizes[chosen])) % sizes[chosen]
    genuine = order[starts[chosen] + a], order[starts[chosen] + b]
    left = rng.integers(0, len(vectors), 4 * count)
    right = rng.integers(0, len(vectors), 4 * count)
    apart = np.flatnonzero(identity[left] != identity[right])[:count]
    rows = np.concatenate([genuine[0], left[apart]]), np.concatenate([genuine[1], right[apart]])
    scores = np.einsum("ij,ij->i", vectors[rows[0]], vectors[rows[1]]).astype(np.float64)
    return scores, np.arange(2 * count) < count


def _best_threshold(scores: Doubles, same: NDArray[np.bool_]) -> float:
    order = np.argsort(scores)
    right = np.cumsum(~same[order]) + same.sum() - np.cumsum(same[order])
    return float(scores[order][int(np.argmax(right))])
