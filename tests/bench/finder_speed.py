"""Milliseconds on one 640 x 480 frame with one face: our finder and every other one at hand, in one run.

python tests/bench/finder_speed.py [--rounds 60]

Peers are taken if they can be imported with what their packages hold: OpenCV's Haar cascade (opencv-python
below 5), dlib's HOG detector (dlib or dlib-bin), MediaPipe's BlazeFace (mediapipe). One thread each,
and processor time, which other programs on the machine do not lengthen much.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from glancein.adapters.finder_tflite import TfliteFaceFinder
from glancein.types import Pixels

MODEL = Path(__file__).parents[2] / "device/glancein/models/finder"
SHARED = Path(__file__).parents[3] / "shared/data"
ROUNDS = 60
OURS = "find (both networks)"
HAAR = "Haar cascade"

Run = Callable[[], object]


def main(argv: Sequence[str] | None = None) -> int:
    """Time all of them, round by round, so that a busy moment hits each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--portrait", type=Path, help="a picture of a face; the first badge by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    portrait = args.portrait or min((SHARED / "badges").glob("neutral/*.jpg"))
    frame = frame_with(np.asarray(cv2.imread(str(portrait)), np.uint8))
    runs = {**ours(TfliteFaceFinder(args.model), frame), **peers(frame)}
    print(*report(clock(runs, rounds=args.rounds), frame), sep="\n")
    return 0


def frame_with(portrait: Pixels) -> Pixels:
    """An RGB frame of a grey hall in which somebody stands at arm's length."""
    frame = np.full((480, 640, 3), 120, np.uint8)
    small = cv2.resize(portrait, (360, 360), interpolation=cv2.INTER_AREA)
    frame[60:420, 140:500] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    return frame


def ours(finder: TfliteFaceFinder, frame: Pixels) -> dict[str, Run]:
    """The three ways to look for a face. Raises ValueError if there is none in the frame."""
    faces = finder.find(frame)
    if not faces:
        raise ValueError("our finder sees no face in this portrait: choose another with --portrait")
    box = faces[0].box
    return {
        "glance (first network)": lambda: finder.glance(frame),
        OURS: lambda: finder.find(frame),
        "find_near (both networks)": lambda: finder.find_near(frame, box),
    }


def peers(frame: Pixels) -> dict[str, Run]:
    """Every other finder that this environment has."""
    runs: dict[str, Run] = {}
    for name, make in ((HAAR, haar), ("dlib HOG", dlib_hog), ("MediaPipe BlazeFace", blazeface)):
        try:
            runs[name] = make(frame)
        except (ImportError, AttributeError, FileNotFoundError) as err:
            print(f"{name} is not here: {err}")
    return runs


def haar(frame: Pixels) -> Run:
    """OpenCV's frontal cascade, as in its tutorial."""
    path = Path(cv2.__file__).parent / "data/haarcascade_frontalface_default.xml"
    make: Any = getattr(cv2, "CascadeClassifier", None)  # Any: gone from OpenCV 5 and its types
    if make is None or not path.exists():
        raise FileNotFoundError("OpenCV 5 no longer ships it; pip install 'opencv-python-headless<5'")
    cascade = make(str(path))
    return lambda: cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 1.1, 3)


def dlib_hog(frame: Pixels) -> Run:
    """The frontal detector of dlib, without enlarging."""
    import dlib  # type: ignore[import-not-found]  # noqa: PLC0415  # only where it is

    detector = dlib.get_frontal_face_detector()
    return lambda: detector(frame, 0)


def blazeface(frame: Pixels) -> Run:
    """MediaPipe's short-range BlazeFace, as its wheel brings it."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    import mediapipe  # type: ignore[import-not-found]  # noqa: PLC0415  # only where it is

    detector = mediapipe.solutions.face_detection.FaceDetection(model_selection=0)
    return lambda: detector.process(frame)


def clock(runs: dict[str, Run], *, rounds: int) -> dict[str, tuple[float, float]]:
    """Best and median milliseconds of each, of processor time: what else runs here does not count."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()  # warms the caches that the others emptied
            started = time.process_time()
            run()
            taken[name].append(1e3 * (time.process_time() - started))
    return {name: (min(times), float(np.median(times))) for name, times in taken.items()}


def report(taken: dict[str, tuple[float, float]], frame: Pixels) -> list[str]:
    """A line for each, slowest last, with the ratio of the best times to ours."""
    own = taken[OURS][0]
    lines = [f"{frame.shape[1]} x {frame.shape[0]}, one thread; best of all rounds, median, times ours"]
    for name, (best, middle) in sorted(taken.items(), key=lambda item: item[1]):
        lines.append(f"{name}: {best:.2f} ms, {middle:.2f} ms, {best / own:.1f}")
    if HAAR in taken:
        lines.append(f"Haar / ours: {taken[HAAR][0] / own:.1f} (must be 3), ours {own:.2f} ms (must be 1.5)")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
