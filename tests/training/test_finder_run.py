"""A training run of the finder: its rate, and that it continues where it stopped."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

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


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"path": "a.webp", "tar": "f.tar", "split": "train", "faces": []}', "no pictures of split 'val'"),
        ('{"path": "a.webp", "tar": "f.tar", "split": "val", "faces": []}', r"f\.tar lacks a\.webp"),
        ("no JSON", "not one JSON object"),
    ],
)
def test_labelled_pictures_that_do_not_fit_are_named(tmp_path: Path, line: str, said: str) -> None:
    """Another split, a picture that is not in its tar, another form."""
    (tmp_path / "labels.jsonl").write_text(line + "\n", encoding="utf-8")
    with tarfile.open(tmp_path / "f.tar", "w"):
        pass

    with pytest.raises(InputError, match=said):
        data.load(tmp_path, "val")


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
