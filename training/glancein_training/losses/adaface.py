"""Margin softmax that asks less of poor pictures: AdaFace (Kim et al. 2022, section 3.3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

SHORTEST, LONGEST = 1e-3, 100.0  # lengths beyond these say nothing about quality (the authors' code)


class AdaptiveMarginSoftmax(nn.Module):
    """A vector's length stands for its picture's quality z in -1..1, against a running mean and deviation.

    The right person's logit is ``scale * (cos(angle - margin * z) - margin * (z + 1))``: for a poor picture
    (z = -1) ArcFace's, where hopeless ones pull little, for an average one (z = 0) CosFace's; for a good one
    (z = 1) the angle is eased by the margin and twice the margin taken off, so that hard ones pull most.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        width: int,
        identities: int,
        *,
        scale: float = 64.0,
        margin: float = 0.4,
        spread: float = 0.333,
        memory: float = 0.99,
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(F.normalize(torch.randn(identities, width)))
        self.scale = scale
        self.margin = margin
        self.spread = spread
        self.memory = memory
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("deviation", torch.tensor(100.0))

    def forward(self, vectors: Tensor, label: Tensor) -> Tensor:
        """Mean loss of vectors (n, d) under labels (n,); negative ones are left out, zero if none is left."""
        labelled = label >= 0
        if not labelled.any():
            return vectors.sum() * 0
        known = vectors[labelled]
        quality = self.quality(known)
        cosine = (F.normalize(known) @ F.normalize(self.centres).T).clamp(-1 + 1e-3, 1 - 1e-3)
        right = F.one_hot(label[labelled], len(self.centres)).bool()
        angle = (cosine[right].acos() - self.margin * quality).clamp(1e-3, math.pi - 1e-3)
        logits = cosine.masked_scatter(right, angle.cos() - self.margin * (quality + 1))
        return F.cross_entropy(self.scale * logits, label[labelled])

    @torch.no_grad()
    def quality(self, vectors: Tensor) -> Tensor:
        """(n,) between -1 and 1; in training the running mean and deviation move first."""
        length = vectors.norm(dim=1).clamp(SHORTEST, LONGEST)
        if self.training and len(length) > 1:
            self.mean.lerp_(length.mean(), 1 - self.memory)
            self.deviation.lerp_(length.std(), 1 - self.memory)
        quality: Tensor = (length - self.mean) / (self.deviation + 1e-3) * self.spread
        return quality.clamp(-1, 1)
