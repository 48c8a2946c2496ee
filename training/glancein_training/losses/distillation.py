"""Embedding distillation: the student's vector points where the teacher's does."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor


def cosine_distillation(student: Tensor, teacher: Tensor, *, hard_power: float = 0.0) -> Tensor:
    """Mean of 1 - cos(student, teacher) over the batch, hard pictures weighted up.

    student (n, d), any length; teacher (n, d), unit rows. ``hard_power`` p weights each picture by
    (1 - cos)^p, the weights held fixed and averaging one; 0 is the plain mean.
    """
    distance = 1 - F.cosine_similarity(student, teacher)
    if hard_power == 0:
        return distance.mean()
    weight = distance.detach().clamp_min(1e-6).pow(hard_power)
    return (weight / weight.mean() * distance).mean()


def relational_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the batch's two cosine matrices, the diagonal left out.

    Park et al. 2019, "Relational Knowledge Distillation", section 3.2, with cosines in place of distances.
    """
    unit = F.normalize(student)
    gap = unit @ unit.T - teacher @ teacher.T
    off_diagonal = ~torch.eye(len(gap), dtype=torch.bool)
    return gap[off_diagonal].pow(2).mean()


def crowding(student: Tensor, teacher: Tensor, others: Tensor, *, sharpness: float = 16.0) -> Tensor:
    """How much nearer the student lies to other people than the teacher does, where it lies nearest.

    student (n, d), any length; teacher (n, d) and others (m, d), the teacher's vectors of other pictures,
    unit rows. Each picture's cosines to the others are averaged with weights softmax(sharpness * cosine);
    the mean excess over the teacher's average is returned. A vector near to many (Radovanovic et al. 2010,
    "Hubs in Space") makes most of the false matches at a low rate.
    """
    near = F.normalize(student) @ others.T
    wanted = teacher @ others.T
    nearest = (near * (sharpness * near).softmax(1).detach()).sum(1)
    allowed = (wanted * (sharpness * wanted).softmax(1)).sum(1)
    return (nearest - allowed).clamp_min(0).mean()
