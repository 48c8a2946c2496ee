"""Weights between two runs: the ends, the middle, and what does not blend."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
from typer.testing import CliRunner

from glancein.errors import InputError
from glancein_training.blend import blend
from glancein_training.checkpoints import load_network, write_checkpoint
from glancein_training.cli import app
from glancein_training.networks import FAMILY, Embedder, EmbedderShape

NETWORK = "glance-33"


def kept(path: Path, *, seed: int, network: str = NETWORK, basis: float = 1.0) -> Path:
    """Weights of a fresh network, as a run leaves them."""
    torch.manual_seed(seed)
    weights = Embedder(FAMILY[network]).state_dict()
    stored = {"network": network, "images": 10 * seed, "config": {"seed": seed, "data": "somewhere"}}
    write_checkpoint({**stored, "average": weights, "basis": torch.full((3, 2), basis)}, path)
    return path


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_lies_on_the_line_between(tmp_path: Path, share: float) -> None:
    """By hand: (1 - share) of the first and share of the second, to the precision of kept weights."""
    first, second = kept(tmp_path / "a.pt", seed=1), kept(tmp_path / "b.pt", seed=2)

    blend(first, second, [share], tmp_path / "out.pt")

    a, b, mixed = (load_network(path).state_dict() for path in (first, second, tmp_path / "out.pt"))
    for name, weight in mixed.items():
        by_hand = (1 - share) * a[name].double() + share * b[name].double()
        torch.testing.assert_close(weight.double(), by_hand, atol=1e-3, rtol=1e-3)


def test_each_part_has_its_own_share(tmp_path: Path) -> None:
    """The stem goes with the first stage, the reduction with the last layer."""
    first, second = kept(tmp_path / "a.pt", seed=1), kept(tmp_path / "b.pt", seed=2)
    shares = [0.0, 1.0, 0.5, 0.25]

    blend(first, second, shares, tmp_path / "out.pt")

    a, b, mixed = (load_network(path).state_dict() for path in (first, second, tmp_path / "out.pt"))
    shape = FAMILY[NETWORK]
    assert isinstance(shape, EmbedderShape)
    layers = [0] + [part for part, blocks in enumerate(shape.blocks) for _ in range(1 + blocks)] + [3]
    for name, weight in mixed.items():
        share = shares[layers[int(name.split(".")[1])] if name.startswith("body") else 3]
        by_hand = (1 - share) * a[name].double() + share * b[name].double()
        torch.testing.assert_close(weight.double(), by_hand, atol=1e-3, rtol=1e-3)


def test_blend_keeps_what_it_was_made_of(tmp_path: Path) -> None:
    """Both files by name and hash, and the shares, in the order in which they are given again."""
    first, second = kept(tmp_path / "a.pt", seed=1), kept(tmp_path / "b.pt", seed=2)

    blend(first, second, [0.4, 0.8, 0.3, 0.8], tmp_path / "out.pt")

    made = torch.load(tmp_path / "out.pt", weights_only=True)["blend"]
    assert made["shares"] == [0.4, 0.8, 0.3, 0.8]
    for end, path in (("first", first), ("second", second)):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert made[end] == {"name": path.name, "sha256": digest}


def test_record_is_that_of_the_later_run_without_its_folders(tmp_path: Path) -> None:
    """The card tells the images and settings of the later run, and nothing of its machine."""
    blend(kept(tmp_path / "a.pt", seed=1), kept(tmp_path / "b.pt", seed=2), [0.5], tmp_path / "out.pt")

    stored = torch.load(tmp_path / "out.pt", weights_only=True)
    assert (stored["images"], stored["config"]) == (20, {"seed": 2})


@pytest.mark.parametrize(
    ("other", "shares", "said"),
    [
        ({"network": "glance-113"}, [0.5], "give one network"),
        ({"basis": 0.0}, [0.5], "other targets"),
        ({}, [1.5], "outside 0 to 1"),
        ({}, [0.5, 0.5, float("nan"), 0.5], "outside 0 to 1"),
        ({}, [0.5, 0.5], "one share for all of glance-33, or 4"),
    ],
)
def test_what_does_not_blend_is_refused_and_nothing_written(
    tmp_path: Path, other: dict[str, str | float], shares: list[float], said: str
) -> None:
    """Another network, another space of targets, or a share off the line."""
    first, second = kept(tmp_path / "a.pt", seed=1), kept(tmp_path / "b.pt", seed=2, **other)  # type: ignore[arg-type]  # as named

    with pytest.raises(InputError, match=said):
        blend(first, second, shares, tmp_path / "out.pt")

    assert not (tmp_path / "out.pt").exists()


def test_weights_that_were_not_distilled_are_refused(tmp_path: Path) -> None:
    """Those of `train` have no space of targets."""
    first, second = kept(tmp_path / "a.pt", seed=1), kept(tmp_path / "b.pt", seed=2)
    stored = torch.load(second, weights_only=True)
    del stored["basis"]
    write_checkpoint(stored, second)

    with pytest.raises(InputError, match=r"b\.pt was not distilled"):
        blend(first, second, [0.5], tmp_path / "out.pt")


def test_command_writes_the_file_and_says_so(tmp_path: Path) -> None:
    """`glancein-train blend` for scripts."""
    first, second, out = kept(tmp_path / "a.pt", seed=1), kept(tmp_path / "b.pt", seed=2), tmp_path / "out.pt"

    result = CliRunner().invoke(app, ["blend", str(first), str(second), "--share", "0.3", "--out", str(out)])

    assert result.exit_code == 0, result.output
    assert out.exists()
    assert "0.3 of the way" in result.output
