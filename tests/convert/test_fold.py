"""Rewrites before conversion change no output."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")

import torch

from glancein_convert.errors import ConversionError
from glancein_convert.fold import fold_batch_norm, head_as_convolution
from glancein_training.networks import FAMILY, Embedder


def trained_like() -> Embedder:
    """A small network whose normalisations do something."""
    torch.manual_seed(0)
    network = Embedder(FAMILY["glance-33"])
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.2, 0.2)
            layer.running_mean = torch.empty(layer.num_features).uniform_(-0.2, 0.2)
            layer.running_var = torch.empty(layer.num_features).uniform_(0.5, 1.5)
    return network.eval()


def test_folded_network_answers_the_same_without_a_normalisation() -> None:
    """Equal up to float rounding, and the original is left alone."""
    network = trained_like()
    pictures = torch.rand(3, 3, 112, 112) * 2 - 1

    folded = fold_batch_norm(network)

    with torch.no_grad():
        assert torch.allclose(folded(pictures), network(pictures), atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())


def test_head_as_convolution_is_the_same_function() -> None:
    """Flatten and Linear, said as one convolution."""
    network = trained_like()
    pictures = torch.rand(3, 3, 112, 112) * 2 - 1

    with torch.no_grad():
        assert torch.allclose(head_as_convolution(network)(pictures), network(pictures), atol=1e-4)


def test_normalisation_that_follows_no_convolution_is_named() -> None:
    """What cannot be folded is an error that says where."""
    lonely = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm2d(3))

    with pytest.raises(ConversionError, match="put 1 right behind a Conv2d"):
        fold_batch_norm(lonely)
