"""Measure a finder on labelled pictures: float weights of ours, or anybody's detections in a file.

A file of detections has one JSON object per line, as in ``labels.jsonl``: ``path`` of the picture and
``faces`` with ``box`` (left, top, width, height), ``landmarks`` (five points) and ``score``, in pixels of the
stored picture.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from glancein.errors import InputError
from glancein.types import Box, Face
from glancein_training.checkpoints import read_checkpoint
from glancein_training.finder import data, measures, predict
from glancein_training.finder.data import Floats, Picture
from glancein_training.finder.exits import exit_code_of
from glancein_training.finder.network import Finder, shape_named

SIZES_PX = (0, 20, 40, 80, 160, 1000)
TILTS_DEG = (0, 10, 20, 180)
TURNS = (0.0, 0.1, 0.2, 1e9)  # how far the nose lies beside the middle of the eyes, in eye distances
SHARPNESS = (0, 100, 400, 1e9)  # variance of the Laplacian over the face brought to 64 px


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/finder"))
    parser.add_argument("--split", default="val")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, help="a checkpoint or weights file of ours")
    source.add_argument("--detections", type=Path, help="a file of detections")
    args = parser.parse_args(argv)

    def act() -> None:
        pictures = data.load(args.data, args.split)
        found = (
            detections(args.detections, pictures) if args.detections else by_weights(args.weights, pictures)
        )
        print(*report(found, pictures), sep="\n")

    return exit_code_of(act)


def by_weights(path: Path, pictures: Sequence[Picture]) -> list[list[Face]]:
    """Faces that a float network of ours finds."""
    return predict.find_all(load_weights(path), pictures)


def load_weights(path: Path) -> Finder:
    """The averaged network of a checkpoint, or of a file of weights. Raises InputError if it is no finder."""
    stored = read_checkpoint(path)
    network = Finder(shape_named(str(stored["network"]), where=f"{path}: "))
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in stored["average"].items()})
    except (KeyError, RuntimeError, AttributeError) as err:
        raise InputError(f"the weights in {path} do not fit {network.shape.name}") from err
    return network.eval()


def detections(path: Path, pictures: Sequence[Picture]) -> list[list[Face]]:
    """Faces from a file of detections, in the order of the pictures; one that is not listed has none.

    Raises InputError if the file has another form, or names none of the pictures.
    """
    try:
        with path.open(encoding="utf-8") as file:
            by_path = {row["path"]: [face_of(face) for face in row["faces"]] for row in map(json.loads, file)}
    except (ValueError, KeyError, TypeError) as err:
        raise InputError(f"{path} is no file of detections: see --help for its form") from err
    if pictures and not any(picture.name in by_path for picture in pictures):
        raise InputError(f"{path} names none of these pictures, such as {pictures[0].name}")
    return [by_path.get(picture.name, []) for picture in pictures]


def face_of(plain: dict[str, Any]) -> Face:
    """One face of a file of detections; Any: a list of numbers or one number."""
    score = float(np.float32(plain["score"]))
    return Face(Box(*plain["box"]), np.asarray(plain["landmarks"], np.float32).reshape(5, 2), score)


def report(found: Sequence[Sequence[Face]], pictures: Sequence[Picture]) -> list[str]:
    """The lines to print: the figures of the must-hold list, then landmark errors by what makes them hard."""
    labels = [picture.labels for picture in pictures]
    lines = []
    for smallest in (40.0, 20.0):
        figures = measures.measure(found, labels, measures.Terms(smallest_px=smallest))
        thresholds = ", ".join(f"{figures.threshold[rate]:.3f}" for rate in (0.1, 0.01))
        lines.append(
            f"faces >= {smallest:.0f} px: {figures.faces} in {figures.pictures} pictures {figures.brief()}"
        )
        lines.append(f"  thresholds at 0.1 and 0.01 false faces per picture: {thresholds}")
        lines.append(f"  missed at 0.01: {[(pictures[p].name, f) for p, f in figures.missed][:20]}")
    figures = measures.measure(found, labels, measures.Terms(smallest_px=0.0))
    truth = [(pictures[p], f) for p, f in figures.hits]
    lines.extend(
        sliced("shorter side, px", figures, truth, SIZES_PX, lambda p, f: float(p.labels.boxes[f, 2:].min()))
    )
    large = measures.measure(found, labels)
    truth = [(pictures[p], f) for p, f in large.hits]
    lines.extend(sliced("tilt, degrees (>= 40 px)", large, truth, TILTS_DEG, tilt_deg))
    lines.extend(sliced("turn of the head (>= 40 px)", large, truth, TURNS, turn))
    lines.extend(sliced("sharpness (>= 40 px)", large, truth, SHARPNESS, sharpness))
    return lines


def sliced(
    name: str,
    figures: measures.Report,
    truth: Sequence[tuple[Picture, int]],
    edges: Sequence[float],
    value: Callable[[Picture, int], float],
) -> list[str]:
    """Landmark errors of the hits, by one property of the labelled face."""
    values = np.array([value(picture, face) for picture, face in truth])
    lines = [f"landmark error, % of the eye distance, by {name}: count, median, p95"]
    for low, high in itertools.pairwise(edges):
        errors = 100 * figures.errors[(values >= low) & (values < high)]
        middle, worst = (measures.percentile(errors, share) for share in (50, 95))
        lines.append(f"  {low:g} to {high:g}: {len(errors)}, {middle:.2f}, {worst:.2f}")
    return lines


def tilt_deg(picture: Picture, face: int) -> float:
    """Angle of the line between the eyes."""
    across = picture.labels.landmarks[face, 1] - picture.labels.landmarks[face, 0]
    return float(abs(np.degrees(np.arctan2(across[1], across[0]))))


def turn(picture: Picture, face: int) -> float:
    """How far the nose tip lies beside the middle between the eyes, along their line, in eye distances."""
    left, right, nose = picture.labels.landmarks[face, :3]
    across = right - left
    return float(abs((nose - (left + right) / 2) @ across) / max(float(across @ across), 1e-6))


def sharpness(picture: Picture, face: int) -> float:
    """Variance of the Laplacian of the face at 64 x 64."""
    cut = cut_box(picture, picture.labels.boxes[face])
    grey = cv2.cvtColor(cv2.resize(cut, (64, 64), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def cut_box(picture: Picture, box: Floats) -> data.Pixels:
    """What the box shows, clipped to the picture."""
    left, top = np.clip(np.floor(box[:2]), 0, None).astype(int)
    right, bottom = np.ceil(box[:2] + box[2:]).astype(int)
    return picture.pixels[top : max(bottom, top + 2), left : max(right, left + 2)]


if __name__ == "__main__":
    raise SystemExit(main())
