"""What the finder's network says in each cell of its grids -> faces: decoding and non-maximum suppression.

A cell of stride s at column c and row r stands for the point ((c + 0.5) s, (r + 0.5) s) of the network's
input. Its box is four distances to the left, top, right and bottom edge, its landmarks five offsets, all in
units of s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glancein.types import Box, Face, Floats

LANDMARKS = 5


@dataclass(frozen=True, slots=True)
class Plane:
    """One output of the network: real value = (stored - zero_point) * scale; float outputs keep 1 and 0."""

    stored: NDArray[np.int8] | Floats  # (h, w, channels)
    scale: float = 1.0
    zero_point: int = 0

    def at(self, cells: NDArray[np.intp]) -> Floats:
        """Real values (n, channels) of the given flat cells."""
        rows = self.stored.reshape(-1, self.stored.shape[-1])[cells].astype(np.float32)
        return np.asarray((rows - np.float32(self.zero_point)) * np.float32(self.scale), np.float32)


@dataclass(frozen=True, slots=True)
class Level:
    """The three outputs of one grid: score logits (h, w, 1), box (h, w, 4), landmarks (h, w, 10)."""

    stride: int
    score: Plane
    box: Plane
    landmarks: Plane


@dataclass(frozen=True, slots=True)
class Candidates:
    """Cells that may be faces, in pixels of the network's input."""

    edges: Floats  # (n, 4) left, top, right, bottom
    landmarks: Floats  # (n, 5, 2)
    scores: Floats  # (n,) probabilities

    def __len__(self) -> int:
        return len(self.scores)


def decode(levels: Sequence[Level], *, threshold: float) -> Candidates:
    """Every cell whose score reaches the threshold (a probability strictly between 0 and 1), best first."""
    parts = [_decode_level(level, threshold) for level in levels]
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")
    return Candidates(
        np.concatenate([part.edges for part in parts])[order],
        np.concatenate([part.landmarks for part in parts])[order],
        scores[order],
    )


def suppress(
    found: Candidates, *, overlap: float = 0.35, inside: float = 0.7, limit: int = 300
) -> Candidates:
    """Keep one candidate per face, its box and landmarks averaged over the cells that agree with it.

    ``found`` comes best first and at most ``limit`` are looked at. Cells whose intersection over union with
    the best one exceeds ``overlap`` are the same face; the average is weighted by score (Bazarevsky et al.
    2019, BlazeFace, section 5), which steadies landmarks between frames. A weaker box of which more than
    ``inside`` lies in a better one is no face of its own but an eye or a mouth, and goes without a say.
    """
    edges, points, scores = found.edges[:limit], found.landmarks[:limit], found.scores[:limit]
    if len(scores) == 0:
        return found
    shared, areas = _shared(edges, edges), _areas(edges)
    same = shared >= overlap * (areas[:, None] + areas - shared)
    swallowed = same | (shared >= inside * areas)
    free = np.ones(len(scores), bool)
    kept, votes = [], []
    for best in range(len(scores)):
        if free[best]:
            kept.append(best)
            votes.append(same[best] & free & (scores >= 0.5 * scores[best]))
            free &= ~swallowed[best]
    # The square favours the central cells, which see the whole face.
    weights = np.asarray(votes) * scores**2
    weights /= weights.sum(axis=1, keepdims=True)
    return Candidates(
        np.asarray(weights @ edges, np.float32),
        np.asarray(weights @ points.reshape(len(points), -1), np.float32).reshape(-1, LANDMARKS, 2),
        np.asarray(scores[kept], np.float32),
    )


def overlaps(one: Floats, other: Floats) -> Floats:
    """Intersection over union (n, m) of boxes given by their edges (n, 4) and (m, 4)."""
    shared = _shared(one, other)
    union = _areas(one)[:, None] + _areas(other)[None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float32)


def to_faces(found: Candidates, *, input_px_per_px: float, left: float = 0.0, top: float = 0.0) -> list[Face]:
    """Faces in picture pixels: the network's input shows the picture from (left, top) on, at this scale.

    Both count from the edge of a pixel, so x_picture = x_input / scale + left.
    """
    shift = np.array([left, top], np.float32)
    return [
        Face(
            Box(
                float(edges[0] / input_px_per_px + left),
                float(edges[1] / input_px_per_px + top),
                float((edges[2] - edges[0]) / input_px_per_px),
                float((edges[3] - edges[1]) / input_px_per_px),
            ),
            np.asarray(points / input_px_per_px + shift, np.float32),
            float(score),
        )
        for edges, points, score in zip(found.edges, found.landmarks, found.scores, strict=True)
    ]


def without_repeats(faces: Sequence[Face], *, share: float = 0.15) -> list[Face]:
    """The faces (best first) without those whose landmarks lie where a better one has its own.

    A closer look at a box beside a face finds that face. Less than ``share`` of its size apart is the same.
    """
    kept: list[Face] = []
    for face in faces:
        gaps = [float(np.hypot(*(face.landmarks - one.landmarks).T).mean()) for one in kept]
        sizes = [float(np.sqrt(max(one.box.width * one.box.height, 1.0))) for one in kept]
        if all(gap >= share * size for gap, size in zip(gaps, sizes, strict=True)):
            kept.append(face)
    return kept


def _shared(one: Floats, other: Floats) -> Floats:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.asarray(np.prod(np.clip(high - low, 0, None), axis=2), np.float32)


def _areas(edges: Floats) -> Floats:
    return np.asarray(np.prod(np.clip(edges[:, 2:] - edges[:, :2], 0, None), axis=1), np.float32)


def _decode_level(level: Level, threshold: float) -> Candidates:
    logit = float(np.log(threshold / (1 - threshold)))
    stored = level.score.stored
    cells = np.flatnonzero(stored.ravel() >= logit / level.score.scale + level.score.zero_point)
    rows, columns = np.divmod(cells, stored.shape[1])
    centre = ((np.stack([columns, rows], 1) + 0.5) * level.stride).astype(np.float32)
    distance = level.box.at(cells) * level.stride
    edges = np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], axis=1)
    offsets = level.landmarks.at(cells).reshape(-1, LANDMARKS, 2) * level.stride
    scores = 1 / (1 + np.exp(-level.score.at(cells)[:, 0]))
    return Candidates(edges, centre[:, None] + offsets, np.asarray(scores, np.float32))
