"""The finder's network: plain convolutions with ReLU, two grids at strides 8 and 16, six output tensors.

Score, box and landmarks of each grid leave as tensors of their own, because an int8 tensor has one scale and
the three quantities have different ranges. Inputs are floats ``(pixel - 128) / 128`` as in ``networks.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glancein.errors import InputError
from glancein_training.networks import convolution

STRIDES = (8, 16)
OUTPUTS = tuple(f"{what}_{stride}" for stride in STRIDES for what in ("score", "box", "landmarks"))
CHANNELS = (1, 4, 10)  # of score, box, landmarks


@dataclass(frozen=True, slots=True)
class FinderShape:
    """Widths after each halving, and (inner channels, dilation) of the blocks at strides 8 and 16."""

    name: str
    widths: tuple[int, int, int, int]
    fine: tuple[tuple[int, int], ...]
    coarse: tuple[tuple[int, int], ...]
    width_px: int = 256
    height_px: int = 192


FAMILY: dict[str, FinderShape] = {
    shape.name: shape
    for shape in (
        FinderShape("finder-38", (8, 16, 32, 64), ((16, 1),), ((24, 1), (16, 2), (16, 3))),
        FinderShape("finder-33", (8, 16, 32, 64), ((16, 1),), ((24, 1), (16, 2), (16, 3), (32, 1), (32, 2))),
        FinderShape("finder-24", (8, 16, 24, 48), ((8, 1),), ((16, 1), (16, 2), (16, 3))),
    )
}


def shape_named(name: str, *, where: str = "") -> FinderShape:
    """A member of the family. Raises InputError for another name, told after ``where`` it stands."""
    if name not in FAMILY:
        raise InputError(f"{where}there is no finder {name!r}; the family has {', '.join(FAMILY)}")
    return FAMILY[name]


class Finder(nn.Module):
    """(n, 3, h, w) floats -> score, box, landmarks at stride 8, then 16: (n, channels, h/s, w/s) each."""

    def __init__(self, shape: FinderShape) -> None:
        super().__init__()
        self.shape = shape
        first, second, fine, coarse = shape.widths
        self.fine = nn.Sequential(
            convolution(3, first, stride=2),
            convolution(first, second, stride=2),
            convolution(second, fine, stride=2),
            *(Bottleneck(fine, inner, dilation) for inner, dilation in shape.fine),
        )
        self.coarse = nn.Sequential(
            convolution(fine, coarse, stride=2),
            *(Bottleneck(coarse, inner, dilation) for inner, dilation in shape.coarse),
        )
        self.heads_fine = nn.ModuleList(nn.Conv2d(fine, channels, 1) for channels in CHANNELS)
        self.heads_coarse = nn.ModuleList(nn.Conv2d(coarse, channels, 1) for channels in CHANNELS)
        for heads in (self.heads_fine, self.heads_coarse):
            # Lin et al. 2017 (focal loss), section 3.3: begin with faces being rare.
            nn.init.constant_(heads[0].bias, -4.0)  # type: ignore[arg-type]  # ModuleList items are typed as Module

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits, distances and offsets, the last two in strides."""
        fine = self.fine(pixels)
        coarse = self.coarse(fine)
        return (*(head(fine) for head in self.heads_fine), *(head(coarse) for head in self.heads_coarse))


class Bottleneck(nn.Module):
    """A 1 x 1 convolution to fewer channels and a 3 x 3, maybe dilated, back, added to the input."""

    def __init__(self, width: int, inner: int, dilation: int) -> None:
        super().__init__()
        self.narrow = convolution(width, inner, kernel=1)
        normalise = nn.BatchNorm2d(width)
        # Begins as the identity, so that it can be added to a trained network.
        nn.init.zeros_(normalise.weight)
        self.widen = nn.Sequential(
            nn.Conv2d(inner, width, 3, padding=dilation, dilation=dilation, bias=False), normalise
        )
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Same shape out as in."""
        return self.relu(features + self.widen(self.narrow(features)))  # type: ignore[no-any-return]  # torch types Module calls as Any


@torch.no_grad()
def count_cost(network: Finder) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one picture at the kiosk's input size."""
    macs = 0

    def add(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d):
            macs += layer.weight.numel() * output[0, 0].numel()

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    was_training = network.training
    network.eval()(torch.zeros(1, 3, network.shape.height_px, network.shape.width_px))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return sum(parameter.numel() for parameter in network.parameters()), macs
