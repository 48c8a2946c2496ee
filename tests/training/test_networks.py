"""The embedder family: shapes, cost, and what conversion relies on."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
from torch import nn

from glancein.errors import InputError
from glancein_training.networks import (
    FAMILY,
    Embedder,
    count_cost,
    network_pictures,
    shape_named,
    to_network_floats,
)


def counted_by_hand(network: Embedder) -> tuple[int, int]:
    """Parameters and multiply-accumulates from the layers' own numbers, following the picture's size."""
    px = network.shape.input_px
    parameters = macs = 0
    for name, layer in network.named_modules():
        match layer:
            case nn.Conv2d():
                kernel, _ = layer.kernel_size
                if layer.stride[0] == 2:
                    px = (px + 1) // 2
                if layer.padding == (0, 0) and kernel > 1:  # MobileFaceNet's one look at the whole map
                    px = 1
                weights = layer.in_channels * layer.out_channels * kernel * kernel // layer.groups
                parameters += weights
                macs += weights * px * px
            case nn.BatchNorm2d():
                parameters += 2 * layer.num_features
            case nn.Linear():
                assert name == "project"
                parameters += layer.in_features * layer.out_features + layer.out_features
                macs += layer.in_features * layer.out_features
    return parameters, macs


@pytest.mark.parametrize("name", FAMILY)
def test_cost_agrees_with_a_count_by_hand(name: str) -> None:
    """The printed parameters and MMAC are those of the layers."""
    network = Embedder(FAMILY[name])

    assert count_cost(network) == counted_by_hand(network)


@pytest.mark.parametrize("name", FAMILY)
def test_family_spans_what_a_kiosk_can_carry(name: str) -> None:
    """Every member lies between 30 and 400 million multiply-accumulates and under 4 million parameters."""
    parameters, macs = count_cost(Embedder(FAMILY[name]))

    assert 30e6 < macs < 400e6
    assert parameters < 4e6


@pytest.mark.parametrize("name", FAMILY)
def test_every_operator_is_one_that_int8_takes(name: str) -> None:
    """Convolution, normalisation to fold, ReLU, one linear layer: no PReLU or swish."""
    for layer in Embedder(FAMILY[name]).modules():
        assert isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.ReLU | nn.Linear | nn.Sequential) or type(
            layer
        ).__name__ in {"Embedder", "Residual", "Bottleneck", "Enlarged"}


@pytest.mark.parametrize("name", [name for name in FAMILY if name.startswith("glance")])
def test_our_own_networks_have_no_depthwise_layers(name: str) -> None:
    """They keep few of an accelerator's or a processor's matrix units busy; only the reference has them."""
    layers = [m for m in Embedder(FAMILY[name]).modules() if isinstance(m, nn.Conv2d)]

    assert all(layer.groups == 1 for layer in layers)


def test_mobilefacenet_costs_what_the_paper_says() -> None:
    """0.99 million parameters (Chen et al. 2018, table 2), to one part in a hundred."""
    parameters, _ = count_cost(Embedder(FAMILY["mobilefacenet"]))

    assert parameters == pytest.approx(0.99e6, rel=0.01)


def test_name_asks_for_picture_and_vector_size() -> None:
    """The same layers at another input, and a vector of another length."""
    shape = shape_named("glance-33-96px-256d")
    network = Embedder(shape).eval()

    assert (shape.input_px, shape.embedding) == (96, 256)
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 256)
    assert count_cost(network)[1] < count_cost(Embedder(FAMILY["glance-33"]))[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("glance-1", "the family has"),
        ("glance-33-100px", "multiple of 16"),
        ("glance-33-32px", "64 to 160"),
        ("glance-33-1024d", "64 to 512"),
    ],
)
def test_name_that_cannot_be_had_is_refused(name: str, said: str) -> None:
    """An unknown member or size ends in one sentence."""
    with pytest.raises(InputError, match=said):
        shape_named(name)


@pytest.mark.parametrize("name", ["glance-33", "glance-33-96px", "mobilefacenet"])
def test_stored_crops_are_read_at_the_networks_size(name: str) -> None:
    """The middle 112 px of a stored crop, scaled where the network looks at fewer; a flat one stays flat."""
    network = Embedder(shape_named(name))
    stored = torch.full((1, 3, 128, 128), 64, dtype=torch.uint8)
    stored[..., :8] = 255

    pictures = network_pictures(network, stored)

    assert pictures.shape == (1, 3, network.shape.input_px, network.shape.input_px)
    torch.testing.assert_close(pictures, torch.full_like(pictures, -0.5))


def test_embedding_has_the_devices_size_at_both_picture_sizes() -> None:
    """112 px in, or fewer while training early: 128 numbers out."""
    network = Embedder(FAMILY["glance-33"]).eval()

    with torch.no_grad():
        assert network(torch.zeros(2, 3, 112, 112)).shape == (2, 128)
        assert network(torch.zeros(2, 3, 80, 80)).shape == (2, 128)


def test_residual_blocks_start_as_the_identity() -> None:
    """Before training a block passes its (non-negative) input on, so that depth does no harm."""
    block = next(m for m in Embedder(FAMILY["glance-33"]).modules() if type(m).__name__ == "Residual").eval()
    features = torch.rand(1, 32, 8, 8, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        torch.testing.assert_close(block(features), features)


def test_network_floats_are_the_devices_int8_steps() -> None:
    """Every pixel value is its int8 step over 128 exactly: the converted input needs no rounding."""
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)

    steps = to_network_floats(pixels) * 128

    torch.testing.assert_close(steps.flatten(), torch.arange(-128.0, 128.0), atol=0.0, rtol=0.0)


def test_cost_leaves_the_network_as_it_was() -> None:
    """Counting neither changes the mode nor leaves hooks or statistics behind."""
    network = Embedder(FAMILY["glance-33"]).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    count_cost(network)

    assert network.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0.0, rtol=0.0)
