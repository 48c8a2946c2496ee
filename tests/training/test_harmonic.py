"""A new network fitted to an old one's vectors: what the run writes, what it gains, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")
pytest.importorskip("matplotlib", reason="the laboratory needs matplotlib: pip install .[training]")

import torch
from typer.testing import CliRunner

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.checkpoints import load_network
from glancein_training.cli import app
from glancein_training.configuration import with_settings
from glancein_training.embed import embed_pack
from glancein_training.evaluate.cross import Crossed
from glancein_training.harmonic import Config, _rows_by_path, features_of, procrustes, run
from glancein_training.networks import FAMILY, Embedder

pytestmark = pytest.mark.usefixtures("tiny_network")


@pytest.fixture
def networks(tmp_path: Path, noise_data: Path) -> tuple[Path, Path]:
    """A new network's checkpoint, and the vectors of an old one that is the new one turned."""
    torch.manual_seed(0)
    new = Embedder(FAMILY["tiny"])
    torch.save({"network": "tiny", "average": new.state_dict()}, tmp_path / "new.pt")
    embed_pack(tmp_path / "new.pt", noise_data / "faces", tmp_path / "new.npz", cache=tmp_path / "cache")
    with np.load(tmp_path / "new.npz") as stored:
        turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))
        arrays = {**stored, "embedding": np.asarray(stored["embedding"] @ turn, np.float32)}
        np.savez(tmp_path / "old.npz", allow_pickle=False, **arrays)
    return tmp_path / "new.pt", tmp_path / "old.npz"


def fit(networks: tuple[Path, Path], noise_data: Path, out: Path, **changes: object) -> Crossed:
    """A run of a few steps on the pack of noise."""
    start, old = networks
    settings = {"start": str(start), "old": str(old), "data": str(noise_data / "faces"), "resamples": 3}
    settings |= {"people": 3, "each": 2, "steps": 20, **changes}
    config = with_settings(Config(), [f"{name}={json.dumps(value)}" for name, value in settings.items()])
    return run(config, out, out.parent / "cache")


def test_rotation_between_two_spaces_is_found() -> None:
    """Orthogonal, and the one that was applied."""
    rng = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=rng)).Q
    new = torch.randn(40, 6, generator=rng)

    found = procrustes(new, new @ turn)

    torch.testing.assert_close(found, turn, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(found @ found.T, torch.eye(6), atol=1e-5, rtol=0.0)


def test_turned_network_matches_old_templates(
    networks: tuple[Path, Path], noise_data: Path, tmp_path: Path
) -> None:
    """Turning changes nothing among new vectors and makes them comparable with the old ones."""
    before = fit(networks, noise_data, tmp_path / "a", begin="as-is", steps=0)
    after = fit(networks, noise_data, tmp_path / "b", begin="turned", steps=0)

    rate = next(iter(before.new_new))
    assert after.new_new[rate].value == before.new_new[rate].value
    assert after.new_old[rate].value > before.new_old[rate].value


@pytest.mark.parametrize("begin", ["turned", "random"])
def test_run_leaves_a_network_and_its_figures(
    networks: tuple[Path, Path], noise_data: Path, tmp_path: Path, begin: str
) -> None:
    """A checkpoint that other commands read, only its last layer changed; settings and figures beside it."""
    fit(networks, noise_data, tmp_path / "run", begin=begin)

    old, new = (load_network(path).state_dict() for path in (networks[0], tmp_path / "run" / "checkpoint.pt"))
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"project.weight", "project.bias"}
    assert json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["begin"] == begin
    assert "new_old" in json.loads((tmp_path / "run" / "harmonic.json").read_text(encoding="utf-8"))


def test_same_seed_gives_the_same_weights(
    networks: tuple[Path, Path], noise_data: Path, tmp_path: Path
) -> None:
    """Twice the same run, bit for bit; the second takes its features from the cache."""
    for name in ("a", "b"):
        fit(networks, noise_data, tmp_path / name)

    one, other = (load_network(tmp_path / name / "checkpoint.pt") for name in ("a", "b"))
    assert torch.equal(one.project.weight, other.project.weight)


def test_features_of_other_pictures_are_not_taken_from_the_cache(
    networks: tuple[Path, Path], noise_data: Path, tmp_path: Path
) -> None:
    """Same network, same rows, other pixels: the features are theirs."""
    network, cache = load_network(networks[0]), tmp_path / "cache"
    crops = packs.load(noise_data / "faces", cache=cache)
    others = replace(crops, pixels=255 - crops.pixels, data_sha256="other")
    rows = np.arange(4)

    features_of(network, crops, rows, networks[0], cache)
    found = features_of(network, others, rows, networks[0], cache)

    np.testing.assert_array_equal(found, features_of(network, others, rows, networks[0], tmp_path / "fresh"))


def test_picture_whose_name_holds_a_comma_is_known(noise_data: Path, tmp_path: Path) -> None:
    """Labels are CSV: a quoted path is one path."""
    pack = tmp_path / "commas"
    shutil.copytree(noise_data / "faces", pack)
    with (pack / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [{**row, "path": f"a, {row['path']}"} for row in csv.DictReader(file)]
    with (pack / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

    assert _rows_by_path(pack) == {row["path"]: number for number, row in enumerate(rows)}


@pytest.mark.parametrize("begin", ["turned", "random"], ids=["same", "other"])
def test_folder_with_a_run_is_refused_when_another_is_to_go_there(
    networks: tuple[Path, Path], noise_data: Path, tmp_path: Path, begin: str
) -> None:
    """Whatever its settings: there is nothing to go on from, and every file stays as it was."""
    fit(networks, noise_data, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    with pytest.raises(InputError, match="run holds a run already; take a fresh folder"):
        fit(networks, noise_data, tmp_path / "run", begin=begin)

    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"begin": "anyhow"}, "begin is"),
        ({"each": 0}, "each=0 is too low: set 2 or more"),
        ({"steps": -5}, "steps=-5 is too low: set 0 or more"),
        ({"threads": 0}, "threads=0 is too low"),
        ({"seed": -1}, "seed=-1 is too low"),
        ({"rate": -1}, "rate=-1.0 is too low"),
        ({"data": "nowhere"}, "labels.csv"),
        ({"old": "teacher"}, "vectors of 12 numbers, the network of 8"),
        ({"people": 50}, "the data has"),
    ],
)
def test_what_does_not_fit_is_refused(
    networks: tuple[Path, Path], noise_data: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """Before anything is written."""
    if changes.get("old") == "teacher":
        changes = {"old": str(noise_data / "faces" / "teacher_a.npz")}

    with pytest.raises(InputError, match=said):
        fit(networks, noise_data, tmp_path / "run", **changes)

    assert not (tmp_path / "run").exists()


def test_cross_command_tells_how_old_templates_fare(
    networks: tuple[Path, Path], noise_data: Path, tmp_path: Path
) -> None:
    """Two files of embeddings, three lines; the order of their pictures does not matter."""
    _, old = networks
    with np.load(old) as stored:
        backwards = {name: stored[name][::-1] for name in stored.files}
    np.savez(tmp_path / "backwards.npz", allow_pickle=False, **backwards)
    labels = noise_data / "faces" / "labels.csv"
    with labels.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(backwards["path"])
    words = ["cross", str(old), str(tmp_path / "backwards.npz"), "--labels", str(labels), "--resamples", "3"]

    result = CliRunner().invoke(app, words)

    assert result.exit_code == 0, result.output
    assert "old templates, new looks" in result.output
