"""What is painted on a crop is what its labels say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

from glancein.domain import quality
from glancein_training.frames.spoil import DEFECTS, Defect, outside_share, spoil


def a_crop(seed: int = 0) -> np.ndarray:
    """Noise in blocks: edges everywhere, light in the middle."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.integers(40, 216, (16, 16, 3)).repeat(8, axis=0).repeat(8, axis=1), np.uint8)


def test_spoil_with_the_same_seed_gives_the_same_frame() -> None:
    """Frames can be drawn again."""
    first, second = (spoil(a_crop(), np.random.default_rng(3), chance=0.5) for _ in range(2))

    assert first.wrong == second.wrong
    assert np.array_equal(first.pixels, second.pixels)


def test_spoil_leaves_gaps_between_mild_and_plain() -> None:
    """Every frame is either well inside a label's limits or well outside."""
    rng = np.random.default_rng(0)

    frames = [spoil(a_crop(k), rng, chance=0.4) for k in range(80)]

    for frame in frames:
        share = outside_share(frame.shown)
        assert (share >= 0.15) if Defect.CUT_OFF in frame.wrong else (share <= 0.03)
        assert (frame.eyes_px <= 10) if Defect.LOW_RESOLUTION in frame.wrong else (frame.eyes_px >= 20)
        assert not {Defect.DARK, Defect.BURNT_OUT} <= frame.wrong
        assert Defect.TURNED_AWAY not in frame.wrong
    assert {defect for frame in frames for defect in frame.wrong} == set(DEFECTS) - {Defect.TURNED_AWAY}


def test_spoil_blackens_what_the_picture_does_not_show() -> None:
    """Beyond the edge there is nothing, as the aligner leaves it."""
    rng = np.random.default_rng(1)
    frame = next(f for f in iter(lambda: spoil(a_crop(), rng, chance=0.5), None) if Defect.CUT_OFF in f.wrong)
    left, top, right, bottom = frame.shown

    beyond = np.ones(frame.pixels.shape[:2], bool)
    beyond[top:bottom, left:right] = False

    assert beyond.any()
    assert not frame.pixels[beyond].any()


def test_outside_share_counts_the_oval_pixel_by_pixel() -> None:
    """The share of the device's own face oval that is missing."""
    x, y, half_width, half_height = quality.OVAL
    inside = [
        (column, row)
        for column in range(112)
        for row in range(112)
        if ((column - x) / half_width) ** 2 + ((row - y) / half_height) ** 2 <= 1
    ]

    share = outside_share((40, 0, 112, 100))

    missing = [1 for column, row in inside if column < 40 or row >= 100]
    assert share == pytest.approx(len(missing) / len(inside))
