"""What a set of vectors is worth: verification, LFW-style accuracy, one-shot identification."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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


def score(
    vectors: Floats,
    identity: NDArray[np.int64],
    *,
    templates: Floats | None = None,
    keep_rate: float = 0.03,
) -> Scored:
    """Compare every pair. vectors (n, d) unit rows of looks.

    Here and below ``templates`` (n, d) are of the same pictures when enrolled; without them a template is a
    look. The earlier picture of a pair is the enrolled one.
    """
    enrolled = vectors if templates is None else templates
    names, person = np.unique(identity, return_inverse=True)
    values, owners = [], []
    for index in range(len(names)):
        rows = np.flatnonzero(person == index)
        cosines = enrolled[rows] @ vectors[rows].T
        upper = cosines[np.triu_indices(len(rows), 1)]
        values.append(upper)
        owners.append(np.full(len(upper), index))
    tail = impostor_tail(vectors, identity, templates=templates, keep_rate=keep_rate)
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
    lost = [
        accept_rate(before, rate, weight) - accept_rate(after, rate, weight)
        for weight in _people_drawn(len(before.tail.pictures), rounds, seed)
    ]
    return accept_rate(before, rate) - accept_rate(after, rate), *_interval(lost)


def accept_interval(scored: Scored, rate: float, *, rounds: int = 200, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the accept rate over resampled people."""
    people = len(scored.tail.pictures)
    return _interval([accept_rate(scored, rate, w) for w in _people_drawn(people, rounds, seed)])


