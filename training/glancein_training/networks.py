"""The embedder family: plain and fused convolutions with ReLU, int8-native, 112 x 112 RGB in, 128-D out.

Every network takes floats ``(pixel - 128) / 128``, so the int8 input of the converted file is ``pixel - 128``
exactly: scale 1/128, zero point 0. The L2 norm stays outside the graph. A name may ask for another size:
``glance-158-96px`` looks at 96 px, ``glance-158-256d`` answers with 256 numbers, ``glance-158-96px-256d``
does both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

from glancein.domain.align import CROP_PX
from glancein.errors import InputError
from glancein_training.mobilefacenet import MobileShape, mobile_body

STRIDE = 16  # from the picture to the last features
EMBEDDINGS = (64, 512)  # fewest and most numbers of a vector
INPUTS_PX = (64, 160)
LEAST_PX = 32  # of a training's pictures, two strides wide


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


Shape = EmbedderShape | MobileShape

FAMILY: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        EmbedderShape("glance-33", (16, 32, 64, 128), (1, 1, 1), (16, 32, 64)),
        EmbedderShape("glance-116", (16, 48, 96, 192), (1, 2, 2), (24, 64, 96)),
        EmbedderShape("glance-113", (24, 64, 128, 192), (1, 1, 1), (32, 64, 96)),
        EmbedderShape("glance-158", (24, 64, 128, 192), (1, 2, 2), (32, 64, 96)),
        EmbedderShape("glance-187", (24, 64, 128, 192), (1, 1, 1), (64, 128, 192)),
        EmbedderShape("glance-203", (24, 64, 128, 192), (1, 3, 3), (32, 64, 96)),
        EmbedderShape("glance-220", (24, 64, 128, 192), (1, 3, 4), (32, 64, 96)),
        EmbedderShape("glance-249", (24, 64, 128, 192), (1, 4, 4), (32, 64, 96)),
        EmbedderShape("glance-361", (32, 96, 192, 256), (1, 2, 3), (48, 96, 128)),
        MobileShape("mobilefacenet"),
    )
}


def shape_named(name: str, family: Mapping[str, Shape] | None = None) -> Shape:
    """The family's member of this name, with the picture's size and the vector's length that it asks for.

    Raises InputError for an unknown member or a size that cannot be had.
    """
    known = FAMILY if family is None else family
    if name in known:
        return known[name]
    match = re.fullmatch(r"(.+?)(?:-(\d+)px)?(?:-(\d+)d)?", name)
    if match is None or match[1] not in known:
        raise InputError(f"there is no network {name!r}; the family has {', '.join(known)}")
    shape = known[match[1]]
    px, embedding = int(match[2] or shape.input_px), int(match[3] or shape.embedding)
    if px % STRIDE or not INPUTS_PX[0] <= px <= INPUTS_PX[1]:
        raise InputError(f"{name}: pictures are {INPUTS_PX[0]} to {INPUTS_PX[1]} px, a multiple of {STRIDE}")
    if not EMBEDDINGS[0] <= embedding <= EMBEDDINGS[1]:
        raise InputError(f"{name}: vectors have {EMBEDDINGS[0]} to {EMBEDDINGS[1]} numbers")
    return replace(shape, name=name, input_px=px, embedding=embedding)


class Embedder(nn.Module):
    """(n, 3, px, px) floats in [-1, 1) -> (n, embedding) floats, not normalised.

    Smaller pictures are taken too, for cheap early training (Tan and Le 2021, "EfficientNetV2", section 4):
    their last features are enlarged to the size that the projection expects.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        features_px = -(-shape.input_px // STRIDE)
        match shape:
            case EmbedderShape():
                self.body, self.last_px = plain_body(shape), features_px
            case MobileShape():
                self.body, self.last_px = mobile_body(shape, features_px), 1
        self.project = nn.Linear(shape.reduce * self.last_px**2, shape.embedding)

    def forward(self, pixels: Tensor) -> Tensor:
        """One embedding per picture; the caller normalises."""
        features: Tensor = self.body(pixels)
        if features.shape[-1] != self.last_px:
            features = F.interpolate(features, size=self.last_px, mode="bilinear", align_corners=False)
        return self.project(features.flatten(1))  # type: ignore[no-any-return]  # torch types Module calls as Any


def plain_body(shape: EmbedderShape) -> nn.Sequential:
    """Picture to features: a stem, three stages of residual blocks, and a reduction."""
    stem, *stages = shape.widths
    layers: list[nn.Module] = [convolution(3, stem, stride=2)]
    before = stem
    for width, count, inner in zip(stages, shape.blocks, shape.inner, strict=True):
        layers.append(convolution(before, width, stride=2))
        layers.extend(Residual(width, inner) for _ in range(count))
        before = width
    return nn.Sequential(*layers, convolution(before, shape.reduce, kernel=1))


def with_other_depth(weights: Mapping[str, Tensor], theirs: Shape, network: Embedder) -> dict[str, Tensor]:
    """The weights of a member with more or fewer blocks, as weights of ``network``.

    Blocks are added and left out at the ends of stages. Added ones are fresh and change nothing at first: a
    residual block begins as the identity, since its last normalisation begins at zero (after Chen, Goodfellow
    and Shlens 2016, "Net2Net"). Left-out ones change the answer; residual networks bear it (Veit et al. 2016,
    section 4.1) and some training mends it. Raises InputError if the two differ in anything else.
    """
    ours = network.shape
    match theirs, ours:
        case EmbedderShape(), EmbedderShape() if replace(theirs, name=ours.name, blocks=ours.blocks) == ours:
            places = _block_places(theirs.blocks, ours.blocks)
        case _:
            raise InputError(f"{ours.name} is not {theirs.name} with other blocks: begin with other weights")
    fitted = dict(network.state_dict())
    for name, value in weights.items():
        match name.split(".", 2):
            case ["body", layer, rest]:
                place = places[int(layer)]
                if place is not None:
                    fitted[f"body.{place}.{rest}"] = value
            case _:
                fitted[name] = value
    return fitted


def _block_places(theirs: tuple[int, ...], ours: tuple[int, ...]) -> list[int | None]:
    """Where each layer of a body with their blocks stands in one with ours; None for a block left out."""
    places: list[int | None] = [0]
    at = 1
    for had, wanted in zip(theirs, ours, strict=True):
        places.extend(at + k if k <= wanted else None for k in range(1 + had))
        at += 1 + wanted
    return [*places, at]


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


def network_pictures(network: Embedder, stored: Tensor) -> Tensor:
    """uint8 (n, 3, 128, 128) stored crops -> the floats this network takes: their middle, at its size."""
    margin = (stored.shape[-1] - CROP_PX) // 2
    pictures = stored[..., margin : margin + CROP_PX, margin : margin + CROP_PX]
    px = network.shape.input_px
    if px != CROP_PX:
        mode = "area" if px < CROP_PX else "bilinear"
        pictures = F.interpolate(pictures.float(), size=(px, px), mode=mode)
    return to_network_floats(pictures)


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
