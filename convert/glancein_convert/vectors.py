"""Unit vectors of crops by the float module and by the int8 file, the way the device makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from glancein.adapters.tflite_runtime import Network
from glancein.domain.align import looks
from glancein.domain.gallery import unit
from glancein.domain.quantize import pixels_to_int8, to_float
from glancein.types import Crop, Floats, Pixels
from glancein_training.networks import to_network_floats

FIELDS = ("single", "summed", "symmetry")


@dataclass(frozen=True, slots=True)
class Vectors:
    """Rows for the same crops: of the crop alone, and of crop and mirror image summed; all of unit length.

    ``symmetry`` is the cosine between a crop and its mirror image: high for faces that look straight ahead.
    """

    single: Floats  # (n, d)
    summed: Floats  # (n, d)
    symmetry: Floats  # (n,)


@torch.no_grad()
def by_float(module: nn.Module, pixels: Pixels, *, batch: int = 128) -> Vectors:
    """Vectors of pixels (n, 112, 112, 3) RGB by a module in PyTorch."""
    module.eval()
    rows, mirrored = [], []
    for start in range(0, len(pixels), batch):
        part = torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch]))
        inputs = to_network_floats(part.permute(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
        rows.append(module(inputs).numpy())
        mirrored.append(module(inputs.flip(3)).numpy())
    return _both(np.concatenate(rows), np.concatenate(mirrored))


def by_int8(network: Network, pixels: Pixels) -> Vectors:
    """Vectors of pixels (n, 112, 112, 3) RGB by an int8 file; n may be 0."""
    spec = network.outputs[0]
    if len(pixels) == 0:
        none: Floats = np.empty((0, spec.shape[-1]), np.float32)
        return Vectors(none, none, none[:, 0])
    steps = [network.run(pixels_to_int8(p)[None])[0].reshape(-1) for p in pixels]
    mirrored = [network.run(pixels_to_int8(p[:, ::-1])[None])[0].reshape(-1) for p in pixels]
    single = to_float(np.stack(steps), scale=spec.scale, zero_point=spec.zero_point)
    other = to_float(np.stack(mirrored), scale=spec.scale, zero_point=spec.zero_point)
    return _both(single, other)


def templates_by_int8(network: Network, pixels: Pixels) -> Floats:
    """Templates (n, d) that the device makes of pixels (n, 112, 112, 3) RGB when it enrols them."""
    moved = (np.stack([look.pixels for look in looks(Crop(p, 1.0, 0.0))]) for p in pixels)
    return np.stack([unit(by_int8(network, nine).summed.sum(axis=0)) for nine in moved])


def _both(single: Floats, mirrored: Floats) -> Vectors:
    a, b = (np.stack([unit(row) for row in rows]) for rows in (single, mirrored))
    return Vectors(a, np.stack([unit(row) for row in a + b]), np.einsum("ij,ij->i", a, b))
