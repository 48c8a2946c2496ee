"""The second look at a face: rough landmarks bring it to a fixed pose, votes for the exact ones come back.

The look is 88 x 88 pixels: the face from brows to chin, the aligner's template at 0.95 of its size. Its
pixels are for the face: at 0.6, with a margin around the head, the landmarks were less exact.
Every cell of a grid of 11 x 11 says where it believes the five points are, and how much its word counts for
each; a further plane says whether there is a face at all.
"""

from __future__ import annotations

import math

import numpy as np

from glancein.domain import align
from glancein.types import Floats, Pixels

LOOK_PX = 88
LOOK_SCALE = 0.95
LOOK_MIDDLE = np.asarray([align.CROP_PX / 2, 68], np.float32)  # in the aligner's crop
CELL_PX = 8  # of the grid of votes; offsets count in these
GRID = LOOK_PX // CELL_PX
POINTS = 5
# Landmarks count from a picture's edge, OpenCV's matrices from the first pixel's middle.
HALF_PX = np.float32(0.5)
PADDING = 128  # int8 zero


def template() -> Floats:
    """(5, 2) where the landmarks of a frontal face lie in the look."""
    return (np.asarray(align.TEMPLATE, np.float32) - LOOK_MIDDLE) * np.float32(LOOK_SCALE) + LOOK_PX / 2


def look_matrix(landmarks: Floats) -> Floats:
    """(2, 3): middles of picture pixels -> look, by least squares. Raises ValueError as the aligner does."""
    matrix = align.plain_similarity(np.asarray(landmarks, np.float32) - HALF_PX) * np.float32(LOOK_SCALE)
    matrix[:, 2] += np.float32(LOOK_PX / 2) - LOOK_MIDDLE * np.float32(LOOK_SCALE)
    return np.asarray(matrix, np.float32)


def cut(pixels: Pixels, matrix: Floats) -> Pixels:
    """The look (88, 88, 3) of an RGB picture; much larger faces are halved by area first against aliasing."""
    import cv2  # noqa: PLC0415  # heavy, and not needed to import glancein

    pixels, adapted = _region(pixels, matrix)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    while scale < 0.5 and min(pixels.shape[:2]) > 1:
        height, width = pixels.shape[:2]
        even = pixels[: height // 2 * 2, : width // 2 * 2]
        half = (width // 2, height // 2)
        pixels = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), np.uint8)
        adapted[:, 2] += adapted[:, :2].sum(axis=1) * 0.5  # pixel centres: x = 2 x' + 0.5
        adapted[:, :2] *= 2
        scale *= 2
    size = (LOOK_PX, LOOK_PX)
    look = cv2.warpAffine(pixels, adapted, size, flags=cv2.INTER_LINEAR, borderValue=(PADDING,) * 3)
    return np.asarray(look, np.uint8)


def centres() -> Floats:
    """(11, 11, 2) middle of each cell in the look, row by row."""
    middle = np.arange(GRID, dtype=np.float32) * CELL_PX + (CELL_PX - 1) / 2
    return np.stack(np.meshgrid(middle, middle), axis=2)


def in_look(matrix: Floats, landmarks: Floats) -> Floats:
    """(5, 2) where landmarks of the picture lie in the look of this matrix."""
    return align.transform(matrix, np.asarray(landmarks - HALF_PX, np.float32))


def to_points(weights: Floats, offsets: Floats, matrix: Floats) -> Floats:
    """(5, 2) landmarks in picture pixels from the votes for the look of this matrix.

    weights (11, 11, 5): logits, a softmax over the cells gives each vote's share. offsets (11, 11, 10): x and
    y of the five points from the cell's middle, in cells.
    """
    shares = np.exp(weights - weights.max(axis=(0, 1)))
    shares /= shares.sum(axis=(0, 1))
    votes = centres()[:, :, None] + offsets.reshape(GRID, GRID, POINTS, 2) * np.float32(CELL_PX)
    voted = np.einsum("yxk,yxkc->kc", shares, votes)
    return align.transform(align.invert(matrix), np.asarray(voted, np.float32)) + HALF_PX


def joint_score(proposed: float, face_logits: Floats) -> float:
    """The probability of a face by both networks: the mean of their logits.

    proposed: the finder's probability. face_logits: the second look's plane (11, 11); its mean counts.
    """
    own = min(max(proposed, 1e-4), 1 - 1e-4)
    logit = 0.5 * (math.log(own / (1 - own)) + float(face_logits.mean()))
    return 1 / (1 + math.exp(-logit))


def _region(pixels: Pixels, matrix: Floats) -> tuple[Pixels, Floats]:
    """The part of the picture that the look shows, with a little margin, and the matrix from there."""
    corners = np.asarray([[0, 0], [LOOK_PX, 0], [0, LOOK_PX], [LOOK_PX, LOOK_PX]], np.float32)
    shown = align.transform(align.invert(matrix), corners)
    height, width = pixels.shape[:2]
    left, top = (int(v) for v in np.clip(np.floor(shown.min(axis=0)) - 4, 0, (width - 1, height - 1)))
    right, bottom = (
        int(v) for v in np.clip(np.ceil(shown.max(axis=0)) + 5, (left + 1, top + 1), (width, height))
    )
    adapted = np.array(matrix, np.float32)
    adapted[:, 2] += adapted[:, :2] @ np.asarray([left, top], np.float32)
    return pixels[top:bottom, left:right], adapted
