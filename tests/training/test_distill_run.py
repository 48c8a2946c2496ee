"""A distillation resumes exactly, repeats itself, and refuses what does not fit."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from typer.testing import CliRunner

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.augment import Strength
from glancein_training.cli import app
from glancein_training.configuration import with_settings
from glancein_training.distill import (
    Config,
    State,
    build,
    keep,
    main,
    place_centres,
    rate_at,
    run,
    step,
    student_vectors,
)
from glancein_training.lessons import Batch, prepare, training_identities
from glancein_training.losses.margin import MarginSoftmax
from glancein_training.mining.collapse import TrainingCollapsed
from glancein_training.networks import FAMILY, EmbedderShape, to_network_floats

pytestmark = pytest.mark.usefixtures("tiny_network")


def a_config(noise_data: Path, **changes: object) -> Config:
    """Small batches that do not divide the epoch: 21 pictures, 8 at a time."""
    settings = {
        "network": "tiny",
        "data": str(noise_data),
        "packs": ["faces"],
        "batch": 8,
        "threads": 1,
        "workers": 0,
    }
    settings |= {"identity_weight": 0.1, "crowding_weight": 1.0, "crowding_others": 30, "warm_up_images": 32}
    settings |= changes
    return with_settings(Config(), [f"{name}={json.dumps(value)}" for name, value in settings.items()])


def train(config: Config, out: Path, until: int) -> dict[str, Any]:
    """Run up to so many pictures and read the checkpoint, which holds states of any kind."""
    run(config, out, out.parent / "cache", compiled=False, stop_at_images=until)
    stored: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)
    return stored


def assert_equal(one: object, other: object) -> None:
    """Bit for bit, all the way down."""
    match one, other:
        case torch.Tensor(), torch.Tensor():
            assert torch.equal(one, other)
        case dict(), dict():
            assert one.keys() == other.keys()
            for key in one:
                assert_equal(one[key], other[key])
        case list(), list():
            for a, b in zip(one, other, strict=True):
                assert_equal(a, b)
        case _:
            assert one == other


def test_finished_run_stays_as_it_is(
    noise_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Started again, also from other weights, it says so; no batch, no line of the curve, no new record."""
    config = a_config(noise_data, stable_images=16, decay_images=16)
    out = tmp_path / "run"
    run(config, out, tmp_path / "cache", compiled=False)  # 21 pictures an epoch, its last batch five
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()

    run(config, out, tmp_path / "cache", compiled=False, start_from=tmp_path / "unused.pt")

    told = capsys.readouterr().out
    assert f"--start-from {tmp_path / 'unused.pt'} is for a fresh folder" in told
    assert "is finished, after 37 images" in told
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_resumed_run_equals_an_uninterrupted_one(noise_data: Path, tmp_path: Path) -> None:
    """Weights, average, optimiser and random numbers are the same bit for bit, across the end of an epoch."""
    config = a_config(noise_data)

    whole = train(config, tmp_path / "whole", 64)
    train(config, tmp_path / "parts", 24)
    train(config, tmp_path / "parts", 40)
    parts = train(config, tmp_path / "parts", 64)

    assert whole["images"] == parts["images"] >= 64
    assert_equal(whole, parts)


def test_same_seed_gives_the_same_weights_and_another_does_not(noise_data: Path, tmp_path: Path) -> None:
    """A run depends on its configuration and on nothing else."""
    one = train(a_config(noise_data), tmp_path / "one", 16)
    same = train(a_config(noise_data), tmp_path / "same", 16)
    other = train(a_config(noise_data, seed=2), tmp_path / "other", 16)

    assert_equal(one["student"], same["student"])
    assert not torch.equal(one["student"]["project.weight"], other["student"]["project.weight"])


def test_another_process_prepares_the_same_batches(noise_data: Path, tmp_path: Path) -> None:
    """Weights are the same bit for bit whoever disturbed the pictures."""
    alone = train(a_config(noise_data), tmp_path / "alone", 40)
    helped = train(a_config(noise_data, workers=1), tmp_path / "helped", 40)

    assert_equal(alone["student"], helped["student"])


