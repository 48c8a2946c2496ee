"""Visits to a kiosk, simulated: a badge photo, then a few spoilt frames of the same person's other pictures.

One set of frames serves the ranking network and the defect network: each comes with its embedding, what a
kiosk measures on it, a small picture of it, and what was done to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from numpy.random import Generator
from numpy.typing import NDArray

from glancein.domain import quality
from glancein.errors import InputError
from glancein_training import packs
from glancein_training.checkpoints import load_network
from glancein_training.configuration import at_least, record
from glancein_training.distill import embed
from glancein_training.evaluate.faces import read_labels
from glancein_training.figures import to_json
from glancein_training.frames.plain_measures import SecondLook, measure, nose_offset, row_of
from glancein_training.frames.spoil import DEFECTS, Bools, Defect, Floats, spoil
from glancein_training.networks import Embedder, to_network_floats

Ints = NDArray[np.int64]
Progress = Callable[[int, int], None]  # visits done, visits in all

MADE = "2: crop and mirror"  # how frames are made; another word makes them anew
SMALL_PX = 56
TURNED = 0.30  # nose offset of a head turned away, and of one that is not; between them nobody can tell
STRAIGHT = 0.20
LABELLED_RIGHT = 0.2  # the pack's cosine to the person's own mean: below, labels are wrong
LEAST = {
    "fit_people": 2,
    "choose_people": 2,
    "report_people": 2,  # one enrolled and one stranger
    "report_visits": 1,
    "frames": 1,
    "stills": 0,
    "chance": 0,
    "seed": 0,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many visits of whom; the same plan gives the same frames. Raises InputError if impossible."""

    fit_people: int = 400  # of the training split: networks learn on them
    choose_people: int = 120  # of the training split: settings are chosen on them
    report_people: int = 400  # of the development split: figures come from them
    report_visits: int = 2
    frames: int = 4
    stills: int = 0  # pictures of the person that the frames of one visit are made of; 0: all there are
    chance: float = 0.15  # of each defect in each frame
    seed: int = 1

    def __post_init__(self) -> None:
        """No plan is ever simulated that lacks people, visits or frames."""
        at_least(self, LEAST)

    def stranger_visits(self, enrolled: int) -> int:
        """Visits to report on of people who are not enrolled, so many being it."""
        return (self.report_people - enrolled) * self.report_visits


@dataclass(frozen=True, slots=True)
class Visits:
    """Frames by visit (v) and place in it (k)."""

    template: Floats  # (p, d) unit: the badge photo, crop and mirror summed
    person: Ints  # (v,) row of ``template``
    raw: Floats  # (v, k, d) embeddings, directions as the kiosk has them, lengths before normalisation
    measures: Floats  # (v, k, 13) as plain_measures.MEASURES
    overall: Floats  # (v, k) today's predicted ease of recognition
    passes: Bools  # (v, k) False where today's kiosk refuses the frame
    small: packs.Pixels  # (v, k, 56, 56, 3)
    wrong: Bools  # (v, k, 7) as spoil.DEFECTS
    known: Bools  # (v, k) False where nobody can tell whether the head is turned away

    def unit(self) -> Floats:
        """(v, k, d) directions of the embeddings."""
        lengths = np.linalg.norm(self.raw, axis=2, keepdims=True)
        return np.asarray(self.raw / np.maximum(lengths, 1e-12), np.float32)

    def genuine(self) -> Floats:
        """(v, k) cosine of each frame to the person's own template: what a frame is worth."""
        return np.asarray((self.unit() * self.template[self.person][:, None]).sum(axis=2), np.float32)


@dataclass(frozen=True, slots=True)
class Study:
    """Where the pictures and the weights are, what is simulated, and where the figures go."""

    pack: Path
    embedder: Path
    landmarks: Path  # of the second look
    cache: Path
    plan: Plan = Plan()
    out: Path | None = None
    resamples: int = 200

    def write(self, name: str, **figures: object) -> None:
        """Figures and how they came about, as ``name``.json in ``out``, if there is one."""
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            content = to_json(record(self.plan, **figures)) + "\n"
            (self.out / f"{name}.json").write_text(content, encoding="utf-8")


def simulate(study: Study, progress: Progress | None = None) -> dict[str, Visits]:
    """The visits of "fit", "choose" and "report", people disjoint; kept in ``cache`` for the next call.

    Raises InputError if the pack has too few people with three pictures.
    """
    crops = packs.load(study.pack, cache=study.cache)
    parts = _deal(crops, _right(study.pack, crops), study.plan)
    folder = study.cache / f"visits-{_digest(crops, study)}"
    door = _Door(load_network(study.embedder), SecondLook(study.landmarks), study.plan)
    done, total = 0, sum(len(part.person) for part in parts.values())
    out = {}
    for number, (name, part) in enumerate(parts.items()):
        path = folder / f"{name}.npz"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([study.plan.seed, number])
            columns = []
            for rows in part.pictures:
                shown = rng.permutation(rows)[: study.plan.stills] if study.plan.stills else rows
                columns.append(door.visit(crops.pixels, shown, rng))
                if progress is not None:
                    progress(done + len(columns), total)
            template = np.asarray(embed(door.network, crops.pixels[part.badges]).numpy(), np.float32)
            stacked = [np.stack(column) for column in zip(*columns, strict=True)]
            _keep(Visits(template, part.person, *stacked), path)
        done += len(part.person)
        out[name] = _read(path)
    return out


