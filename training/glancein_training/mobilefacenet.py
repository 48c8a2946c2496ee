"""MobileFaceNet with ReLU: the reference that the plain family is measured against.

Chen et al. 2018, "MobileFaceNets", table 1. ReLU stands in for PReLU, costing int8 runtimes more operators
in every layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

# Expansion, channels, repeats, stride of the first: the rows of table 1.
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
STEM = 64


@dataclass(frozen=True, slots=True)
class MobileShape:
    """The one width of the paper; ``reduce`` are the channels that the global depthwise layer looks at."""

    name: str
    reduce: int = 512
    embedding: int = 128
    input_px: int = 112


def mobile_body(shape: MobileShape, features_px: int) -> nn.Sequential:
    """Picture to (n, reduce, 1, 1): stem, bottlenecks, and one weight for each place of the last features."""
    layers: list[nn.Module] = [fused(3, STEM, stride=2), fused(STEM, STEM, groups=STEM)]
    before = STEM
    for expansion, width, count, stride in BOTTLENECKS:
        layers.append(Bottleneck(before, width, expansion * before, stride))
        layers.extend(Bottleneck(width, width, expansion * width, 1) for _ in range(count - 1))
        before = width
    layers += [fused(before, shape.reduce, kernel=1), Enlarged(features_px)]
    whole = nn.Conv2d(shape.reduce, shape.reduce, features_px, groups=shape.reduce, bias=False)
    return nn.Sequential(*layers, whole, nn.BatchNorm2d(shape.reduce))


class Bottleneck(nn.Module):
    """Widen, look at each channel on its own, narrow without ReLU; added to the input where sizes agree."""

    def __init__(self, before: int, after: int, inner: int, stride: int) -> None:
        super().__init__()
        self.adds = stride == 1 and before == after
        self.layers = nn.Sequential(
            fused(before, inner, kernel=1),
            fused(inner, inner, stride=stride, groups=inner),
            nn.Conv2d(inner, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(n, before, h, w) -> (n, after, h / stride, w / stride)."""
        out: Tensor = self.layers(features)
        return features + out if self.adds else out


class Enlarged(nn.Module):
    """Features at the size that full pictures give; smaller ones, of cheap early training, are enlarged."""

    def __init__(self, px: int) -> None:
        super().__init__()
        self.px = px

    def forward(self, features: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, px, px)."""
        if features.shape[-1] == self.px:
            return features
        return F.interpolate(features, size=self.px, mode="bilinear", align_corners=False)


def fused(before: int, after: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
