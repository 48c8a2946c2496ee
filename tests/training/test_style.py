"""Gram matrices against a slow plain version, and that a picture moves to the look it is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein.errors import InputError
from glancein_training.networks import FAMILY, Embedder, convolution, to_network_floats
from glancein_training.style import Transfer, gram, restyle, style_distance, taps
from glancein_training.style_command import Place, Trial, body_features, compare, tune


def a_body() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(convolution(3, 6, stride=2), convolution(6, 8, stride=2)).eval()


def pictures(low: int, high: int, seed: int) -> torch.Tensor:
    """Two pictures of noise between two grey levels."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (2, 3, 24, 24), generator=rng, dtype=torch.uint8)


def test_gram_is_the_mean_product_of_two_channels() -> None:
    """One pair of channels and one place at a time."""
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))

    found = gram(features)

    for n in range(2):
        for a in range(3):
            for b in range(3):
                products = [features[n, a, y, x] * features[n, b, y, x] for y in range(4) for x in range(5)]
                assert found[n, a, b].item() == pytest.approx(sum(float(p) for p in products) / 20, abs=1e-5)


def test_gram_does_not_see_where_things_are() -> None:
    """A look has no places: features shuffled over the picture keep it."""
    features = torch.randn(1, 4, 6, 6)

    shuffled = features.flatten(2)[..., torch.randperm(36)].view_as(features)

    torch.testing.assert_close(gram(shuffled), gram(features))


def test_restyle_comes_nearer_to_the_look() -> None:
    """The distance of Gram matrices shrinks by half or more, and pixels stay pixels."""
    body, transfer = a_body(), replace(Transfer(), steps=25, style_weight=30.0)
    content, style = pictures(0, 90, 1), pictures(120, 256, 2)

    changed = restyle(content, style, body, transfer)

    with torch.no_grad():
        wanted = [gram(f) for f in taps(body, to_network_floats(style), 2)]
        before, after = (
            style_distance(taps(body, to_network_floats(picture), 2), wanted)
            for picture in (content, changed)
        )
    assert changed.dtype == torch.uint8
    assert changed.shape == content.shape
    assert (after < before / 2).all()


def test_restyle_to_its_own_look_leaves_a_picture_nearly_alone() -> None:
    """Nothing to change but a little noise."""
    content = pictures(60, 200, 3)

    changed = restyle(content, content, a_body(), replace(Transfer(), calm_weight=0.0))

    assert (changed.int() - content.int()).abs().max() <= 1


def test_restyle_leaves_the_network_alone() -> None:
    """Weights and running statistics are read, not learned; a network in training is refused."""
    body = a_body()
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}

    restyle(pictures(0, 90, 1), pictures(120, 256, 2), body, replace(Transfer(), steps=2))

    assert all(torch.equal(tensor, before[name]) for name, tensor in body.state_dict().items())
    with pytest.raises(ValueError, match="evaluation mode"):
        restyle(pictures(0, 90, 1), pictures(0, 90, 1), body.train(), Transfer())


@pytest.mark.usefixtures("tiny_network")
def test_body_features_are_what_the_last_layer_sees() -> None:
    """Features through the last layer are the network's own answer to the middle of the crop."""
    torch.manual_seed(0)
    network = Embedder(FAMILY["tiny"]).eval()
    stored = torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8)

    features = body_features(network, stored)

    with torch.no_grad():
        wanted = network(to_network_floats(stored[:, :, 8:120, 8:120]))
        torch.testing.assert_close(network.project(features), wanted)


def test_tune_brings_changed_pictures_to_their_target() -> None:
    """A copy learns, the layer it began with stays."""
    rng = torch.Generator().manual_seed(0)
    plain, target = torch.randn(16, 6, generator=rng), torch.randn(16, 4, generator=rng)
    target = target / target.norm(dim=1, keepdim=True)
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 4)
    before = layer.weight.clone()

    tuned = tune(layer, plain, plain + 0.1, target, Trial(passes=40, batch=8, rate=1e-2))

    def likeness(project: torch.nn.Linear) -> float:
        return torch.nn.functional.cosine_similarity(project(plain + 0.1), target).mean().item()

    assert likeness(tuned) > likeness(layer) + 0.2
    assert torch.equal(layer.weight, before)


@pytest.mark.usefixtures("tiny_network")
def test_trial_of_fewer_pictures_than_a_batch_is_refused(noise_data: Path, tmp_path: Path) -> None:
    """It would tune nothing and report that nothing helps."""
    place = Place(tmp_path / "weights.pt", noise_data / "faces", tmp_path / "cache")

    with pytest.raises(InputError, match="a batch of 32 out of 21 pictures tunes nothing"):
        compare(place, Trial())
