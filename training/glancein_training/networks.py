"""The embedder family: plain and fused convolutions with ReLU, int8-native, 112 x 112 RGB in, 128-D out.

Every network takes floats ``(pixel - 128) / 128``, so the int8 input of the converted file is ``pixel - 128``
exactly: scale 1/128, zero point 0. The L2 norm stays outside the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class EmbedderShape:
    """Width and depth of one member of the family.

    ``widths``: channels after the stem and of the three stages at strides 4, 8 and 16.
    ``blocks``: residual blocks in each stage. ``inner``: channels inside those blocks.
    """

    name: str
    widths: tuple[int, int, int, int]
    blocks: tuple[int, int, int]
    inner: tuple[int, int, int]
    reduce: int = 64
    embedding: int = 128
    input_px: int = 112


FAMILY: dict[str, EmbedderShape] = {
    shape.name: shape
    for shape in (
        EmbedderShape("glance-33", (16, 32, 64, 128), (1, 1, 1), (16, 32, 64)),
        EmbedderShape("glance-116", (16, 48, 96, 192), (1, 2, 2), (24, 64, 96)),
        EmbedderShape("glance-158", (24, 64, 128, 192), (1, 2, 2), (32, 64, 96)),
        EmbedderShape("glance-187", (24, 64, 128, 192), (1, 1, 1), (64, 128, 192)),
        EmbedderShape("glance-203", (24, 64, 128, 192), (1, 3, 3), (32, 64, 96)),
    )
}


class Embedder(nn.Module):
    """(n, 3, px, px) floats in [-1, 1) -> (n, embedding) floats, not normalised.

    Smaller pictures are taken too, for cheap early training (Tan and Le 2021, "EfficientNetV2", section 4):
    their last features are enlarged to the size that the projection expects.
    """

    def __init__(self, shape: EmbedderShape) -> None:
        super().__init__()
        self.shape = shape
        stem, *stages = shape.widths
        layers: list[nn.Module] = [convolution(3, stem, stride=2)]
        before = stem
        for width, count, inner in zip(stages, shape.blocks, shape.inner, strict=True):
            layers.append(convolution(before, width, stride=2))
            layers.extend(Residual(width, inner) for _ in range(count))
            before = width
        layers.append(convolution(before, shape.reduce, kernel=1))
        self.body = nn.Sequential(*layers)
        self.last_px = -(-shape.input_px // 16)
        self.project = nn.Linear(shape.reduce * self.last_px**2, shape.embedding)

    def forward(self, pixels: Tensor) -> Tensor:
        """One embedding per picture; the caller normalises."""
        features: Tensor = self.body(pixels)
        if features.shape[-1] != self.last_px:
            features = F.interpolate(features, size=self.last_px, mode="bilinear", align_corners=False)
        return self.project(features.flatten(1))  # type: ignore[no-any-return]  # torch types Module calls as Any


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a narrower middle, added to the input."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.narrow = convolution(width, inner)
        normalise = nn.BatchNorm2d(width)
        nn.init.zeros_(normalise.weight)
        self.widen = nn.Sequential(nn.Conv2d(inner, width, 3, padding=1, bias=False), normalise)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(n, width, h, w) -> the same shape."""
        return self.relu(features + self.widen(self.narrow(features)))  # type: ignore[no-any-return]  # as above


def convolution(before: int, after: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU: one fused int8 operator after conversion."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def to_network_floats(pixels: Tensor) -> Tensor:
    """uint8 (n, 3, h, w) RGB -> the floats the networks take."""
    return (pixels.float() - 128.0) / 128.0


@torch.no_grad()
def count_cost(network: Embedder) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one picture."""
    macs = 0

    def add(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal macs
        match layer:
            case nn.Conv2d() | nn.Linear():
                macs += layer.weight.numel() * output[0, 0].numel()

    hooks = [m.register_forward_hook(add) for m in network.modules()]
    px = network.shape.input_px
    was_training = network.training
    network.eval()(torch.zeros(1, 3, px, px))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in network.parameters()), macs
