"""The laboratory's command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")
pytest.importorskip("sklearn", reason="the laboratory needs scikit-learn: pip install .[training]")
pytest.importorskip("matplotlib", reason="the laboratory needs matplotlib: pip install .[training]")

import torch
from PIL import Image
from rich.console import Console
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from glancein_training import cli, cost
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
    stored = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert stored["seed"] == 3
    low, high = stored["verification"]["area_interval"]
    assert f"{stored['verification']['area']:.5f} ({low:.5f} to {high:.5f})" in result.output
    assert (tmp_path / "out" / "report.html").exists()


def test_compare_tells_the_better_network(tmp_path: Path) -> None:
    """The noisier network has lower true accepts, and the difference is printed."""
    good = write_embeddings(tmp_path / "good.npz", noise=0.3)
    poor = write_embeddings(tmp_path / "poor.npz", noise=1.2)

    result = CliRunner().invoke(app, ["compare", str(good), str(poor), "--gallery", "5", "--resamples", "5"])

    assert result.exit_code == 0, result.output
    assert "difference" in result.output


@pytest.mark.parametrize(("asked", "enrolled"), [(5, 5), (400, 10)])
def test_compare_says_how_many_are_enrolled_when_more_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int, enrolled: int
) -> None:
    """Half of the people at most: the others are the strangers."""
    monkeypatch.setattr(cli, "out_console", Console(width=200))
    good = write_embeddings(tmp_path / "good.npz", noise=0.3)

    result = CliRunner().invoke(app, ["compare", str(good), "--gallery", str(asked), "--resamples", "2"])

    assert result.exit_code == 0, result.output
    assert f"FNIR at FPIR 1 %, {enrolled} enrolled" in result.output


def test_only_evaluate_promises_padding() -> None:
    """`compare` and `cross` enrol nobody beside the people that are measured."""
    command = get_command(app)
    assert isinstance(command, TyperGroup)

    helps = {
        name: next(str(p.help) for p in command.commands[name].params if p.name == "split")  # type: ignore[attr-defined]  # of options
        for name in ("evaluate", "compare", "cross")
    }

    assert {name for name, told in helps.items() if "pad" in told} == {"evaluate"}


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
    result = CliRunner().invoke(app, ["networks", "--no-measure"])

    assert result.exit_code == 0
    assert all(name in result.output for name in FAMILY)


def test_plot_of_unknown_ending_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks take minutes to convert and time."""
    monkeypatch.setattr(cost, "costs", pytest.fail)

    result = CliRunner().invoke(app, ["networks", "--plot", str(tmp_path / "cost.txt")])

    assert result.exit_code == 2
    assert "its name ends in .svg or .png or .pdf" in words(result.output)


def test_runs_without_a_plot_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in nothing else that the command says."""
    monkeypatch.setattr(cost, "costs", pytest.fail)

    result = CliRunner().invoke(app, ["networks", "--run", str(tmp_path)])

    assert result.exit_code == 2
    assert "--run is for a plot: say where with --plot" in words(result.output)


def test_networks_without_a_converter_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table comes all the same, with a dash for the milliseconds."""
    monkeypatch.setattr(cost, "lacking", lambda: ["litert_torch"])

    result = CliRunner().invoke(app, ["networks", "glance-33-96px"])

    assert result.exit_code == 0
    assert "no milliseconds: litert_torch not installed" in words(result.output)
    assert "96 px" in result.output


def test_measured_networks_carry_their_milliseconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the converter's lines say stands in the JSON and in the plot."""
    line = {"name": "glance-33", "size_bytes": 700_000, "ms": 1.5}
    done = subprocess.CompletedProcess([], 0, f"a warning\n{json.dumps(line)}\n", "")
    monkeypatch.setattr(cost, "lacking", list)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: done)
    plot = tmp_path / "cost.svg"

    result = CliRunner().invoke(app, ["networks", "glance-33", "--json", "--plot", str(plot)])

    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.output)
    assert (found["int8_ms"], found["int8_bytes"]) == (1.5, 700_000)
    assert "glance-33" in plot.read_text(encoding="utf-8")


def test_converter_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words and exit code 2, no table with holes."""
    done = subprocess.CompletedProcess([], 7, "", "glancein-convert: no way\n")
    monkeypatch.setattr(cost, "lacking", list)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: done)

    result = CliRunner().invoke(app, ["networks", "glance-33"])

    assert result.exit_code == 2
    assert "no way" in words(result.output)


def test_accuracy_of_finished_runs_is_plotted_over_their_cost(tmp_path: Path) -> None:
    """Network from config.json, true accepts from the curve's last line; a folder without them is refused."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text('{"network": "glance-33"}', encoding="utf-8")
    (run / "curve.csv").write_text("images,tar_1e-3\n64,1.0\n128,2.5\n", encoding="utf-8")
    options = ["networks", "glance-33", "--no-measure", "--plot", str(tmp_path / "plot.svg")]

    result = CliRunner().invoke(app, [*options, "--run", str(run)])
    refused = CliRunner().invoke(app, [*options, "--run", str(tmp_path / "none")])

    assert result.exit_code == 0, result.output
    assert "128 images" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert refused.exit_code == 2
    assert "no run" in words(refused.output)


