"""Numbers that cross the int8 border are rounded and saturated on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from glancein.domain.quantize import Int8s, pixels_to_int8, to_float, to_int8
from glancein.types import Floats

scales = st.floats(1e-6, 1e3)
zero_points = st.integers(-128, 127)
all_steps = np.arange(-128, 128).astype(np.int8)


@given(scale=scales, zero_point=zero_points)
def test_every_step_survives_the_round_trip(scale: float, zero_point: int) -> None:
    """int8 -> float -> int8 is the identity for any scale and zero point."""
    values = to_float(all_steps, scale=scale, zero_point=zero_point)

    assert np.array_equal(to_int8(values, scale=scale, zero_point=zero_point), all_steps)


@given(
    values=arrays.arrays(np.float32, 20, elements=st.floats(-1e6, 1e6, width=32)),
    scale=scales,
    zero_point=zero_points,
)
def test_value_comes_back_within_half_a_step_or_saturated(
    values: np.ndarray[tuple[int], np.dtype[np.float32]], scale: float, zero_point: int
) -> None:
    """Inside the range at most half a step is lost; outside it the nearest end is taken."""
    lowest, highest = scale * (-128 - zero_point), scale * (127 - zero_point)

    back = to_float(to_int8(values, scale=scale, zero_point=zero_point), scale=scale, zero_point=zero_point)

    nearest = np.clip(values.astype(np.float64), lowest, highest)
    assert np.all(np.abs(back - nearest) <= scale * (0.5 + 1e-4))


def test_value_past_the_end_saturates_instead_of_wrapping() -> None:
    """1.6 at scale 1/128 is 127, not -51; infinities are ends and NaN is zero."""
    values = np.array([1.6, -1.6, np.inf, -np.inf, np.nan], np.float32)

    assert to_int8(values, scale=1 / 128, zero_point=0).tolist() == [127, -128, 127, -128, 0]


def test_half_steps_go_to_the_even_neighbour() -> None:
    """The runtime's own rounding of inputs."""
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)

    assert to_int8(values, scale=1.0, zero_point=0).tolist() == [0, 2, 2, 0, -2]


def test_pixel_becomes_itself_minus_128() -> None:
    """Every pixel value, compared with the plain subtraction."""
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 64)

    steps: Int8s = pixels_to_int8(pixels)

    assert np.array_equal(steps, pixels.astype(np.int16) - 128)
    real: Floats = (pixels.astype(np.float32) - np.float32(128)) / np.float32(128)
    assert np.array_equal(steps, to_int8(real, scale=1 / 128, zero_point=0))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_scale_is_refused(scale: float) -> None:
    """A scale that is not a positive number never divides anything."""
    with pytest.raises(ValueError, match="positive"):
        to_int8(np.zeros(1, np.float32), scale=scale, zero_point=0)
