"""Weights kept in the repository start another run where the last one ended."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch  # only where it is there

from glancein.errors import InputError  # as above
from glancein_training.checkpoints import read_checkpoint, write_checkpoint  # as above
from glancein_training.distill import Config, adopt, build, keep  # as above
from glancein_training.networks import FAMILY, EmbedderShape  # as above

SMALL = replace(Config(), network="glance-33")


def kept(folder: Path) -> Path:
    state = build(SMALL, 3)
    content = {
        "network": SMALL.network,
        "images": 640,
        "config": {"data": "/somewhere", "batch": 64},
        "average": state.average.state_dict(),
        "basis": torch.eye(384)[:, :128],
    }
    write_checkpoint(content, folder / "checkpoint.pt")
    keep(folder / "checkpoint.pt", folder / "kept.pt")
    return folder / "kept.pt"


def test_kept_weights_name_no_folder(tmp_path: Path) -> None:
    """They go into the repository: how they were trained stays, where does not."""
    assert read_checkpoint(kept(tmp_path))["config"] == {"batch": 64}


def test_full_disk_leaves_the_checkpoint_of_before_and_no_part(tmp_path: Path) -> None:
    """One sentence; the system stops the write as it would on a full disk."""
    path = tmp_path / "checkpoint.pt"
    write_checkpoint({"network": "small"}, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match="is the disk full"):
            write_checkpoint({"network": "large", "average": torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"checkpoint.pt": before}


def test_adopt_gives_the_weights_that_were_kept(tmp_path: Path) -> None:
    """Student and average begin with the kept weights, to half precision, and the same axes."""
    state = build(replace(SMALL, seed=2), 3)

    basis = adopt(state, kept(tmp_path), network=SMALL.network)

    original = build(SMALL, 3).average.state_dict()
    assert basis.shape == (384, 128)
    for name, tensor in state.student.state_dict().items():
        torch.testing.assert_close(tensor, original[name], rtol=2e-3, atol=1e-4)
    assert state.images == 0


def test_adopt_by_a_deeper_member_of_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The added blocks change nothing at first, so the vectors are the smaller network's; they can learn."""
    shape = FAMILY["glance-33"]
    assert isinstance(shape, EmbedderShape)
    monkeypatch.setitem(FAMILY, "deeper", replace(shape, name="deeper", blocks=(1, 2, 3)))
    fewer, deeper = build(SMALL, 3), build(replace(SMALL, network="deeper"), 3)
    weights = kept(tmp_path)
    adopt(fewer, weights, network=SMALL.network)

    adopt(deeper, weights, network="deeper")

    pictures = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(5))
    grown = deeper.student.eval()(pictures)
    assert torch.equal(grown, fewer.student.eval()(pictures))
    deeper.student.train()(pictures).square().sum().backward()
    gains = [p.grad for name, p in deeper.student.named_parameters() if "widen.1.weight" in name]
    assert len(gains) == 6
    assert all(gain is not None and gain.any() for gain in gains)


def test_adopt_by_a_shallower_member_leaves_the_last_blocks_of_each_stage_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left answers as the deeper network does whose other blocks are still the identity."""
    shape = FAMILY["glance-33"]
    assert isinstance(shape, EmbedderShape)
    monkeypatch.setitem(FAMILY, "deeper", replace(shape, name="deeper", blocks=(2, 1, 3)))
    deeper, again = build(replace(SMALL, network="deeper"), 3), build(replace(SMALL, seed=9), 3)
    basis = torch.eye(384)[:, :128]
    stored = {"network": "deeper", "average": deeper.average.state_dict(), "basis": basis}
    write_checkpoint(stored, tmp_path / "deeper.pt")

    adopt(again, tmp_path / "deeper.pt", network=SMALL.network)

    pictures = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(again.student.eval()(pictures), deeper.average.eval()(pictures))


def test_adopt_when_the_network_is_another(tmp_path: Path) -> None:
    """Weights of another network are refused by name."""
    with pytest.raises(InputError, match="glance-158 is not glance-33 with other blocks"):
        adopt(build(replace(SMALL, network="glance-158"), 3), kept(tmp_path), network="glance-158")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"images,cosine\n1,2\n",
        b'{"a": 1}',
        b"looks",
        b"# Training\n",
        b"\x89PNG\r\n\x1a\n",
        b"\x80\x02N.",
    ],
    ids=["nothing", "curve", "json", "word", "text", "picture", "pickle"],
)
def test_file_of_another_kind_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    """Whatever torch takes its bytes for, it is one sentence that names the file."""
    (tmp_path / "curve.csv").write_bytes(content)

    with pytest.raises(InputError, match=r"curve\.csv"):
        read_checkpoint(tmp_path / "curve.csv")
