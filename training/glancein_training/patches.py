"""What a layer sees: the patches that excite a channel most (Zeiler and Fergus 2014, section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from glancein.domain.align import CROP_PX
from glancein.errors import InputError
from glancein_training import packs
from glancein_training.networks import Embedder, network_pictures

TILE_PX = 44
GAP_PX = 8
CAPTION_PX = 16
BATCH = 64
SMALLEST_FIELD_PX = 5
ENDINGS = (".png", ".jpg", ".webp")  # of the picture that is drawn


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the body: how far its values lie apart and how far they look, in pixels of the input."""

    index: int
    jump_px: int
    field_px: int


@dataclass(frozen=True, slots=True)
class Patch:
    """A place that excites a channel: which picture, its middle in pixels of the input, and how much."""

    picture: int
    x_px: int
    y_px: int
    value: float


def layers_of(network: Embedder) -> list[Layer]:
    """Every layer of the body that looks at more than an edge and at less than the whole crop."""
    found: list[Layer] = []
    jump, field = 1, 1
    for index, part in enumerate(network.body):
        convolutions = [m for m in part.modules() if isinstance(m, nn.Conv2d)]
        for convolution in convolutions:
            field += (convolution.kernel_size[0] - 1) * jump
            jump *= convolution.stride[0]
        if convolutions and SMALLEST_FIELD_PX <= field <= CROP_PX:
            found.append(Layer(index, jump, field))
    return found


@torch.no_grad()
def activations(network: Embedder, pixels: packs.Pixels, layers: Sequence[Layer]) -> list[Tensor]:
    """For each layer (n, channels, h, w) of stored crops (n, 128, 128, 3)."""
    network.eval()
    out: list[list[Tensor]] = [[] for _ in layers]
    for start in range(0, len(pixels), BATCH):
        stored = torch.from_numpy(np.ascontiguousarray(pixels[start : start + BATCH])).permute(0, 3, 1, 2)
        features = network_pictures(network, stored)
        for index, part in enumerate(network.body):
            features = part(features)
            for kept, layer in zip(out, layers, strict=True):
                if layer.index == index:
                    kept.append(features)
    return [torch.cat(kept) for kept in out]


def selective(maps: Tensor, count: int) -> list[int]:
    """Channels of (n, c, h, w) whose highest values stand out most against their mean; silent ones last."""
    highest = maps.amax(dim=(0, 2, 3))
    contrast = highest / maps.abs().mean(dim=(0, 2, 3)).clamp_min(1e-6)
    contrast[highest <= 0] = 0
    return [int(k) for k in contrast.argsort(descending=True)[:count]]


def strongest(values: Tensor, layer: Layer, count: int) -> list[Patch]:
    """The ``count`` highest places of one channel (n, h, w), half a field apart within a picture."""
    apart = max(layer.field_px // 2, layer.jump_px)
    found: list[Patch] = []
    for place in values.flatten().argsort(descending=True, stable=True):
        n, y, x = (int(k) for k in np.unravel_index(int(place), values.shape))
        value = float(values[n, y, x])
        if len(found) == count or value <= 0:
            break
        x_px, y_px = x * layer.jump_px, y * layer.jump_px
        near = [p for p in found if p.picture == n and max(abs(p.x_px - x_px), abs(p.y_px - y_px)) < apart]
        if not near:
            found.append(Patch(n, x_px, y_px, value))
    return found


def cut(picture: packs.Pixels, patch: Patch, side_px: int) -> packs.Pixels:
    """The patch (side, side, 3) out of the network's part of a crop (112, 112, 3), mirrored over its edge."""
    half = side_px // 2
    padded = np.pad(picture, ((half, half), (half, half), (0, 0)), mode="reflect")
    return padded[patch.y_px : patch.y_px + side_px, patch.x_px : patch.x_px + side_px]


def shown_px(layer: Layer) -> int:
    """The part of a field that is shown: its inner half, which decides most (Luo et al. 2016)."""
    return max(7, layer.field_px // 2)


def draw(network: Embedder, pixels: packs.Pixels, path: Path, *, channels: int, count: int) -> None:
    """Write one picture: a line of channels for each layer, each channel's strongest patches side by side.

    pixels (n, 128, 128, 3) stored crops. Raises InputError if the network does not look at whole crops.
    """
    if network.shape.input_px != CROP_PX:
        raise InputError(f"{network.shape.name} looks at {network.shape.input_px} px; patches need {CROP_PX}")
    margin = (packs.STORED_PX - CROP_PX) // 2
    crops = pixels[:, margin : margin + CROP_PX, margin : margin + CROP_PX]
    layers = layers_of(network)
    if not layers:
        raise InputError(f"no layer of {network.shape.name} looks at a part of the crop")
    block_px = count * TILE_PX + GAP_PX
    line_px = CAPTION_PX + TILE_PX + GAP_PX
    sheet = Image.new("RGB", (channels * block_px, len(layers) * line_px), "white")
    pen = ImageDraw.Draw(sheet)
    for line, (layer, maps) in enumerate(zip(layers, activations(network, pixels, layers), strict=True)):
        told = f"stride {layer.jump_px}, field {layer.field_px} px, {maps.shape[1]} channels"
        pen.text((0, line * line_px), told, fill="black")
        for x, tile in _tiles(maps, layer, crops, channels=channels, count=count):
            sheet.paste(tile, (x, line * line_px + CAPTION_PX))
    sheet.save(path, optimize=True)


def _tiles(
    maps: Tensor, layer: Layer, crops: NDArray[np.uint8], *, channels: int, count: int
) -> Iterator[tuple[int, Image.Image]]:
    for column, channel in enumerate(selective(maps, channels)):
        for k, patch in enumerate(strongest(maps[:, channel], layer, count)):
            piece = Image.fromarray(np.ascontiguousarray(cut(crops[patch.picture], patch, shown_px(layer))))
            x = column * (count * TILE_PX + GAP_PX) + k * TILE_PX
            yield x, piece.resize((TILE_PX - 2, TILE_PX - 2), Image.Resampling.BICUBIC)
