"""Same person or not, pair by pair: ROC, true accepts, VAL/FAR(d), equal error rate, ten-fold accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from glancein.errors import InputError
from glancein_training.evaluate.bootstrap import (
    Estimate,
    Interval,
    Weights,
    cumulated,
    estimate,
    pair_counts,
    percentiles,
    person_weights,
)
from glancein_training.evaluate.faces import Bools, Faces, Floats, Ints, cosines
from glancein_training.evaluate.resampling import Resampled, intervals_of, resample_curves

Doubles = NDArray[np.float64]

MOST_PICTURES = 12_000  # all pairs of more would not fit in 4 GB
FOLDS = 10
VAL_RATE = 1e-3  # FaceNet's, of VAL on ten folds
EQUAL_ERROR_RESAMPLES = 60  # each needs a far larger share of the pairs than a low false-accept rate does


@dataclass(frozen=True, slots=True)
class Pairs:
    """Scored pairs of pictures and the people on either side."""

    score_cos: Floats  # (m,)
    first: Ints  # (m,) person
    second: Ints  # (m,)
    people: int
    left: Ints  # (m,) picture
    right: Ints  # (m,)
    fold: Ints | None = None  # (m,) 0..9 where the pair list brings its own

    @property
    def same(self) -> Bools:
        """True for pairs of one person."""
        return np.asarray(self.first == self.second, np.bool_)

    def genuine(self) -> Floats:
        """Scores of one person's pairs."""
        return self.score_cos[self.same]

    def impostor(self) -> Floats:
        """Scores of two people's pairs."""
        return self.score_cos[~self.same]


def all_pairs(faces: Faces) -> Pairs:
    """Every pair of pictures once, the later one enrolled.

    Raises InputError if there are too many, or no pair of either kind.
    """
    if len(faces) > MOST_PICTURES:
        raise InputError(f"{len(faces)} pictures are too many for all pairs; draw fewer with --people")
    left, right = np.triu_indices(len(faces), 1)
    scores = cosines(faces, faces)[left, right]
    pairs = Pairs(scores, faces.identity[left], faces.identity[right], len(faces.people), left, right)
    if pairs.same.all() or not pairs.same.any():
        raise InputError(
            "the pictures give no genuine or no impostor pairs; check that the labels name people"
        )
    return pairs


def thresholds_at(impostor: Floats, rates: Sequence[float]) -> Doubles:
    """The score above which (strictly) at most each share of impostor pairs lies."""
    ordered = np.sort(impostor)[::-1]
    return np.array([ordered[min(int(rate * len(ordered)), len(ordered) - 1)] for rate in rates], np.float64)


def true_accepts_at(pairs: Pairs, rates: Sequence[float]) -> Doubles:
    """True accept rate at each false accept rate over all pairs."""
    genuine = pairs.genuine()
    return np.array([np.mean(genuine > limit) for limit in thresholds_at(pairs.impostor(), rates)])


def equal_error_rate(pairs: Pairs) -> float:
    """The rate at which false accepts and false rejects are equal, linear between the scores."""
    genuine, impostor = np.sort(pairs.genuine()), np.sort(pairs.impostor())
    limits = np.unique(genuine)
    rejects = np.searchsorted(genuine, limits, side="left") / len(genuine)
    accepts = 1 - np.searchsorted(impostor, limits, side="left") / len(impostor)
    gap = rejects - accepts
    if gap[-1] < 0:
        return float((rejects[-1] + accepts[-1]) / 2)
    k = int(np.argmax(gap >= 0))
    if k == 0 or gap[k] == gap[k - 1]:
        return float((rejects[k] + accepts[k]) / 2)
    share = -gap[k - 1] / (gap[k] - gap[k - 1])
    return float(rejects[k - 1] + share * (rejects[k] - rejects[k - 1]))


def roc(pairs: Pairs, *, points: int = 200) -> tuple[Doubles, Doubles]:
    """False and true accept rates, evenly spaced on a logarithmic axis down to ten impostor pairs."""
    impostor = pairs.impostor()
    lowest = min(0.1, 10 / len(impostor))
    rates = np.geomspace(lowest, 1.0, points)
    return rates, true_accepts_at(pairs, rates.tolist())


def area_under(pairs: Pairs) -> float:
    """Chance that a genuine pair scores above an impostor pair; ties count half (Mann and Whitney 1947)."""
    genuine, impostor = pairs.genuine(), np.sort(pairs.impostor())
    below = np.searchsorted(impostor, genuine, side="left").mean()
    level = np.searchsorted(impostor, genuine, side="right").mean()
    return float((below + level) / 2 / len(impostor))


