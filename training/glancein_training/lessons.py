"""What a distilled network is shown and what it is asked for, batch by batch, prepared beside the training.

Disturbing the pictures takes a sixth of a step's time, so another process does it, some batches ahead. Each
batch depends on the seed and on its place in the run alone: how many processes there are changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.augment import Strength, augment
from glancein_training.processes import ALONE, Place

AHEAD = 4  # batches waiting; one of 64 pictures takes 10 MB
DOUBTFUL = (
    0.2  # cosine of a picture to the person's others below which its label or the picture is not believed
)
ALIKE = 0.7  # cosine from which on, by every teacher, a nameless picture may show a development person


@dataclass(frozen=True, slots=True)
class Lessons:
    """The packs, and what to answer to each of their pictures."""

    crops: list[packs.Crops]
    targets: list[Tensor]  # each (n, d)
    labels: list[NDArray[np.int64]]  # each (n,), NO_IDENTITY where there is none
    where: NDArray[np.int64]  # (n, 2) pack and row of every training picture

    def picks(self, images: int, *, seed: int, batch: int) -> NDArray[np.int64]:
        """Pack and row of the next batch after ``images`` pictures; shorter at the end of an epoch."""
        epoch, at = divmod(images, len(self.where))
        order = np.random.default_rng([seed, epoch]).permutation(len(self.where))
        return self.where[order[at : at + batch]]

    def targets_of(self, picks: NDArray[np.int64]) -> Tensor:
        """(n, d) unit rows of these packs and rows, in their order."""
        out = torch.empty(len(picks), self.targets[0].shape[1])
        for pack, targets in enumerate(self.targets):
            here = picks[:, 0] == pack
            out[torch.from_numpy(here)] = targets[torch.from_numpy(picks[here, 1])]
        return out


class Batch(NamedTuple):
    """One step's pictures and what they stand for."""

    images: int  # seen once this batch is
    pictures: Tensor  # (n, 3, px, px) float32 in 0..255, disturbed
    target: Tensor  # (n, d) unit rows
    label: Tensor  # (n,) int64, NO_IDENTITY where there is none
    others: Tensor  # (m, d) unit rows: what is asked for at other pictures


@dataclass(frozen=True, slots=True)
class Batches(Dataset[Batch]):
    """This process's batch of the step that begins after so many pictures."""

    lessons: Lessons
    seed: int
    batch: int
    strength: Strength
    px: int
    others: int = 0  # how many other pictures' targets come with each batch
    place: Place = ALONE  # each process takes a batch of its own in every step

    def __getitem__(self, images: int) -> Batch:
        """The batch of the step after ``images`` pictures."""
        lessons = self.lessons
        step = list(islice(self.beginnings(images), self.place.size))
        images = step[self.place.rank]
        picks = lessons.picks(images, seed=self.seed, batch=self.batch)
        stored = torch.from_numpy(np.stack([lessons.crops[k].pixels[i] for k, i in picks]))
        drawn = np.random.SeedSequence([self.seed, images])
        rng = torch.Generator().manual_seed(int(drawn.generate_state(1, np.uint64)[0]) >> 1)
        others = np.random.default_rng(drawn).choice(lessons.where, self.others)
        return Batch(
            step[-1] + self.batch,
            augment(stored.permute(0, 3, 1, 2), rng, self.strength, out_px=self.px),
            lessons.targets_of(picks),
            torch.tensor([int(lessons.labels[k][i]) for k, i in picks]),
            lessons.targets_of(others),
        )

    def beginnings(self, images: int) -> Iterator[int]:
        """Where each batch begins, from ``images`` on, for ever; what an epoch has left over is passed by."""
        epoch = len(self.lessons.where)
        while True:
            if images % epoch + self.batch <= epoch:
                yield images
                images += self.batch
            else:
                images += epoch - images % epoch

    def steps(self, images: int) -> Iterator[int]:
        """After how many pictures each step begins, from ``images`` on, for ever."""
        return islice(self.beginnings(images), 0, None, self.place.size)

    def after(self, images: int, *, workers: int) -> Iterator[Batch]:
        """Batches from ``images`` on, prepared in so many other processes (0: in this one).

        Raises InputError if the packs hold less than one batch.
        """
        if len(self.lessons.where) < self.batch:
            raise InputError(
                f"{len(self.lessons.where)} training pictures make no batch of {self.batch}: set batch lower"
            )
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=self.steps(images),
                num_workers=workers,
                prefetch_factor=AHEAD if workers else None,
                # They have the pictures by the fork; a process started anew would be sent gigabytes.
                multiprocessing_context="fork" if workers else None,
            )
        )


def training_identities(crops: packs.Crops) -> NDArray[np.int64]:
    """The identities of the training split, sorted; a position here is a class of the margin softmax."""
    return np.unique(crops.identity[crops.is_train])


