"""The triplet loss: one person's pictures nearer together than to others' (Schroff et al. 2015)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor

MARGIN = 0.2  # FaceNet, section 3.1


def triplet_loss(
    distance: Tensor, triplets: Tensor, *, margin: float = MARGIN, soft: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean loss over the triplets, and the share of them that still pull (0 to 1, no gradient).

    distance (n, n) squared L2; triplets (t, 3) rows of anchor, positive, negative. The hinge is
    max(0, d_ap - d_an + margin); ``soft`` is log(1 + exp(d_ap - d_an)), which has no margin and never stops
    pulling (Hermans et al. 2017, section 2). No triplets give a loss of zero.
    """
    if len(triplets) == 0:
        return distance.sum() * 0, torch.zeros(())
    anchor, positive, negative = triplets.T
    excess = distance[anchor, positive] - distance[anchor, negative]
    active = (excess + margin > 0).float().mean().detach()
    return (F.softplus(excess) if soft else F.relu(excess + margin)).mean(), active
