"""Triplets out of the batch that is being learned from: every anchor-positive pair with a chosen negative."""

from __future__ import annotations

import torch
from torch import Tensor

from glancein_training.losses.distances import same_person


def anchor_positive_pairs(label: Tensor) -> Tensor:
    """(p, 2) every ordered pair of two pictures of one person (Schroff et al. 2015, section 3.2)."""
    same, _ = same_person(label)
    return torch.nonzero(same)


def random_triplets(label: Tensor, rng: torch.Generator) -> Tensor:
    """(t, 3) every anchor-positive pair with any stranger."""
    _, other = same_person(label)
    return _with_negatives(anchor_positive_pairs(label), torch.rand(other.shape, generator=rng), other)


@torch.no_grad()
def semi_hard_triplets(distance: Tensor, label: Tensor, *, margin: float, rng: torch.Generator) -> Tensor:
    """(t, 3) every anchor-positive pair with a negative farther than the positive but within the margin.

    One at random where there are several, pairs without any left out (Schroff et al. 2015, section 3.2).
    """
    pairs = anchor_positive_pairs(label)
    _, other = same_person(label)
    if len(pairs) == 0:
        return pairs.new_zeros((0, 3))
    positive = distance[pairs[:, 0], pairs[:, 1]][:, None]
    away = distance[pairs[:, 0]]
    inside = other[pairs[:, 0]] & (away > positive) & (away < positive + margin)
    return _chosen(pairs, torch.rand(inside.shape, generator=rng), inside)


@torch.no_grad()
def hard_triplets(distance: Tensor, label: Tensor) -> Tensor:
    """(t, 3) every anchor-positive pair with the anchor's nearest stranger."""
    _, other = same_person(label)
    return _with_negatives(anchor_positive_pairs(label), -distance, other)


def _with_negatives(pairs: Tensor, preference: Tensor, other: Tensor) -> Tensor:
    return _chosen(pairs, preference[pairs[:, 0]], other[pairs[:, 0]])


def _chosen(pairs: Tensor, preference: Tensor, allowed: Tensor) -> Tensor:
    """Each pair with its most preferred allowed negative; pairs with none are left out. (p, 2) -> (t, 3)."""
    if len(pairs) == 0 or allowed.shape[1] == 0:
        return pairs.new_zeros((0, 3))
    negative = preference.masked_fill(~allowed, -torch.inf).argmax(dim=1)
    kept = allowed.any(dim=1)
    return torch.cat([pairs[kept], negative[kept, None]], dim=1)
