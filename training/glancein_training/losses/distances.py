"""Squared L2 distances between unit embeddings: 0 for one direction, 2 for right angles, 4 for opposites."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor


def squared_distances(vectors: Tensor, others: Tensor | None = None) -> Tensor:
    """(n, m) squared distances of the rows' directions; rows (n, d) and (m, d) of any length."""
    unit = F.normalize(vectors)
    other = unit if others is None else F.normalize(others)
    return (2 - 2 * unit @ other.T).clamp_min(0)


def same_person(label: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (n, n): the row's person again, and somebody else. A negative label fits neither."""
    known = label >= 0
    both = known[:, None] & known[None, :]
    same = label[:, None] == label[None, :]
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    return both & same & ~itself, both & ~same
