"""Training from identities: every loss runs, learns, resumes exactly, and runs in two processes."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
from PIL import Image
from typer.testing import CliRunner

from glancein.adapters.image_child import decode
from glancein.errors import InputError
from glancein_training.cli import app
from glancein_training.configuration import with_settings
from glancein_training.evaluate.faces import parity_of, read_faces
from glancein_training.mining.collapse import TrainingCollapsed
from glancein_training.objectives import LOSSES, MINING, Triplets
from glancein_training.people import cut, is_training, load_people
from glancein_training.processes import ALONE, Place
from glancein_training.sampling import people_sampler
from glancein_training.train import (
    Config,
    build,
    load_data,
    pick,
    rate_at,
    run,
    save,
    told_of_kept_out,
    training_labels,
)

pytestmark = pytest.mark.usefixtures("tiny_network")


def a_config(noise_data: Path, **changes: object) -> Config:
    """Three people with two pictures each at 32 px: a step in milliseconds."""
    settings = {"network": "tiny", "data": str(noise_data / "faces"), "people": 3, "each": 2, "threads": 1}
    settings |= {"train_px": 112, "warm_up_steps": 4, "steps": 6, "note_every_steps": 3, **changes}
    return with_settings(Config(), [f"{name}={json.dumps(value)}" for name, value in settings.items()])


def train(config: Config, out: Path, until: int | None = None) -> dict[str, Any]:
    """Run and read the checkpoint, which holds states of any kind."""
    run(config, out, out.parent / "cache", stop_at_step=until)
    stored: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)
    return stored


def write_photos(folder: Path) -> Path:
    """Thirty people with two pictures of noise each, and what `glancein embed` would write of them."""
    rng = np.random.default_rng(0)
    paths = [f"p{k}/{j}.png" for k in range(30) for j in range(2)]
    for path in paths:
        (folder / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (160, 160, 3), np.uint8)).save(folder / "photos" / path)
    points = np.array([[60, 70], [100, 70], [80, 95], [65, 115], [95, 115]], np.float32)
    found = np.ones(60, bool)
    found[7] = False
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    np.savez(
        folder / "e.npz", path=paths, found=found, landmarks=np.repeat(points[None], 60, 0), embedding=vectors
    )
    return folder / "e.npz"


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(noise_data: Path, tmp_path: Path, loss: str) -> None:
    """Two steps move the weights and keep them finite."""
    before = train(a_config(noise_data, loss=loss), tmp_path / "run", until=0)["student"]
    after = train(a_config(noise_data, loss=loss), tmp_path / "run", until=2)["student"]

    assert not torch.equal(before["project.weight"], after["project.weight"])
    assert all(tensor.isfinite().all() for tensor in after.values())


@pytest.mark.parametrize("mining", MINING)
def test_resumed_run_equals_an_uninterrupted_one(noise_data: Path, tmp_path: Path, mining: str) -> None:
    """Whatever the mining, stopping and going on changes no bit."""
    config = a_config(noise_data, mining=mining, mine_every_steps=2 if mining == "offline" else 0)

    whole = train(config, tmp_path / "whole")
    train(config, tmp_path / "parts", until=3)
    parts = train(config, tmp_path / "parts")

    assert whole["step"] == parts["step"] == 6
    assert same_weights(whole["student"], parts["student"])
    assert same_weights(whole["average"], parts["average"])
    assert torch.equal(whole["rng"], parts["rng"])


def test_training_brings_people_together(noise_data: Path, tmp_path: Path) -> None:
    """The loss falls, and the curve shows it."""
    config = a_config(noise_data, loss="batch-hard", steps=60, note_every_steps=15, rate=0.01)

    train(config, tmp_path / "run")

    with (tmp_path / "run" / "curve.csv").open(encoding="utf-8", newline="") as file:
        losses = [float(line["loss"]) for line in csv.DictReader(file)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_bfloat16_is_what_the_convolutions_answer_in(noise_data: Path, tmp_path: Path) -> None:
    """Half precision in the network leaves the weights in full."""
    answered = set()

    def look(layer: torch.nn.Module, _inputs: object, output: object) -> None:
        if isinstance(layer, torch.nn.Conv2d) and isinstance(output, torch.Tensor):
            answered.add(output.dtype)

    with torch.nn.modules.module.register_module_forward_hook(look):
        stored = train(a_config(noise_data, bfloat16=True), tmp_path / "run", until=2)

    assert answered == {torch.bfloat16}
    assert stored["student"]["project.weight"].dtype == torch.float32


def test_offline_batch_says_which_pictures_are_triplets(noise_data: Path) -> None:
    """Anchor, positive and negative of the batch are those that were mined."""
    config = a_config(noise_data, mining="offline", mine_every_steps=2, people=5)
    sampler = people_sampler(np.repeat(np.arange(6), 3), people=5, each=2, seed=1)
    state = build(config, 7, ALONE)
    state.mined = np.arange(30).reshape(10, 3)

    picked = pick(state, sampler, config, ALONE)

    assert picked.triplets is not None
    found = picked.rows[picked.triplets.numpy()]
    assert found.shape == (3, 3)
    assert {tuple(row) for row in found.tolist()} <= {tuple(row) for row in state.mined.tolist()}


def test_offline_mining_that_finds_nothing_is_semi_hard(
    noise_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without mined triplets the batches are people times pictures, with triplets of their own."""
    monkeypatch.setattr("glancein_training.train.mine", lambda *_: np.zeros((0, 3), np.int64))

    nothing = train(a_config(noise_data, mining="offline", mine_every_steps=2), tmp_path / "offline")
    online = train(a_config(noise_data, mining="semi-hard"), tmp_path / "online")

    assert same_weights(nothing["student"], online["student"])