def test_decay_ends_the_run_and_notes_the_curve(noise_data: Path, tmp_path: Path) -> None:
    """From the latest checkpoint on the rate falls, and the run ends by itself with a line of figures."""
    train(a_config(noise_data), tmp_path / "run", 32)
    config = a_config(noise_data, decay_images=24)

    run(config, tmp_path / "run", tmp_path / "cache", decay=True, compiled=False)

    stored = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    with (tmp_path / "run" / "curve.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert stored["images"] - stored["decay_from"] >= 24
    assert [int(line["images"]) for line in lines] == [stored["images"]]
    assert 0 <= float(lines[0]["tar_1e-2"]) <= 100


def test_training_lowers_the_loss(noise_data: Path, tmp_path: Path) -> None:
    """Without disturbances the student comes nearer to the teacher on what it is shown."""
    calm = {f"augment.{name}": 0.0 for name in Strength.__dataclass_fields__}
    config = a_config(noise_data, identity_weight=0.0, rate=0.01, warm_up_images=8, **calm)

    run(config, tmp_path / "run", tmp_path / "cache", compiled=False, stop_at_images=8)
    run(
        a_config(noise_data, decay_images=8, **calm),
        tmp_path / "run",
        tmp_path / "cache",
        decay=True,
        compiled=False,
    )
    run(config, tmp_path / "long", tmp_path / "cache", compiled=False, stop_at_images=320)
    run(
        a_config(noise_data, decay_images=8, **calm),
        tmp_path / "long",
        tmp_path / "cache",
        decay=True,
        compiled=False,
    )

    early, late = (
        float((tmp_path / name / "curve.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[1])
        for name in ("run", "long")
    )
    assert late < early - 0.1


def test_record_holds_what_the_run_depends_on(noise_data: Path, tmp_path: Path) -> None:
    """Configuration, the data's hash, the commit and the versions stand beside the weights."""
    train(a_config(noise_data), tmp_path / "run", 8)

    kept = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))

    assert (kept["network"], kept["batch"], len(kept["data_sha256"])) == ("tiny", 8, 1)
    assert kept["commit"]
    assert kept["versions"]["torch"] == torch.__version__


def test_stable_images_end_in_the_decay_by_themselves(noise_data: Path, tmp_path: Path) -> None:
    """One command by images is the same run as one that is told by hand when to fall."""
    planned, by_hand = (
        a_config(noise_data, stable_images=24, decay_images=16),
        a_config(noise_data, decay_images=16),
    )

    run(planned, tmp_path / "planned", tmp_path / "cache", compiled=False)
    train(by_hand, tmp_path / "hand", 24)
    run(by_hand, tmp_path / "hand", tmp_path / "cache", decay=True, compiled=False)

    one, other = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("planned", "hand")
    )
    assert one["decay_from"] == other["decay_from"] >= 24
    assert_equal(one["student"], other["student"])


def test_record_names_kept_weights_and_decay(noise_data: Path, tmp_path: Path) -> None:
    """Each session says where it began, from which weights, and whether it was the decay."""
    train(a_config(noise_data), tmp_path / "first", 8)
    keep(tmp_path / "first" / "checkpoint.pt", tmp_path / "kept.pt")
    cache, again = tmp_path / "cache", a_config(noise_data, decay_images=8)
    for config, decay in ((a_config(noise_data), False), (again, True)):
        run(
            config,
            tmp_path / "run",
            cache,
            compiled=False,
            decay=decay,
            stop_at_images=8,
            start_from=tmp_path / "kept.pt",
        )

    kept = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))

    digest = hashlib.sha256((tmp_path / "kept.pt").read_bytes()).hexdigest()
    told = [(s["images"], s["decay"], s["start_sha256"]) for s in kept["sessions"]]
    assert told == [(0, False, digest), (8, True, None)]


def test_kept_weights_say_what_they_were_begun_from(noise_data: Path, tmp_path: Path) -> None:
    """And when their decay began, after a resume too."""
    train(a_config(noise_data), tmp_path / "first", 8)
    first, config, out = tmp_path / "first.pt", a_config(noise_data, decay_images=8), tmp_path / "run"
    keep(tmp_path / "first" / "checkpoint.pt", first)
    run(config, out, tmp_path / "cache", compiled=False, stop_at_images=8, start_from=first)

    run(config, out, tmp_path / "cache", compiled=False, decay=True)
    keep(out / "checkpoint.pt", tmp_path / "kept.pt")

    stored = torch.load(tmp_path / "kept.pt", weights_only=True)
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert stored["start_from"] == {"name": "first.pt", "sha256": digest}
    assert stored["decay_from"] == 8


