"""Which checkpoints can be converted."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")

import torch

from glancein.errors import InputError
from glancein_convert.checkpoints import load_embedder
from glancein_convert.errors import ConversionError
from glancein_training.networks import Embedder, shape_named


def write(path: Path, name: str, **changes: str) -> Path:
    """Fresh weights as a run would leave them."""
    torch.save({"network": name, "average": Embedder(shape_named(name)).state_dict(), **changes}, path)
    return path


def test_network_of_the_crops_size_is_read(tmp_path: Path) -> None:
    """Its name and weights, ready to embed."""
    read = load_embedder(write(tmp_path / "c.pt", "glance-33"))

    assert read.name == "glance-33"
    assert not read.network.training


def test_network_of_another_input_is_refused(tmp_path: Path) -> None:
    """A kiosk has no crops for it, and the sentence says which it has."""
    with pytest.raises(ConversionError, match="96 px, but kiosks cut crops of 112 px"):
        load_embedder(write(tmp_path / "c.pt", "glance-33-96px"))


def test_unknown_network_is_named(tmp_path: Path) -> None:
    """A checkpoint of a later family."""
    with pytest.raises(InputError, match="no network 'glance-9'"):
        load_embedder(write(tmp_path / "c.pt", "glance-33", network="glance-9"))
