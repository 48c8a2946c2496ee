"""From ranked labels to those that are said: so many (count), or those that pass their limit (threshold).

Li et al. 2017, "Improving Pairwise Ranking for Multi-label Image Classification": both are small
networks on the features of the ranker, which stays as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

HIDDEN = 100  # as in the paper
STEPS, BATCH, RATE = 600, 128, 2e-3


class CountDecision(nn.Module):
    """As many of the best labels as the picture is thought to have; ``most`` at most, one at least."""

    def __init__(self, features: int, most: int) -> None:
        super().__init__()
        self.count = _estimator(features, most)

    def loss(self, features: Tensor, scores: Tensor, applies: Tensor) -> Tensor:  # noqa: ARG002  # one signature
        """Cross-entropy of the number of labels."""
        counts: Tensor = self.count(features)
        wanted = applies.sum(dim=1).clamp(1, counts.shape[1]) - 1
        return F.cross_entropy(counts, wanted)

    def decide(self, features: Tensor, scores: Tensor) -> Tensor:
        """The first labels by score."""
        wanted: Tensor = self.count(features).argmax(dim=1) + 1
        place = scores.argsort(dim=1, descending=True).argsort(dim=1)
        return place < wanted[:, None]


class ThresholdDecision(nn.Module):
    """A limit for every label of every picture; the labels whose score is above it."""

    def __init__(self, features: int, labels: int) -> None:
        super().__init__()
        self.limit = _estimator(features, labels)

    def loss(self, features: Tensor, scores: Tensor, applies: Tensor) -> Tensor:
        """Cross-entropy of sigmoid(score - limit)."""
        return F.binary_cross_entropy_with_logits(scores - self.limit(features), applies.float())

    def decide(self, features: Tensor, scores: Tensor) -> Tensor:
        """Labels above their limit."""
        limits: Tensor = self.limit(features)
        return scores > limits


Decision = CountDecision | ThresholdDecision


def fit(decision: Decision, features: Tensor, scores: Tensor, applies: Tensor, *, steps: int = STEPS) -> None:
    """Train one decision on frozen features (n, m) and scores (n, k)."""
    optimiser = torch.optim.AdamW(decision.parameters(), lr=RATE, weight_decay=0.01)
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(features), (BATCH,), generator=rng)
        loss = decision.loss(features[rows], scores[rows], applies[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()


def _estimator(features: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))
