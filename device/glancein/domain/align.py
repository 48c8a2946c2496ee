"""Five landmarks -> similarity transform -> canonical 112 x 112 crop. The only aligner anywhere."""

from __future__ import annotations

import itertools
import math
import struct
from dataclasses import replace

import numpy as np

from glancein.types import Crop, Floats, Pixels

CROP_PX = 112
# The first bytes of a crop's PNG: signature, and the header chunk (13 bytes) as far as width and height.
CROP_BEGINS = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", CROP_PX, CROP_PX)
LOOK_PX = 2
SOFT_PX = 0.7  # 1 of 350 scanned badges misses its person, 8 without (docs/experiments-embedder.md, h1)
# Where the landmarks of an upright frontal face belong: the template the embedder was trained on.
TEMPLATE: tuple[tuple[float, float], ...] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def crop(pixels: Pixels, landmarks: Floats, *, out_px: int = CROP_PX) -> Crop:
    """Cut one face out of an RGB picture (h, w, 3) in the canonical pose.

    landmarks (5, 2) in picture pixels. With ``out_px`` above 112 the crop keeps that much more on every side
    at the same scale. Raises ValueError if the landmarks coincide or are not finite.
    """
    import cv2  # noqa: PLC0415  # heavy, and not needed to import glancein

    matrix = similarity(landmarks)
    centred = matrix.copy()
    centred[:, 2] += (out_px - CROP_PX) / 2
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    source, to_crop = _halve_until_sharp(pixels, centred, scale)
    cut = cv2.warpAffine(source, to_crop, (out_px, out_px), flags=cv2.INTER_LINEAR)
    moved = transform(matrix, landmarks)
    residual = float(np.sqrt(np.mean(np.sum((moved - np.asarray(TEMPLATE, np.float32)) ** 2, axis=1))))
    return Crop(np.asarray(cut, np.uint8), 1.0 / scale, residual)


def softened(enlarged: Crop) -> Crop:
    """A crop without the edges of the source pixels, printed dots and JPEG blocks that enlarging shows.

    Its Gaussian blur takes the spread of a crop pixel to that of a source pixel, ``SOFT_PX`` of either; a
    crop that was not enlarged stays as it is.
    """
    import cv2  # noqa: PLC0415  # as above

    if enlarged.source_px_per_crop_px >= 1:
        return enlarged
    spread_px = SOFT_PX * math.sqrt(enlarged.source_px_per_crop_px**-2 - 1)
    soft = cv2.GaussianBlur(enlarged.pixels, (0, 0), spread_px)
    return replace(enlarged, pixels=np.asarray(soft, np.uint8))


def looks(centred: Crop) -> tuple[Crop, ...]:
    """The crop, and the crop moved by ``LOOK_PX`` to the four sides and corners: as far as finders are off.

    Pixels at the edge are repeated, so that a stored crop gives the same looks as the photo did.
    """
    side = len(centred.pixels)
    wide = np.pad(centred.pixels, ((LOOK_PX, LOOK_PX), (LOOK_PX, LOOK_PX), (0, 0)), mode="edge")
    steps = (LOOK_PX, 0, 2 * LOOK_PX)  # the crop itself comes first
    return tuple(
        replace(centred, pixels=wide[top : top + side, left : left + side])
        for top, left in itertools.product(steps, steps)
    )


def similarity(landmarks: Floats) -> Floats:
    """(2, 3) matrix that takes picture pixels to crop pixels: rotation, one scale, shift.

    Least median of squares (Rousseeuw 1984): every pair of landmarks proposes a transform, the one with the
    smallest median residual wins, and the least-squares fit (Umeyama 1991) to its inliers is returned. One
    landmark far off, such as a nose tip of a turned head, does not tilt the face.
    """
    points = np.asarray(landmarks, np.float64)
    target = np.asarray(TEMPLATE, np.float64)
    if points.shape != target.shape or not np.isfinite(points).all():
        raise ValueError("landmarks must be five finite points")
    best: tuple[float, np.ndarray] | None = None
    for pair in itertools.combinations(range(len(target)), 2):
        rows = list(pair)
        if np.hypot(*(points[rows[0]] - points[rows[1]])) < 1e-6:
            continue
        squared = _squared_residuals(_least_squares(points[rows], target[rows]), points, target)
        median = float(np.median(squared))
        if best is None or median < best[0]:
            best = median, squared
    if best is None:
        raise ValueError("landmarks coincide")
    # Rousseeuw and Leroy 1987, section 5: robust scale from the median, inliers within 2.5 of it.
    sigma = 1.4826 * (1 + 5 / (len(points) - 2)) * np.sqrt(best[0])
    inliers = best[1] <= max((2.5 * sigma) ** 2, 1e-6)
    return np.asarray(_least_squares(points[inliers], target[inliers]), np.float32)


def plain_similarity(landmarks: Floats) -> Floats:
    """(2, 3) matrix as ``similarity``, by least squares over all five: steadier for rough landmarks.

    Raises ValueError if the landmarks coincide or are not finite.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (len(TEMPLATE), 2) or not np.isfinite(points).all():
        raise ValueError("landmarks must be five finite points")
    if np.ptp(points, axis=0).max() < 1e-6:
        raise ValueError("landmarks coincide")
    return np.asarray(_least_squares(points, np.asarray(TEMPLATE, np.float64)), np.float32)


def transform(matrix: Floats, points: Floats) -> Floats:
    """Apply a (2, 3) affine matrix to (n, 2) points."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def invert(matrix: Floats) -> Floats:
    """The (2, 3) matrix that goes back."""
    full = np.vstack([np.asarray(matrix, np.float64), [0.0, 0.0, 1.0]])
    return np.asarray(np.linalg.inv(full)[:2], np.float32)


def _least_squares(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Similarity without reflection as one complex ratio: target = a * point + b."""
    here = points[:, 0] + 1j * points[:, 1]
    there = target[:, 0] + 1j * target[:, 1]
    centred = here - here.mean()
    a = np.vdot(centred, there - there.mean()) / np.vdot(centred, centred).real
    b = there.mean() - a * here.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _squared_residuals(matrix: np.ndarray, points: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum((points @ matrix[:, :2].T + matrix[:, 2] - target) ** 2, axis=1))


def _halve_until_sharp(pixels: Pixels, matrix: Floats, scale: float) -> tuple[Pixels, Floats]:
    """Shrink a much larger source by area first, so that the warp does not alias."""
    import cv2  # noqa: PLC0415  # as above

    halvings = int(np.floor(np.log2(max(1.0, 0.75 / scale))))
    if halvings == 0:
        return pixels, matrix
    factor = 2**halvings
    height, width = pixels.shape[:2]
    small = cv2.resize(
        pixels, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_AREA
    )
    stretch_x, stretch_y = width / small.shape[1], height / small.shape[0]
    adapted = matrix.copy()
    adapted[:, 0] *= stretch_x
    adapted[:, 1] *= stretch_y
    # Pixel centres: x_source = stretch * (x_small + 0.5) - 0.5.
    adapted[:, 2] += matrix[:, 0] * (stretch_x - 1) / 2 + matrix[:, 1] * (stretch_y - 1) / 2
    return np.asarray(small, np.uint8), adapted
