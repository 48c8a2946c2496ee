"""Harmonic embedding: triplets that mix the old network's vectors with the new one's (Schroff et al. 2015).

FaceNet's appendix: a new network whose vectors lie nearer to the old network's of the same person than to
those of strangers can be looked up in a gallery that the old network filled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glancein_training.losses.distances import squared_distances
from glancein_training.losses.triplet import MARGIN, triplet_loss
from glancein_training.mining.online import semi_hard_triplets


def harmonic_loss(
    new: Tensor, old: Tensor, label: Tensor, *, margin: float = MARGIN, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mean triplet loss over mixed triplets, and the share of them that still pull.

    new (n, d) and old (n, d) vectors of the same pictures, label (n,). Every picture stands in the pool
    twice, as the new and as the old network sees it, and semi-hard negatives come from the whole pool. Only
    the new vectors get a gradient.
    """
    pool = torch.cat([new, old.detach()])
    twice = torch.cat([label, label])
    distance = squared_distances(pool)
    triplets = harmonic_triplets(distance, twice, margin=margin, rng=rng)
    return triplet_loss(distance, triplets, margin=margin)


def harmonic_triplets(distance: Tensor, label: Tensor, *, margin: float, rng: torch.Generator) -> Tensor:
    """(t, 3) semi-hard triplets of a pool whose first half is new, those of old vectors alone left out.

    distance (2n, 2n) squared L2, label (2n,).
    """
    triplets = semi_hard_triplets(distance.detach(), label, margin=margin, rng=rng)
    return triplets[(triplets < len(label) // 2).any(dim=1)]
