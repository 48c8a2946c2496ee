"""A training run of the finder: its rate, and that it continues where it stopped."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
from PIL import Image

from glancein.errors import InputError
from glancein_training.finder import data, evaluate
from glancein_training.finder.train import Config, Scenes, State, adopt, build, main, restore, run, save, step
from glancein_training.finder.weights import keep
from glancein_training.schedule import share_of_rate

SMALL = Config(network="finder-24", width_px=64, height_px=48, batch=2, warm_up_scenes=8)


def picture() -> data.Picture:
    """Noise in which a label says there is a face."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    points = np.array([[[34, 24], [46, 24], [40, 32], [35, 38], [45, 38]]], np.float32)
    return data.Picture(
        "noise", pixels, data.Labels(np.array([[28, 14, 24, 32]], np.float32), points, np.ones(1, np.float32))
    )


def trained(state: State, numbers: range) -> State:
    """The state after these batches."""
    scenes = Scenes([picture()], SMALL)
    for number in numbers:
        step(state, *scenes[number], SMALL)
    return state


def test_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    """Four steps in one go, or two, a checkpoint, and two: the same weights."""
    torch.set_num_threads(1)
    whole = trained(build(SMALL), range(0, 8, 2))
    save(trained(build(SMALL), range(0, 4, 2)), tmp_path / "checkpoint.pt", SMALL)
    again = build(SMALL)

    restore(again, tmp_path / "checkpoint.pt")
    trained(again, range(4, 8, 2))

    assert again.scenes == whole.scenes == 8
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(tensor, whole.network.state_dict()[name]), name


def write_data(folder: Path, *, brightest: int = 256) -> Path:
    """A folder of finder data: a noisy picture to train on and one held back, a face in each."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    labels = picture().labels
    face = {"box": labels.boxes[0].tolist(), "landmarks": labels.landmarks[0].tolist(), "score": 1.0}
    lines = []
    with tarfile.open(folder / "f.tar", "w") as tar:
        for split in ("train", "val"):
            content = io.BytesIO()
            Image.fromarray(rng.integers(0, brightest, (60, 80, 3)).astype(np.uint8)).save(content, "png")
            member = tarfile.TarInfo(f"{split}.png")
            member.size = len(content.getvalue())
            tar.addfile(member, io.BytesIO(content.getvalue()))
            row = {"path": member.name, "tar": "f.tar", "split": split, "faces": [face]}
            lines.append(json.dumps(row) + "\n")
    (folder / "labels.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def begin(config: Config, out: Path, *, start_from: Path | None = None) -> None:
    """Start a run, or go on with it, and stop before its next batch."""
    run(config, out, minutes=0.0, decay_after=1e9, workers=0, start_from=start_from)


def test_record_holds_every_session_when_the_size_changes(tmp_path: Path) -> None:
    """Small scenes first, then large ones, as the shipped finder was trained; data and versions with each."""
    config = replace(SMALL, data=str(write_data(tmp_path / "data")))

    begin(config, tmp_path / "run")
    begin(replace(config, width_px=128, height_px=96), tmp_path / "run")

    kept = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert [session["width_px"] for session in kept["sessions"]] == [64, 128]
    assert kept["width_px"] == 128
    hashes = {session["data_sha256"] for session in kept["sessions"]}
    assert hashes == {data.sha256_of(tmp_path / "data")}
    assert all(session["commit"] and session["versions"]["torch"] for session in kept["sessions"])


def test_run_goes_on_only_with_its_data_and_seed(tmp_path: Path) -> None:
    """Both are refused in one line, and the record stays as it was."""
    config = replace(SMALL, data=str(write_data(tmp_path / "data")))
    begin(config, tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()

    with pytest.raises(InputError, match="was trained with seed=1, not 2; take a fresh folder"):
        begin(replace(config, seed=2), tmp_path / "run")
    write_data(tmp_path / "data", brightest=200)
    with pytest.raises(InputError, match="was trained on other data than"):
        begin(config, tmp_path / "run")

    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_start_of_a_run_that_goes_on_is_told_to_be_unused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept weights begin a fresh run, whose record names them; the second time it says so."""
    config = replace(SMALL, data=str(write_data(tmp_path / "data")))
    save(build(SMALL), tmp_path / "kept.pt", SMALL)

    begin(config, tmp_path / "run", start_from=tmp_path / "kept.pt")
    assert "goes on" not in capsys.readouterr().out
    begin(config, tmp_path / "run", start_from=tmp_path / "kept.pt")

    assert "run goes on from its own checkpoint; --start-from" in capsys.readouterr().out
    kept = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    named = [session["start_from"] for session in kept["sessions"]]
    assert named == [str(tmp_path / "kept.pt"), None]


