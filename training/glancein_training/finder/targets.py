"""What each cell of the two grids should say about a scene, and the loss that compares.

Score: a peak of 1 at the face's centre that falls off as a Gaussian (Zhou et al. 2019, Objects as Points,
section 3), learnt with the quality focal loss (Li et al. 2020, Generalized Focal Loss, equation 6). Cells
near the centre regress the box and the landmarks; both errors are measured in units of the face, so that
every size counts the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor

from glancein_training.finder.network import STRIDES
from glancein_training.finder.scenes import Scene

# Faces by sqrt(width * height): each grid must find its own sizes and is left alone between them.
SIZES_PX = {8: (0.0, 34.0), 16: (28.0, 1e9)}
SMALLEST_PX = 9.0  # below, neither face nor background
SPREAD = 0.16  # of the Gaussian, in face sizes, and at least
LEAST_SPREAD_CELLS = 0.55
REGRESS_FROM = 0.35  # cells whose target score is at least this regress


@dataclass(frozen=True, slots=True)
class Target:
    """One grid of a batch. ``weight`` 0 ignores a cell; ``regress`` weighs its box and landmarks."""

    score: Tensor  # (n, h, w)
    weight: Tensor  # (n, h, w)
    regress: Tensor  # (n, h, w)
    edges: Tensor  # (n, 4, h, w) distances in strides
    landmarks: Tensor  # (n, 10, h, w) offsets in strides
    size: Tensor  # (n, h, w) of the face, in strides


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part of the loss counts."""

    score: float = 1.0
    box: float = 1.0
    landmarks: float = 4.0


def make_target(scenes: Sequence[Scene], stride: int) -> Target:
    """The targets of a batch of scenes of one size at one stride."""
    height, width = (side // stride for side in scenes[0].pixels.shape[:2])
    arrays = [_one(scene, stride, height, width) for scene in scenes]
    score, weight, regress, edges, landmarks, size = (
        torch.from_numpy(np.stack(a)) for a in zip(*arrays, strict=True)
    )
    return Target(score, weight, regress, edges, landmarks, size)


def loss(
    outputs: Sequence[Tensor], targets: Sequence[Target], weights: Weights
) -> tuple[Tensor, Tensor, Tensor]:
    """Score, box and landmark losses, each times its weight and per face cell."""
    faces = torch.stack([target.regress.sum() for target in targets]).sum().clamp(min=1.0)
    parts = [torch.zeros(()), torch.zeros(()), torch.zeros(())]
    for index in range(len(STRIDES)):
        logits, box, landmarks = (o.float() for o in outputs[3 * index : 3 * index + 3])
        target = targets[index]
        parts[0] = parts[0] + (target.weight * quality_focal(logits[:, 0], target.score)).sum()
        per_face = target.regress / target.size.clamp(min=1e-3)
        parts[1] = parts[1] + (per_face * (box - target.edges).abs().mean(1)).sum()
        parts[2] = parts[2] + (target.regress * landmark_error(landmarks, target)).sum()
    score, box, points = (part / faces for part in parts)
    return weights.score * score, weights.box * box, weights.landmarks * points


def quality_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy against a soft target, times the squared distance to it."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (torch.sigmoid(logits) - target).square() * entropy


def landmark_error(predicted: Tensor, target: Target, *, knee: float = 0.02) -> Tensor:
    """Mean error in face sizes, and a logarithm that pulls below ``knee`` (Feng et al. 2018, Wing Loss)."""
    error = (predicted - target.landmarks).abs() / target.size.clamp(min=1e-3)[:, None]
    return (0.5 * error + knee * torch.log1p(error / knee)).mean(1)


def _one(scene: Scene, stride: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    score = np.zeros((height, width), np.float32)
    weight = np.ones((height, width), np.float32)
    regress = np.zeros((height, width), np.float32)
    edges = np.zeros((4, height, width), np.float32)
    landmarks = np.zeros((10, height, width), np.float32)
    size = np.ones((height, width), np.float32)
    cell_x = (np.arange(width, dtype=np.float32) + 0.5) * stride
    cell_y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) * stride
    low, high = SIZES_PX[stride]
    # Larger faces first: where two overlap the smaller one, in front, has the last word.
    areas = np.prod(scene.boxes[:, 2:], axis=1)
    for index in np.argsort(-areas):
        left, top, box_w, box_h = scene.boxes[index]
        size_px = float(np.sqrt(areas[index]))
        far_x = (cell_x - (left + box_w / 2)) / box_w
        far_y = (cell_y - (top + box_h / 2)) / box_h
        spread = max(SPREAD, LEAST_SPREAD_CELLS * stride / size_px)
        peak = np.exp(-(far_x**2 + far_y**2) / (2 * spread**2)).astype(np.float32)
        if scene.weights[index] == 0 or size_px < SMALLEST_PX:
            weight[(np.abs(far_x) < 0.6) & (np.abs(far_y) < 0.6)] = 0
            continue
        mine = low <= size_px < high
        if not mine:
            # The other grid finds it; near the border between the two a second opinion does no harm.
            if 0.7 * low <= size_px < 1.4 * high:
                weight[peak > 0.1] = 0
            continue
        better = peak > score
        score = np.where(better, peak, score)
        chosen = better & (peak >= REGRESS_FROM)
        weight[peak > 0.1] = 1
        regress[chosen] = peak[chosen]
        size[chosen] = size_px / stride
        x, y = np.broadcast_to(cell_x, score.shape)[chosen], np.broadcast_to(cell_y, score.shape)[chosen]
        edges[:, chosen] = np.stack([x - left, y - top, left + box_w - x, top + box_h - y]) / stride
        points = scene.landmarks[index].reshape(10, 1) - np.stack([x, y] * 5)
        landmarks[:, chosen] = points / stride
    return score, weight, regress, edges, landmarks, size
