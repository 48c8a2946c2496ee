"""A checkpoint under worse and worse pictures: the figures as JSON and a plot for each disturbance."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.checkpoints import load_network
from glancein_training.distill import embed
from glancein_training.evaluate import plots
from glancein_training.evaluate.command import Request, chosen_faces
from glancein_training.evaluate.faces import Faces, Floats, read_labels
from glancein_training.evaluate.robustness import Robustness, disturbances, measure


@dataclass(frozen=True, slots=True)
class Choice:
    """Which pictures of a pack."""

    pack: Path
    split: str = "val"
    half: str = "all"
    people: int = 150


def measure_checkpoint(
    checkpoint: Path, choice: Choice, out: Path, *, cache: Path, resamples: int, seed: int
) -> list[Robustness]:
    """Measure every disturbance and write ``robustness.json`` and one SVG each. Raises InputError."""
    network = load_network(checkpoint)
    faces, rows = pictures_of(choice, seed=seed)
    pixels = np.asarray(packs.load(choice.pack, cache=cache).pixels[rows])

    def vectors_of(stored: packs.Pixels) -> Floats:
        return np.asarray(embed(network, stored).numpy(), np.float32)

    faces = with_vectors(faces, vectors_of(pixels))
    found = measure(faces, pixels, vectors_of, kinds=disturbances(), resamples=resamples, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(found):
        curve = [(checkpoint.parent.name, [rate.value for rate in row.true_accepts])]
        figure = plots.curves_plot(f"{row.name} ({row.unit})" if row.unit else row.name, row.values, curve)
        figure.savefig(out / f"robustness-{number + 1}.svg")
    content = {
        "checkpoint": checkpoint.parent.name,
        "people": len(faces.people),
        "rows": [asdict(row) for row in found],
    }
    (out / "robustness.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return found


def pictures_of(choice: Choice, *, seed: int) -> tuple[Faces, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The chosen pictures, still without vectors, and their rows in the pack. Raises InputError if none."""
    rows = read_labels(choice.pack / "labels.csv")
    if "path" not in rows[0] or "identity" not in rows[0]:
        raise InputError(f"{choice.pack} needs labels with path and identity")
    people, identity = np.unique([row["identity"] for row in rows], return_inverse=True)
    everyone = Faces(
        path=np.array([row["path"] for row in rows]),
        found=np.ones(len(rows), bool),
        vector=np.arange(len(rows), dtype=np.float32)[:, None],  # the row, until there is a vector
        identity=identity.astype(np.int64),
        people=tuple(people.tolist()),
        split=np.array([row.get("split", "") for row in rows]),
    )
    request = Request(choice.pack, split=choice.split, half=choice.half, people=choice.people)
    faces = chosen_faces(everyone, request, seed=seed)
    return faces, faces.vector[:, 0].astype(np.int64)


def with_vectors(faces: Faces, vectors: Floats) -> Faces:
    """The same pictures with these embeddings."""
    return Faces(faces.path, faces.found, vectors, faces.identity, faces.people, faces.split, faces.groups)
