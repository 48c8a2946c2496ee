"""Curves of verification and the area under one, with people drawn anew.

A person who is drawn twice counts twice, and is never paired with a copy of themselves: a genuine pair counts
as often as its person is drawn, an impostor pair by the product of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glancein_training.evaluate.bootstrap import Interval, Weights, cumulated, percentiles
from glancein_training.evaluate.faces import Floats, Ints

if TYPE_CHECKING:
    from glancein_training.evaluate.verification import Pairs

Doubles = NDArray[np.float64]
MOST_IMPOSTORS = 1_000_000  # that each resample weighs, 20 ms


@dataclass(frozen=True, slots=True)
class Resampled:
    """One row for each resample, not a number where the drawn people lack a kind of pairs."""

    area: Doubles  # (r,)
    roc_true_accepts: Doubles  # (r, points), at the curve's false accept rates
    val: Doubles  # (r, points), at the curve's distances
    far: Doubles


@dataclass(frozen=True, slots=True)
class _Impostors:
    """Impostor pairs, the highest score first, each standing for ``counts`` of them."""

    score_cos: Floats  # (m,)
    first: Ints  # (m,)
    second: Ints  # (m,)
    counts: Doubles  # (m,)


def resample_curves(
    pairs: Pairs, weights: Weights, *, rates: Doubles, distances: Doubles, most: int = MOST_IMPOSTORS
) -> Resampled:
    """The area, and true accepts at ``rates``, VAL(d) and FAR(d) at squared L2 ``distances``."""
    impostors = _thinned(pairs, most)
    same = pairs.same
    order = np.argsort(-pairs.score_cos[same], kind="stable")
    genuine, who = pairs.score_cos[same][order], pairs.first[same][order]
    # How many impostor pairs score above each genuine one, and how many not below it.
    above = np.searchsorted(-impostors.score_cos, -genuine, side="left")
    not_below = np.searchsorted(-impostors.score_cos, -genuine, side="right")
    near = [np.searchsorted(2 - 2 * s, distances, side="right") for s in (genuine, impostors.score_cos)]
    count = len(weights)
    out = Resampled(
        np.full(count, np.nan), *(np.full((count, len(x)), np.nan) for x in (rates, distances, distances))
    )
    for k, weight in enumerate(weights):
        own = cumulated(weight[who])
        strangers = cumulated(weight[impostors.first] * weight[impostors.second] * impostors.counts)
        if own[-1] == 0 or strangers[-1] == 0:
            continue
        beaten = strangers[-1] - (strangers[above] + strangers[not_below]) / 2  # ties count half
        out.area[k] = np.dot(weight[who], beaten) / own[-1] / strangers[-1]
        at = np.searchsorted(strangers[1:], rates * strangers[-1], side="right")
        limits = impostors.score_cos[np.minimum(at, len(impostors.score_cos) - 1)]
        out.roc_true_accepts[k] = own[np.searchsorted(-genuine, -limits, side="left")] / own[-1]
        out.val[k], out.far[k] = own[near[0]] / own[-1], strangers[near[1]] / strangers[-1]
    return out


def intervals_of(sampled: Doubles) -> list[Interval]:
    """One interval for each point of resampled curves (r, points)."""
    return [percentiles(point) for point in sampled.T]


def _thinned(pairs: Pairs, most: int) -> _Impostors:
    """All impostor pairs; of more than ``most`` the highest half of so many, and evenly by rank of the rest.

    Low rates rest on the highest alone; the others stand for their neighbours in rank.
    """
    rows = np.flatnonzero(~pairs.same)
    order = rows[np.argsort(-pairs.score_cos[rows], kind="stable")]
    counts = np.ones(len(order))
    if len(order) > most:
        top, rest = np.split(order, [most // 2])
        step = -(-len(rest) // (most - len(top)))
        some = rest[step // 2 :: step]
        order = np.concatenate([top, some])
        counts = np.concatenate([np.ones(len(top)), np.full(len(some), len(rest) / len(some))])
    return _Impostors(pairs.score_cos[order], pairs.first[order], pairs.second[order], counts)