def test_first_process_says_when_the_time_is_up(
    noise_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that stopped by their own clocks would wait for each other for ever."""
    monkeypatch.setattr("glancein_training.train.first_says", lambda *, word: not word)

    assert train(a_config(noise_data), tmp_path / "run")["step"] == 0


def test_run_of_more_processes_is_not_continued_by_one(noise_data: Path, tmp_path: Path) -> None:
    """The batches would be others, and other processes' checkpoints would be lost."""
    stored = train(a_config(noise_data), tmp_path / "run", until=1)
    torch.save({**stored, "processes": 2}, tmp_path / "run" / "checkpoint.pt")

    with pytest.raises(InputError, match="2 processes, not 1"):
        train(a_config(noise_data), tmp_path / "run", until=2)


def test_processes_that_would_go_on_from_several_steps_are_refused(
    noise_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut between their checkpoints; mixed, they would wait for each other for ever."""
    monkeypatch.setattr("glancein_training.train.all_say", lambda step: [step, 200])

    with pytest.raises(InputError, match=r"of steps 0, 200: take a fresh folder with start=.*checkpoint\.pt"):
        train(a_config(noise_data), tmp_path / "run", until=1)


def test_record_says_what_every_session_ran_with(noise_data: Path, tmp_path: Path) -> None:
    """A resumed run's record holds the settings now and those before, where each began and from what."""
    train(a_config(noise_data), tmp_path / "first", until=1)
    start = tmp_path / "first" / "checkpoint.pt"
    train(a_config(noise_data, start=str(start)), tmp_path / "run", until=2)

    train(a_config(noise_data, start=str(start), rate=0.5), tmp_path / "run", until=3)

    kept = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert kept["rate"] == 0.5
    assert [(s["step"], s["rate"]) for s in kept["sessions"]] == [(0, 0.001), (2, 0.5)]
    digest = hashlib.sha256(start.read_bytes()).hexdigest()
    assert [s["start_sha256"] for s in kept["sessions"]] == [digest, None]


def test_collapsed_start_ends_with_advice(noise_data: Path, tmp_path: Path) -> None:
    """Weights of zero give everybody the same vector; the run says so instead of going on."""
    config = a_config(noise_data, steps=100, rate=0.0)
    train(config, tmp_path / "run", until=0)
    stored = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    for name in ("project.weight", "project.bias"):
        stored["student"][name].zero_()
    torch.save(stored, tmp_path / "run" / "checkpoint.pt")

    with pytest.raises(TrainingCollapsed, match="lower rate"):
        train(config, tmp_path / "run")


def test_loss_that_is_no_number_stops_before_the_checkpoint(
    noise_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last good checkpoint stays bit for bit."""
    config = a_config(noise_data, note_every_steps=1)
    train(config, tmp_path / "run", until=1)
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(Triplets, "__call__", lambda _aim, vectors, *_: (vectors.sum() * math.nan, 0))

    with pytest.raises(TrainingCollapsed, match="no number any more"):
        run(config, tmp_path / "run", tmp_path / "cache")

    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_checkpoint_that_cannot_be_written_leaves_no_line_in_the_curve(
    noise_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that goes on from the checkpoint of before writes that line, once."""

    def full(*_: object) -> None:
        raise InputError("is the disk full")

    monkeypatch.setattr("glancein_training.train.write_checkpoint", full)

    with pytest.raises(InputError, match="is the disk full"):
        train(a_config(noise_data, note_every_steps=1), tmp_path / "run", until=1)

    assert not (tmp_path / "run" / "curve.csv").exists()


def test_run_starts_from_another_runs_weights(noise_data: Path, tmp_path: Path) -> None:
    """The averaged weights of a checkpoint are where the new run begins."""
    first = train(a_config(noise_data), tmp_path / "first", until=2)
    config = a_config(noise_data, start=str(tmp_path / "first" / "checkpoint.pt"), loss="cosface")

    begun = train(config, tmp_path / "second", until=0)

    assert same_weights(first["average"], begun["student"])


def test_network_that_is_not_named_is_that_of_the_start(noise_data: Path, tmp_path: Path) -> None:
    """Whoever trains on from kept weights need not know which member of the family they are."""
    train(a_config(noise_data), tmp_path / "first", until=0)
    config = a_config(noise_data, start=str(tmp_path / "first" / "checkpoint.pt"), network="")

    begun = train(config, tmp_path / "second", until=0)

    assert begun["network"] == begun["config"]["network"] == "tiny"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "arcface"}, "loss=triplet, not arcface"),
        ({"mining": "hard"}, "mining=semi-hard, not hard"),
        ({"margin": 0.3}, r"margin=0\.0, not 0\.3"),
        ({"people": 2}, "people=3, not 2"),
        ({"each": 3}, "each=2, not 3"),
        ({"seed": 2}, "seed=1, not 2"),
    ],
)
def test_folder_of_another_run_is_refused(
    noise_data: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """One folder, one run."""
    train(a_config(noise_data), tmp_path / "run", until=0)

    with pytest.raises(InputError, match=said):
        train(a_config(noise_data, **changes), tmp_path / "run", until=1)


def test_folder_of_other_data_is_refused(noise_data: Path, tmp_path: Path) -> None:
    """By what was read, not by where it lies; a checkpoint of before data were kept in it goes on."""
    stored = train(a_config(noise_data), tmp_path / "run", until=0)
    torch.save({**stored, "data_sha256": "of other pictures"}, tmp_path / "run" / "checkpoint.pt")

    with pytest.raises(InputError, match="on other data than"):
        train(a_config(noise_data), tmp_path / "run", until=1)

    del stored["data_sha256"]
    torch.save(stored, tmp_path / "run" / "checkpoint.pt")
    assert train(a_config(noise_data), tmp_path / "run", until=1)["step"] == 1


def test_centres_of_other_people_are_refused(noise_data: Path, tmp_path: Path) -> None:
    """One sentence instead of a tensor's shape."""
    config = a_config(noise_data, loss="cosface")
    stored = train(config, tmp_path / "run", until=0)
    stored["head"]["centres"] = stored["head"]["centres"][:-1].clone()
    torch.save(stored, tmp_path / "run" / "checkpoint.pt")

    with pytest.raises(InputError, match="another number of people"):
        train(config, tmp_path / "run", until=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "wish"}, "no loss"),
        ({"mining": "gold"}, "no mining"),
        ({"mining": "offline"}, "mine_every_steps"),
        ({"network": "huge"}, "the family has"),
        ({"people": 50}, "the data has 7"),
        ({"people": 0}, "people=0 is too low: set 2 or more"),
        ({"people": -1}, "people=-1 is too low"),
        ({"each": 0}, "each=0 is too low: set 2 or more"),
        ({"each": 1}, "each=1 is too low"),
        ({"note_every_steps": 0}, "note_every_steps=0 is too low: set 1 or more"),
        ({"threads": 0}, "threads=0 is too low: set 1 or more"),
        ({"seed": -1}, "seed=-1 is too low: set 0 or more"),
        ({"train_px": 0}, "train_px=0 is too low: set 32 or more"),
        ({"mine_every_steps": -1}, "mine_every_steps=-1 is too low: set 0 or more"),
        (
            {"mine_every_steps": 500},
            "mine_every_steps=500 is for mining=offline, not semi-hard: set mining=offline",
        ),
        (
            {"loss": "cosface", "mining": "hard"},
            "loss=cosface takes no mining: leave mining=hard out, or set loss to",
        ),
        ({"loss": "batch-hard", "mining": "offline", "mine_every_steps": 5}, "batch-hard takes no mining"),
        ({"loss": "quadruplet", "margin": 0.3}, r"quadruplet takes no margin: leave margin=0\.3 out"),
        (
            {"loss": "contrastive", "scale": 8.0},
            "contrastive takes no scale: .* set loss to cosface, arcface, ada",
        ),
        ({"data": "nowhere"}, "labels.csv"),
    ],
)
def test_impossible_configuration_is_refused(
    noise_data: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    """What cannot be trained is said before a folder is made."""
    with pytest.raises(InputError, match=said):
        run(a_config(noise_data, **changes), tmp_path / "run", tmp_path / "cache")

    assert not (tmp_path / "run").exists()


def test_run_that_began_with_a_setting_that_nothing_looks_at_goes_on(
    noise_data: Path, tmp_path: Path
) -> None:
    """Earlier ones could; without it they would be told that they began with another."""
    stored = train(a_config(noise_data, loss="cosface"), tmp_path / "run", until=1)
    stored["config"]["mining"] = "hard"
    torch.save(stored, tmp_path / "run" / "checkpoint.pt")

    assert train(a_config(noise_data, loss="cosface", mining="hard"), tmp_path / "run", until=2)["step"] == 2


def test_rate_ends_at_a_hundredth() -> None:
    """Up over the warm-up, then down half a cosine."""
    config = Config(steps=1000, warm_up_steps=10)

    assert rate_at(0, config) == pytest.approx(0.1)
    assert rate_at(500, config) == pytest.approx(0.505)
    assert rate_at(1000, config) == pytest.approx(0.01)


def test_own_photos_become_crops(tmp_path: Path) -> None:
    """A folder per person with landmarks gives aligned crops; a picture without a face is left out."""
    crops = load_people(tmp_path / "photos", write_photos(tmp_path))

    assert crops.pixels.shape == (59, 128, 128, 3)
    assert len(set(crops.identity.tolist())) == 30
    trained = set(crops.identity[crops.is_train].tolist())
    assert 20 <= len(trained) < 30
    assert trained.isdisjoint(crops.identity[~crops.is_train].tolist())
    labels, people = training_labels(crops)
    assert people == len(trained)
    assert (labels[~crops.is_train] == -1).all()


@pytest.mark.parametrize("root", ["", "photos/"])
def test_photo_in_nobodys_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    """Loose photos of several people would be learned as one person, called like the whole folder."""
    monkeypatch.chdir(tmp_path)
    with np.load(write_photos(tmp_path)) as stored:
        arrays = dict(stored)
    arrays["path"] = np.array([f"{root}loose.png", *(f"{root}{path}" for path in arrays["path"][1:])])
    (tmp_path / "photos" / "p0" / "0.png").rename(tmp_path / "photos" / "loose.png")
    np.savez(tmp_path / "faces.npz", allow_pickle=False, **arrays)

    with pytest.raises(InputError, match=r"loose\.png lies in no person's folder"):
        load_people(Path("photos"), tmp_path / "faces.npz")


def test_people_kept_out_fall_into_both_halves() -> None:
    """Who is kept out of own photos chooses or reports, about as often."""
    kept_out = [name for name in (f"person-{k}" for k in range(300)) if not is_training(name)]

    parities = [parity_of(name) for name in kept_out]

    assert 0.3 < sum(parities) / len(parities) < 0.7


def test_curve_of_own_photos_is_of_the_even_people(tmp_path: Path) -> None:
    """By name as `compare --half even` deals them, not by the number that a name happens to get."""
    crops = load_people(tmp_path / "photos", write_photos(tmp_path))

    shown = {crops.names[k] for k in crops.identity[crops.is_choosing()]}

    kept_out = {name for name in crops.names if not is_training(name)}
    assert shown == {name for name in kept_out if parity_of(name) == 0}
    assert set() < shown < kept_out


def test_curve_of_a_pack_is_of_the_even_numbers(noise_data: Path, tmp_path: Path) -> None:
    """A pack numbers its people; seven of twelve train."""
    crops = load_data(a_config(noise_data), tmp_path / "cache")

    assert set(crops.identity[crops.is_choosing()].tolist()) == {8, 10}


def test_run_that_keeps_nobody_out_says_so_first(
    noise_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of few people chance may name nobody; who is kept out must not change with those who join."""
    landmarks = write_photos(tmp_path)
    config = a_config(noise_data, data=str(tmp_path / "photos"), landmarks=str(landmarks))
    train(config, tmp_path / "told", until=0)
    before = capsys.readouterr().out
    monkeypatch.setattr("glancein_training.people.is_training", lambda _name: True)

    train(config, tmp_path / "run", until=0)

    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith(
        "0 of 30 people are kept out, one in ten by the folder's name, so the curve will"
    )
    assert "and `compare` with the split `val` will find too few" in said[0]
    assert "add folders of more people" in said[0]
    assert "`compare`" not in before


@pytest.mark.parametrize(
    ("kept_out", "lacking"),
    [
        ([7, 8, 9], ["the curve will"]),
        ([7], ["the curve will", "`compare`"]),
        ([], ["the curve will", "`compare`"]),
        ([8, 10], []),
    ],
)
def test_too_few_people_kept_out_are_told(
    noise_data: Path, tmp_path: Path, kept_out: list[int], lacking: list[str]
) -> None:
    """The curve is of the even ones alone; two make pairs of strangers."""
    crops = load_data(a_config(noise_data), tmp_path / "cache")

    said = told_of_kept_out(replace(crops, is_train=~np.isin(crops.identity, kept_out)))

    assert [what for what in ("the curve will", "`compare`") if what in said] == lacking
    assert bool(lacking) == said.startswith(f"{len(kept_out)} of 12 people are kept out, so ")


def test_photo_that_a_phone_stored_lying_is_cut_upright(tmp_path: Path) -> None:
    """Landmarks are of the picture as `glancein embed` turns it, by its EXIF."""
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 120, 3), np.uint8))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    points = np.array([[40, 70], [80, 70], [60, 95], [45, 115], [75, 115]], np.float32)

    found = cut(tmp_path, "lying.png", points)

    np.testing.assert_array_equal(found, cut(tmp_path, "upright.png", points))


def half_clear(mode: str) -> Image.Image:
    """Noise whose upper half is transparent, with other noise under it; for "I;16" all of it grey."""
    rng = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (160, 120), np.uint16))
    picture = Image.fromarray(rng.integers(0, 256, (160, 120, 4), np.uint8))
    alpha = np.full((160, 120), 255, np.uint8)
    alpha[:80] = 0
    picture.putalpha(Image.fromarray(alpha))
    return picture.quantize() if mode == "P" else picture.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_photo_is_cut_in_the_colours_that_the_kiosk_sees(tmp_path: Path, mode: str) -> None:
    """Transparent parts are white, not what an editor left under them; 16-bit grey is not burnt out."""
    half_clear(mode).save(tmp_path / "odd.png")
    decode((tmp_path / "odd.png").read_bytes()).save(tmp_path / "plain.png")
    points = np.array([[40, 70], [80, 70], [60, 95], [45, 115], [75, 115]], np.float32)

    found = cut(tmp_path, "odd.png", points)

    np.testing.assert_array_equal(found, cut(tmp_path, "plain.png", points))


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut short", b"", b"path,found"])
def test_damaged_landmarks_are_named(tmp_path: Path, content: bytes) -> None:
    """What is no .npz is said to be none."""
    (tmp_path / "e.npz").write_bytes(content)

    with pytest.raises(InputError, match=r"cannot read .*e\.npz"):
        load_people(tmp_path, tmp_path / "e.npz")


def test_changed_photo_changes_the_hash(tmp_path: Path) -> None:
    """The hash in a run's record is of the pictures too, not of their landmarks alone."""
    landmarks = write_photos(tmp_path)
    before = load_people(tmp_path / "photos", landmarks).data_sha256
    Image.new("RGB", (160, 160), "red").save(tmp_path / "photos" / "p0" / "0.png")

    assert load_people(tmp_path / "photos", landmarks).data_sha256 != before


def test_people_kept_out_are_compared_by_the_labels_of_the_run(noise_data: Path, tmp_path: Path) -> None:
    """The guide's last step: RUN/labels.csv names who was kept out, and `compare` looks at them alone."""
    landmarks = write_photos(tmp_path)
    config = a_config(noise_data, data=str(tmp_path / "photos"), landmarks=str(landmarks))
    train(config, tmp_path / "run", until=1)
    labels = tmp_path / "run" / "labels.csv"

    result = CliRunner().invoke(
        app,
        ["compare", str(landmarks), str(landmarks), "--labels", str(labels), "--split", "val"],
        env={"COLUMNS": "200"},
    )

    assert result.exit_code == 0, result.output
    assert "difference" in result.output
    crops = load_people(tmp_path / "photos", landmarks)
    faces = read_faces(landmarks, labels=labels)
    assert np.array_equal(faces.split[faces.found] == "train", crops.is_train)


def test_photo_that_is_gone_is_named(tmp_path: Path) -> None:
    """A picture that was embedded and then deleted stops the run with its name."""
    points = np.array([[60, 70], [100, 70], [80, 95], [65, 115], [95, 115]], np.float32)
    np.savez(tmp_path / "e.npz", path=["a/1.png"], found=np.ones(1, bool), landmarks=points[None])

    with pytest.raises(InputError, match=r"1\.png"):
        load_people(tmp_path, tmp_path / "e.npz")


def test_checkpoint_counts_the_images_of_all_processes(noise_data: Path, tmp_path: Path) -> None:
    """The card says how many were seen."""
    config = a_config(noise_data)
    state = build(config, 7, ALONE)
    state.step = 5

    save(state, tmp_path / "c.pt", config, Place(0, 2))

    assert torch.load(tmp_path / "c.pt", weights_only=True)["images"] == 5 * 3 * 2 * 2


@pytest.mark.heavy
def test_two_processes_keep_the_same_weights(noise_data: Path, tmp_path: Path) -> None:
    """Under torchrun each process sees its own pictures and both end with the same weights.

    Without the checkpoint of one of them they do not go on.
    """
    program = tmp_path / "two.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from glancein_training.networks import FAMILY, EmbedderShape\n"
        "FAMILY['tiny'] = EmbedderShape('tiny', (4, 4, 8, 8), (1, 1, 1), (4, 4, 4), reduce=4, embedding=8)\n"
        "from glancein_training.configuration import with_settings\n"
        "from glancein_training.train import Config, run\n"
        "run(with_settings(Config(), sys.argv[3:]), Path(sys.argv[1]), Path(sys.argv[2]))\n",
        encoding="utf-8",
    )
    settings = ["network=tiny", f"data={noise_data / 'faces'}", "people=3", "each=2", "steps=4", "threads=1"]
    run(a_config(noise_data), tmp_path / "warm", tmp_path / "cache", stop_at_step=0)  # decodes the pack once

    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(program)]
    words += [str(tmp_path / "run"), str(tmp_path / "cache"), *settings, "loss=cosface"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(words, check=True, timeout=300, env=environment)

    one = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    other = torch.load(tmp_path / "run" / "checkpoint-1.pt", weights_only=True)
    learned = [name for name in one["student"] if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(one["student"][name], other["student"][name]) for name in learned)
    assert torch.equal(one["head"]["centres"], other["head"]["centres"])
    assert not torch.equal(one["rng"], other["rng"])
    (tmp_path / "run" / "checkpoint-1.pt").unlink()
    cut = subprocess.run(words, check=False, timeout=300, env=environment, capture_output=True, text=True)
    assert cut.returncode != 0
    assert "are of steps 4, 0: take a fresh folder" in cut.stderr
