"""The second look in training: what is shown, what is asked for, and runs that continue."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein.domain import align
from glancein.domain import landmarks as look
from glancein.errors import InputError
from glancein.types import Box, Face
from glancein_training.finder import landmarks, looks
from glancein_training.finder.data import Floats, Labels, Pixels
from glancein_training.finder.disturb import Strength
from glancein_training.finder.landmarks import Config, State, build, loss, measure, restore, save, step
from glancein_training.finder.looks import FALSE, OWN, POSE, Batch, Choice, Jitter, Looks, Source

UNDISTURBED = Strength(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
EXACT = Choice(hidden=0.0, jitter=Jitter(0.0, 0.0, 0.0), strength=UNDISTURBED)
NO_CROPS = (np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64))
SMALL = Config(batch=4, warm_up_looks=8)


def dotted() -> Source:
    """A dark picture with a bright dot at each landmark of a face that looks to the side."""
    points = np.asarray(align.TEMPLATE, np.float32) * 1.4 + np.asarray([20, 10], np.float32)
    points[2] += (8, 0)
    pixels = np.full((220, 240, 3), 30, np.uint8)
    for x, y in points:
        cv2.circle(pixels, (round(float(x)), round(float(y))), 4, (250, 250, 250), -1)
    return Source(pixels, points + np.float32(0.5))  # a label counts from the edge


def outputs_for(points: Floats) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network says that knows these points (n, 5, 2) of the look and sees a face everywhere."""
    offsets = (points[:, None, None] - look.centres()[None, :, :, None]) / look.CELL_PX
    votes = torch.from_numpy(offsets.reshape(len(points), look.GRID, look.GRID, -1)).permute(0, 3, 1, 2)
    weights = torch.zeros(len(points), look.POINTS + 1, look.GRID, look.GRID)
    weights[:, look.POINTS] = 9.0
    return weights, votes.float()


def batch_of(points: Floats, *kinds: int) -> Batch:
    """A batch without pictures."""
    return Batch(
        torch.zeros(len(points), 3, look.LOOK_PX, look.LOOK_PX), torch.from_numpy(points), torch.tensor(kinds)
    )


@pytest.mark.parametrize("seed", range(4))
def test_points_lie_on_their_pixels_whichever_way_the_look_is_mirrored(seed: int) -> None:
    """Every point of a look, jittered or not, lies on its bright dot."""
    rng = np.random.default_rng(seed)
    stream = Looks(([dotted()], []), NO_CROPS, Choice(hidden=0.0, strength=UNDISTURBED))

    pixels, points, kind = stream.one(rng, stream.draw(rng))

    assert kind == OWN
    for x, y in points:
        if 1 < x < look.LOOK_PX - 2 and 1 < y < look.LOOK_PX - 2:
            assert pixels[round(float(y)), round(float(x)), 0] > 120


def test_batch_depends_on_its_number_alone() -> None:
    """The same number gives the same batch, another one another."""
    first, second = (Looks(([dotted()], []), NO_CROPS, Choice(), batch=3) for _ in range(2))

    assert torch.equal(first[6].pixels, second[6].pixels)
    assert not torch.equal(first[6].pixels, second[9].pixels)


def test_kinds_come_in_their_shares() -> None:
    """False faces, stored crops and faces are drawn as often as the choice says."""
    crops = (np.full((2, 128, 128, 3), 90, np.uint8), np.arange(2))
    face = dotted()
    stream = Looks(([face], [Source(face.pixels, face.landmarks, FALSE)]), crops, Choice())
    rng = np.random.default_rng(0)

    kinds = [stream.draw(rng).kind for _ in range(2000)]

    assert np.mean([kind == FALSE for kind in kinds]) == pytest.approx(0.25, abs=0.04)
    assert np.mean([kind == POSE for kind in kinds]) == pytest.approx(0.20, abs=0.04)


def test_only_what_lies_beside_every_label_is_a_false_face() -> None:
    """A detection that touches a label, however unsure that is, is not taken."""
    labels = Labels(
        np.array([[10, 10, 40, 40]], np.float32), np.zeros((1, 5, 2), np.float32), np.array([0.4], np.float32)
    )
    on, beside = (Face(Box(x, 15, 30, 30), np.zeros((5, 2), np.float32), 0.5) for x in (20, 120))

    assert looks.apart([on, beside], labels) == [beside]
    assert looks.apart(
        [on, beside],
        Labels(np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32)),
    ) == [on, beside]


def test_true_votes_lose_nothing_and_false_ones_something() -> None:
    """Both losses are about zero for a network that knows; every point that is off costs."""
    points = np.repeat(look.template()[None], 2, axis=0)
    weights, offsets = outputs_for(points)

    known = loss((weights, offsets), batch_of(points, OWN, POSE), Config())
    moved = loss((weights, offsets + 0.2), batch_of(points, OWN, POSE), Config())

    assert sum(float(part) for part in known) < 1e-4
    assert float(moved[0]) > 0.02


def test_false_faces_have_no_points_to_be_wrong_about() -> None:
    """Their votes are free, but seeing a face in them costs."""
    points = look.template()[None]

    point_loss, face_loss = loss(outputs_for(points + 20), batch_of(points, FALSE), Config())

    assert float(point_loss) == 0
    assert float(face_loss) > 0.3


