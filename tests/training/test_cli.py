"""The laboratory's command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")
pytest.importorskip("sklearn", reason="the laboratory needs scikit-learn: pip install .[training]")
pytest.importorskip("matplotlib", reason="the laboratory needs matplotlib: pip install .[training]")

import torch
from typer.testing import CliRunner

from glancein_training.cli import app
from glancein_training.networks import FAMILY, Embedder, EmbedderShape

TINY = EmbedderShape("tiny", (4, 4, 8, 8), (1, 1, 1), (4, 4, 4), reduce=4, embedding=8)


def write_embeddings(path: Path, *, noise: float, people: int = 20, each: int = 3) -> Path:
    """Noisy copies of random directions, a folder for each person."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(people, 16)), each, axis=0)
    vectors = np.asarray(centres + noise * rng.normal(size=centres.shape), np.float32)
    names = [f"p{k}/{j}.jpg" for k in range(people) for j in range(each)]
    np.savez(path, path=names, found=np.ones(len(names), bool), embedding=vectors)
    return path


def write_checkpoint(path: Path) -> Path:
    """A fresh tiny network as a run would leave it."""
    torch.manual_seed(0)
    torch.save({"network": "tiny", "average": Embedder(TINY).state_dict()}, path)
    return path


def words(output: str) -> str:
    """The output with line breaks and spaces made one space."""
    return " ".join(output.split())


def test_evaluate_writes_the_report(tmp_path: Path) -> None:
    """One command, and both files are there with the same seed in them."""
    embeddings = write_embeddings(tmp_path / "e.npz", noise=0.5)
    options = [
        "--out",
        str(tmp_path / "out"),
        "--drawings",
        "2",
        "--resamples",
        "5",
        "--seed",
        "3",
        "--quick",
    ]

    result = CliRunner().invoke(app, ["evaluate", str(embeddings), *options])

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["seed"] == 3
    assert (tmp_path / "out" / "report.html").exists()


def test_compare_tells_the_better_network(tmp_path: Path) -> None:
    """The noisier network has lower true accepts, and the difference is printed."""
    good = write_embeddings(tmp_path / "good.npz", noise=0.3)
    poor = write_embeddings(tmp_path / "poor.npz", noise=1.2)

    result = CliRunner().invoke(app, ["compare", str(good), str(poor), "--gallery", "5", "--resamples", "5"])

    assert result.exit_code == 0, result.output
    assert "difference" in result.output


def test_compare_of_different_pictures_is_refused(tmp_path: Path) -> None:
    """Paired differences need the same pictures."""
    one = write_embeddings(tmp_path / "one.npz", noise=0.3)
    other = write_embeddings(tmp_path / "other.npz", noise=0.3, people=19)

    result = CliRunner().invoke(app, ["compare", str(one), str(other), "--resamples", "5"])

    assert result.exit_code == 2
    assert "other pictures" in words(result.output)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    """A path that does not exist ends in one sentence and exit code 2."""
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path / "none.npz"), "--out", str(tmp_path / "out")])

    assert result.exit_code == 2
    assert "cannot read" in words(result.output)
    assert "Traceback" not in result.output


def test_networks_are_listed_with_their_cost() -> None:
    """Every member of the family stands in the table."""
    result = CliRunner().invoke(app, ["networks"])

    assert result.exit_code == 0
    assert all(name in result.output for name in FAMILY)


def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    """A file of something else is named, and nothing is written."""
    (tmp_path / "checkpoint.pt").write_text("not one", encoding="utf-8")
    options = [str(tmp_path / "checkpoint.pt"), str(tmp_path), "--out", str(tmp_path / "e.npz")]

    result = CliRunner().invoke(app, ["embed", *options])

    assert result.exit_code == 2
    assert "cannot read checkpoint" in words(result.output)
    assert not (tmp_path / "e.npz").exists()


def test_folder_without_labels_is_no_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedding a pack needs its labels.csv."""
    monkeypatch.setitem(FAMILY, "tiny", TINY)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.pt")

    result = CliRunner().invoke(
        app, ["embed", str(checkpoint), str(tmp_path), "--out", str(tmp_path / "e.npz")]
    )

    assert result.exit_code == 2
    assert "no labels.csv" in words(result.output)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("speed=3", "unknown setting"),
        ("rate", "NAME=VALUE"),
        ('batch="many"', "takes a int"),
        ("seed.x=1", "no parts"),
    ],
)
def test_wrong_setting_is_refused_before_any_work(tmp_path: Path, setting: str, said: str) -> None:
    """An unknown name or a value of the wrong kind ends in one sentence, and no run is begun."""
    result = CliRunner().invoke(app, ["distill", str(tmp_path / "run"), "--set", setting])

    assert result.exit_code == 2
    assert said in words(result.output)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("tiny_network")
def test_checkpoint_is_embedded_and_measured_under_worse_pictures(noise_data: Path, tmp_path: Path) -> None:
    """From a checkpoint to the file that `evaluate` reads, and to the robustness figures with their plots."""
    checkpoint = str(write_checkpoint(tmp_path / "checkpoint.pt"))
    pack = [str(noise_data / "faces"), "--cache", str(tmp_path / "cache"), "--split", "val"]
    runner = CliRunner()

    embedded = runner.invoke(app, ["embed", checkpoint, *pack, "--out", str(tmp_path / "e.npz")])
    robust = runner.invoke(
        app, ["robustness", checkpoint, *pack, "--out", str(tmp_path / "out"), "--resamples", "3"]
    )

    assert embedded.exit_code == 0, embedded.output
    assert robust.exit_code == 0, robust.output
    with np.load(tmp_path / "e.npz") as stored:
        assert stored["embedding"].shape == (15, 8)
        assert np.allclose(np.linalg.norm(stored["embedding"], axis=1), 1, atol=1e-5)
    content = json.loads((tmp_path / "out" / "robustness.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in content["rows"]][:2] == ["JPEG quality", "pixels between the eyes"]
    assert len(list((tmp_path / "out").glob("*.svg"))) == 5
