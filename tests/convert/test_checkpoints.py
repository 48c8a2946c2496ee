"""Which checkpoints can be converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")

import torch

from glancein.errors import InputError
from glancein_convert.checkpoints import load_embedder
from glancein_convert.errors import ConversionError
from glancein_training.checkpoints import load_network
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


def test_diverged_network_is_refused(tmp_path: Path) -> None:
    """Weights that are no numbers pass no gate: every comparison with them is false."""
    weights = Embedder(shape_named("glance-33")).state_dict()
    weights["project.bias"][3] = float("nan")
    torch.save({"network": "glance-33", "average": weights}, tmp_path / "c.pt")

    with pytest.raises(ConversionError, match=r"no numbers in project\.bias: the run diverged"):
        load_embedder(tmp_path / "c.pt")


@pytest.mark.parametrize("content", [b"hello\n", b"", b"\x80\x02cglancein\nsecret\n."])
def test_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    """What torch says of it takes a page."""
    (tmp_path / "c.pt").write_bytes(content)

    with pytest.raises(InputError) as caught:
        load_embedder(tmp_path / "c.pt")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("average", [[], {"stem": torch.zeros(2)}, {"stem": 3}])
@pytest.mark.parametrize("load", [load_embedder, load_network])
def test_weights_of_something_else_are_refused_in_one_line(
    tmp_path: Path, load: Callable[[Path], object], average: object
) -> None:
    """In the laboratory as in conversion."""
    torch.save({"network": "glance-33", "average": average}, tmp_path / "c.pt")

    with pytest.raises(InputError, match="its weights do not fit glance-33") as caught:
        load(tmp_path / "c.pt")

    assert "\n" not in str(caught.value)


def test_unknown_network_is_named(tmp_path: Path) -> None:
    """A checkpoint of a later family."""
    with pytest.raises(InputError, match="no network 'glance-9'"):
        load_embedder(write(tmp_path / "c.pt", "glance-33", network="glance-9"))
