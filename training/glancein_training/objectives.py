"""The losses by name, each as something that takes a step's vectors and labels and gives one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from glancein.errors import InputError
from glancein_training.losses.adaface import AdaptiveMarginSoftmax
from glancein_training.losses.arcface import AngularMarginSoftmax
from glancein_training.losses.batch import batch_all, batch_hard
from glancein_training.losses.contrastive import contrastive_loss
from glancein_training.losses.distances import squared_distances
from glancein_training.losses.margin import MarginSoftmax
from glancein_training.losses.quadruplet import LearnedDistance, quadruplet_loss
from glancein_training.losses.triplet import triplet_loss
from glancein_training.mining.curriculum import Curriculum
from glancein_training.mining.online import hard_triplets, random_triplets, semi_hard_triplets

MINING = ("random", "semi-hard", "hard", "curriculum", "offline")


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands: what a loss may depend on beside the batch."""

    progress: float  # 0 to 1
    rng: torch.Generator
    triplets: Tensor | None = None  # (t, 3) places in this batch, where they were mined offline


class Objective(Protocol):
    """A loss with whatever it learns beside the network."""

    @property
    def head(self) -> nn.Module:
        """What it learns, such as a centre for each person."""

    def __call__(self, vectors: Tensor, label: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
        """The loss of vectors (n, d) under labels (n,), and the share of triplets that still pull."""


@dataclass(frozen=True, slots=True)
class Triplets:
    """Triplets chosen by a rule, under the hinge or the soft margin."""

    mining: str
    margin: float
    soft: bool
    head: nn.Module

    def __call__(self, vectors: Tensor, label: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
        """Mine, then the mean over the triplets."""
        distance = squared_distances(vectors)
        return triplet_loss(distance, self.mine(distance, label, moment), margin=self.margin, soft=self.soft)

    def mine(self, distance: Tensor, label: Tensor, moment: Moment) -> Tensor:
        """(t, 3) those mined offline, else by the rule; semi-hard where offline mining found nothing."""
        if moment.triplets is not None:
            return moment.triplets
        match self.mining:
            case "random":
                return random_triplets(label, moment.rng)
            case "hard":
                return hard_triplets(distance, label)
            case "curriculum":
                return Curriculum().triplets(
                    distance, label, progress=moment.progress, margin=self.margin, rng=moment.rng
                )
        return semi_hard_triplets(distance, label, margin=self.margin, rng=moment.rng)


@dataclass(frozen=True, slots=True)
class WholeBatch:
    """A loss over all distances of the batch at once."""

    rule: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    head: nn.Module

    def __call__(self, vectors: Tensor, label: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
        """The rule on the batch's squared distances, or on those that are learned."""
        del moment
        learned = isinstance(self.head, LearnedDistance)
        return self.rule(self.head(vectors) if learned else squared_distances(vectors), label)


@dataclass(frozen=True, slots=True)
class Classes:
    """A margin softmax; the share is that of pictures not yet told right with the margin (not known: one)."""

    head: nn.Module

    def __call__(self, vectors: Tensor, label: Tensor, moment: Moment) -> tuple[Tensor, Tensor]:
        """The head's cross-entropy."""
        del moment
        return self.head(vectors, label), torch.ones(())


def objective(name: str, *, mining: str, margin: float, scale: float, width: int, people: int) -> Objective:
    """The loss of this name. ``margin`` 0 takes the loss's own. Raises InputError for an unknown name."""
    if mining not in MINING:
        raise InputError(f"there is no mining {mining!r}; there is {', '.join(MINING)}")
    nothing = nn.Identity()
    softmaxes: dict[str, Callable[[], nn.Module]] = {
        "cosface": lambda: MarginSoftmax(width, people, scale=scale, margin=margin or 0.2),
        "arcface": lambda: AngularMarginSoftmax(width, people, scale=scale, margin=margin or 0.5),
        "adaface": lambda: AdaptiveMarginSoftmax(width, people, scale=scale, margin=margin or 0.4),
    }
    near = margin or 0.2
    match name:
        case "triplet" | "triplet-soft":
            return Triplets(mining, near, name == "triplet-soft", nothing)
        case "batch-hard" | "batch-hard-soft":
            soft = name == "batch-hard-soft"
            return WholeBatch(lambda d, who: batch_hard(d, who, margin=near, soft=soft), nothing)
        case "batch-all":
            return WholeBatch(lambda d, who: batch_all(d, who, margin=near), nothing)
        case "contrastive":
            return WholeBatch(
                lambda d, who: (contrastive_loss(d, who, margin=margin or 1.0), torch.ones(())), nothing
            )
        case "quadruplet" | "quadruplet-learned":
            head = LearnedDistance(width) if name == "quadruplet-learned" else nothing
            return WholeBatch(_quadruplet, head)
        case _ if name in softmaxes:
            return Classes(softmaxes[name]())
    raise InputError(f"there is no loss {name!r}; there is {', '.join((*LOSSES,))}")


MINED = ("triplet", "triplet-soft")
SOFTMAXES = ("cosface", "arcface", "adaface")
LOSSES = (
    *MINED,
    *("batch-hard", "batch-hard-soft", "batch-all", "contrastive", "quadruplet", "quadruplet-learned"),
    *SOFTMAXES,
)
# The losses that look at a setting which others pass over.
TAKEN_BY = {
    "mining": MINED,
    "margin": tuple(name for name in LOSSES if not name.startswith("quadruplet")),
    "scale": SOFTMAXES,
}


def _quadruplet(distance: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    found = quadruplet_loss(distance, label)
    return found.loss, found.active
