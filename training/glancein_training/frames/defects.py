"""The defect network: what is wrong with a frame, several things at once, from a small picture of it.

A frame without a defect has the label "nothing wrong", so that every picture has labels to rank: a ranking
loss learns nothing from pictures without labels, and at a kiosk they are the usual case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

from glancein.domain import quality
from glancein.types import Reason
from glancein_training.frames.plain_measures import MEASURES
from glancein_training.frames.rank import PixelScorer, Standardised, pixels_of
from glancein_training.frames.spoil import DEFECTS, Bools, Defect, Floats
from glancein_training.frames.visits import Ints, Visits
from glancein_training.losses.ranking import ranking_log_sum_exp

LEAST = {"epochs": 1, "batch": 1, "rate": 0, "weight_decay": 0, "seed": 0}
Loss = Callable[[Tensor, Tensor], Tensor]

REASONS: dict[Reason, Defect] = {
    Reason.BLURRED: Defect.BLURRED,
    Reason.TOO_DARK: Defect.DARK,
    Reason.TOO_BRIGHT: Defect.BURNT_OUT,
    Reason.TOO_SMALL: Defect.LOW_RESOLUTION,
    Reason.TURNED_AWAY: Defect.TURNED_AWAY,
    Reason.COVERED: Defect.COVERED,
    Reason.CUT_OFF: Defect.CUT_OFF,
}


@dataclass(frozen=True, slots=True)
class Learning:
    """How the network is trained."""

    epochs: int = 16
    batch: int = 64
    rate: float = 3e-3
    weight_decay: float = 0.02
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of which everything wrong is known."""

    pixels: Tensor  # (n, 3, 56, 56)
    measures: Floats  # (n, 13)
    wrong: Bools  # (n, 7)

    def labels(self) -> Tensor:
        """(n, 8) boolean: the defects, and last "nothing wrong"."""
        return torch.from_numpy(np.concatenate([self.wrong, ~self.wrong.any(axis=1, keepdims=True)], axis=1))


def frames_of(visits: Visits) -> Frames:
    """The frames of which everybody could say whether the head is turned away."""
    known = visits.known.ravel()
    return Frames(
        pixels_of(visits)[torch.from_numpy(known)],
        visits.measures.reshape(len(known), -1)[known],
        visits.wrong.reshape(len(known), -1)[known],
    )


def train(frames: Frames, loss: Loss, learning: Learning) -> PixelScorer:
    """Learn eight labels from small pictures, mirrored at random."""
    torch.manual_seed(learning.seed)
    network = PixelScorer(len(DEFECTS) + 1)
    _descend(network, frames.pixels, frames.labels(), loss, learning)
    return network.eval()


def train_linear(frames: Frames, learning: Learning) -> nn.Module:
    """One linear layer over the plain measures: what a kiosk could have for 104 multiplications."""
    torch.manual_seed(learning.seed)
    inputs = torch.from_numpy(frames.measures)
    network = nn.Sequential(Standardised(inputs), nn.Linear(inputs.shape[1], len(DEFECTS) + 1))
    _descend(network, inputs, frames.labels(), binary_cross_entropy, learning)
    return network.eval()


def binary_cross_entropy(scores: Tensor, applies: Tensor) -> Tensor:
    """Every label on its own: what the ranking loss is measured against."""
    return F.binary_cross_entropy_with_logits(scores, applies.float())


def ranking(scores: Tensor, applies: Tensor) -> Tensor:
    """Every label that applies above every one that does not, smooth."""
    return ranking_log_sum_exp(scores, applies)


def plain_scores(measures: Floats) -> Floats:
    """(n, 7) from the measures (n, 13), the device's own measure of each defect: higher is worse."""
    of = {name: measures[:, k] for k, name in enumerate(MEASURES)}
    limits = quality.PHOTO_LIMITS
    lost = np.minimum(of["mouth_detail"] / limits.min_mouth_detail, of["eye_light"] / limits.min_eye_light)
    columns = {
        Defect.BLURRED: of["blur_px"],
        Defect.DARK: -of["light"],
        Defect.BURNT_OUT: of["burnt_share"],
        Defect.LOW_RESOLUTION: -of["eye_distance_px"],
        Defect.TURNED_AWAY: of["nose_offset"],
        Defect.COVERED: -lost,
        Defect.CUT_OFF: of["outside_share"],
    }
    return np.stack([columns[defect] for defect in DEFECTS], axis=1)


def plain_findings(measures: Floats, limits: quality.QualityLimits) -> Bools:
    """(n, 7) what the device itself finds at these limits."""
    out = np.zeros((len(measures), len(DEFECTS)), bool)
    for number, values in enumerate(measures):
        for finding in quality.judge(dict(zip(MEASURES, values.tolist(), strict=True)), limits).findings:
            if finding.reason in REASONS:
                out[number, DEFECTS.index(REASONS[finding.reason])] = True
    return out


def best_limits(scores: Floats, wrong: Bools) -> Floats:
    """(7,) the limit of each label with the highest F1 on these frames; a score above it is a defect."""
    limits = np.zeros(scores.shape[1], np.float32)
    for k in range(scores.shape[1]):
        order = np.argsort(-scores[:, k], kind="stable")
        ordered, hits = scores[order, k], np.cumsum(wrong[order, k])
        ends = _ends(ordered)
        f1 = 2 * hits[ends] / (ends + 1 + max(1, int(wrong[:, k].sum())))
        at = int(ends[f1.argmax()])
        is_last = at + 1 == len(ordered)
        limits[k] = np.nextafter(ordered[at], -np.inf) if is_last else (ordered[at] + ordered[at + 1]) / 2
    return limits


def average_precision(scores: Floats, wrong: Bools) -> float:
    """Mean precision at each true frame, best scores first; frames of one score count together."""
    if not wrong.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ends = _ends(scores[order])
    hits = np.cumsum(wrong[order])[ends]
    return float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum() / hits[-1])


def _ends(ordered: Floats) -> Ints:
    """Where each run of equal scores ends: a limit lies between two runs, never inside one."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))


def f1(told: Bools, wrong: Bools) -> float:
    """Harmonic mean of precision and recall over all given labels."""
    return float(2 * (told & wrong).sum() / max(1, told.sum() + wrong.sum()))


def _descend(network: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss, learning: Learning) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning.rate, weight_decay=learning.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, learning.epochs)
    rng = torch.Generator().manual_seed(learning.seed)
    network.train()
    for _ in range(learning.epochs):
        order = torch.randperm(len(inputs), generator=rng)
        for start in range(0, len(order), learning.batch):
            rows = order[start : start + learning.batch]
            batch = inputs[rows]
            if batch.ndim == 4 and torch.rand(1, generator=rng).item() < 0.5:
                batch = batch.flip(3)
            value = loss(network(batch), labels[rows])
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
        schedule.step()
