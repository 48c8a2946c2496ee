"""Rewrites of a trained network that change no output: batch normalisation and the flattening head."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from glancein_convert.errors import ConversionError
from glancein_training.networks import Embedder


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch normalisations live inside the convolutions before them.

    A pair is a Conv2d directly followed by a BatchNorm2d in the same Sequential. Raises ConversionError if
    any normalisation is left over.
    """
    folded = copy.deepcopy(module).eval()
    for parent in folded.modules():
        if isinstance(parent, nn.Sequential):
            _fold_pairs(parent)
    left = [name for name, m in folded.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001  # the only common class
    if left:
        raise ConversionError(f"put {left[0]} right behind a Conv2d in a Sequential: it cannot be folded")
    return folded


def head_as_convolution(network: Embedder) -> nn.Module:
    """The same function with the last Linear as one convolution over the whole map.

    In int8, a Linear after ``flatten`` needs a TRANSPOSE, and per-channel FULLY_CONNECTED weights are newer
    than tflite-runtime 2.14 and the Edge TPU compiler; a convolution needs neither.
    """
    side = round((network.project.in_features / network.shape.reduce) ** 0.5)
    return _ConvolutionHead(network.body, network.project, network.shape.reduce, side).eval()


class _ConvolutionHead(nn.Module):
    def __init__(self, body: nn.Module, linear: nn.Linear, channels: int, side: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Conv2d(channels, linear.out_features, side)
        with torch.no_grad():
            self.head.weight.copy_(linear.weight.reshape(self.head.weight.shape))
            self.head.bias.copy_(linear.bias)  # type: ignore[union-attr]  # made with bias=True just above

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.head(self.body(pixels))
        return features.flatten(1)


def _fold_pairs(parent: nn.Sequential) -> None:
    names = list(parent._modules)  # noqa: SLF001  # Sequential has no public names
    for before, after in itertools.pairwise(names):
        convolution, norm = parent._modules[before], parent._modules[after]  # noqa: SLF001  # as above
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            parent._modules[before] = fuse_conv_bn_eval(convolution, norm)  # noqa: SLF001  # as above
            parent._modules[after] = nn.Identity()  # noqa: SLF001  # as above
