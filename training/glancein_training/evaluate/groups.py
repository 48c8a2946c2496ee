"""Rates for each group of people at one common threshold, where labels exist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glancein_training.evaluate.bootstrap import Estimate, Weights, estimate, person_weights
from glancein_training.evaluate.faces import Bools, Faces, Ints, cosines
from glancein_training.evaluate.verification import Pairs


@dataclass(frozen=True, slots=True)
class GroupRates:
    """One group at the threshold of the whole: false matches between its members, their true accepts."""

    column: str
    group: str
    people: int
    false_match: Estimate
    true_accept: Estimate


def rates_by_group(
    faces: Faces, pairs: Pairs, limit_cos: float, *, resamples: int, seed: int
) -> list[GroupRates]:
    """Every group of every label column; a person belongs where their first picture says."""
    weights = person_weights(len(faces.people), resamples, seed=seed)
    _, first_row = np.unique(faces.identity, return_index=True)
    out = []
    for column, values in faces.groups.items():
        group_of = values[first_row]  # (people,)
        for group in sorted(set(group_of.tolist()) - {""}):
            member = group_of == group
            inside = member[pairs.first] & member[pairs.second]
            out.append(
                GroupRates(
                    column=column,
                    group=group,
                    people=int(member.sum()),
                    false_match=_share_above(pairs, inside & ~pairs.same, limit_cos, weights),
                    true_accept=_share_above(pairs, inside & pairs.same, limit_cos, weights),
                )
            )
    return out


def strangers_by_group(
    strangers: Faces, limit_cos: float, *, resamples: int, seed: int, most: int = 1500
) -> list[GroupRates]:
    """False matches inside each group of people with one picture each; there is nobody to accept.

    At most ``most`` people of a group are drawn.
    """
    out = []
    for column, values in strangers.groups.items():
        for group in sorted(set(values.tolist()) - {""}):
            rows = np.random.default_rng(seed).permutation(np.flatnonzero(values == group))[:most]
            some = strangers.take(rows)
            left, right = np.triu_indices(len(some), 1)
            scores = cosines(some, some)[left, right]
            first, second = some.identity[left], some.identity[right]
            pairs = Pairs(scores, first, second, len(some.people), left, right)
            weights = person_weights(len(some.people), resamples, seed=seed)
            rate = _share_above(pairs, ~pairs.same, limit_cos, weights)
            out.append(GroupRates(column, group, len(some.people), rate, Estimate(float("nan"))))
    return out


def _share_above(pairs: Pairs, chosen: Bools, limit_cos: float, weights: Weights) -> Estimate:
    if not chosen.any():
        return Estimate(float("nan"))
    first, second, same = pairs.first[chosen], pairs.second[chosen], pairs.same[chosen]
    above = pairs.score_cos[chosen] > limit_cos
    total = _counts(first, second, same, weights)
    counted = _counts(first[above], second[above], same[above], weights)
    with np.errstate(invalid="ignore"):  # a resample without such a pair is not a number
        return estimate(float(above.mean()), counted / total)


def _counts(first: Ints, second: Ints, same: Bools, weights: Weights) -> Weights:
    """(resamples,) how many of these pairs each resample holds; one person's count once for each drawing."""
    people = weights.shape[1]
    own = np.bincount(first[same], minlength=people)
    couples = np.bincount(first[~same] * people + second[~same], minlength=people**2)
    between = weights @ couples.reshape(people, people)
    return np.asarray(weights @ own + (between * weights).sum(axis=1))
