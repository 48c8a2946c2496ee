"""Margin softmax with the margin on the angle: ArcFace (Deng et al. 2019, equation 3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn


class AngularMarginSoftmax(nn.Module):
    """Cross-entropy over ``scale * cos(angle + margin)`` for the right person, ``scale * cos`` for others.

    Beyond angle pi - margin the cosine would rise again; there the straight line cos - margin * sin(margin)
    takes its place, as in the authors' code.
    """

    def __init__(self, width: int, identities: int, *, scale: float = 64.0, margin: float = 0.5) -> None:
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
        right = F.one_hot(label[labelled], len(self.centres)).bool()
        turned = turn(cosine[right], self.margin)
        logits = cosine.masked_scatter(right, turned)
        return F.cross_entropy(self.scale * logits, label[labelled])


def turn(cosine: Tensor, margin: float) -> Tensor:
    """cos(acos(cosine) + margin), continued as a line where the angle would pass pi."""
    sine = (1 - cosine.pow(2)).clamp_min(1e-9).sqrt()
    turned = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > math.cos(math.pi - margin), turned, cosine - margin * math.sin(margin))
