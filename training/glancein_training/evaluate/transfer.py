"""Does a threshold hold for other people? Chosen on one half of them, judged on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glancein_training.evaluate.bootstrap import (
    Interval,
    Weights,
    cumulated,
    pair_counts,
    percentiles,
    person_weights,
)
from glancein_training.evaluate.faces import Faces
from glancein_training.evaluate.verification import (
    Doubles,
    Pairs,
    all_pairs,
    resampled_limits,
    resampled_totals,
    thresholds_at,
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A threshold chosen on one half of the people and what it does on the other.

    Intervals draw both halves anew, so that they hold the choice of the threshold too.
    """

    wanted_far: float
    threshold_cos: float
    realised_far: float
    true_accepts: float
    threshold_cos_interval: Interval = None
    realised_far_interval: Interval = None
    true_accepts_interval: Interval = None


def transfer(faces: Faces, rates: Sequence[float], *, resamples: int, seed: int) -> list[Transfer]:
    """Thresholds chosen on the even people, judged on the odd ones; empty if a half lacks a kind of pairs.

    Rates of less than one impostor pair of the even people are left out.
    """
    halves = [faces.half(0), faces.half(1)]
    if any(len(half.people) < 2 or len(half.people) == len(half) for half in halves):
        return []
    choosing, judging = (all_pairs(half) for half in halves)
    rates = [rate for rate in rates if rate * len(choosing.impostor()) >= 1]
    if not rates:
        return []
    values = thresholds_at(choosing.impostor(), rates)
    chosen, judged = (
        person_weights(pairs.people, resamples, seed=seed + k) for k, pairs in enumerate((choosing, judging))
    )
    limits = resampled_limits(choosing, chosen, np.array(rates))
    false, true = shares_above(judging, judged, limits)
    return [
        Transfer(
            wanted_far=rate,
            threshold_cos=float(t),
            realised_far=float(np.mean(judging.impostor() > t)),
            true_accepts=float(np.mean(judging.genuine() > t)),
            threshold_cos_interval=percentiles(limits[:, k]),
            realised_far_interval=percentiles(false[:, k]),
            true_accepts_interval=percentiles(true[:, k]),
        )
        for k, (rate, t) in enumerate(zip(rates, values, strict=True))
    ]


def shares_above(pairs: Pairs, weights: Weights, limits: Doubles) -> tuple[Doubles, Doubles]:
    """(resamples, rates) shares of impostor and of genuine pairs above each resample's own limits.

    Not a number without a limit, or without such a pair among those who were drawn.
    """
    out = []
    told = limits[np.isfinite(limits)]
    for kind in (~pairs.same, pairs.same):
        near = kind & (pairs.score_cos > told.min(initial=1))
        rows = np.flatnonzero(near)[np.argsort(-pairs.score_cos[near], kind="stable")]
        falling, first, second = -pairs.score_cos[rows], pairs.first[rows], pairs.second[rows]
        totals = resampled_totals(pairs, weights, kind)
        shares = np.full(limits.shape, np.nan)
        for k, weight in enumerate(weights):
            above = cumulated(pair_counts(weight, first, second))
            if totals[k] and np.isfinite(limits[k]).all():
                shares[k] = above[np.searchsorted(falling, -limits[k], side="left")] / totals[k]
        out.append(shares)
    return out[0], out[1]
