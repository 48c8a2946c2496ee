"""Float <-> int8, rounded and saturated: real value = scale * (step - zero_point)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glancein.types import Floats, Pixels

Int8s = NDArray[np.int8]

LOWEST_STEP, HIGHEST_STEP = -128, 127


def to_int8(values: Floats, *, scale: float, zero_point: int) -> Int8s:
    """Nearest step of each value (ties to even), saturated at -128 and 127; NaN becomes the zero point.

    Raises ValueError if the scale is not a positive number.
    """
    _check(scale)
    steps = np.rint(np.asarray(values, np.float64) / scale) + zero_point
    finite = np.nan_to_num(steps, nan=zero_point, posinf=HIGHEST_STEP, neginf=LOWEST_STEP)
    return np.asarray(np.clip(finite, LOWEST_STEP, HIGHEST_STEP), np.int8)


def to_float(steps: Int8s, *, scale: float, zero_point: int) -> Floats:
    """Real values of int8 steps. Raises ValueError if the scale is not a positive number."""
    _check(scale)
    return (steps.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def pixels_to_int8(pixels: Pixels) -> Int8s:
    """Network input of a picture, any shape: value = pixel - 128, nothing lost."""
    return (np.ascontiguousarray(pixels, np.uint8) ^ np.uint8(0x80)).view(np.int8)


def _check(scale: float) -> None:
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"the quantisation scale must be a positive number, not {scale}")
