"""Who is it, if anybody: one enrolled picture each, open set, as at a kiosk (ISO/IEC 19795-1, NIST FRVT 1:N).

FPIR: share of looks by people who are not enrolled that are accepted as somebody. FNIR: share of looks by
enrolled people that are not accepted as themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glancein.errors import InputError
from glancein_training.evaluate.bootstrap import Estimate, Weights, estimate, person_weights
from glancein_training.evaluate.faces import Bools, Faces, Floats, Ints, cosines

Doubles = NDArray[np.float64]

RANKS = (1, 2, 5, 10)
UNRANKED = np.iinfo(np.int64).max  # a look or a template without a face: found at no rank


@dataclass(frozen=True, slots=True)
class Gallery:
    """One drawing: who is enrolled with which picture, and how many strangers are enrolled beside them."""

    rows: Ints  # (g,) picture enrolled for each of g people
    padding: int = 0


@dataclass(frozen=True, slots=True)
class Searches:
    """What every remaining picture found in one gallery."""

    mated_person: Ints  # (m,)
    own_cos: Floats  # (m,) score of the person's own template
    other_cos: Floats  # (m,) best score of anybody else's
    rank: Ints  # (m,) 0 = first, behind all of the same score; exact up to 10; UNRANKED without a face
    stranger_person: Ints  # (s,)
    stranger_cos: Floats  # (s,) best score of anybody's


class Bench:
    """The scores of one set of faces among themselves and against padding, computed once.

    Raises InputError if the padding is another network's, by the length of its vectors.
    """

    def __init__(self, faces: Faces, padding: Faces | None = None, *, most_padding: int = 10_000) -> None:
        self.faces = faces
        self.scores = cosines(faces, faces)  # (n, n)
        self.padding_scores: Floats | None = None
        if padding is not None and len(padding):
            if padding.vector.shape[1] != faces.vector.shape[1]:
                raise InputError(
                    f"the padding has vectors of {padding.vector.shape[1]} numbers, the pictures of "
                    f"{faces.vector.shape[1]}; embed both with one network"
                )
            self.padding_scores = cosines(faces, padding.take(np.arange(min(len(padding), most_padding))))

    @property
    def padding(self) -> int:
        """How many strangers can be enrolled at most."""
        return 0 if self.padding_scores is None else self.padding_scores.shape[1]

    def search(self, gallery: Gallery) -> Searches:
        """Every picture that is not enrolled against this gallery."""
        enrolled = self.faces.identity[gallery.rows]
        position = np.full(len(self.faces.people), -1)
        position[enrolled] = np.arange(len(enrolled))
        is_probe = np.ones(len(self.faces), bool)
        is_probe[gallery.rows] = False
        mated = np.flatnonzero(is_probe & (position[self.faces.identity] >= 0))
        strangers = np.flatnonzero(is_probe & (position[self.faces.identity] < 0))
        scores = self.scores[np.ix_(mated, gallery.rows)]
        own_at = position[self.faces.identity[mated]]
        own = scores[np.arange(len(mated)), own_at].copy()
        rank = (scores >= own[:, None]).sum(axis=1) - 1  # itself
        scores[np.arange(len(mated)), own_at] = -np.inf
        other = scores.max(axis=1)
        stranger = self.scores[np.ix_(strangers, gallery.rows)].max(axis=1)
        if gallery.padding:
            padded = self._best_padding(gallery.padding)
            rank = rank + (padded[mated] >= own[:, None]).sum(axis=1)
            other = np.maximum(other, padded[mated, 0])
            stranger = np.maximum(stranger, padded[strangers, 0])
        seen = self.faces.found[mated] & self.faces.found[gallery.rows][own_at]
        rank = np.where(seen, rank, UNRANKED)
        identity = self.faces.identity
        return Searches(identity[mated], own, other, rank, identity[strangers], stranger)

    def _best_padding(self, count: int) -> Floats:
        """(n, <= 10) each picture's highest scores among the first ``count`` strangers, best first."""
        if self.padding_scores is None or count > self.padding:
            raise InputError(
                f"a gallery padded with {count} strangers needs as many embedded pictures; give --padding"
            )
        scores = self.padding_scores[:, :count]
        most = min(max(RANKS), count)
        best = -np.partition(-scores, most - 1, axis=1)[:, :most]
        return np.asarray(-np.sort(-best, axis=1), np.float32)


