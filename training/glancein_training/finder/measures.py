"""How good detections are: recall at given false faces per picture, average precision, landmark error.

A detection hits a label if their intersection over union is 0.4 or more (the boxes of two finders differ in
style; the landmarks decide whether a hit is of use). Labels that are uncertain, or too small, are ignored: a
detection on them counts neither as a hit nor as a false face.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glancein.domain.detect import overlaps
from glancein.types import Face
from glancein_training.finder.data import Floats, Labels

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]

HIT_OVERLAP = 0.4
IGNORED_SHARE = 0.3  # a detection on an ignored label needs less, its box is a guess


@dataclass(frozen=True, slots=True)
class Terms:
    """Which labels count: from this shorter side on, and this score of the labelling finder."""

    smallest_px: float = 40.0
    sure_face: float = 0.7


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one finder over one set of pictures."""

    pictures: int
    faces: int
    recall: dict[float, float]  # false faces per picture -> share of faces found
    threshold: dict[float, float]  # and the score that gives it
    average_precision: float
    errors: Floats  # (hits,) mean landmark distance over the eye distance, detections above the 0.1 threshold
    hits: tuple[tuple[int, int], ...]  # picture and face number of each of these
    missed: tuple[tuple[int, int], ...]  # picture and face numbers not found at 0.01

    def brief(self) -> dict[str, float]:
        """The figures of a training curve."""
        return {
            "recall_0.1": round(100 * self.recall[0.1], 2),
            "recall_0.01": round(100 * self.recall[0.01], 2),
            "ap": round(100 * self.average_precision, 2),
            "error_median": round(100 * percentile(self.errors, 50), 2),
            "error_p95": round(100 * percentile(self.errors, 95), 2),
        }


@dataclass(frozen=True, slots=True)
class Hits:
    """All detections of a set, best first: whether each is a hit, and of which face."""

    scores: Floats  # (n,)
    right: Booleans  # (n,)
    picture: Integers  # (n,)
    face: Integers  # (n,) -1 where wrong
    errors: Floats  # (n,) landmark error of a hit, else nan

    def named(self, mask: Booleans) -> list[tuple[int, int]]:
        """Picture and face number of the chosen ones."""
        return list(zip(self.picture[mask].tolist(), self.face[mask].tolist(), strict=True))


def measure(found: Sequence[Sequence[Face]], labels: Sequence[Labels], terms: Terms = Terms()) -> Report:
    """Compare detections with labels, picture by picture."""
    counted = [count_from(one, terms) for one in labels]
    hits = match(found, labels, counted)
    total = int(sum(mask.sum() for mask in counted))
    wrong = np.cumsum(~hits.right)
    right = np.cumsum(hits.right)
    recall, threshold = {}, {}
    for rate in (0.1, 0.01):
        allowed = int(rate * len(labels))
        last = int(np.searchsorted(wrong, allowed, side="right"))
        recall[rate] = float(right[last - 1]) / max(total, 1) if last else 0.0
        threshold[rate] = float(hits.scores[last]) if last < len(hits.scores) else 0.0
    sure = hits.right & (hits.scores > threshold[0.1])
    strict = hits.right & (hits.scores > threshold[0.01])
    got = set(hits.named(strict))
    missed = tuple(
        (p, int(f)) for p, mask in enumerate(counted) for f in np.flatnonzero(mask) if (p, int(f)) not in got
    )
    return Report(
        len(labels), total, recall, threshold, average_precision(hits.right, total), hits.errors[sure],
        tuple(hits.named(sure)), missed,
    )  # fmt: skip


def count_from(labels: Labels, terms: Terms) -> Booleans:
    """Which labels of one picture count."""
    return np.asarray(
        (labels.boxes[:, 2:].min(axis=1) >= terms.smallest_px) & (labels.scores >= terms.sure_face)
    )


def match(
    found: Sequence[Sequence[Face]],
    labels: Sequence[Labels],
    counted: Sequence[Booleans],
) -> Hits:
    """Each detection, best first, gets the free label it overlaps most; on an ignored one it is dropped."""
    rows: list[tuple[float, bool, int, int, float]] = []
    for number, (faces, known, mask) in enumerate(zip(found, labels, counted, strict=True)):
        rows.extend(
            (score, right, number, face, error) for score, right, face, error in match_one(faces, known, mask)
        )
    rows.sort(key=lambda row: -row[0])
    columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    return Hits(
        np.asarray(columns[0], np.float32),
        np.asarray(columns[1], np.bool_),
        np.asarray(columns[2], np.int64),
        np.asarray(columns[3], np.int64),
        np.asarray(columns[4], np.float32),
    )


def match_one(
    faces: Sequence[Face], known: Labels, counted: Booleans
) -> list[tuple[float, bool, int, float]]:
    """Score, hit, face number and landmark error of each detection that is not to be ignored, best first."""
    if not faces:
        return []
    faces = sorted(faces, key=lambda face: -face.score)  # a file of anybody's detections has any order
    edges = np.array(
        [[f.box.left, f.box.top, f.box.left + f.box.width, f.box.top + f.box.height] for f in faces],
        np.float32,
    )
    truth = np.concatenate([known.boxes[:, :2], known.boxes[:, :2] + known.boxes[:, 2:]], axis=1)
    table = overlaps(edges, truth)
    free = counted.copy()
    rows = []
    for row, face in zip(table, faces, strict=True):
        best = int(np.argmax(np.where(free, row, -1))) if free.any() else -1
        if best >= 0 and row[best] >= HIT_OVERLAP:
            free[best] = False
            rows.append((face.score, True, best, landmark_error(face.landmarks, known.landmarks[best])))
        elif not (row[~counted] >= IGNORED_SHARE).any():
            rows.append((face.score, False, -1, float("nan")))
    return rows


def landmark_error(found: Floats, true: Floats) -> float:
    """Mean distance of the five landmarks (5, 2) over the true distance between the eyes."""
    eyes = float(np.hypot(*(true[0] - true[1])))
    return float(np.hypot(*(found - true).T).mean()) / max(eyes, 1e-6)


def average_precision(right: Booleans, total: int) -> float:
    """Area under precision over recall, precision made monotone (Everingham et al. 2010, all points)."""
    if total == 0 or len(right) == 0:
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(envelope[right]) / total)


def percentile(values: Floats, share: float) -> float:
    """A percentile, nan of nothing."""
    return float(np.percentile(values, share)) if len(values) else float("nan")