def test_line_of_the_curve_is_printed_with_its_names(
    noise_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no terminal for a bar, each line says what its numbers are."""
    train(a_config(noise_data, note_every_images=8), tmp_path / "run", 8)

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("images 8, cosine ")
    assert "images_per_s " in line


def test_checkpoint_of_another_network_is_refused(
    noise_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Continuing with another network says so instead of breaking on a tensor's shape."""
    monkeypatch.setitem(FAMILY, "other", EmbedderShape("other", (4, 4, 4, 4), (1, 1, 1), (4, 4, 4), 4, 8))
    train(a_config(noise_data), tmp_path / "run", 8)

    with pytest.raises(InputError, match="is of tiny, not other"):
        train(a_config(noise_data, network="other"), tmp_path / "run", 16)


def test_checkpoint_of_other_people_is_refused(noise_data: Path, tmp_path: Path) -> None:
    """One sentence instead of a tensor's shape."""
    stored = train(a_config(noise_data), tmp_path / "run", 0)
    stored["head"]["centres"] = stored["head"]["centres"][:-1].clone()
    torch.save(stored, tmp_path / "run" / "checkpoint.pt")

    with pytest.raises(InputError, match="another number of people"):
        train(a_config(noise_data), tmp_path / "run", 8)


def test_checkpoint_of_no_distillation_is_refused(noise_data: Path, tmp_path: Path) -> None:
    """What `train` left: neither gone on with nor begun from, for want of the teachers' axes."""
    stored = train(a_config(noise_data), tmp_path / "run", 0)
    del stored["basis"]
    torch.save(stored, tmp_path / "run" / "checkpoint.pt")

    with pytest.raises(InputError, match="was not distilled"):
        train(a_config(noise_data), tmp_path / "run", 8)
    with pytest.raises(InputError, match="was not distilled"):
        run(
            a_config(noise_data),
            tmp_path / "other",
            tmp_path / "cache",
            compiled=False,
            start_from=tmp_path / "run" / "checkpoint.pt",
        )


def test_unknown_network_is_refused_with_the_family(noise_data: Path, tmp_path: Path) -> None:
    """The message lists what there is."""
    with pytest.raises(InputError, match="glance-158"):
        run(a_config(noise_data, network="huge"), tmp_path / "run", tmp_path / "cache")

    assert not (tmp_path / "run").exists()


def test_packs_of_less_than_a_batch_are_refused(noise_data: Path, tmp_path: Path) -> None:
    """Said at once, instead of looking for a batch for ever."""
    with pytest.raises(InputError, match="21 training pictures make no batch of 64"):
        run(a_config(noise_data, batch=64), tmp_path / "run", tmp_path / "cache", compiled=False)


def test_batch_of_one_picture_is_refused(noise_data: Path, tmp_path: Path) -> None:
    """A picture alone has no relation to another, and its loss is no number."""
    with pytest.raises(InputError, match="batch=1 is too low: set 2 or more"):
        run(a_config(noise_data, batch=1), tmp_path / "run", tmp_path / "cache", compiled=False)


def test_loss_that_is_no_number_stops_before_the_checkpoint(noise_data: Path, tmp_path: Path) -> None:
    """The last good checkpoint stays bit for bit, and the run does not end as if all were well."""
    config = a_config(noise_data, note_every_images=8)
    stored = train(config, tmp_path / "run", 8)
    stored["student"]["project.weight"].fill_(float("nan"))
    torch.save(stored, tmp_path / "run" / "checkpoint.pt")
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()

    with pytest.raises(TrainingCollapsed, match="no number any more"):
        run(config, tmp_path / "run", tmp_path / "cache", compiled=False, stop_at_images=64)

    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_checkpoint_that_cannot_be_written_leaves_no_line_in_the_curve(
    noise_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that goes on from the checkpoint of before writes that line, once."""

    def full(*_: object) -> None:
        raise InputError("is the disk full")

    monkeypatch.setattr("glancein_training.distill.write_checkpoint", full)

    with pytest.raises(InputError, match="is the disk full"):
        train(a_config(noise_data, note_every_images=8), tmp_path / "run", 8)

    assert not (tmp_path / "run" / "curve.csv").exists()


def test_rate_warms_up_stays_and_decays() -> None:
    """Up to one over the warm-up, one for as long as wanted, then down to a hundredth."""
    config = Config(batch=100, warm_up_images=1000, decay_images=500)

    assert rate_at(0, config, None) == pytest.approx(0.1)
    assert rate_at(5000, config, None) == 1
    assert rate_at(5250, config, 5000) == pytest.approx(0.5)
    assert rate_at(5500, config, 5000) == 0.01


def test_network_at_rest_keeps_its_average() -> None:
    """A fresh run's average equals its student, so that an early checkpoint is no mixture."""
    state: State = build(Config(network="tiny"), 3)

    assert_equal(state.student.state_dict(), state.average.state_dict())


def test_module_still_runs_by_its_own_name(noise_data: Path, tmp_path: Path) -> None:
    """The command of earlier runs goes on working: no minutes left is a checkpoint and nothing more."""
    settings = ["network=tiny", f"data={noise_data}", 'packs=["faces"]', "threads=1", "batch=8"]
    words = [str(tmp_path / "run"), "--cache", str(tmp_path / "cache"), "--minutes", "0", "--no-compile"]

    assert main([*words, *(word for setting in settings for word in ("--set", setting))]) == 0
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_people_begin_where_their_targets_point(noise_data: Path, tmp_path: Path) -> None:
    """With identity labels each centre starts as the mean of the person's targets."""
    crops = packs.load(noise_data / "faces", cache=tmp_path / "cache")
    lessons, _ = prepare([crops], None, 8)
    head = MarginSoftmax(8, len(training_identities(crops)))

    place_centres(head, lessons)

    for number, person in enumerate(training_identities(crops)):
        own = lessons.targets[0][torch.from_numpy(crops.identity == person)]
        torch.testing.assert_close(head.centres[number], own.sum(0) / own.sum(0).norm())


def test_command_begins_with_kept_weights(noise_data: Path, tmp_path: Path) -> None:
    """`glancein-train distill --start-from`: the kept weights are where the new run begins."""
    train(a_config(noise_data), tmp_path / "first", 16)
    keep(tmp_path / "first" / "checkpoint.pt", tmp_path / "kept.pt")
    words = ["distill", str(tmp_path / "second"), "--no-compile", "--minutes", "0", "--set", "network=tiny"]
    words += [
        "--set",
        "batch=8",
        "--set",
        f"data={noise_data}",
        "--set",
        'packs=["faces"]',
        "--cache",
        str(tmp_path / "cache"),
    ]

    result = CliRunner().invoke(app, [*words, "--start-from", str(tmp_path / "kept.pt")])

    assert result.exit_code == 0, result.output
    kept = torch.load(tmp_path / "kept.pt", weights_only=True)["average"]["project.weight"]
    begun = torch.load(tmp_path / "second" / "checkpoint.pt", weights_only=True)["student"]["project.weight"]
    assert torch.equal(begun, kept.float())


def test_held_layers_stay_as_they_are(noise_data: Path, tmp_path: Path) -> None:
    """The stem keeps weights and normalisation bit for bit, in bfloat16 too; the layer after it learns."""
    config = a_config(noise_data, held_layers=1, bfloat16=True)
    before = train(config, tmp_path / "run", 0)["student"]

    after = train(config, tmp_path / "run", 16)["student"]

    stem = [name for name in before if name.startswith("body.0.")]
    assert all(torch.equal(before[name], after[name]) for name in stem)
    assert not torch.equal(before["body.1.0.weight"], after["body.1.0.weight"])
    assert after["body.1.0.weight"].isfinite().all()


def test_both_sides_are_added_as_the_kiosk_adds_them(noise_data: Path) -> None:
    """At rest each vector is the sum of two unit vectors, of the crop and of its mirror image."""
    config = a_config(noise_data, both_sides=True)
    network = build(config, 3).student.eval()
    pictures = to_network_floats(torch.randint(0, 256, (4, 3, 112, 112)).float())

    with torch.no_grad():
        summed = student_vectors(network, config, pictures)
        crop, mirror = network(pictures), network(torch.flip(pictures, [3]))

    for row in range(4):
        expected = crop[row] / crop[row].norm() + mirror[row] / mirror[row].norm()
        assert torch.allclose(summed[row], expected, atol=1e-5)


def test_both_sides_learn_the_same_from_a_mirrored_batch(noise_data: Path) -> None:
    """The loss of both sides does not ask which of them was stored; that of one side does."""
    torch.manual_seed(5)
    pictures = torch.randint(0, 256, (6, 3, 112, 112)).float()
    target = F.normalize(torch.randn(6, 8))
    label = torch.full((6,), packs.NO_IDENTITY)
    batch = Batch(6, pictures, target, label, target)
    mirrored = batch._replace(pictures=pictures.flip(3))

    def cosine_loss(lesson: Batch, *, both_sides: bool) -> float:
        config = a_config(noise_data, identity_weight=0.0, both_sides=both_sides)
        state = build(config, 3)
        return float(step(state, state.student, config, lesson)[0])

    both = cosine_loss(batch, both_sides=True)
    assert cosine_loss(mirrored, both_sides=True) == pytest.approx(both, abs=1e-5)
    one = cosine_loss(batch, both_sides=False)
    assert cosine_loss(mirrored, both_sides=False) != pytest.approx(one, abs=1e-5)
