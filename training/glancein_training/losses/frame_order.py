"""Order by pairs with a margin, and likeness of pairs that cannot be told apart (Doughty et al. 2018).

"Who's Better? Who's Best? Pairwise Deep Ranking for Skill Determination": the margin and the similarity term.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor


def frame_order(scores: Tensor, worth: Tensor, *, margin: float = 1.0, alike: float = 0.05) -> Tensor:
    """Mean over pairs of frames of one visit of what their order, or their likeness, lacks.

    scores (v, k) from the network; worth (v, k), the truth. Where worths are more than ``alike`` apart, the
    better frame should lead by ``margin``: max(0, margin - lead). Where they are not, the scores should be no
    further apart than ``margin``: max(0, |lead| - margin). Without a pair the loss is zero.
    """
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], 1)
    lead = scores[:, first] - scores[:, second]  # (v, pairs)
    gap = worth[:, first] - worth[:, second]
    order = F.relu(margin - lead * gap.sign())
    likeness = F.relu(lead.abs() - margin)
    pairs = torch.where(gap.abs() > alike, order, likeness)
    return pairs.mean() if pairs.numel() else scores.sum() * 0
