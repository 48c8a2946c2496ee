"""The contrastive loss of a Siamese pair (Hadsell et al. 2006, equation 4)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor

from glancein_training.losses.distances import same_person

MARGIN = 1.0  # distance at which strangers stop repelling; unit vectors are at most 2 apart


def contrastive_loss(distance: Tensor, label: Tensor, *, margin: float = MARGIN) -> Tensor:
    """Mean of d^2 over same pairs plus mean of max(0, margin - d)^2 over different ones, halved.

    distance (n, n) squared L2, label (n,). The two kinds are averaged apart, since strangers outnumber the
    rest. A kind that is absent counts zero.
    """
    same, other = same_person(label)
    # The root's slope is infinite at zero; 1e-12 keeps it finite.
    gap = F.relu(margin - (distance + 1e-12).sqrt())
    return (_mean(distance, same) + _mean(gap.pow(2), other)) / 2


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return values[chosen].mean() if chosen.any() else values.sum() * 0