def test_finished_run_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Started again, it says that it is finished; no batch, no line of the curve, no new settings."""
    monkeypatch.setattr(data, "load", lambda *_: [picture()])
    state = trained(build(SMALL), range(0, 4, 2))
    state.decay_from = 0
    save(state, tmp_path / "checkpoint.pt", SMALL)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    run(replace(SMALL, decay_scenes=4), tmp_path, minutes=1.0, decay_after=0.0, workers=0)

    assert "is finished, after 4 scenes" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_fresh_run_can_begin_with_kept_weights(tmp_path: Path) -> None:
    """The average becomes network and average; the count starts anew."""
    save(trained(build(SMALL), range(0, 4, 2)), tmp_path / "kept.pt", SMALL)
    state = build(SMALL)

    adopt(state, tmp_path / "kept.pt")

    kept = torch.load(tmp_path / "kept.pt", weights_only=True)["average"]
    assert all(torch.equal(kept[name], tensor) for name, tensor in state.network.state_dict().items())
    assert state.scenes == 0


def test_deeper_finder_begins_where_the_kept_one_ended(tmp_path: Path) -> None:
    """Blocks added at the end change no answer at first; weights with other widths are refused."""
    save(build(replace(SMALL, network="finder-38")), tmp_path / "kept.pt", SMALL)
    kept, deeper = (build(replace(SMALL, network=name)) for name in ("finder-38", "finder-33"))

    for state in (kept, deeper):
        adopt(state, tmp_path / "kept.pt")

    pixels = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(5))
    answers = zip(kept.network.eval()(pixels), deeper.network.eval()(pixels), strict=True)
    assert all(torch.equal(one, other) for one, other in answers)
    with pytest.raises(InputError, match="another kind of finder than finder-24"):
        adopt(build(replace(SMALL, network="finder-24")), tmp_path / "kept.pt")


def test_checkpoint_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    """What AdamW alone left cannot be continued with Muon."""
    torch.save({"network": "finder-24", "optimisers": []}, tmp_path / "checkpoint.pt")

    with pytest.raises(InputError, match="another optimiser"):
        restore(build(SMALL), tmp_path / "checkpoint.pt")


def test_checkpoint_of_another_finder_is_refused(tmp_path: Path) -> None:
    """Its name says what to set."""
    save(build(SMALL), tmp_path / "checkpoint.pt", SMALL)

    with pytest.raises(InputError, match="is of finder-24, not finder-38"):
        restore(build(replace(SMALL, network="finder-38")), tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "colour=1"], "unknown setting"),
        (["--set", "network=finder-1"], "the family has finder-38"),
        (["--start-from", "none.pt"], "cannot read checkpoint none.pt"),
        ([], "labels.jsonl"),
        (["--threads", "0"], "--threads=0 is too low: set 1 or more"),
        (["--workers", "-1"], "--workers=-1 is too low: set 0 or more"),
        (["--set", "batch=0"], "batch=0 is too low"),
        (["--set", "rate=-1"], "rate=-1.0 is too low"),
        (["--set", "seed=-1"], "seed=-1 is too low"),
        (["--set", "width_px=0"], "width_px=0 is too low"),
        (["--set", "height_px=200"], "height_px=200 is no multiple of 16"),
    ],
)
def test_run_that_cannot_begin_says_so_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    """No traceback, and no folder with settings in it."""
    data_folder = ["--set", f"data={tmp_path / 'nowhere'}"]

    code = main([str(tmp_path / "run"), *data_folder, *words])

    assert code == 2
    printed = capsys.readouterr().err.split()
    assert "".join(said.split()) in "".join(printed)  # a narrow terminal breaks lines anywhere
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"path": "a.webp"}', "is no file of detections"),
        ("no JSON", "is no file of detections"),
        ('{"path": "a.webp", "faces": [{"box": [1, 2], "score": 1}]}', "is no file of detections"),
        ('{"path": "elsewhere/noise", "faces": []}', "names none of these pictures, such as noise"),
    ],
)
def test_file_of_detections_that_does_not_fit_is_named(tmp_path: Path, line: str, said: str) -> None:
    """Other paths would count as no face found anywhere."""
    (tmp_path / "found.jsonl").write_text(line + "\n", encoding="utf-8")

    with pytest.raises(InputError, match=said):
        evaluate.detections(tmp_path / "found.jsonl", [picture()])


def with_boxes(*boxes: list[int]) -> str:
    """A line of labels with these boxes."""
    faces = [{"box": box, "landmarks": [[0, 0]] * 5, "score": 1} for box in boxes]
    return json.dumps({"path": "a.webp", "tar": "f.tar", "split": "val", "faces": faces})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"path": "a.webp", "tar": "f.tar", "split": "train", "faces": []}', "no pictures of split 'val'"),
        ('{"path": "a.webp", "tar": "f.tar", "split": "val", "faces": []}', r"f\.tar lacks a\.webp"),
        ("no JSON", "line 1 of .* is not one JSON object"),
        ('{"path": "a.webp", "tar": "f.tar", "split": "val"}', "line 1 of .* is not one JSON object"),
        (with_boxes([1, 2, 3]), "is not one JSON object with .* box"),
        (with_boxes(*[[1, 2, 3]] * 4), "is not one JSON object with .* box"),
        (with_boxes([1, 2, 0, 4]), "is not one JSON object with .* box"),
    ],
)
def test_labelled_pictures_that_do_not_fit_are_named(tmp_path: Path, line: str, said: str) -> None:
    """Another split, a picture that is not in its tar, another form."""
    (tmp_path / "labels.jsonl").write_text(line + "\n", encoding="utf-8")
    with tarfile.open(tmp_path / "f.tar", "w"):
        pass

    with pytest.raises(InputError, match=said):
        data.load(tmp_path, "val")


def test_tar_cut_short_is_named(tmp_path: Path) -> None:
    """A copy that was broken off."""
    folder = write_data(tmp_path / "data")
    (folder / "f.tar").write_bytes((folder / "f.tar").read_bytes()[:700])

    with pytest.raises(InputError, match=r"cannot read .*f\.tar: .*copy the pack again"):
        data.load(folder, "val")


def test_damaged_picture_is_named(tmp_path: Path) -> None:
    """With its tar."""
    folder = write_data(tmp_path / "data")
    content = bytearray((folder / "f.tar").read_bytes())
    content[512:700] = bytes(188)
    (folder / "f.tar").write_bytes(content)

    with pytest.raises(
        InputError, match=r"cannot decode train\.png in .*f\.tar: no picture, or a damaged one"
    ):
        data.load(folder, "train")


def test_pictures_without_faces_alone_train_nothing() -> None:
    """In one line, before the first scene."""
    nobody = replace(picture(), labels=data.labels_of([]))

    with pytest.raises(InputError, match=r"no training picture of .* shows a face"):
        Scenes([nobody], SMALL)


def test_kept_weights_of_no_run_are_refused(tmp_path: Path) -> None:
    """Nothing is written."""
    torch.save({"network": "finder-24"}, tmp_path / "c.pt")

    with pytest.raises(InputError, match="no checkpoint of a run"):
        keep(tmp_path / "c.pt", tmp_path / "out" / "kept.pt")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("seen", "decay_from", "share"),
    [
        (0, None, 0.1),
        (90, None, 1.0),
        (5000, None, 1.0),
        (5250, 5000, 0.5),
        (5500, 5000, 0.01),
        (9000, 5000, 0.01),
    ],
)
def test_rate_warms_up_stays_and_falls_to_a_hundredth(
    seen: int, decay_from: int | None, share: float
) -> None:
    """Warm-up over 100 examples, a decay over 500 once it has begun."""
    assert share_of_rate(seen, batch=10, warm_up=100, decay=500, decay_from=decay_from) == pytest.approx(
        share
    )