def draw_galleries(
    faces: Faces, size: int, count: int, *, padding: int, seed: int, enrol: Bools | None = None
) -> list[Gallery]:
    """``count`` random galleries of ``size`` people; at most half of the people that can be enrolled are.

    ``enrol`` (n,) marks the pictures that may be enrolled (badge photos), else any may. Up to ``padding``
    strangers fill what is missing to ``size``. Raises InputError if nobody can be enrolled.
    """
    rng = np.random.default_rng(seed)
    allowed = np.ones(len(faces), bool) if enrol is None else enrol
    able = np.unique(faces.identity[allowed])
    mates = min(size, len(faces.people) // 2, len(able))
    if mates == 0:
        raise InputError(
            "no one can be enrolled; one-shot identification needs two people and a picture to enrol"
        )
    strangers = min(padding, size - mates)
    galleries = []
    for _ in range(count):
        people = rng.permutation(able)[:mates]
        shuffled = rng.permutation(np.flatnonzero(allowed))
        chosen, at = np.unique(faces.identity[shuffled], return_index=True)
        galleries.append(Gallery(shuffled[at[np.isin(chosen, people)]], strangers))
    return galleries


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Misses and the thresholds they come with, means over the drawn galleries."""

    gallery: int
    enrolled: int  # of the gallery, people who are then looked for
    mated_searches: int
    stranger_searches: int
    misses: dict[str, Estimate]  # FNIR by FPIR
    thresholds_cos: dict[str, Estimate]  # by FPIR
    ranks: dict[str, Estimate]  # share of own template among the first k, "1", "5", ...


def identify(
    bench: Bench, galleries: Sequence[Gallery], rates: Sequence[float], *, resamples: int, seed: int
) -> OpenSet:
    """FNIR at each FPIR and rank-k over the galleries, with intervals by people.

    Each resample draws people anew and takes the next gallery, so that the interval holds the choice of who
    was looked at and that of who was enrolled. Rates of less than one stranger are left out; a drawing in
    which no one enrolled is looked for tells a threshold and no misses.
    """
    found = [bench.search(gallery) for gallery in galleries]
    resolved = resolved_rates(rates, min(len(s.stranger_cos) for s in found))
    plain = np.ones(len(bench.faces.people))
    points = np.array([_misses(s, plain, resolved) for s in found])  # (galleries, 2, rates)
    weights = person_weights(len(bench.faces.people), resamples, seed=seed)
    sampled = np.array([_misses(found[k % len(found)], w, resolved) for k, w in enumerate(weights)])
    sampled = sampled.reshape(resamples, 2, len(resolved))
    mean = over_drawings(points).reshape(2, len(resolved))
    return OpenSet(
        gallery=len(galleries[0].rows) + galleries[0].padding,
        enrolled=len(galleries[0].rows),
        mated_searches=len(found[0].own_cos),
        stranger_searches=len(found[0].stranger_cos),
        misses={f"{r:.3f}": estimate(mean[0, k], sampled[:, 0, k]) for k, r in enumerate(resolved)},
        thresholds_cos={f"{r:.3f}": estimate(mean[1, k], sampled[:, 1, k]) for k, r in enumerate(resolved)},
        ranks=_rank_estimates(found, weights),
    )


def resolved_rates(rates: Sequence[float], strangers: int) -> list[float]:
    """Those FPIRs at which one at least of so many looks of strangers is accepted."""
    return [rate for rate in rates if rate * strangers >= 1]


def miss_rate(searches: Searches, limit_cos: float, weight: Doubles | None = None) -> float:
    """FNIR at a threshold: own template not first, or not above it.

    Not a number without a threshold, or where nobody enrolled was looked for.
    """
    if np.isnan(limit_cos):
        return float("nan")
    accepted = (searches.own_cos > searches.other_cos) & (searches.own_cos > limit_cos)
    counts = None if weight is None else weight[searches.mated_person]
    if len(accepted) == 0 or (counts is not None and counts.sum() == 0):
        return float("nan")
    return float(1 - np.average(accepted, weights=counts))


def limit_at(searches: Searches, rate: float, weight: Doubles | None = None) -> float:
    """The score above which (strictly) at most this share of strangers is accepted.

    Not a number where nobody of them was drawn.
    """
    order = np.argsort(-searches.stranger_cos, kind="stable")
    counts = np.ones(len(order)) if weight is None else weight[searches.stranger_person[order]]
    above = np.cumsum(counts)
    if above[-1] == 0:
        return float("nan")
    at = int(np.searchsorted(above, rate * above[-1] * (1 + 1e-12), side="right"))
    return float(searches.stranger_cos[order[min(at, len(order) - 1)]])


def over_drawings(figures: Doubles) -> Doubles:
    """Mean over the first axis, figures that are no number left out; not a number where none is one."""
    told = np.isfinite(figures)
    count = told.sum(axis=0)
    total = np.where(told, figures, 0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), np.float64)


def _misses(searches: Searches, weight: Doubles, rates: Sequence[float]) -> tuple[list[float], list[float]]:
    limits = [limit_at(searches, rate, weight) for rate in rates]
    return [miss_rate(searches, limit, weight) for limit in limits], limits


def _rank_estimates(found: Sequence[Searches], weights: Weights) -> dict[str, Estimate]:
    out = {}
    for k in RANKS:
        shares = np.array([np.mean(s.rank < k) if len(s.rank) else np.nan for s in found])
        sampled = []
        for number, weight in enumerate(weights):
            searches = found[number % len(found)]
            counts = weight[searches.mated_person]
            sampled.append(np.average(searches.rank < k, weights=counts) if counts.sum() else np.nan)
        out[str(k)] = estimate(float(over_drawings(shares)), sampled)
    return out
