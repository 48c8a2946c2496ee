"""Batches of P people times K pictures, the same for the same seed and step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glancein.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PeopleSampler:
    """Rows of a label array in batches of ``people`` x ``each``; FaceNet used about 40 each (section 3.2).

    Every person with two pictures comes once in an epoch; somebody with fewer than ``each`` gives all they
    have, and strangers fill the batch up, so that its size never changes.
    """

    rows_of: tuple[Ints, ...]  # the pictures of each person that has at least two
    spare: Ints  # every picture, to fill up with
    people: int
    each: int
    seed: int

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return max(1, len(self.rows_of) // self.people)

    def batch(self, step: int) -> Ints:
        """(people * each,) rows of this step; depends on the seed and the step alone."""
        epoch, at = divmod(step, self.batches)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows_of))
        rng = np.random.default_rng([self.seed, epoch, at])
        wanted = order[at * self.people : (at + 1) * self.people]
        drawn = np.concatenate([rng.permutation(self.rows_of[k])[: self.each] for k in wanted])
        others = np.setdiff1d(self.spare, drawn, assume_unique=True)
        short = self.people * self.each - len(drawn)
        return np.concatenate([drawn, rng.permutation(others)[:short]]) if short else drawn


def people_sampler(label: Ints, *, people: int, each: int, seed: int) -> PeopleSampler:
    """A sampler over the rows of ``label`` (n,), negative ones left out.

    Raises InputError if there are fewer such people or pictures than a batch needs.
    """
    known = np.flatnonzero(label >= 0)
    order = known[np.argsort(label[known], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    several = tuple(group for group in groups if len(group) > 1)
    if len(several) < people or len(known) < people * each:
        raise InputError(
            f"a batch of {people} people x {each} needs that many with two pictures; "
            f"the data has {len(several)}"
        )
    return PeopleSampler(several, known, people, each, seed)