def test_pictures_of_a_pack_without_people_tell_no_robustness(tmp_path: Path) -> None:
    """`unpack --worse` writes such a pack too; what is lacking is said."""
    (tmp_path / "labels.csv").write_text("path,tar\na.webp,a.tar\n", encoding="utf-8")
    np.savez(tmp_path / "e.npz", path=["clean/a.webp"], embedding=np.ones((1, 4), np.float32))

    result = CliRunner().invoke(
        app, ["robustness", str(tmp_path / "e.npz"), str(tmp_path), "--out", str(tmp_path / "out")]
    )

    assert result.exit_code == 2
    assert "needs labels with path and identity" in words(result.output)


def test_run_of_steps_is_named_by_its_images(tmp_path: Path) -> None:
    """`train` counts batches of people times pictures in each process, and stands beside a distillation."""
    config = {"network": "glance-33", "people": 24, "each": 5, "processes": 2}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "curve.csv").write_text("step,tar_1e-3\n200,1.0\n400,2.5\n", encoding="utf-8")

    found = cost.bought(tmp_path)

    assert found.images == 400 * 24 * 5 * 2


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
        ("rate=NaN", "takes a float"),
        ("rate=Infinity", "takes a float"),
        ("packs=[]", "packs is empty"),
        ("threads=0", "threads=0 is too low"),
        ("seed=-1", "seed=-1 is too low"),
        ("train_px=0", "train_px=0 is too low"),
    ],
)
def test_wrong_setting_is_refused_before_any_work(tmp_path: Path, setting: str, said: str) -> None:
    """An unknown name or a value of the wrong kind ends in one sentence, and no run is begun."""
    result = CliRunner().invoke(app, ["distill", str(tmp_path / "run"), "--set", setting])

    assert result.exit_code == 2
    assert said in words(result.output)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("out", ["folder", "none/e.npz"])
def test_embed_looks_at_its_place_before_its_work(tmp_path: Path, out: str) -> None:
    """By the name that was given, and nothing is left beside it."""
    (tmp_path / "folder").mkdir()
    checkpoint = tmp_path / "none.pt"

    refused = CliRunner().invoke(app, ["embed", str(checkpoint), str(tmp_path), "--out", str(tmp_path / out)])

    assert refused.exit_code == 2
    assert refused.output.startswith(f"glancein-train: {tmp_path / out} ")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


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
    # Fifteen pictures of five people make 180 pairs of strangers.
    assert {row["clean"]["value"] for row in content["rows"]} == {None}
    assert "fewer than 1,000 pairs of strangers tell no FAR of 0.001" in words(robust.output)
    assert "clean -" in robust.output
    assert len(list((tmp_path / "out").glob("*.svg"))) == 5


def test_anybodys_embeddings_of_worse_pictures_are_measured(noise_data: Path, tmp_path: Path) -> None:
    """`unpack --worse`, another program, `robustness`: here one that looks at colours by rows."""
    pack, runner = str(noise_data / "faces"), CliRunner()
    words_of_unpack = ["--cache", str(tmp_path / "cache")]
    unpacked = runner.invoke(app, ["unpack", pack, "--worse", *words_of_unpack, "--out", str(tmp_path / "p")])
    assert unpacked.exit_code == 0, unpacked.output
    paths = sorted((tmp_path / "p").rglob("*.webp"))
    assert len(paths) == 12 * 3 * 26
    vectors = [
        np.asarray(Image.open(p).convert("RGB"), np.float32)[64:192, 64:192].mean((1, 2)) - 128 for p in paths
    ]
    np.savez(tmp_path / "e.npz", path=[str(p) for p in paths], embedding=np.stack(vectors))

    robust = ["robustness", str(tmp_path / "e.npz"), pack, "--out", str(tmp_path / "out"), "--resamples", "3"]
    measured = runner.invoke(app, robust)

    assert measured.exit_code == 0, measured.output
    rows = json.loads((tmp_path / "out" / "robustness.json").read_text(encoding="utf-8"))["rows"]
    assert [len(row["true_accepts"]) for row in rows] == [5] * 5
    assert rows[0]["clean"]["value"] > 0.8
    np.savez(tmp_path / "e.npz", path=[str(p) for p in paths[:-1]], embedding=np.stack(vectors[:-1]))
    lacking = runner.invoke(app, robust)
    assert lacking.exit_code == 2
    assert "embed the whole folder" in words(lacking.output)
