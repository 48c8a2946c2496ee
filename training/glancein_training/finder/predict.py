"""Faces of whole pictures by a float network: letterbox, run, decode, suppress, as the device does it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from glancein.domain import detect
from glancein.types import Face
from glancein_training.finder.data import Picture, Pixels
from glancein_training.finder.network import STRIDES, Finder
from glancein_training.networks import to_network_floats

LOWEST = 0.05  # a low threshold, so that the whole curve can be drawn


def find_all(
    network: Finder, pictures: Sequence[Picture], *, batch: int = 25, lowest: float = LOWEST
) -> list[list[Face]]:
    """Faces of every picture, best first, with every score from ``lowest`` on."""
    found: list[list[Face]] = []
    for start in range(0, len(pictures), batch):
        found.extend(find_batch(network, [p.pixels for p in pictures[start : start + batch]], lowest=lowest))
    return found


@torch.no_grad()
def find_batch(network: Finder, pictures: Sequence[Pixels], *, lowest: float) -> list[list[Face]]:
    """Faces of a few pictures in one pass."""
    network.eval()
    fitted = [letterbox(pixels, network.shape.width_px, network.shape.height_px) for pixels in pictures]
    stacked = torch.from_numpy(np.stack([pixels for pixels, _ in fitted])).permute(0, 3, 1, 2)
    outputs = network(to_network_floats(stacked).contiguous(memory_format=torch.channels_last))
    arrays = [output.permute(0, 2, 3, 1).numpy() for output in outputs]
    found = []
    for index, (_, scale) in enumerate(fitted):
        planes = [detect.Plane(np.ascontiguousarray(array[index])) for array in arrays]
        levels = [detect.Level(stride, *planes[3 * k : 3 * k + 3]) for k, stride in enumerate(STRIDES)]
        candidates = detect.suppress(detect.decode(levels, threshold=lowest))
        found.append(detect.to_faces(candidates, input_px_per_px=scale))
    return found


def letterbox(pixels: Pixels, width: int, height: int) -> tuple[Pixels, float]:
    """The picture in the top left corner of a (height, width) canvas, and the scale it was brought to."""
    full_h, full_w = pixels.shape[:2]
    scale = min(width / full_w, height / full_h)
    size = min(width, round(full_w * scale)), min(height, round(full_h * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.full((height, width, 3), 128, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=method)
    return canvas, scale
