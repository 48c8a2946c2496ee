"""The laboratory's verbs about frames, end to end on a pack of noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")
pytest.importorskip("matplotlib", reason="the laboratory needs matplotlib: pip install .[training]")

import torch
from numpy.random import Generator
from typer.testing import CliRunner

from glancein_training.cli import app
from glancein_training.frames import visits as door
from glancein_training.frames.visits import Plan, Study, simulate
from glancein_training.networks import FAMILY, Embedder
from glancein_training.packs import Pixels

WEIGHTS = Path(__file__).resolve().parents[3] / "training" / "weights"
PLAN = {
    "fit_people": 4,
    "choose_people": 3,
    "report_people": 5,
    "report_visits": 4,  # enough strangers to tell a tenth of
    "frames": 2,
    "chance": 0.5,
}


@pytest.fixture
def tiny_weights(tiny_network: None, tmp_path: Path) -> Path:  # noqa: ARG001  # it enters the family
    """A fresh tiny embedder with the axes of its target."""
    torch.manual_seed(0)
    path = tmp_path / "embedder.pt"
    average = Embedder(FAMILY["tiny"]).state_dict()
    torch.save({"network": "tiny", "average": average, "basis": torch.eye(24)[:, :8]}, path)
    return path


@pytest.fixture(scope="session")
def kept_visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where decoded crops and visits are kept between these tests."""
    return tmp_path_factory.mktemp("cache")


def places(data: Path, weights: Path, cache: Path) -> list[str]:
    """The pack of noise, a network, and where what is made of them is kept."""
    return ["--pack", str(data / "faces"), "--embedder", str(weights), "--cache", str(cache)]


def options(data: Path, weights: Path, cache: Path) -> list[str]:
    """The smallest study there is."""
    words = [*places(data, weights, cache), "--json"]
    words += ["--landmarks", str(WEIGHTS / "landmarks.pt"), "--resamples", "3", "--set", "seed=1"]
    for name, value in PLAN.items():
        words += ["--plan", f"{name}={value}"]
    return words


