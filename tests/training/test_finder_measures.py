"""The finder's yardstick, on cases small enough to count by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

from glancein.types import Box, Face, Floats
from glancein_training.finder.data import Labels, Picture
from glancein_training.finder.evaluate import detections, report
from glancein_training.finder.measures import Terms, average_precision, landmark_error, measure

POINTS = np.array([[70, 80], [110, 80], [90, 100], [75, 120], [105, 120]], np.float32)


def labels(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Labels:
    """Labelled faces with their landmarks around (90, 100)."""
    array = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Labels(array, np.repeat(POINTS[None], len(array), axis=0), np.full(len(array), score, np.float32))


def face(box: tuple[float, float, float, float], score: float, landmarks: Floats = POINTS) -> Face:
    """A detection."""
    return Face(Box(*box), landmarks, score)


TRUE = (50.0, 50.0, 80.0, 100.0)
ELSEWHERE = (300.0, 50.0, 80.0, 100.0)


def test_all_found_without_false_faces_is_full_recall() -> None:
    """Hits only: recall and average precision are one, the error is the landmarks'."""
    figures = measure([[face(TRUE, 0.9, POINTS + np.float32(4))]], [labels(TRUE)])

    assert figures.recall == {0.1: 1.0, 0.01: 1.0}
    assert figures.average_precision == 1.0
    assert figures.errors[0] == pytest.approx(np.hypot(4, 4) / 40)
    assert figures.missed == ()


def test_recall_counts_only_faces_better_than_the_allowed_false_ones() -> None:
    """Of three faces, two score above the first false face: none is allowed in three pictures."""
    found = [[face(TRUE, 0.9)], [face(TRUE, 0.8), face(ELSEWHERE, 0.7)], [face(TRUE, 0.6)]]

    figures = measure(found, [labels(TRUE)] * 3)

    assert figures.recall[0.01] == pytest.approx(2 / 3)
    assert figures.threshold[0.01] == pytest.approx(0.7)
    assert figures.missed == ((2, 0),)


def test_allowed_false_faces_are_allowed() -> None:
    """One false face in ten pictures is exactly 0.1: the faces below it count, up to the second false one."""
    found = [[face(TRUE, 0.5)] for _ in range(10)]
    found[0] = [face(ELSEWHERE, 0.9), face(TRUE, 0.5)]

    figures = measure(found, [labels(TRUE)] * 10)

    assert figures.recall == {0.1: 1.0, 0.01: 0.0}


def test_second_detection_of_a_face_is_false() -> None:
    """A face counts once."""
    figures = measure([[face(TRUE, 0.9), face(TRUE, 0.8)]] * 20, [labels(TRUE)] * 20)

    assert figures.recall[0.01] == 1.0
    assert figures.average_precision == 1.0
    assert figures.threshold[0.01] == pytest.approx(0.8)


def test_detections_count_best_first_when_they_come_in_another_order() -> None:
    """The better of two on one face is the hit, wherever it stands in a file."""
    far = face(TRUE, 0.3, POINTS + np.float32(40))

    figures = measure([[far, face(TRUE, 0.9)]] * 20, [labels(TRUE)] * 20)

    assert figures.recall[0.01] == 1.0
    assert figures.average_precision == 1.0
    assert figures.errors.tolist() == [0.0] * 20


@pytest.mark.parametrize("ignored", [labels(ELSEWHERE, score=0.4), labels((300.0, 50.0, 20.0, 24.0))])
def test_detections_on_ignored_labels_count_neither_way(ignored: Labels) -> None:
    """Uncertain and small labels excuse the detections on them."""
    known = Labels(
        np.concatenate([labels(TRUE).boxes, ignored.boxes]),
        np.concatenate([labels(TRUE).landmarks, ignored.landmarks]),
        np.concatenate([labels(TRUE).scores, ignored.scores]),
    )
    box = (float(ignored.boxes[0, 0]), 50.0, float(ignored.boxes[0, 2]), float(ignored.boxes[0, 3]))

    figures = measure([[face(box, 0.95), face(TRUE, 0.5)]], [known], Terms())

    assert figures.faces == 1
    assert figures.recall[0.01] == 1.0


def test_nothing_found_is_no_recall() -> None:
    """Empty answers give zeros, not errors."""
    figures = measure([[]], [labels(TRUE)])

    assert figures.recall == {0.1: 0.0, 0.01: 0.0}
    assert figures.average_precision == 0.0
    assert np.isnan(figures.brief()["error_median"])


def test_average_precision_of_a_known_ranking() -> None:
    """Right, wrong, right of two faces: (1 + 2/3) / 2."""
    assert average_precision(np.array([True, False, True]), 2) == pytest.approx((1 + 2 / 3) / 2)


def test_landmark_error_is_in_eye_distances() -> None:
    """Two pixels to the right with eyes 40 px apart are 5 %."""
    assert landmark_error(POINTS + np.asarray([2, 0], np.float32), POINTS) == pytest.approx(0.05)


def test_report_of_a_file_of_detections_has_every_slice(tmp_path: Path) -> None:
    """Anybody's finder can be measured from a file."""
    picture = Picture("a.webp", np.full((200, 400, 3), 90, np.uint8), labels(TRUE))
    row = {"path": "a.webp", "faces": [{"box": list(TRUE), "landmarks": POINTS.tolist(), "score": 0.8}]}
    (tmp_path / "found.jsonl").write_text(json.dumps(row) + "\n")

    lines = report(detections(tmp_path / "found.jsonl", [picture]), [picture])

    assert "'recall_0.01': 100.0" in lines[0]
    assert sum(line.startswith("landmark error") for line in lines) == 4