def refuse_without_teachers(crops: Sequence[packs.Crops]) -> None:
    """Raise InputError unless every pack has the vectors of as many teachers, one at least."""
    counts = [len(c.teachers) for c in crops]
    if 0 in counts or len(set(counts)) > 1:
        told = ", ".join(map(str, counts))
        raise InputError(
            f"every pack needs the same teachers' vectors, teacher_*.npz; there are {told} of them"
        )


def strangers_to_development(crops: list[packs.Crops]) -> list[NDArray[np.int64]]:
    """Rows of each pack to train on: nameless pictures that look like a development person are left out.

    A pack without names can show the people that another pack keeps back; all teachers must say so.
    """
    kept_back = [np.concatenate(rows) for rows in zip(*(_rows(c, ~c.is_train) for c in crops), strict=True)]
    out = []
    for c in crops:
        nameless = np.flatnonzero(c.is_train & (c.identity == packs.NO_IDENTITY))
        alike = [
            np.any(_least_cosine(_rows(c, some), kept_back) > ALIKE, axis=1)
            for some in np.array_split(nameless, len(nameless) // 1000 + 1)
        ]
        out.append(np.setdiff1d(np.flatnonzero(c.is_train), nameless[np.concatenate(alike)]))
    return out


def _rows(crops: packs.Crops, which: NDArray[np.bool_] | NDArray[np.int64]) -> list[packs.Floats]:
    return [teacher[which] for teacher in crops.teachers]


def _least_cosine(ours: list[packs.Floats], theirs: list[packs.Floats]) -> packs.Floats:
    """(n, m): by the teacher to whom the two are least alike."""
    return np.asarray(np.minimum.reduce([a @ b.T for a, b in zip(ours, theirs, strict=True)]))


def make_target(
    teachers: Sequence[packs.Floats], basis: packs.Floats | None, width: int
) -> tuple[Tensor, packs.Floats]:
    """Teachers side by side on ``width`` principal axes (uncentred): unit rows (n, width), and the axes.

    Raises InputError if a given ``basis`` is of other teachers.
    """
    both = np.hstack(list(teachers))
    if basis is not None and len(basis) != both.shape[1]:
        raise InputError(
            f"the pack's teachers have {both.shape[1]} numbers for a picture, those of the weights had "
            f"{len(basis)}: give the teachers that the weights were distilled from"
        )
    if basis is None:
        _, axes = np.linalg.eigh(both.T @ both)
        basis = np.ascontiguousarray(axes[:, ::-1][:, :width], np.float32)
    return torch.from_numpy(packs.unit_rows(both @ basis)), basis


def towards_people(targets: Tensor, identity: NDArray[np.int64], share: float) -> Tensor:
    """Unit rows moved by this share of the way to the mean of their person's other rows.

    targets (n, d), unit rows; identity (n,), NO_IDENTITY where there is none. A poor picture is then asked
    for what the person's better ones say. Rows whose cosine to that mean is below ``DOUBTFUL`` stay: most of
    them are of somebody else, or nobody could tell (see the README of the data).
    """
    named = torch.from_numpy(identity != packs.NO_IDENTITY)
    people = torch.from_numpy(np.unique(identity[named.numpy()], return_inverse=True)[1])
    rows = targets[named]
    sums = (
        torch.zeros(int(people.max()) + 1, targets.shape[1])
        if len(people)
        else torch.zeros(0, targets.shape[1])
    )
    sums = sums.index_add(0, people, rows)
    others = F.normalize(sums[people] - rows)  # zero for somebody with one picture
    sure = (rows * others).sum(1, keepdim=True) >= DOUBTFUL
    moved = F.normalize(torch.lerp(rows, others, share))
    out = targets.clone()
    out[named] = torch.where(sure, moved, rows)
    return out


def prepare(
    crops: list[packs.Crops], basis: packs.Floats | None, width: int, *, to_people: float = 0.0
) -> tuple[Lessons, packs.Floats]:
    """Targets and labels of every pack; without a ``basis`` its axes come from the training rows.

    Trained on are the training rows but for ``strangers_to_development``. ``to_people``: how far targets move
    towards their people's (``towards_people``). Raises InputError if a pack lacks teachers.
    """
    refuse_without_teachers(crops)
    train_rows = strangers_to_development(crops)
    names = training_identities(crops[0])
    if basis is None:
        stacked = [
            np.vstack([c.teachers[k][r] for c, r in zip(crops, train_rows, strict=True)])
            for k in range(len(crops[0].teachers))
        ]
        _, basis = make_target(stacked, None, width)
    labels = [
        np.where(
            c.identity >= 0, np.searchsorted(names, c.identity).clip(0, len(names) - 1), packs.NO_IDENTITY
        )
        for c in crops
    ]
    targets = [make_target(c.teachers, basis, width)[0] for c in crops]
    if to_people:
        targets = [towards_people(t, c.identity, to_people) for t, c in zip(targets, crops, strict=True)]
    where = np.concatenate([np.stack([np.full(len(r), k), r], 1) for k, r in enumerate(train_rows)])
    return Lessons(crops, targets, labels, where), basis
