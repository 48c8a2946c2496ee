"""The ranking network: a tiny scorer that orders the frames of one visit by how well they will match.

The label is free: a frame's worth is its cosine to its own person's template.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from glancein_training.frames.spoil import Floats
from glancein_training.frames.visits import Visits
from glancein_training.losses.frame_order import frame_order
from glancein_training.networks import convolution, to_network_floats

HIDDEN = 32
LEAST = {"epochs": 1, "visits": 1, "rate": 0, "weight_decay": 0, "alike": 0, "seed": 0}


@dataclass(frozen=True, slots=True)
class Learning:
    """How a scorer is trained."""

    epochs: int = 20
    visits: int = 32  # in a batch
    rate: float = 3e-3
    weight_decay: float = 0.02
    alike: float = 0.05  # cosines that are no further apart rank neither frame first
    seed: int = 1


@dataclass(frozen=True, slots=True)
class View:
    """What a scorer sees of a frame, and how much that costs at the door."""

    name: str
    of: Callable[[Visits], Tensor]  # (v * k, ...)
    network: Callable[[Tensor], nn.Module]  # from the inputs to learn on, (v * k, ...) -> (v * k, 1)


def norms(visits: Visits) -> Floats:
    """(v, k) lengths of the embeddings before normalisation: long where the network is sure."""
    return np.asarray(np.linalg.norm(visits.raw, axis=2), np.float32)


def agreement(visits: Visits) -> Floats:
    """(v, k) cosine of each frame to the mean of its visit's other frames: learned from nothing."""
    unit = visits.unit()
    others = unit.sum(axis=1, keepdims=True) - unit
    lengths = np.linalg.norm(others, axis=2)
    return np.asarray((unit * others).sum(axis=2) / np.maximum(lengths, 1e-12), np.float32)


def views() -> tuple[View, ...]:
    """Those that are compared, cheapest first."""
    return (
        View(
            "norm and measures",
            lambda v: _flat(np.concatenate([norms(v)[..., None], v.measures], 2)),
            _perceptron,
        ),
        View("measures", lambda v: _flat(v.measures), _perceptron),
        View("embedding", lambda v: _flat(np.concatenate([norms(v)[..., None], v.raw], 2)), _perceptron),
        View("pixels", pixels_of, lambda _: PixelScorer()),
    )


def pixels_of(visits: Visits) -> Tensor:
    """(v * k, 3, 56, 56) floats of the small pictures."""
    small = torch.from_numpy(visits.small.reshape(-1, *visits.small.shape[2:])).permute(0, 3, 1, 2)
    return to_network_floats(small).contiguous(memory_format=torch.channels_last)


class PixelScorer(nn.Module):
    """(n, 3, 56, 56) floats -> (n, ``outputs``): 24 thousand parameters, 2.2 MMAC."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(3, 16, stride=2), convolution(16, 32, stride=2), convolution(32, 64, stride=2)
        )
        self.out = nn.Linear(128, outputs)

    def features(self, pixels: Tensor) -> Tensor:
        """(n, 128): mean and maximum over the picture."""
        maps: Tensor = self.body(pixels)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """One score for each output."""
        return self.out(self.features(pixels))  # type: ignore[no-any-return]  # torch types Module calls as Any


class Standardised(nn.Module):
    """Numbers in units of their own spread, as it was on the frames to learn on."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", inputs.mean(dim=0))
        self.register_buffer("spread", inputs.std(dim=0).clamp_min(1e-6))

    def forward(self, numbers: Tensor) -> Tensor:
        """(n, m) -> (n, m), nothing further out than five deviations."""
        mean, spread = self.get_buffer("mean"), self.get_buffer("spread")
        return ((numbers - mean) / spread).clamp(-5, 5)


def train(view: View, visits: Visits, learning: Learning) -> nn.Module:
    """Learn the order of frames within visits."""
    torch.manual_seed(learning.seed)
    inputs = view.of(visits)
    worth = torch.from_numpy(visits.genuine())
    network = view.network(inputs)
    count, frames = worth.shape
    inputs = inputs.view(count, frames, *inputs.shape[1:])
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning.rate, weight_decay=learning.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, learning.epochs)
    rng = torch.Generator().manual_seed(learning.seed)
    network.train()
    for _ in range(learning.epochs):
        order = torch.randperm(count, generator=rng)
        for start in range(0, count, learning.visits):
            rows = order[start : start + learning.visits]
            scores = network(inputs[rows].flatten(0, 1)).view(len(rows), frames)
            loss = frame_order(scores, worth[rows], alike=learning.alike)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def score(network: nn.Module, view: View, visits: Visits) -> Floats:
    """(v, k) scores of every frame, higher is better."""
    found: Tensor = network(view.of(visits))
    out: Floats = found.view(visits.overall.shape).numpy()
    return out


def ordered_share(scores: Floats, worth: Floats, *, alike: float = 0.05) -> float:
    """Share of pairs of one visit's frames in the right order, of those more than ``alike`` apart."""
    first, second = np.triu_indices(scores.shape[1], 1)
    gap = worth[:, first] - worth[:, second]
    lead = scores[:, first] - scores[:, second]
    told = np.abs(gap) > alike
    return (
        float(np.mean(np.where(lead == 0, 0.5, np.sign(lead) == np.sign(gap))[told]))
        if told.any()
        else float("nan")
    )


def _flat(numbers: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers.reshape(-1, numbers.shape[-1]), np.float32))


def _perceptron(inputs: Tensor) -> nn.Module:
    return nn.Sequential(
        Standardised(inputs), nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    )