def pair_accuracy(
    vectors: Floats, identity: NDArray[np.int64], *, rounds: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """Accuracy in LFW's manner, and its 95 % interval over resampled people.

    Ten folds of 800 + 800 pairs, each with the threshold from the other nine. The folds show the same people,
    so their spread says nothing of other people.
    """
    pairs = _drawn_pairs(vectors, identity, np.random.default_rng(seed))
    people = len(np.unique(identity))
    sampled = [_accuracy(pairs, weight) for weight in _people_drawn(people, rounds, seed)]
    return _accuracy(pairs, np.ones(people)), *_interval(sampled)


def one_shot_miss_rate(  # noqa: PLR0913  # one measurement, all of it by name
    vectors: Floats,
    identity: NDArray[np.int64],
    *,
    templates: Floats | None = None,
    enrolled: int = 400,
    strangers_taken: float = 0.01,
    seeds: Sequence[int] = range(10),
    rounds: int = 200,
    seed: int = 0,
) -> tuple[float, float, float]:
    """FNIR at this FPIR, mean over one gallery a seed, and its 95 % interval over resampled people.

    One picture of each enrolled person, all others as probes. Each resample takes the next gallery, so that
    the interval holds the choice of who was looked at and that of who was enrolled.
    """
    people = len(np.unique(identity))
    enrolled = min(enrolled, people // 2)
    tables = vectors, vectors if templates is None else templates
    searches = [_search(*tables, identity, enrolled, drawn) for drawn in seeds]
    missed = [_miss_rate(found, np.ones(people), strangers_taken) for found in searches]
    sampled = [
        _miss_rate(searches[k % len(searches)], weight, strangers_taken)
        for k, weight in enumerate(_people_drawn(people, rounds, seed))
    ]
    return float(np.mean(missed)), *_interval(sampled)


def search_false_positives(  # noqa: PLR0913  # as above
    vectors: Floats,
    identity: NDArray[np.int64],
    *,
    enrolled: int,
    threshold: float,
    seeds: Sequence[int],
    templates: Floats | None = None,
) -> float:
    """FPIR as counted: share of strangers' probes whose best of ``enrolled`` scores is over the threshold."""
    stored = vectors if templates is None else templates
    rates = []
    for seed in seeds:
        gallery, probes, known = _enrol(vectors, identity, enrolled, np.random.default_rng(seed))
        rates.append(np.mean((vectors[probes[~known]] @ stored[gallery].T).max(1) > threshold))
    return float(np.mean(rates))


def margin_effect(  # noqa: PLR0913  # one measurement, all of it by name
    vectors: Floats,
    identity: NDArray[np.int64],
    *,
    enrolled: int,
    threshold: float,
    margin: float,
    templates: Floats | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """What asking for this lead over the runner-up does to looks that pass the threshold.

    Returns the share of rightly named ones that it refuses, and the share of strangers that it refuses.
    """
    gallery, probes, known = _enrol(vectors, identity, enrolled, np.random.default_rng(seed))
    scores = vectors[probes] @ (vectors if templates is None else templates)[gallery].T
    best = scores.argmax(1)
    second, first = np.sort(scores, axis=1)[:, -2:].T
    passed, close = first > threshold, first - second < margin
    right = passed & known & (identity[gallery][best] == identity[probes])
    wrong = passed & ~known
    return float(close[right].mean()) if right.any() else 0.0, float(
        close[wrong].mean()
    ) if wrong.any() else 0.0


def _people_drawn(people: int, rounds: int, seed: int) -> Iterator[Doubles]:
    """(people,) how often each person is drawn, for each resample."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        yield np.bincount(rng.integers(0, people, people), minlength=people).astype(np.float64)


def _interval(sampled: Sequence[float]) -> tuple[float, float]:
    """The middle 95 %; resamples of so few people that they say nothing are left out."""
    told = [value for value in sampled if not math.isnan(value)]
    low, high = np.percentile(told or [math.nan], [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class _Searches:
    """What every probe found in one gallery: people by number, the best score, whether it is their own."""

    person: Indices  # (m,) of enrolled people's probes
    best_cos: Floats  # (m,)
    right: NDArray[np.bool_]  # (m,)
    stranger: Indices  # (s,) person of the others' probes
    stranger_cos: Floats  # (s,)


def _search(
    vectors: Floats, templates: Floats, identity: NDArray[np.int64], enrolled: int, seed: int
) -> _Searches:
    gallery, probes, known = _enrol(vectors, identity, enrolled, np.random.default_rng(seed))
    scores = vectors[probes] @ templates[gallery].T
    _, person = np.unique(identity, return_inverse=True)
    right = person[gallery][scores[known].argmax(1)] == person[probes[known]]
    best = scores.max(1)
    return _Searches(person[probes[known]], best[known], right, person[probes[~known]], best[~known])


def _miss_rate(searches: _Searches, weight: Doubles, strangers_taken: float) -> float:
    """FNIR when each person counts ``weight`` times; not a number if nobody of either kind does."""
    strangers = np.repeat(searches.stranger_cos, weight[searches.stranger].astype(np.int64))
    counts = weight[searches.person]
    if len(strangers) == 0 or not counts.any():
        return math.nan
    threshold = np.quantile(strangers, 1 - strangers_taken)
    return float(1 - np.average(searches.right & (searches.best_cos > threshold), weights=counts))


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


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Drawn pairs, scores rising; people by number, the same twice in a genuine pair."""

    score_cos: Doubles  # (m,)
    first: Indices  # (m,)
    second: Indices  # (m,)
    fold: Indices  # (m,)


def _drawn_pairs(vectors: Floats, identity: NDArray[np.int64], rng: np.random.Generator) -> _Pairs:
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
    one, other = np.concatenate([genuine[0], left[apart]]), np.concatenate([genuine[1], right[apart]])
    scores = np.einsum("ij,ij->i", vectors[one], vectors[other]).astype(np.float64)
    _, person = np.unique(identity, return_inverse=True)
    rising = np.argsort(scores)
    fold = np.arange(len(scores)) % FOLDS
    return _Pairs(scores[rising], person[one[rising]], person[other[rising]], fold[rising])


def _accuracy(pairs: _Pairs, weight: Doubles) -> float:
    """Mean over the folds when each person counts ``weight`` times; both kinds of pairs count the same."""
    same = pairs.first == pairs.second
    counts = np.where(same, weight[pairs.first], weight[pairs.first] * weight[pairs.second])
    genuine, impostor = np.where(same, counts, 0), np.where(same, 0, counts)
    shares = []
    for number in range(FOLDS):
        inside = pairs.fold == number
        if not genuine[inside].any() or not impostor[inside].any():
            return math.nan
        limit = _best_threshold(pairs.score_cos[~inside], genuine[~inside], impostor[~inside])
        over = pairs.score_cos[inside] > limit
        accepted, taken = (np.average(over, weights=kind[inside]) for kind in (genuine, impostor))
        shares.append((accepted + 1 - taken) / 2)
    return float(np.mean(shares))


def _best_threshold(scores: Doubles, genuine: Doubles, impostor: Doubles) -> float:
    """The score that, as a strict lower limit, makes fewest errors. Scores rise; how often each counts."""
    rejected, missed = np.cumsum(impostor), np.cumsum(genuine)
    right = rejected * missed[-1] + (missed[-1] - missed) * rejected[-1]
    return float(scores[int(np.argmax(right))])