def val_far(pairs: Pairs, distances: Doubles) -> tuple[Doubles, Doubles]:
    """VAL(d) and FAR(d) at squared L2 distances d (Schroff et al. 2015, section 4)."""
    genuine = np.sort(2 - 2 * pairs.genuine())
    impostor = np.sort(2 - 2 * pairs.impostor())
    val = np.searchsorted(genuine, distances, side="right") / len(genuine)
    far = np.searchsorted(impostor, distances, side="right") / len(impostor)
    return val, far


@dataclass(frozen=True, slots=True)
class Curves:
    """Points of ROC, VAL(d) and FAR(d), as they are drawn, and an interval for each."""

    roc_false_accepts: list[float]
    roc_true_accepts: list[float]
    distance: list[float]  # squared L2
    val: list[float]
    far: list[float]
    roc_true_accepts_interval: list[Interval] = field(default_factory=list)
    val_interval: list[Interval] = field(default_factory=list)
    far_interval: list[Interval] = field(default_factory=list)


def curves_of(pairs: Pairs, weights: Weights, *, points: int = 200) -> tuple[Curves, Resampled]:
    """Both curves at so many points each, and what they and the area under the first are with people anew."""
    distances = np.linspace(0, 4, points)
    rates, accepts = roc(pairs, points=points)
    plain = [rates, accepts, distances, *val_far(pairs, distances)]
    sampled = resample_curves(pairs, weights, rates=rates, distances=distances)
    ends = [intervals_of(rows) for rows in (sampled.roc_true_accepts, sampled.val, sampled.far)]
    return Curves(*(values.tolist() for values in plain), *ends), sampled


@dataclass(frozen=True, slots=True)
class TenFold:
    """Accuracy over ten folds, each at the threshold that is best on the other nine.

    The standard error is LFW's, of the folds as if they were ten draws; the intervals are by people.
    """

    accuracy: float
    standard_error: float
    threshold_cos: float  # mean of the ten
    val_at_far_1e_3: float  # FaceNet's second figure: true accepts on the fold at the others' FAR 1e-3
    accuracy_interval: Interval = None
    threshold_cos_interval: Interval = None
    val_at_far_1e_3_interval: Interval = None  # None too where nine folds cannot resolve that rate


def ten_fold(pairs: Pairs, weights: Weights | None = None) -> TenFold:
    """LFW's protocol (Huang et al. 2007, View 2), with an interval if there are ``weights``.

    ``weights`` (resamples, people): people stay in their folds, the threshold is chosen anew each time, and a
    fold in which the drawn people lack a kind of pairs is left out of that resample's means. Raises
    InputError if a fold has no pairs of either kind.
    """
    if pairs.fold is None:
        raise InputError("ten-fold accuracy needs pairs that are dealt to folds")
    order = np.argsort(pairs.score_cos, kind="stable")
    ordered, fold = _Folded(pairs.score_cos[order], pairs.same[order]), pairs.fold[order]
    plain = [_fold(ordered, np.ones(len(order)), fold == k) for k in range(FOLDS)]
    for k, figures in enumerate(plain):
        if np.isnan(figures).any():
            raise InputError(f"fold {k + 1} of the pairs has no genuine or no impostor pairs")
    accuracy, limits, vals = np.transpose(plain)
    spread = float(np.std(accuracy, ddof=1) / np.sqrt(FOLDS))
    found = TenFold(float(np.mean(accuracy)), spread, float(np.mean(limits)), float(np.mean(vals)))
    if weights is None:
        return found
    first, second = pairs.first[order], pairs.second[order]
    sampled = []
    for weight in weights:
        counts = pair_counts(weight, first, second)
        told = np.array([_fold(ordered, counts, fold == k) for k in range(FOLDS)])
        told = told[~np.isnan(told).any(axis=1)]
        sampled.append(told.mean(axis=0) if len(told) else np.full(3, np.nan))
    ends = [percentiles(column) for column in np.transpose(sampled)]
    resolved = all(np.sum(~ordered.same & (fold != k)) * VAL_RATE >= 1 for k in range(FOLDS))
    return replace(
        found,
        accuracy_interval=ends[0],
        threshold_cos_interval=ends[1],
        val_at_far_1e_3_interval=ends[2] if resolved else None,
    )


@dataclass(frozen=True, slots=True)
class _Folded:
    """Pairs with their scores rising."""

    score_cos: Floats  # (m,)
    same: Bools  # (m,)


