"""Three ways to a float file that int8 serves better: equalised layers, corrected biases, tuned weights.

Each takes the converter's float file and gives another of the same form, which is then quantised as usual.
The int8 file says how activations are stored. docs/experiments-convert.md has what each was worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glancein.types import Pixels
from glancein_convert.fake_quant import FakeQuantised, Operation, with_parameters

CORRECTION_PICTURES = 64


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How long and how fast. ``images`` counts crops shown, repeated ones too."""

    images: int = 6400
    batch: int = 32
    rate: float = 2e-5
    warm_up: float = 0.1  # share of the run
    seed: int = 0


def equalise(float_raw: bytes, int8_raw: bytes) -> tuple[bytes, int]:
    """Scale channels between two convolutions so that both have weights of like size; and how many pairs.

    Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", equation 11.
    A pair is a convolution with ReLU whose output only one other convolution reads, padded or not.
    """
    module = FakeQuantised(float_raw, int8_raw)
    pairs = _pairs(module.operations)
    with torch.no_grad():
        for first, second in pairs:
            before, after = module.weights[first], module.weights[second]
            made, read = before.abs().amax((1, 2, 3)), after.abs().amax((0, 2, 3))
            alive = (made > 0) & (read > 0)
            factor = torch.where(alive, (made * read).clamp(min=1e-20).sqrt() / read.clamp(min=1e-10), 1.0)
            before /= factor[:, None, None, None]
            module.biases[first] /= factor
            after *= factor[None, :, None, None]
    return with_parameters(float_raw, module), len(pairs)


def correct_biases(float_raw: bytes, int8_raw: bytes, pixels: Pixels) -> bytes:
    """Move each bias by what rounding shifted its sums' mean, front to back. pixels uint8 (n, h, w, 3)."""
    module = FakeQuantised(float_raw, int8_raw)
    inputs = _inputs(pixels[:CORRECTION_PICTURES])
    with torch.no_grad():
        wanted = module.sums(inputs, exact=True)
        for number, mean in enumerate(wanted):
            module.biases[number] += mean - module.sums(inputs, exact=False)[number]
    return with_parameters(float_raw, module)


def fine_tune(float_raw: bytes, int8_raw: bytes, pixels: Pixels, settings: FineTuning) -> bytes:
    """Quantisation-aware training: the int8 form learns the float form's outputs; no labels. Repeatable.

    pixels uint8 (n, h, w, 3), of training people. Adam, linear warm-up, cosine decay; activation ranges stay.
    """
    teacher, student = FakeQuantised(float_raw, int8_raw), FakeQuantised(float_raw, int8_raw)
    optimiser = torch.optim.Adam(student.parameters(), lr=settings.rate)
    steps = max(1, settings.images // settings.batch)
    rng = np.random.default_rng(settings.seed)
    for step in range(steps):
        share = step / steps
        pace = min(1.0, share / settings.warm_up) * (1 + math.cos(math.pi * share)) / 2
        optimiser.param_groups[0]["lr"] = settings.rate * pace
        rows = np.sort(rng.integers(0, len(pixels), settings.batch))
        inputs = _inputs(pixels[rows])
        if rng.random() < 0.5:
            inputs = inputs.flip(3)
        with torch.no_grad():
            wanted = teacher.exactly(inputs)
        loss = relative_error(student.real(student(inputs)), wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        optimiser.step()
    return with_parameters(float_raw, student)


def relative_error(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Squared error over squared size, summed over outputs: scale-free, so unlike outputs count alike."""
    parts = [(f - w).square().sum() / w.square().sum() for f, w in zip(found, wanted, strict=True)]
    return torch.stack(parts).sum()


def _inputs(pixels: Pixels) -> Tensor:
    """uint8 (n, h, w, 3) -> int8 steps in floats (n, 3, h, w)."""
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32)) - 128


def _pairs(operations: list[Operation]) -> list[tuple[int, int]]:
    """Numbers, among the convolutions, of those that may share their channels' scales."""
    convolutions = [o for o in operations if o.name == "CONV_2D"]
    number = {operation.output: index for index, operation in enumerate(convolutions)}
    pairs = []
    for first in convolutions:
        readers = [o for o in operations if first.output in o.inputs]
        if len(readers) == 1 and readers[0].name == "PAD":
            readers = [o for o in operations if readers[0].output in o.inputs]
        if first.relu and len(readers) == 1 and readers[0].name == "CONV_2D":
            pairs.append((number[first.output], number[readers[0].output]))
    return pairs
