"""The second look at a face: rough landmarks bring it to a fixed pose, offsets from the template come back.

The look is 80 x 80 pixels: the aligner's template at 0.6 of its size, 6.4 pixels of margin on every side.
"""

from __future__ import annotations

import numpy as np

from glancein.domain import align
from glancein.types import Floats, Pixels

LOOK_PX = 80
LOOK_SCALE = 0.6
OUTPUT_UNIT_PX = 8.0  # the network's outputs count in these, from the template's points
PADDING = 128  # int8 zero


def template() -> Floats:
    """(5, 2) where the landmarks of a frontal face lie in the look."""
    return (np.asarray(align.TEMPLATE, np.float32) - align.CROP_PX / 2) * np.float32(LOOK_SCALE) + LOOK_PX / 2


def look_matrix(landmarks: Floats) -> Floats:
    """(2, 3): picture pixels -> look, by the aligner's similarity. Raises ValueError as the aligner does."""
    matrix = align.similarity(landmarks) * np.float32(LOOK_SCALE)
    matrix[:, 2] += np.float32(LOOK_PX / 2 - align.CROP_PX / 2 * LOOK_SCALE)
    return np.asarray(matrix, np.float32)


def cut(pixels: Pixels, matrix: Floats) -> Pixels:
    """The look (80, 80, 3) of an RGB picture; much larger faces are halved by area first against aliasing."""
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


def to_points(offsets: Floats, matrix: Floats) -> Floats:
    """(5, 2) landmarks in picture pixels from the network's ten outputs for the look of this matrix."""
    in_look = template() + np.asarray(offsets, np.float32).reshape(5, 2) * np.float32(OUTPUT_UNIT_PX)
    return align.transform(align.invert(matrix), in_look)


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
