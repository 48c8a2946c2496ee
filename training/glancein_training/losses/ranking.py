"""Pairwise ranking of labels: every label that applies above every one that does not (Li et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor


def ranking_hinge(scores: Tensor, applies: Tensor, *, margin: float = 1.0) -> Tensor:
    """Mean over pictures of the summed max(0, margin + f_v - f_u), u applying and v not.

    scores (n, k); applies (n, k) boolean. A picture to which all labels or none apply counts zero.
    """
    return (F.relu(margin + _gaps(scores)) * _couples(applies)).sum(dim=(1, 2)).mean()


def ranking_log_sum_exp(scores: Tensor, applies: Tensor) -> Tensor:
    """Mean over pictures of log(1 + sum exp(f_v - f_u)), the smooth form.

    The double sum over couples is the product of two sums, so it costs no more than a softmax.
    """
    ranked = applies.any(dim=1) & ~applies.all(dim=1)
    score, apply = scores[ranked], applies[ranked]
    above = torch.logsumexp(score.masked_fill(apply, -torch.inf), dim=1)
    below = torch.logsumexp((-score).masked_fill(~apply, -torch.inf), dim=1)
    return F.softplus(above + below).sum() / max(1, len(scores))


def _gaps(scores: Tensor) -> Tensor:
    """(n, k, k): score of label v less that of u, at [u, v]."""
    return scores[:, None, :] - scores[:, :, None]


def _couples(applies: Tensor) -> Tensor:
    return applies[:, :, None] & ~applies[:, None, :]
