"""The patches that excite a layer: fields and places by geometry, the picture from one command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
from PIL import Image
from typer.testing import CliRunner

from glancein.domain.align import CROP_PX
from glancein.errors import InputError
from glancein_training.cli import app
from glancein_training.networks import FAMILY, Embedder, shape_named
from glancein_training.patches import Layer, Patch, activations, cut, draw, layers_of, selective, strongest


@pytest.mark.parametrize("name", ["glance-33", "glance-158", "mobilefacenet"])
def test_field_is_what_a_value_depends_on(name: str) -> None:
    """A change of the picture outside the field leaves the value, one inside moves it."""
    torch.manual_seed(0)
    network = Embedder(FAMILY[name])
    layer = next(layer for layer in layers_of(network) if layer.jump_px == 4 and layer.field_px > 7)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    middle_px = 14 * 4
    reach = layer.field_px // 2
    pictures = np.full((3, 128, 128, 3), 90, np.uint8)
    pictures[1, :, 8 + middle_px + reach + 1 :] = 200
    pictures[2, :, 8 + middle_px + reach :] = 200

    (maps,) = activations(network, pictures, [layer])

    torch.testing.assert_close(maps[1, :, 14, 14], maps[0, :, 14, 14])
    assert not torch.equal(maps[2, :, 14, 14], maps[0, :, 14, 14])


def test_strongest_places_stand_apart() -> None:
    """The highest value first; a neighbour within half a field is the same place."""
    values = torch.zeros(2, 5, 5)
    values[0, 1, 1], values[0, 1, 2], values[0, 4, 4], values[1, 1, 1] = 3.0, 2.9, 1.0, 2.0

    found = strongest(values, Layer(0, jump_px=4, field_px=15), 4)

    assert [(p.picture, p.x_px, p.y_px) for p in found] == [(0, 4, 4), (1, 4, 4), (0, 16, 16)]
    assert [p.value for p in found] == [3.0, 2.0, 1.0]


def test_selective_channels_come_first() -> None:
    """One bright place beats a steady glow, and both beat silence."""
    maps = torch.zeros(1, 3, 4, 4)
    maps[0, 1] = 1.0
    maps[0, 2, 0, 0] = 1.0

    assert selective(maps, 3) == [2, 1, 0]


def test_patch_is_cut_around_its_middle() -> None:
    """The middle of the patch is the middle of the place; beyond the edge the picture is mirrored."""
    picture = np.arange(CROP_PX * CROP_PX * 3, dtype=np.uint32).reshape(CROP_PX, CROP_PX, 3).astype(np.uint8)

    inside = cut(picture, Patch(0, x_px=40, y_px=60, value=1.0), 15)
    corner = cut(picture, Patch(0, x_px=0, y_px=0, value=1.0), 15)

    assert inside.shape == corner.shape == (15, 15, 3)
    assert np.array_equal(inside, picture[53:68, 33:48])
    assert np.array_equal(corner[7:, 7:], picture[:8, :8])
    assert np.array_equal(corner[6], corner[8])


@pytest.mark.usefixtures("tiny_network")
def test_command_draws_a_line_for_each_layer(noise_data: Path, tmp_path: Path) -> None:
    """From a checkpoint and a pack to one picture."""
    torch.manual_seed(0)
    torch.save({"network": "tiny", "average": Embedder(FAMILY["tiny"]).state_dict()}, tmp_path / "c.pt")
    words = ["patches", str(tmp_path / "c.pt"), str(noise_data / "faces"), "--out", str(tmp_path / "p.png")]

    result = CliRunner().invoke(app, [*words, "--channels", "2", "--cache", str(tmp_path / "cache")])

    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "p.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 10


@pytest.mark.usefixtures("tiny_network")
def test_command_draws_a_portrait_that_lies_in_nobodys_folder(tmp_path: Path) -> None:
    """Whose picture it is does not count: the model card's is a single portrait."""
    torch.save({"network": "tiny", "average": Embedder(FAMILY["tiny"]).state_dict()}, tmp_path / "c.pt")
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "portrait.png")
    points = np.array([[[60, 70], [100, 70], [80, 95], [65, 115], [95, 115]]], np.float32)
    np.savez(tmp_path / "e.npz", path=["portrait.png"], found=[True], landmarks=points)
    words = ["patches", str(tmp_path / "c.pt"), str(tmp_path), "--landmarks", str(tmp_path / "e.npz")]

    result = CliRunner().invoke(app, [*words, "--channels", "2", "--out", str(tmp_path / "p.png")])

    assert result.exit_code == 0, result.output
    assert (tmp_path / "p.png").exists()


def test_drawing_of_unknown_ending_is_refused_before_the_work(noise_data: Path, tmp_path: Path) -> None:
    """The checkpoint is not even looked for."""
    given = ["patches", str(tmp_path / "none.pt"), str(noise_data / "faces")]

    result = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "seen.txt")])

    assert result.exit_code == 2
    assert "its name ends in .png or .jpg or .webp" in " ".join(result.output.split())


def test_network_of_another_input_is_refused(tmp_path: Path) -> None:
    """Its places are not those of the crop."""
    network = Embedder(shape_named("glance-33-96px"))

    with pytest.raises(InputError, match="96 px"):
        draw(network, np.zeros((1, 128, 128, 3), np.uint8), tmp_path / "p.png", channels=1, count=1)
