"""How much of the landmark error is the labels' own: our finder, the labels and dlib judge each other.

python tests/bench/finder_raters.py [--model FOLDER]

Held-back faces turned little (nose within 0.2 eye distances of the middle), eyes 25 px apart and more. The
third rater is dlib's predictor of 68 points (Kazemi and Sullivan 2014; pip install dlib-bin, and --no-deps
face_recognition_models), which nobody here learnt from: the mean of eight looks in boxes around the label.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from glancein.adapters.finder_tflite import PROPOSED, TfliteFaceFinder
from glancein_training.finder import data, measures
from glancein_training.finder.data import Floats, Picture
from glancein_training.finder.evaluate import turn
from glancein_training.finder.raters import disagreement, own_errors, upright

MODEL = Path(__file__).parents[2] / "device/glancein/models/finder"
SHARED = Path(__file__).parents[3] / "shared/data"
POINTS_68 = "models/shape_predictor_68_face_landmarks.dat"
LOOKS = 8
BOX_EYES = 2.35  # side of the box that dlib's own finder lays around a face, in eye distances


def main(argv: Sequence[str] | None = None) -> int:
    """Print who disagrees with whom, and what each adds to it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--shared", type=Path, default=SHARED)
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    pictures = data.load(args.shared / "finder", "val")
    labels, ours, theirs = ratings(TfliteFaceFinder(args.model, threshold=PROPOSED), Dlib(), pictures)
    print(f"{len(labels)} faces; per cent of the distance between the eyes")
    for name, (one, other) in {
        "labels and ours": (labels, ours),
        "labels and dlib": (labels, theirs),
        "ours and dlib": (ours, theirs),
    }.items():
        print(f"{name} differ by {100 * disagreement(one, other):.2f} (median)")
    found = own_errors((labels, ours, theirs), np.random.default_rng(0))
    for name, error in zip(("labels", "ours", "dlib"), found, strict=True):
        print(f"{name} alone: {100 * error.mean:.2f} ({100 * error.low:.2f} to {100 * error.high:.2f})")
    return 0


class Dlib:
    """The five points of the kiosk out of dlib's 68."""

    def __init__(self) -> None:
        import dlib  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415  # a peer, seldom here

        self._dlib = dlib
        found = importlib.util.find_spec("face_recognition_models")
        if found is None or found.origin is None:
            raise SystemExit("pip install --no-deps face_recognition_models, which holds dlib's weights")
        self._predict = dlib.shape_predictor(str(Path(found.origin).parent / POINTS_68))
        self._rng = np.random.default_rng(0)

    def points(self, picture: Picture, labelled: Floats) -> Floats:
        """(5, 2) the mean of several looks around a labelled face."""
        eyes_px = float(np.hypot(*(labelled[1] - labelled[0])))
        pixels = np.ascontiguousarray(picture.pixels)
        looks = []
        for _ in range(LOOKS):
            half = eyes_px * BOX_EYES / 2 * np.exp(self._rng.normal(0, 0.04))
            left, top = labelled.mean(axis=0) + self._rng.normal(0, 0.05 * eyes_px, 2) - half
            box = self._dlib.rectangle(int(left), int(top), int(left + 2 * half), int(top + 2 * half))
            shape = self._predict(pixels, box)
            every = np.array([[shape.part(k).x, shape.part(k).y] for k in range(68)], np.float32) + 0.5
            eyes = [every[36:42].mean(axis=0), every[42:48].mean(axis=0)]
            looks.append(np.stack([*eyes, every[30], every[48], every[54]]))
        return np.asarray(np.mean(looks, axis=0), np.float32)


def ratings(finder: TfliteFaceFinder, dlib: Dlib, pictures: Sequence[Picture]) -> list[Floats]:
    """Three times (n, 5, 2): labels, ours and dlib's of the faces that ours finds, upright."""
    rows: list[list[Floats]] = []
    for picture in pictures:
        counted = measures.count_from(picture.labels, measures.Terms())
        found = finder.find(picture.pixels)
        for number in np.flatnonzero(counted):
            labelled = picture.labels.landmarks[number]
            if turn(picture, int(number)) > 0.2 or np.hypot(*(labelled[1] - labelled[0])) < 25:
                continue
            errors = [(measures.landmark_error(f.landmarks, labelled), f) for f in found]
            error, face = min(errors, key=lambda pair: pair[0], default=(1.0, None))
            if face is None or error > 0.5:
                continue
            rated = (labelled, face.landmarks, dlib.points(picture, labelled))
            rows.append([upright(points, labelled) for points in rated])
    return [np.stack(column) for column in zip(*rows, strict=True)]


if __name__ == "__main__":
    raise SystemExit(main())