@pytest.mark.parametrize(
    "case",
    [
        ("rank", "epochs=1", "ranking.json", "plain mean", {"0.1"}),
        ("defects", "epochs=1", "defects.json", "plain measures, kiosk's limits", set()),
        ("person-limit", "steps=2", "limits.json", "one limit for all", {"0.1"}),
    ],
    ids=["rank", "defects", "person-limit"],
)
def test_study_prints_and_keeps_its_figures(
    noise_data: Path,
    tiny_weights: Path,
    kept_visits: Path,
    tmp_path: Path,
    case: tuple[str, str, str, str, set[str]],
) -> None:
    """The table as JSON, and the same rows beside the plan in the folder; misses at resolved rates alone."""
    verb, setting, file, first, rates = case
    given = options(noise_data, tiny_weights, kept_visits)

    result = CliRunner().invoke(app, [verb, *given, "--set", setting, "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout, parse_constant=pytest.fail)
    kept = json.loads((tmp_path / "out" / file).read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert kept["rows"] == rows
    assert kept["report_people"] == PLAN["report_people"]
    assert {rate for row in rows for rate in (row.get("judged") or row).get("misses", ())} == rates
    assert (rows[0].get("name") or rows[0]["judged"]["name"]) == first


def test_style_prints_every_arm(
    noise_data: Path, tiny_weights: Path, kept_visits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network as it is and four ways to tune it on, each with the misses of worse looks."""
    monkeypatch.setattr("glancein_training.style_command.FPIRS", (0.25,))  # nine strangers tell no tenth
    given = places(noise_data, tiny_weights, kept_visits)
    for setting in ("images=4", "batch=2", "passes=1", "people=5", "half=all", "transfer.steps=1"):
        given += ["--set", setting]

    result = CliRunner().invoke(app, ["style", *given, "--resamples", "2", "--json"])

    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["name"].removeprefix("tuned on: ") for row in rows] == [
        *("as it is", "clean", "restyled", "brought back", "disturbed")
    ]
    assert all(0 <= row["badge_misses"]["0.250"]["value"] <= 1 for row in rows), rows[0]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("half=left", "--half is even (choose), odd (report) or all, not 'left'"),
        ("people=1", "3 pictures of 1 people give no genuine or no impostor pairs; two people are needed"),
    ],
)
def test_style_looks_at_whom_it_judges_before_its_work(
    noise_data: Path,
    tiny_weights: Path,
    kept_visits: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    setting: str,
    said: str,
) -> None:
    """Restyling takes minutes."""
    monkeypatch.setattr("glancein_training.style_command.restyle", pytest.fail)
    given = places(noise_data, tiny_weights, kept_visits)

    result = CliRunner().invoke(
        app, ["style", *given, "--set", "images=4", "--set", "batch=2", "--set", setting]
    )

    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_study_of_too_few_people_says_how_many_there_are(
    noise_data: Path, tiny_weights: Path, kept_visits: Path
) -> None:
    """One line and exit code 2."""
    given = options(noise_data, tiny_weights, kept_visits)

    result = CliRunner().invoke(app, ["rank", *given, "--plan", "fit_people=50"])

    assert result.exit_code == 2
    assert "7 people to train on" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rank --plan report_visits=0", "report_visits=0 is too low: set 1 or more"),
        ("rank --plan frames=0", "frames=0 is too low"),
        ("rank --plan seed=-1", "seed=-1 is too low"),
        ("rank --set visits=0", "visits=0 is too low"),
        ("rank --set rate=-1", "rate=-1.0 is too low"),
        ("defects --plan fit_people=-3", "fit_people=-3 is too low: set 2 or more"),
        ("defects --set batch=0", "batch=0 is too low"),
        ("person-limit --plan report_people=2", "report_people=2 is too low: set 4 or more"),
        ("person-limit --plan report_people=1", "report_people=1 is too low"),
        ("person-limit --plan fit_people=0", "fit_people=0 is too low"),
        ("person-limit --set galleries=0", "galleries=0 is too low"),
        ("rank --plan report_people=9 --plan report_visits=1", "5 looks of strangers tell nothing"),
        (
            "person-limit --plan report_people=4 --plan report_visits=1",
            "8 looks of strangers tell nothing at an FPIR of 10 %: plan more report_people or report_visits",
        ),
        ("style --set passes=0", "passes=0 is too low"),
        ("style --set transfer.layers=0", "transfer.layers=0 is too low"),
    ],
)
def test_setting_that_cannot_be_is_refused_before_any_work(tmp_path: Path, words: str, said: str) -> None:
    """One line that names it and says how low it may be; nothing is opened for it."""
    result = CliRunner().invoke(app, [*words.split(), "--pack", str(tmp_path / "none")])

    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_simulate_gives_the_same_visits_again(
    noise_data: Path, tiny_weights: Path, kept_visits: Path
) -> None:
    """From the cache and afresh, frame by frame, with people kept apart."""
    study = Study(noise_data / "faces", tiny_weights, WEIGHTS / "landmarks.pt", kept_visits, Plan(**PLAN))  # type: ignore[arg-type]  # numbers of two kinds

    first = simulate(study)
    for path in kept_visits.glob("visits-*/*.npz"):
        path.unlink()
    second = simulate(study)

    for name, visits in first.items():
        assert np.array_equal(visits.raw, second[name].raw)
        assert np.array_equal(visits.wrong, second[name].wrong)
        assert visits.raw.shape == (len(visits.person), PLAN["frames"], 8)
    assert not set(map(tuple, first["fit"].template.tolist())) & set(
        map(tuple, first["report"].template.tolist())
    )


@pytest.mark.parametrize("stills", [0, 1], ids=["any", "one"])
def test_visit_shows_as_many_pictures_as_the_plan_says(
    noise_data: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stills: int
) -> None:
    """All of the person's other pictures, or one of them for all frames of the visit."""
    shown: list[int] = []
    look = door._Door.visit

    def counted(at: door._Door, pixels: Pixels, rows: door.Ints, rng: Generator) -> tuple[object, ...]:
        shown.append(len(set(rows.tolist())))
        return look(at, pixels, rows, rng)

    monkeypatch.setattr(door._Door, "visit", counted)
    plan = Plan(**PLAN, stills=stills)  # type: ignore[arg-type]  # numbers of two kinds
    simulate(Study(noise_data / "faces", tiny_weights, WEIGHTS / "landmarks.pt", tmp_path, plan))

    assert (set(shown) == {1}) == (stills == 1)