def _fold(pairs: _Folded, counts: Doubles, inside: Bools) -> tuple[float, float, float]:
    """Accuracy, threshold and VAL of one fold, each pair counted so often; not numbers without both kinds."""
    scores, same = pairs.score_cos, pairs.same
    drawn = counts > 0
    own, strangers = drawn & same, drawn & ~same
    if not all((kind & part).any() for kind in (own, strangers) for part in (inside, ~inside)):
        return np.nan, np.nan, np.nan
    limit = best_threshold(scores[~inside], same[~inside], counts[~inside])
    right = (scores[inside] > limit) == same[inside]
    falling = np.flatnonzero(strangers & ~inside)[::-1]
    above = np.cumsum(counts[falling])
    at = int(np.searchsorted(above, VAL_RATE * above[-1], side="right"))
    accepted = scores[own & inside] > scores[falling[min(at, len(falling) - 1)]]
    return (
        float(np.average(right, weights=counts[inside])),
        limit,
        float(np.average(accepted, weights=counts[own & inside])),
    )


def best_threshold(scores: Floats, same: Bools, counts: Doubles | None = None) -> float:
    """The score that, as a strict lower limit for a match, makes fewest errors; halfway to its neighbour.

    ``counts``: how often each pair is there, once each without.
    """
    counts = np.ones(len(scores)) if counts is None else counts
    order = np.argsort(scores, kind="stable")
    order = order[counts[order] > 0]
    ordered, genuine, each = scores[order], same[order], counts[order]
    # Limit after position k: the k + 1 lowest are rejected.
    strangers = np.sum(each[~genuine])
    change = np.cumsum(np.where(genuine, each, -each))
    errors = np.concatenate([[strangers], strangers + change])
    distinct = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    k = int(np.argmin(np.where(distinct, errors, np.inf)))
    if k == 0:
        return float(np.nextafter(ordered[0], np.float32(-2)))
    if k == len(ordered):
        return float(ordered[-1])
    return float((np.float64(ordered[k - 1]) + np.float64(ordered[k])) / 2)


def dealt_pairs(faces: Faces, *, seed: int = 0) -> Pairs:
    """LFW-like pairs for data that has no list: people dealt to ten folds, both kinds level in each.

    All genuine pairs of a fold are in, and as many of its impostor pairs, drawn.
    """
    rng = np.random.default_rng(seed)
    fold_of = rng.permutation(len(faces.people)) % FOLDS
    left, right, fold = [], [], []
    for k in range(FOLDS):
        rows = np.flatnonzero(fold_of[faces.identity] == k)
        a, b = np.triu_indices(len(rows), 1)
        same = faces.identity[rows[a]] == faces.identity[rows[b]]
        strangers = np.flatnonzero(~same)
        drawn = rng.permutation(strangers)[: int(same.sum())]
        keep = np.concatenate([np.flatnonzero(same), drawn])
        left.append(rows[a[keep]])
        right.append(rows[b[keep]])
        fold.append(np.full(len(keep), k))
    return pairs_of(faces, np.concatenate(left), np.concatenate(right), fold=np.concatenate(fold))


def pairs_of(faces: Faces, left: Ints, right: Ints, *, fold: Ints | None = None) -> Pairs:
    """The scored pairs of these pictures, the right one enrolled."""
    scores = np.einsum("nd,nd->n", faces.vector[left], faces.enrolled[right])
    scores[~(faces.found[left] & faces.found[right])] = -1
    people = len(faces.people)
    return Pairs(
        np.asarray(scores, np.float32), faces.identity[left], faces.identity[right], people, left, right, fold
    )


def pairs_between(one: Faces, other: Faces, left: Ints, right: Ints) -> Pairs:
    """These pairs of a look at ``one`` and an enrolled picture of ``other``, which show the same people."""
    both = Faces(
        path=np.concatenate([one.path, other.path]),
        found=np.concatenate([one.found, other.found]),
        vector=np.concatenate([one.vector, other.enrolled]),
        identity=np.concatenate([one.identity, other.identity]),
        people=one.people,
        split=np.concatenate([one.split, other.split]),
    )
    return pairs_of(both, left, right + len(one))


@dataclass(frozen=True, slots=True)
class Verification:
    """What one set of pairs says."""

    genuine_pairs: int
    impostor_pairs: int
    true_accepts: dict[str, Estimate]  # by false accept rate, "1e-03"
    equal_error: Estimate
    area: float
    ten_fold: TenFold | None
    curves: Curves
    area_interval: Interval = None


