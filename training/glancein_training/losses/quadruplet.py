"""The quadruplet loss with margins that follow the data (Chen et al. 2017, "Beyond triplet loss")."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

from glancein_training.losses.distances import same_person

FIRST_WEIGHT = 1.0  # of the gap between the means, for the triplet term
SECOND_WEIGHT = 0.5  # for the term between strangers, the weaker push


@dataclass(frozen=True, slots=True)
class Quadruplets:
    """The loss and what it was made with; the margins carry no gradient."""

    loss: Tensor
    active: Tensor
    first_margin: float
    second_margin: float


def quadruplet_loss(distance: Tensor, label: Tensor) -> Quadruplets:
    """Anchor and positive nearer than anchor and stranger, and nearer than two strangers to each other.

    distance (n, n), label (n,). Margins are w * max(0, mean negative distance - mean positive distance) of
    this batch, w 1 and a half. As in their margin-based mining each anchor takes its farthest
    positive, its nearest negative, and the nearest pair of two other people.
    """
    same, other = same_person(label)
    usable = torch.nonzero(same.any(dim=1) & other.any(dim=1)).flatten()
    if len(usable) == 0:
        return Quadruplets(distance.sum() * 0, torch.zeros(()), 0.0, 0.0)
    gap = float((distance[other].mean() - distance[same].mean()).clamp_min(0).detach())
    first, second = FIRST_WEIGHT * gap, SECOND_WEIGHT * gap
    farthest = distance.masked_fill(~same, -torch.inf).amax(dim=1)[usable]
    nearest = distance.masked_fill(~other, torch.inf).amin(dim=1)[usable]
    strangers, there = _nearest_strangers(distance, label, other, usable)
    near = F.relu(farthest - nearest + first)
    far = F.relu(farthest - strangers + second) * there
    active = ((near > 0) | (far > 0)).float().mean().detach()
    return Quadruplets((near + far).mean(), active, first, second)


class LearnedDistance(nn.Module):
    """A distance that is learned instead of given: a small network looks at both vectors.

    (n, d) -> (n, n) in 0..1, symmetric; it stands where the squared distances would.
    """

    def __init__(self, width: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.judge = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, vectors: Tensor) -> Tensor:
        """The softmax probability of "two people", from what the vectors share and where they differ."""
        unit = F.normalize(vectors)
        shared = unit[:, None, :] * unit[None, :, :]
        differing = (unit[:, None, :] - unit[None, :, :]).pow(2)
        return self.judge(torch.cat([shared, differing], dim=2)).softmax(dim=2)[..., 1]  # type: ignore[no-any-return]  # torch types Module calls as Any


def _nearest_strangers(
    distance: Tensor, label: Tensor, other: Tensor, usable: Tensor
) -> tuple[Tensor, Tensor]:
    """For each usable anchor the nearest pair of two other people, and whether there is any."""
    found, there = [], []
    for anchor in usable.tolist():
        away = label != label[anchor]
        allowed = other & away[:, None] & away[None, :]
        there.append(bool(allowed.any()))
        found.append(distance[allowed].min() if there[-1] else distance[anchor, anchor])
    return torch.stack(found), torch.tensor(there)
