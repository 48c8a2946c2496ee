"""Triplets out of one batch of P people times K pictures: batch hard and batch all (Hermans et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor

from glancein_training.losses.distances import same_person
from glancein_training.losses.triplet import MARGIN


def batch_hard(
    distance: Tensor, label: Tensor, *, margin: float = MARGIN, soft: bool = False
) -> tuple[Tensor, Tensor]:
    """For each anchor its farthest positive and nearest negative (their L_BH); loss and active share.

    distance (n, n), label (n,). Anchors without a positive or a negative are left out.
    """
    same, other = same_person(label)
    usable = same.any(dim=1) & other.any(dim=1)
    if not usable.any():
        return distance.sum() * 0, torch.zeros(())
    farthest = distance.masked_fill(~same, -torch.inf).amax(dim=1)[usable]
    nearest = distance.masked_fill(~other, torch.inf).amin(dim=1)[usable]
    excess = farthest - nearest
    active = (excess + margin > 0).float().mean().detach()
    return (F.softplus(excess) if soft else F.relu(excess + margin)).mean(), active


def batch_all(
    distance: Tensor, label: Tensor, *, margin: float = MARGIN, soft: bool = False
) -> tuple[Tensor, Tensor]:
    """Every triplet of the batch (their L_BA), averaged over those that still pull; loss and active share.

    ``soft`` averages over all triplets, since none is ever at rest.
    """
    same, other = same_person(label)
    triplet = same[:, :, None] & other[:, None, :]  # (anchor, positive, negative)
    if not triplet.any():
        return distance.sum() * 0, torch.zeros(())
    excess = (distance[:, :, None] - distance[:, None, :])[triplet]
    pulling = excess + margin > 0
    share = pulling.float().mean().detach()
    if soft:
        return F.softplus(excess).mean(), share
    if not pulling.any():
        return distance.sum() * 0, share
    return (excess + margin)[pulling].mean(), share
