"""Two networks across: enrolled with the old one's vectors, looked at with the new one's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glancein.errors import InputError
from glancein_training.evaluate.bootstrap import Estimate, estimate, person_weights
from glancein_training.evaluate.faces import Faces, Ints
from glancein_training.evaluate.robustness import couples
from glancein_training.evaluate.verification import pairs_between, resample_true_accepts, true_accepts_at

RATES = (1e-1, 1e-2, 1e-3, 1e-4)
Rows = dict[str, Estimate]  # true accepts by false accept rate


@dataclass(frozen=True, slots=True)
class Crossed:
    """True accepts at each false accept rate, with intervals by people."""

    old_old: Rows
    new_new: Rows
    new_old: Rows


def cross(old: Faces, new: Faces, *, resamples: int, seed: int) -> Crossed:
    """Every ordered pair of two pictures: both by the old, both by the new, one by each network.

    Raises InputError unless both hold the same pictures in the same order and vectors of one length.
    """
    if not np.array_equal(old.path, new.path):
        raise InputError("the two files hold other pictures; embed the same ones with both networks")
    if old.vector.shape != new.vector.shape:
        raise InputError(
            f"vectors of {old.vector.shape[1]} and {new.vector.shape[1]} numbers cannot be compared"
        )
    left, right = couples(old, seed=seed)
    pairs = (left, right)
    return Crossed(
        _rates(old, old, pairs, resamples=resamples, seed=seed),
        _rates(new, new, pairs, resamples=resamples, seed=seed),
        _rates(new, old, pairs, resamples=resamples, seed=seed),
    )


def _rates(looks: Faces, templates: Faces, pairs: Sequence[Ints], *, resamples: int, seed: int) -> Rows:
    scored = pairs_between(looks, templates, pairs[0], pairs[1])
    rates = [rate for rate in RATES if rate * int((~scored.same).sum()) >= 1]
    weights = person_weights(len(looks.people), resamples, seed=seed)
    sampled = resample_true_accepts(scored, weights, rates)
    values = true_accepts_at(scored, rates)
    return {f"{rate:.0e}": estimate(float(values[k]), sampled[:, k]) for k, rate in enumerate(rates)}