def test_pose_alone_asks_for_the_three_nearest_points() -> None:
    """Two points far off the template cost nothing where only the template is known."""
    points = look.template()[None]
    shifted = points.copy()
    shifted[0, 2:4] += 12
    outputs = outputs_for(shifted)

    assert float(loss(outputs, batch_of(points, POSE), Config())[0]) < 1e-4
    assert float(loss(outputs, batch_of(points, OWN), Config())[0]) > 0.05


def trained(state: State, numbers: range) -> State:
    """The state after these batches of dots."""
    stream = Looks(([dotted()], []), NO_CROPS, Choice(), batch=SMALL.batch)
    for number in numbers:
        step(state, stream[number], SMALL)
    return state


def test_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    """Four steps in one go, or two, a checkpoint, and two: the same weights, average and count."""
    torch.set_num_threads(1)
    whole = trained(build(SMALL), range(0, 16, 4))
    save(trained(build(SMALL), range(0, 8, 4)), tmp_path / "checkpoint.pt", SMALL)
    again = build(SMALL)

    restore(again, tmp_path / "checkpoint.pt")
    trained(again, range(8, 16, 4))

    assert again.looks == whole.looks == 16
    for one, other in ((again.network, whole.network), (again.average, whole.average)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_finished_run_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Started again, it says that it is finished; no batch, no line of the curve, no new settings."""
    stream = Looks(([dotted()], []), NO_CROPS, Choice(), batch=SMALL.batch)
    monkeypatch.setattr(landmarks, "prepare", lambda *_: (stream, [dotted()], "hash"))
    state = trained(build(SMALL), range(0, 8, 4))
    state.decay_from = 0
    save(state, tmp_path / "checkpoint.pt", SMALL)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    landmarks.train(replace(SMALL, decay_looks=8), tmp_path, tmp_path / "cache", decay=True)

    assert "is finished, after 8 looks" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.fixture
def dots(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs learn from dots, one batch each, of data with the first hash in the list."""
    looks_at = Looks(([dotted()], []), NO_CROPS, Choice(), batch=SMALL.batch)
    hashes = ["first"]
    monkeypatch.setattr(landmarks, "prepare", lambda *_: (looks_at, [dotted()], hashes[0]))
    monkeypatch.setattr(landmarks, "stream", lambda looks, first: iter([looks[first]]))
    return hashes


def begin(config: Config, out: Path, *, start_from: Path | None = None) -> None:
    """Start a run, or go on with it, for one batch."""
    weights = Path(__file__).parents[2] / "training" / "weights" / "finder.pt"
    config = replace(config, finder=str(weights))
    landmarks.train(config, out, out.parent / "cache", minutes=0.0, start_from=start_from)


@pytest.mark.usefixtures("dots")
def test_record_holds_every_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where each began and with what; weights named for a run that goes on are told to be unused."""
    save(build(SMALL), tmp_path / "kept.pt", SMALL)

    begin(SMALL, tmp_path / "run", start_from=tmp_path / "kept.pt")
    assert "goes on" not in capsys.readouterr().out
    begin(replace(SMALL, rate=0.001), tmp_path / "run", start_from=tmp_path / "kept.pt")

    assert "run goes on from its own checkpoint; --start-from" in capsys.readouterr().out
    kept = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert [session["rate"] for session in kept["sessions"]] == [0.003, 0.001]
    assert [session["looks"] for session in kept["sessions"]] == [0, 4]
    assert [session["start_from"] for session in kept["sessions"]] == [str(tmp_path / "kept.pt"), None]
    assert kept["data_sha256"] == "first"
    assert kept["commit"]
    assert len(kept["finder_sha256"]) == 64


def test_run_goes_on_only_with_its_data_and_seed(tmp_path: Path, dots: list[str]) -> None:
    """Both are refused in one line, and the record stays as it was."""
    begin(SMALL, tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()

    with pytest.raises(InputError, match="was trained with seed=1, not 2; take a fresh folder"):
        begin(replace(SMALL, seed=2), tmp_path / "run")
    dots[0] = "second"
    with pytest.raises(InputError, match="was trained on other data than"):
        begin(SMALL, tmp_path / "run")

    assert (tmp_path / "run" / "config.json").read_bytes() == before


@pytest.mark.parametrize("setting", ["batch=0", "rate=-1", "seed=-1", "mined_every=0", "blanks=-1"])
def test_setting_that_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    """Before any data is read."""
    code = landmarks.main([str(tmp_path / "run"), "--set", setting])

    assert code == 2
    assert "is too low" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_measured_error_is_zero_for_a_network_that_votes_for_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the faces' own pixels, whatever the rough pose and however many passes."""
    face = dotted()
    seen: list[Floats] = []

    class Knowing(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return outputs_for(np.stack(seen[-len(pixels) :]))

    def remember(_pixels: Pixels, matrix: Floats) -> Pixels:
        seen.append(look.in_look(matrix, face.landmarks))
        return np.zeros((look.LOOK_PX, look.LOOK_PX, 3), np.uint8)

    monkeypatch.setattr(look, "cut", remember)

    assert measure(Knowing(), [face, face], passes=2).max() < 1e-3


def test_weights_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    """A run cannot begin with another network's weights."""
    torch.save({"network": "other", "average": {"stem": torch.zeros(2)}}, tmp_path / "other.pt")

    with pytest.raises(InputError, match="nothing in"):
        landmarks.adopt(build(SMALL), tmp_path / "other.pt")