@dataclass(frozen=True, slots=True)
class _Part:
    """Whose visits: rows of the pack."""

    badges: Ints  # (p,) the badge photo of each person
    person: Ints  # (v,) who comes
    pictures: list[Ints]  # of each visit, to draw frames from


@dataclass(frozen=True, slots=True)
class _Door:
    """What looks at the frames."""

    network: Embedder
    look: SecondLook
    plan: Plan

    def visit(self, pixels: packs.Pixels, rows: Ints, rng: Generator) -> tuple[NDArray[np.generic], ...]:
        """The columns of one visit, in the order of Visits from ``raw`` on."""
        stored = [np.asarray(pixels[row]) for row in rng.choice(rows, self.plan.frames)]
        seen = [spoil(one, rng, chance=self.plan.chance) for one in stored]
        crops = np.stack([frame.pixels for frame in seen])
        measures = [measure(frame, at) for frame, at in zip(seen, self.look.points(list(crops)), strict=True)]
        judged = [quality.judge(found, quality.PROBE_LIMITS) for found in measures]
        turned = np.array([nose_offset(points) for points in self.look.points(stored)])
        wrong = np.array([[defect in frame.wrong for defect in DEFECTS] for frame in seen])
        wrong[:, DEFECTS.index(Defect.TURNED_AWAY)] = turned >= TURNED
        size = (SMALL_PX, SMALL_PX)
        return (
            _raw(self.network, crops),
            np.stack([row_of(found) for found in measures]),
            np.array([found.overall for found in judged], np.float32),
            np.array([not found.findings for found in judged]),
            np.stack([cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in crops]),
            wrong,
            (turned >= TURNED) | (turned <= STRAIGHT),
        )


def _right(pack: Path, crops: packs.Crops) -> Bools:
    """Crops whose label is believed."""
    rows = read_labels(pack / "labels.csv")
    if "cosine_to_own_identity" not in rows[0]:
        return np.ones(len(crops), bool)
    return np.array([float(row["cosine_to_own_identity"] or 1) >= LABELLED_RIGHT for row in rows])


def _deal(crops: packs.Crops, right: Bools, plan: Plan) -> dict[str, _Part]:
    """The people and pictures of each part."""
    rng = np.random.default_rng(plan.seed)
    trained = _people(crops, right & crops.is_train, rng)
    held_back = _people(crops, right & ~crops.is_train, rng)
    both = plan.fit_people + plan.choose_people
    if len(trained) < both or len(held_back) < plan.report_people:
        raise InputError(
            f"{len(trained)} people to train on and {len(held_back)} to report on have three pictures; "
            f"the plan wants {both} and {plan.report_people}"
        )
    people = {
        "fit": (trained[: plan.fit_people], 1),
        "choose": (trained[plan.fit_people : both], 1),
        "report": (held_back[: plan.report_people], plan.report_visits),
    }
    return {
        name: _Part(
            np.array([rows[0] for rows in whose]),
            np.repeat(np.arange(len(whose)), visits),
            [rows[1:] for rows in whose for _ in range(visits)],
        )
        for name, (whose, visits) in people.items()
    }


def _people(crops: packs.Crops, allowed: Bools, rng: Generator) -> list[Ints]:
    """The rows of everybody with three pictures or more, people and pictures shuffled."""
    rows = rng.permutation(np.flatnonzero(allowed))
    rows = rows[np.argsort(crops.identity[rows], kind="stable")]
    _, starts = np.unique(crops.identity[rows], return_index=True)
    people = [part for part in np.split(rows, starts[1:]) if len(part) >= 3]
    return [people[k] for k in rng.permutation(len(people))]


@torch.no_grad()
def _raw(network: Embedder, pixels: packs.Pixels) -> Floats:
    """(n, d) of crops (112, 112, 3): the kiosk's direction, of crop and mirror, at their mean length."""
    inputs = to_network_floats(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    crop, mirror = (
        network(one.contiguous(memory_format=torch.channels_last)) for one in (inputs, inputs.flip(3))
    )
    length = (crop.norm(dim=1, keepdim=True) + mirror.norm(dim=1, keepdim=True)) / 2
    out: Floats = (length * F.normalize(F.normalize(crop) + F.normalize(mirror))).numpy()
    return out


def _digest(crops: packs.Crops, study: Study) -> str:
    """What the frames depend on, short."""
    weights = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (study.embedder, study.landmarks)]
    told = " ".join([MADE, crops.data_sha256, json.dumps(asdict(study.plan)), *weights])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _keep(visits: Visits, path: Path) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, **{field.name: getattr(visits, field.name) for field in fields(visits)})
    part.replace(path)


def _read(path: Path) -> Visits:
    with np.load(path) as stored:
        return Visits(**{field.name: stored[field.name] for field in fields(Visits)})
