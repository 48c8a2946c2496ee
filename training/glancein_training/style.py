"""Style transfer as augmentation: a picture keeps its content and takes another one's look.

Gatys et al. 2015, "A Neural Algorithm of Artistic Style": the look is in the Gram matrices of a network's
features, the content in the features themselves. The network here is our own embedder, its first layers at
half and a quarter of the size: they see edges, colours and grain, which a camera or a press changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor, nn

from glancein_training.networks import to_network_floats


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far a picture goes towards another one's look."""

    layers: int = 2  # of the network, from the first: the look; the last of them is the content
    steps: int = 10
    rate: float = 0.05  # of the network's input range, per step
    style_weight: float = 3.0
    calm_weight: float = 0.02  # against noise that fools the features: neighbouring pixels stay alike


def gram(features: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, c, c): how often two channels answer together, wherever that is."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def taps(body: nn.Sequential, pictures: Tensor, layers: int) -> list[Tensor]:
    """Features after each of the first layers."""
    found = []
    for layer in list(body)[:layers]:
        pictures = layer(pictures)
        found.append(pictures)
    return found


def style_distance(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """(n,) mean over layers of the squared distance of Gram matrices, in units of the wanted one."""
    gaps = [
        (gram(f) - g).square().sum(dim=(1, 2)) / g.square().sum(dim=(1, 2)).clamp_min(1e-12)
        for f, g in zip(features, wanted, strict=True)
    ]
    return torch.stack(gaps).mean(dim=0)


def restyle(contents: Tensor, styles: Tensor, body: nn.Sequential, transfer: Transfer) -> Tensor:
    """uint8 (n, 3, h, w) each -> uint8: every content in the look of the style at its place.

    ``body`` must be in evaluation mode; its weights are left alone.
    """
    if body.training:
        raise ValueError("style transfer needs the network in evaluation mode")
    content, style = to_network_floats(contents), to_network_floats(styles)
    with torch.no_grad():
        wanted = [gram(f) for f in taps(body, style, transfer.layers)]
        kept = taps(body, content, transfer.layers)[-1]
    picture = content.clone().requires_grad_()
    optimiser = torch.optim.Adam([picture], lr=transfer.rate)
    energy = kept.square().mean(dim=(1, 2, 3)).clamp_min(1e-12)
    for _ in range(transfer.steps):
        features = taps(body, picture, transfer.layers)
        apart = (features[-1] - kept).square().mean(dim=(1, 2, 3)) / energy
        rough = F.l1_loss(picture[..., 1:], picture[..., :-1]) + F.l1_loss(
            picture[..., 1:, :], picture[..., :-1, :]
        )
        look = style_distance(features, wanted)
        loss = (apart + transfer.style_weight * look).sum() + transfer.calm_weight * rough * len(picture)
        (picture.grad,) = torch.autograd.grad(loss, picture)
        optimiser.step()
        with torch.no_grad():
            picture.clamp_(-1, 127 / 128)
    return (picture.detach() * 128 + 128).round().clamp(0, 255).to(torch.uint8)
