"""What the shipped finder does, by the device's own code: detections, badges, faceless pictures.

python tests/bench/finder_device.py detections --out found.jsonl [--look glance]
python tests/bench/finder_device.py badges
python tests/bench/finder_device.py faceless
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from glancein.adapters.finder_tflite import PROPOSED, TfliteFaceFinder
from glancein.types import Box, Face, Pixels
from glancein_training.finder import backgrounds, data

MODEL = Path(__file__).parents[2] / "device/glancein/models/finder"
SHARED = Path(__file__).parents[3] / "shared/data"
DEMO = Path(__file__).parents[2] / "device/glancein/demo_pictures"
CARD_PX = 1000
PORTRAIT_PX = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("detections", "badges", "faceless"))
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--look", choices=("find", "glance", "near"), default="find")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=1000, help="badge pictures, or faceless ones")
    parser.add_argument("--out", type=Path, default=Path("detections.jsonl"))
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    match args.what:
        case "detections":
            write_detections(
                TfliteFaceFinder(args.model, threshold=PROPOSED), args.shared, args.split, args.look, args.out
            )
        case "badges":
            paths = [*sorted((args.shared / "badges").glob("*/*.jpg")), *sorted(DEMO.glob("*.jpg"))]
            print(*badges(TfliteFaceFinder(args.model), paths[: args.limit]), sep="\n")
        case _:
            print(*faceless(TfliteFaceFinder(args.model), args.shared / "finder", count=args.limit), sep="\n")
    return 0


def write_detections(finder: TfliteFaceFinder, shared: Path, split: str, look: str, out: Path) -> None:
    """Every face of every picture of a split, as a file of detections."""
    with out.open("w", encoding="utf-8") as file:
        for picture in data.load(shared / "finder", split):
            faces = finder.find(picture.pixels)
            if look == "glance":
                faces = finder.glance(picture.pixels)
            elif look == "near":
                faces = [nearest(finder.find_near(picture.pixels, face.box), face) for face in faces]
            file.write(json.dumps({"path": picture.name, "faces": [plain(face) for face in faces]}) + "\n")


def nearest(faces: Sequence[Face], face: Face) -> Face:
    """The one of ``faces`` whose centre is nearest to the face's."""
    return min(faces, key=lambda other: float(np.hypot(*(centre(other.box) - centre(face.box)))))


def centre(box: Box) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Middle of a box."""
    return np.array([box.left + box.width / 2, box.top + box.height / 2])


def plain(face: Face) -> dict[str, object]:
    """One face as JSON."""
    box = face.box
    return {
        "box": [round(value, 2) for value in (box.left, box.top, box.width, box.height)],
        "landmarks": [[round(float(value), 3) for value in point] for point in face.landmarks],
        "score": round(face.score, 5),
    }


def badges(finder: TfliteFaceFinder, paths: Sequence[Path]) -> list[str]:
    """For each way to show the portraits: how many are found, exactly one face each, and how exactly.

    The reference for the landmarks is what the finder itself says of the upright portrait.
    """
    upright = {path: finder.search(read(path)) for path in paths}
    lines = []
    for small in (False, True):
        for turns in range(4):
            found, single, errors = 0, 0, []
            for path in paths:
                portrait = read(path)
                expected = upright[path]
                shown, back = on_card(portrait) if small else (portrait, lambda points: points)
                faces = finder.search(np.ascontiguousarray(np.rot90(shown, turns)))
                found += bool(faces)
                single += len(faces) == 1
                if faces and expected:
                    landmarks = back(unturn(faces[0].landmarks, turns, shown.shape))
                    eyes = np.hypot(*(expected[0].landmarks[0] - expected[0].landmarks[1]))
                    errors.append(float(np.hypot(*(landmarks - expected[0].landmarks).T).mean() / eyes))
            name = f"{'100 px on a 1000 px card' if small else 'as they are'}, turned by {90 * turns}"
            middle, worst = 100 * np.median(errors), 100 * max(errors)
            spread = f"landmarks against upright: median {middle:.1f} %, worst {worst:.1f} %"
            lines.append(f"{name}: {found} of {len(paths)} found, {single} with exactly one face; {spread}")
    return lines


def read(path: Path) -> Pixels:
    """An RGB picture."""
    return np.asarray(cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB), np.uint8)


def on_card(portrait: Pixels) -> tuple[Pixels, Callable[[np.ndarray], np.ndarray]]:  # any points
    """The portrait 100 px high on a printed card of 1000 x 630 px, and the way back for points."""
    card = np.full((630, CARD_PX, 3), (236, 238, 240), np.uint8)
    cv2.rectangle(card, (0, 0), (CARD_PX, 90), (20, 60, 120), -1)
    for row, text in enumerate(
        ("ACME INDUSTRIES", "Research and Development", "No. 004217", "valid until 12/2027")
    ):
        cv2.putText(
            card, text, (330, 200 + 70 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (30, 30, 30), 2, cv2.LINE_AA
        )
    factor = PORTRAIT_PX / portrait.shape[0]
    width = round(portrait.shape[1] * factor)
    left, top = 120, 220
    card[top : top + PORTRAIT_PX, left : left + width] = cv2.resize(
        portrait, (width, PORTRAIT_PX), interpolation=cv2.INTER_AREA
    )
    return card, lambda points: (points - (left, top) + 0.5) / factor - 0.5


def unturn(points: np.ndarray, turns: int, shape: tuple[int, ...]) -> np.ndarray:  # any points
    """Points of ``np.rot90(picture, turns)`` in the picture, one quarter at a time."""
    for step in range(turns, 0, -1):
        width = shape[1] if step % 2 else shape[0]
        points = np.stack([width - 1 - points[:, 1], points[:, 0]], 1)
    return points


def faceless(finder: TfliteFaceFinder, folder: Path, *, count: int) -> list[str]:
    """Detections on pictures without faces: parts of held-back pictures, and drawn ones, 640 x 480."""
    pictures = data.load(folder, "val")
    rng = np.random.default_rng(2026)
    scores: list[float] = []
    for _ in range(count):
        picture = backgrounds.faceless(pictures, rng, width=640, height=480)
        scores.extend(face.score for face in finder.find(picture))
    shown = ", ".join(f"{score:.2f}" for score in sorted(scores, reverse=True)[:10])
    return [f"{count} faceless pictures: {len(scores)} detections ({shown})"]


if __name__ == "__main__":
    raise SystemExit(main())
