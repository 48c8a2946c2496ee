"""A checkpoint, or anybody's embeddings, under worse and worse pictures: figures as JSON, a plot each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.checkpoints import load_network
from glancein_training.distill import embed
from glancein_training.evaluate import plots
from glancein_training.evaluate.command import Request, chosen_faces
from glancein_training.evaluate.faces import Bools, Faces, Floats, read_faces, read_labels
from glancein_training.evaluate.robustness import (
    Disturbance,
    Robustness,
    disturbances,
    disturbed,
    measure,
)
from glancein_training.figures import to_json
from glancein_training.outputs import check_folder
from glancein_training.unpack import CLEAN


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
    check_folder(out, "--out")
    network = load_network(checkpoint)
    faces, rows = pictures_of(choice, seed=seed)
    pixels = np.asarray(packs.load(choice.pack, cache=cache).pixels[rows])

    def vectors_of(stored: packs.Pixels) -> Floats:
        return np.asarray(embed(network, stored).numpy(), np.float32)

    faces = with_vectors(faces, vectors_of(pixels))
    worse = disturbed(pixels, vectors_of)
    found = measure(faces, worse, kinds=disturbances(), resamples=resamples, seed=seed)
    _write(found, out, name=checkpoint.parent.name, people=len(faces.people))
    return found


def measure_embedded(embedded: Path, pack: Path, out: Path, *, resamples: int, seed: int) -> list[Robustness]:
    """The same of what ``glancein embed`` or a peer made of the pictures that ``unpack --worse`` wrote.

    Raises InputError if a picture is missing from the file.
    """
    check_folder(out, "--out")
    everything = read_faces(embedded, identity_from="picture")
    root = next((p.rpartition(f"{CLEAN}/")[0] for p in everything.path.tolist() if f"{CLEAN}/" in p), "")
    at = {name.removeprefix(root): row for row, name in enumerate(everything.path.tolist())}
    rows = {row["path"]: row for row in labels_of(pack)}
    names = sorted(name.removeprefix(f"{CLEAN}/") for name in at if name.startswith(f"{CLEAN}/"))
    if not names or any(name not in rows for name in names):
        raise InputError(
            f"{embedded} is not of {pack}: embed the whole folder that `unpack --worse` wrote of it"
        )
    people, identity = np.unique([rows[name]["identity"] for name in names], return_inverse=True)

    def in_folder(folder: str) -> Faces:
        try:
            return everything.take(np.array([at[f"{folder}/{name}"] for name in names]))
        except KeyError as err:
            raise InputError(f"{embedded} lacks {err.args[0]}: embed the whole folder") from err

    def seen(kind: Disturbance, value: float) -> tuple[Bools, Floats]:
        worse = in_folder(kind.folder(value))
        return worse.found, worse.vector

    clean = replace(
        in_folder(CLEAN),
        path=np.array(names),
        identity=identity.astype(np.int64),
        people=tuple(people.tolist()),
    )
    measured = measure(
        clean,
        seen,
        kinds=disturbances(),
        resamples=resamples,
        seed=seed,
    )
    _write(measured, out, name=embedded.stem, people=len(people))
    return measured


def _write(found: list[Robustness], out: Path, *, name: str, people: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(found):
        curve = [(name, [rate.value for rate in row.true_accepts])]
        figure = plots.curves_plot(f"{row.name} ({row.unit})" if row.unit else row.name, row.values, curve)
        figure.savefig(out / f"robustness-{number + 1}.svg")
    content = {"embedded_by": name, "people": people, "rows": [asdict(row) for row in found]}
    (out / "robustness.json").write_text(to_json(content) + "\n", encoding="utf-8")


def pictures_of(choice: Choice, *, seed: int) -> tuple[Faces, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The chosen pictures, still without vectors, and their rows in the pack. Raises InputError if none."""
    rows = labels_of(choice.pack)
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


def labels_of(pack: Path) -> list[dict[str, str]]:
    """The labels of a pack whose people are known. Raises InputError if they are not."""
    rows = read_labels(pack / "labels.csv")
    if "path" not in rows[0] or "identity" not in rows[0]:
        raise InputError(f"{pack} needs labels with path and identity")
    return rows


def with_vectors(faces: Faces, vectors: Floats) -> Faces:
    """The same pictures with these embeddings."""
    return Faces(faces.path, faces.found, vectors, faces.identity, faces.people, faces.split, faces.groups)
