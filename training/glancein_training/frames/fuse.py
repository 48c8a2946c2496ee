"""Several frames of one visit -> one embedding, by weights; and the misses that it saves.

A visit's embedding is the weighted mean of its frames' unit embeddings, scaled to unit length again: the
plain mean if the weights are equal. Judged one-shot and open-set, as at a kiosk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glancein.domain.visit import NOBODY_WEIGHT
from glancein.errors import InputError
from glancein_training.evaluate.bootstrap import Estimate, estimate, person_weights
from glancein_training.evaluate.identification import Searches, limit_at, miss_rate, resolved_rates
from glancein_training.frames.spoil import Bools, Floats
from glancein_training.frames.visits import Ints, Visits

InGallery = Callable[[Ints], Floats]  # people enrolled -> scores (v, p) of every visit and person
RATES = (0.01, 0.1)  # FPIRs to tell misses at
STEEPNESS = (0.25, 0.5, 1.0, 2.0, 4.0)  # weights are exp(steepness * score), scores of unit deviation


@dataclass(frozen=True, slots=True)
class Judged:
    """One way to make a visit one look: misses by FPIR, and how they differ from the plain mean's."""

    name: str
    misses: dict[str, Estimate]
    differences: dict[str, Estimate]


def weighted(visits: Visits, weights: Floats) -> Floats:
    """(v, d) unit embeddings of visits; weights (v, k) >= 0. Without any weight it is zero: nobody."""
    total = np.einsum("vkd,vk->vd", visits.unit(), weights)
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.maximum(lengths, 1e-12), np.float32)


def weights_of(scores: Floats, steepness: float) -> Floats:
    """(v, k) weights from scores, scaled by their spread over all frames."""
    level = steepness * scores / max(float(scores.std()), 1e-12)
    return np.asarray(np.exp(level - level.max(axis=1, keepdims=True)), np.float32)


def scores_by_vote(visits: Visits, agree_n: int, enrolled: Ints) -> Floats:
    """(v, p) a vote as a score: the highest limit that ``agree_n`` frames with this person first pass.

    First among the ``enrolled``; -1 where so many frames do not.
    """
    cosines = np.einsum("vkd,pd->vkp", visits.unit(), visits.template)
    best = enrolled[cosines[:, :, enrolled].argmax(axis=2)]
    votes = np.where(np.arange(cosines.shape[2]) == best[:, :, None], cosines, -1.0)
    return np.asarray(np.sort(votes, axis=1)[:, -agree_n], np.float32)


def scores_at_the_door(visits: Visits, agree_n: int, *, nobody_weight: float = NOBODY_WEIGHT) -> Floats:
    """(v, p) the kiosk's rule (``glancein.domain.visit``) as a score: the highest limit at which it accepts.

    Frame by frame: so many good frames have passed the limit by then, and they outweigh those that have not,
    which count ``nobody_weight`` each. -1 with fewer good frames. Other names, which count twice against,
    are left out.
    """
    cosines = np.einsum("vkd,pd->vkp", visits.unit(), visits.template)
    scores = np.full((len(cosines), cosines.shape[2]), -1.0, np.float32)
    for row, seen, good in zip(scores, cosines, visits.passes, strict=True):
        looks = seen[good]
        for count in range(agree_n, len(looks) + 1):
            outweighing = int(count * nobody_weight / (1 + nobody_weight)) + 1
            needed = max(agree_n, outweighing)
            np.maximum(row, np.sort(looks[:count], axis=0)[-needed], out=row)
    return scores


def whatever_gallery(scores: Floats) -> InGallery:
    """Scores (v, p) that do not depend on who else is enrolled."""
    return lambda _: scores


def galleries(people: int, size: int, count: int, *, seed: int) -> list[Ints]:
    """The people enrolled in each drawing, sorted."""
    rng = np.random.default_rng(seed)
    return [np.sort(rng.permutation(people)[:size]) for _ in range(count)]


def search(scores: Floats, person: Ints, enrolled: Ints) -> Searches:
    """Every visit's (v, p) scores against one gallery."""
    place = np.full(scores.shape[1], -1)
    place[enrolled] = np.arange(len(enrolled))
    mated = place[person] >= 0
    own_at = place[person[mated]]
    against = scores[np.ix_(mated, enrolled)]
    own = against[np.arange(len(own_at)), own_at].copy()
    rank = (against >= own[:, None]).sum(axis=1) - 1  # itself
    against[np.arange(len(own_at)), own_at] = -np.inf
    stranger = scores[np.ix_(~mated, enrolled)].max(axis=1)
    return Searches(person[mated], own, against.max(axis=1), rank, person[~mated], stranger)


def told_rates(strangers: int, rates: Sequence[float] = RATES) -> list[float]:
    """The rates that so many looks of strangers resolve. Raises InputError if they resolve none."""
    told = resolved_rates(rates, strangers)
    if not told:
        raise InputError(
            f"{strangers} looks of strangers tell nothing at an FPIR of {100 * max(rates):g} %: "
            f"plan more report_people or report_visits"
        )
    return told


def judge(
    scores: Mapping[str, InGallery],
    person: Ints,
    *,
    people: int,
    enrolled: int,
    rates: Sequence[float] = RATES,
    drawings: int = 20,
    resamples: int = 200,
    seed: int = 0,
) -> list[Judged]:
    """Misses of each named score, same galleries and resamples; the first is what others differ from.

    At the rates that the strangers' looks resolve. Raises InputError if they resolve none.
    """
    drawn = galleries(people, enrolled, drawings, seed=seed)
    rates = told_rates(min(int(np.isin(person, rows, invert=True).sum()) for rows in drawn), rates)
    weights = person_weights(people, resamples, seed=seed)
    points: dict[str, np.ndarray] = {}
    samples: dict[str, np.ndarray] = {}
    for name, scores_in in scores.items():
        found = [search(scores_in(rows), person, rows) for rows in drawn]
        points[name] = np.mean([[miss_rate(s, limit_at(s, r)) for r in rates] for s in found], axis=0)
        samples[name] = np.array(
            [
                [miss_rate(s, limit_at(s, r, w), w) for r in rates]
                for k, w in enumerate(weights)
                for s in [found[k % len(found)]]
            ]
        )
    first = next(iter(scores))
    return [
        Judged(
            name,
            {f"{r:g}": estimate(points[name][k], samples[name][:, k]) for k, r in enumerate(rates)},
            {
                f"{r:g}": estimate(
                    points[name][k] - points[first][k], samples[name][:, k] - samples[first][:, k]
                )
                for k, r in enumerate(rates)
            },
        )
        for name in scores
    ]


def steepest_that_helps(
    visits: Visits, scores: Floats, *, enrolled: int, rate: float, seed: int = 0
) -> float:
    """The steepness with the fewest misses on these visits; 0, the plain mean, if none helps."""
    found = []
    for steepness in (0.0, *STEEPNESS):
        cosines = weighted(visits, weights_of(scores, steepness)) @ visits.template.T
        drawn = galleries(len(visits.template), enrolled, 20, seed=seed)
        searches = [search(cosines, visits.person, rows) for rows in drawn]
        found.append((float(np.mean([miss_rate(s, limit_at(s, rate)) for s in searches])), steepness))
    return min(found)[1]


def without_refused(weights: Floats, passes: Bools) -> Floats:
    """Weights with the frames at zero that today's kiosk refuses to look at."""
    return np.asarray(weights * passes, np.float32)
