"""``glancein-train evaluate``: from a file of embeddings to a folder with the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glancein.errors import InputError
from glancein_training.evaluate.contact_sheet import write_sheet
from glancein_training.evaluate.faces import Bools, Faces, read_faces
from glancein_training.evaluate.pair_list import listed_pairs, read_pair_list
from glancein_training.evaluate.report import Plan, Report, measure, write_html, write_json
from glancein_training.evaluate.verification import Pairs, all_pairs
from glancein_training.outputs import check_folder

FEWEST_FACES = 3  # two of one person and one of another


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate and against what."""

    embeddings: Path
    labels: Path | None = None
    pairs: Path | None = None
    images: Path | None = None
    padding: Path | None = None
    padding_labels: Path | None = None
    split: str = ""
    half: str = "all"
    people: int = 0
    enrol_from: str = ""
    identity_from: str = "folder"


def evaluate(request: Request, out: Path, plan: Plan) -> Report:
    """Measure and write ``report.json``, ``report.html`` and, with images, ``errors.png``.

    Raises InputError if the files do not fit together, there are too few faces, or ``out`` can be no folder.
    """
    check_folder(out, "--out")
    everyone = read_faces(request.embeddings, labels=request.labels, identity_from=request.identity_from)
    faces = chosen_faces(everyone, request, seed=plan.seed)
    seen = int(faces.found.sum())
    if seen < FEWEST_FACES:
        raise InputError(f"{seen} of {len(faces)} pictures have a face: a report needs {FEWEST_FACES}")
    listed = None
    if request.pairs:
        listed = listed_pairs(faces, read_pair_list(request.pairs), request.images)
    padding = find_padding(everyone, request, seed=plan.seed)
    report = measure(faces, plan, padding=padding, enrol=may_enrol(faces, request.enrol_from), listed=listed)
    about: dict[str, object] = {
        "embeddings": request.embeddings.name,
        "split": request.split,
        "half": request.half,
        "seed": plan.seed,
    }
    pairs: Pairs = listed if listed is not None else all_pairs(faces)
    out.mkdir(parents=True, exist_ok=True)
    if request.images:
        write_sheet(out / "errors.png", faces, pairs, request.images)
    write_html(report, out / "report.html", faces=faces, pairs=pairs, about=about, plan=plan)
    write_json(report, out / "report.json", about)
    return report


def chosen_faces(everyone: Faces, request: Request, *, seed: int) -> Faces:
    """The split, half and sample that were asked for. Raises InputError if nothing is left."""
    faces = everyone.take(everyone.split == request.split) if request.split else everyone
    match request.half:
        case "even" | "choose":
            faces = faces.half(0)
        case "odd" | "report":
            faces = faces.half(1)
        case "all":
            pass
        case other:
            raise InputError(f"--half is even (choose), odd (report) or all, not {other!r}")
    if request.people:
        faces = faces.sample(request.people, seed=seed)
    if len(faces) == 0:
        known = sorted(set(everyone.split.tolist()) - {""})
        raise InputError(f"no pictures are left; splits in the labels: {', '.join(known) or 'none'}")
    return faces


def find_padding(everyone: Faces, request: Request, *, seed: int) -> Faces | None:
    """Strangers to enrol beside: one picture each of the padding file, or of the other splits' people."""
    if request.padding:
        strangers = read_faces(request.padding, labels=request.padding_labels)
    elif request.split and (everyone.split != request.split).any():
        strangers = everyone.take(everyone.split != request.split)
    else:
        return None
    strangers = strangers.take(strangers.found)
    order = np.random.default_rng(seed).permutation(len(strangers))
    _, first = np.unique(strangers.identity[order], return_index=True)
    one_each = order if len(strangers.people) == 1 else order[first]
    return strangers.take(np.random.default_rng(seed).permutation(one_each))


def may_enrol(faces: Faces, enrol_from: str) -> Bools | None:
    """The pictures under this folder; None if any may be enrolled. Raises InputError if none is."""
    if not enrol_from:
        return None
    wanted = f"/{enrol_from.strip('/')}/"
    allowed = np.array([wanted in f"/{path}" for path in faces.path], bool)
    if not allowed.any():
        raise InputError(f"no picture lies in a folder {enrol_from!r}; give the folder of the badge photos")
    return allowed
