"""From easy to hard: the share of hard triplets rises as training goes on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glancein_training.mining.online import hard_triplets, random_triplets, semi_hard_triplets


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Random triplets first, semi-hard next, hard ones last; progress runs from 0 to 1.

    Hard triplets from the first step on lead to the collapse f(x) = 0 (Schroff et al. 2015, section 3.2).
    """

    semi_hard_from: float = 0.05
    hard_from: float = 0.3
    hard_full: float = 0.8
    most_hard: float = 0.5

    def hard_share(self, progress: float) -> float:
        """Share of hard triplets: none until ``hard_from``, then up to ``most_hard`` at ``hard_full``."""
        rise = (progress - self.hard_from) / (self.hard_full - self.hard_from)
        return self.most_hard * min(1.0, max(0.0, rise))

    def triplets(
        self, distance: Tensor, label: Tensor, *, progress: float, margin: float, rng: torch.Generator
    ) -> Tensor:
        """(t, 3) the step's triplets."""
        if progress < self.semi_hard_from:
            return random_triplets(label, rng)
        easy = semi_hard_triplets(distance, label, margin=margin, rng=rng)
        hard = hard_triplets(distance, label)
        share = self.hard_share(progress)
        if len(easy) == 0 or share == 0:
            return easy if share == 0 else hard
        wanted = min(len(hard), round(len(easy) * share / (1 - share)))
        drawn = torch.randperm(len(hard), generator=rng)[:wanted]
        return torch.cat([easy, hard[drawn]])
