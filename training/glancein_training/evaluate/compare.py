"""Several networks on the same pictures: figures, and paired differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glancein.errors import InputError
from glancein_training.evaluate.bootstrap import Estimate, estimate, person_weights
from glancein_training.evaluate.faces import Faces
from glancein_training.evaluate.identification import (
    Bench,
    draw_galleries,
    limit_at,
    miss_rate,
    over_drawings,
    resolved_rates,
)
from glancein_training.evaluate.verification import all_pairs, resample_true_accepts, true_accepts_at

FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
STRANGER_RATE = 0.01


@dataclass(frozen=True, slots=True)
class Compared:
    """One network's figures and how they differ from the first one's, in the same resamples."""

    name: str
    true_accepts: dict[str, Estimate]
    enrolled: int  # people in each drawing, the same ones for every network
    miss: Estimate  # FNIR at FPIR 1 %; not a number where a drawing has less than one stranger at that rate
    true_accepts_difference: dict[str, Estimate]
    miss_difference: Estimate


def compare(named: Sequence[tuple[str, Faces]], *, gallery: int, resamples: int, seed: int) -> list[Compared]:
    """Figures of each network; the first is what the others are measured against.

    ``gallery``: people to enrol, at most; half of them all are enrolled if they are fewer than twice as many.
    Resamples and galleries are the same for all, so a difference's interval is far narrower than the figures'
    own. Raises InputError if the pictures differ; their order may.
    """
    named = [(name, in_order(faces, name, named[0])) for name, faces in named]
    measured = [_measure(faces, gallery=gallery, resamples=resamples, seed=seed) for _, faces in named]
    return [_against(name, this, measured[0]) for (name, _), this in zip(named, measured, strict=True)]


def in_order(faces: Faces, name: str, first: tuple[str, Faces]) -> Faces:
    """The same faces in the first one's order."""
    if not np.array_equal(np.sort(faces.path), np.sort(first[1].path)):
        raise InputError(f"{name} holds other pictures than {first[0]}; embed the same ones")
    rank = np.argsort(np.argsort(first[1].path, kind="stable"), kind="stable")
    return faces.take(np.argsort(faces.path, kind="stable")[rank])


@dataclass(frozen=True, slots=True)
class _Measured:
    rates: list[float]
    enrolled: int
    tar: np.ndarray[tuple[int], np.dtype[np.float64]]
    tars: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    miss: float
    misses: np.ndarray[tuple[int], np.dtype[np.float64]]


def _measure(faces: Faces, *, gallery: int, resamples: int, seed: int) -> _Measured:
    pairs = all_pairs(faces)
    rates = [rate for rate in FALSE_ACCEPT_RATES if rate * len(pairs.impostor()) >= 1]
    weights = person_weights(pairs.people, resamples, seed=seed)
    bench = Bench(faces)
    drawn = draw_galleries(faces, gallery, 10, padding=0, seed=seed)
    enrolled = len(drawn[0].rows)
    found = [bench.search(one) for one in drawn]
    tars = resample_true_accepts(pairs, weights, rates)
    tar = true_accepts_at(pairs, rates)
    if not resolved_rates([STRANGER_RATE], min(len(s.stranger_cos) for s in found)):
        return _Measured(rates, enrolled, tar, tars, np.nan, np.full(len(weights), np.nan))
    misses = [miss_rate(s, limit_at(s, STRANGER_RATE)) for s in found]
    sampled = []
    for k, weight in enumerate(weights):
        searches = found[k % len(found)]
        sampled.append(miss_rate(searches, limit_at(searches, STRANGER_RATE, weight), weight))
    return _Measured(rates, enrolled, tar, tars, float(over_drawings(np.array(misses))), np.array(sampled))


def _against(name: str, this: _Measured, first: _Measured) -> Compared:
    names = [f"{rate:.0e}" for rate in this.rates]
    gap, gaps = this.tar - first.tar, this.tars - first.tars
    return Compared(
        name=name,
        true_accepts={n: estimate(float(this.tar[k]), this.tars[:, k]) for k, n in enumerate(names)},
        enrolled=this.enrolled,
        miss=estimate(this.miss, this.misses),
        true_accepts_difference={n: estimate(float(gap[k]), gaps[:, k]) for k, n in enumerate(names)},
        miss_difference=estimate(this.miss - first.miss, this.misses - first.misses),
    )
