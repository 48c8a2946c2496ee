"""Margin softmax over identities: CosFace (Wang et al. 2018, equation 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn


class MarginSoftmax(nn.Module):
    """Cross-entropy over ``scale * (cos - margin)`` for the right identity, ``scale * cos`` for others."""

    def __init__(self, width: int, identities: int, *, scale: float = 32.0, margin: float = 0.2) -> None:
        super().__init__()
        self.centres = nn.Parameter(F.normalize(torch.randn(identities, width)))
        self.scale = scale
        self.margin = margin

    def forward(self, vectors: Tensor, label: Tensor) -> Tensor:
        """Mean loss of vectors (n, d) under labels (n,); negative ones are left out, zero if none is left."""
        labelled = label >= 0
        if not labelled.any():
            return vectors.sum() * 0
        cosine = F.normalize(vectors[labelled]) @ F.normalize(self.centres).T
        right = F.one_hot(label[labelled], len(self.centres)).to(cosine.dtype)
        return F.cross_entropy(self.scale * (cosine - self.margin * right), label[labelled])