def verify(
    pairs: Pairs, rates: Sequence[float], *, folded: Pairs | None, resamples: int, seed: int
) -> Verification:
    """Every verification figure with intervals by people; rates below one impostor pair are left out."""
    impostors = int((~pairs.same).sum())
    resolved = [rate for rate in rates if rate * impostors >= 1]
    weights = person_weights(pairs.people, resamples, seed=seed)
    tars = resample_true_accepts(pairs, weights, resolved)
    error = equal_error_rate(pairs)
    errors = resample_equal_error(pairs, weights[:EQUAL_ERROR_RESAMPLES], about=error)
    values = true_accepts_at(pairs, resolved)
    curves, sampled = curves_of(pairs, weights)
    return Verification(
        genuine_pairs=int(pairs.same.sum()),
        impostor_pairs=impostors,
        true_accepts={
            f"{r:.0e}": estimate(v, tars[:, k]) for k, (r, v) in enumerate(zip(resolved, values, strict=True))
        },
        equal_error=estimate(error, errors),
        area=area_under(pairs),
        ten_fold=None if folded is None else ten_fold(folded, weights),
        curves=curves,
        area_interval=percentiles(sampled.area),
    )


def resample_true_accepts(pairs: Pairs, weights: Weights, rates: Sequence[float]) -> Doubles:
    """(resamples, rates) true accept rates, people drawn anew; nobody is paired with a copy of themselves.

    Not a number where those who were drawn have no genuine or no impostor pair.
    """
    if not rates:
        return np.zeros((len(weights), 0))
    limits = resampled_limits(pairs, weights, np.asarray(rates, np.float64))
    genuine, who = pairs.genuine(), pairs.first[pairs.same]
    order = np.argsort(genuine)
    out = np.empty(limits.shape)
    for k, weight in enumerate(weights):
        below = cumulated(weight[who[order]])
        at = np.searchsorted(genuine[order], limits[k], side="right")
        told = below[-1] > 0 and np.isfinite(limits[k]).all()
        out[k] = 1 - below[at] / below[-1] if told else np.nan
    return out


def resample_equal_error(pairs: Pairs, weights: Weights, *, about: float) -> Doubles:
    """(resamples,) equal error rates with people drawn anew, not a number where they lack a kind of pairs.

    Looked for from a third to twice ``about``, which asks for few of the pairs, and everywhere where it is
    not there.
    """
    near = np.geomspace(max(about / 3, 1e-6), min(2 * about + 1e-4, 0.5), 50)
    errors = _crossings(near, 1 - resample_true_accepts(pairs, weights, near.tolist()))
    outside = np.isnan(errors) | (errors < near[0])
    if outside.any():
        everywhere = np.geomspace(1e-6, 1, 300)
        rejects = 1 - resample_true_accepts(pairs, weights[outside], everywhere.tolist())
        errors[outside] = _crossings(everywhere, rejects)
    return errors


def _crossings(rates: Doubles, rejects: Doubles) -> Doubles:
    """(n,) where false rejects (n, m) meet these false accept rates (m,), linear between them.

    Below the first rate: the rejects there; not a number beyond the last.
    """
    out = np.empty(len(rejects))
    for k, row in enumerate(rejects):
        crossed = int(np.argmax(rates >= row))
        if crossed == 0:
            out[k] = row[0] if rates[0] >= row[0] else np.nan
            continue
        before, after = rates[crossed - 1] - row[crossed - 1], rates[crossed] - row[crossed]
        share = -before / (after - before)
        out[k] = rates[crossed - 1] + share * (rates[crossed] - rates[crossed - 1])
    return out


def resampled_limits(pairs: Pairs, weights: Weights, rates: Doubles) -> Doubles:
    """(resamples, rates) the impostor score at that weighted share; not a number without an impostor."""
    scores = pairs.impostor()
    first, second = pairs.first[~pairs.same], pairs.second[~pairs.same]
    # Only the upper tail is ever asked for; three times the rate leaves room for the weights.
    count = min(len(scores), int(3 * rates.max() * len(scores)) + 1000)
    tail = np.argpartition(-scores, count - 1)[:count]
    tail = tail[np.argsort(-scores[tail], kind="stable")]
    totals = resampled_totals(pairs, weights, ~pairs.same)
    ordered, first, second = scores[tail], first[tail], second[tail]
    limits = np.empty((len(weights), len(rates)))
    for k, weight in enumerate(weights):
        above = np.cumsum(weight[first] * weight[second])
        at = np.searchsorted(above, rates * totals[k], side="right")
        limits[k] = ordered[np.minimum(at, len(ordered) - 1)] if totals[k] else np.nan
    return limits


def resampled_totals(pairs: Pairs, weights: Weights, chosen: Bools) -> Doubles:
    """(resamples,) how many of the chosen pairs there are with people drawn anew."""
    first, second = pairs.first[chosen], pairs.second[chosen]
    couples, counts = np.unique(first * pairs.people + second, return_counts=True)
    one, other = np.divmod(couples, pairs.people)
    return np.array([np.sum(pair_counts(w, one, other) * counts) for w in weights], np.float64)
