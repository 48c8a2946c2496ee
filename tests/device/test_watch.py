"""A frozen, dark, covered or burnt-out picture is told, and an ordinary one is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain.watch import (
    ADVICE,
    Sight,
    Trouble,
    WatchLimits,
    is_same_picture,
    light_trouble,
    next_sight,
    trouble_of,
)
from glancein.types import Pixels

LIMITS = WatchLimits()


def test_light_when_the_scene_is_ordinary() -> None:
    """A picture with light and shade is in no trouble."""
    assert light_trouble(scene(1), LIMITS) is None


def test_light_when_only_noise_is_left() -> None:
    """Sensor noise around black is dark, not covered."""
    noise = np.random.default_rng(1).integers(0, 12, (120, 160, 3)).astype(np.uint8)

    assert light_trouble(noise, LIMITS) is Trouble.DARK


def test_light_when_a_bright_lamp_stands_in_a_dark_room() -> None:
    """A tenth of the picture in the light is enough to be seen by."""
    room = np.zeros((120, 160, 3), np.uint8)
    room[:, :16] = 200

    assert light_trouble(room, LIMITS) is None


def test_light_when_a_thumb_is_on_the_lens() -> None:
    """A reddish surface without light and shade is covered."""
    thumb = np.full((120, 160, 3), (140, 30, 25), np.uint8)

    assert light_trouble(thumb, LIMITS) is Trouble.COVERED


def test_light_when_the_sun_shines_into_the_lens() -> None:
    """A picture nearly all white is burnt out, whatever the rest shows."""
    sun = np.full((120, 160, 3), 255, np.uint8)
    sun[:20] = 60

    assert light_trouble(sun, LIMITS) is Trouble.BRIGHT


def test_light_when_the_wall_behind_is_white() -> None:
    """A person before a white wall is well lit."""
    portrait = np.full((120, 160, 3), 255, np.uint8)
    portrait[:, 40:90] = 120

    assert light_trouble(portrait, LIMITS) is None


def test_trouble_when_the_same_bytes_keep_coming() -> None:
    """The picture is frozen two seconds after it last changed, and not a frame earlier."""
    one, other = scene(1), scene(2)

    assert trouble_of(watched([(one, 0.0), (other, 1.0), (other, 2.9)]), LIMITS) is None
    assert trouble_of(watched([(one, 0.0), (other, 1.0), (other, 3.0)]), LIMITS) is Trouble.FROZEN


def test_trouble_when_a_frozen_picture_moves_again() -> None:
    """One changed picture ends the trouble."""
    assert trouble_of(watched([(scene(1), 0.0), (scene(1), 5.0), (scene(2), 5.1)]), LIMITS) is None


def test_trouble_when_somebody_walks_past_the_lens() -> None:
    """Darkness shorter than two seconds is nobody's business."""
    dark = [(shade(level), at_s) for level, at_s in ((1, 0.0), (2, 1.0), (1, 1.9))]

    assert trouble_of(watched(dark), LIMITS) is None
    assert trouble_of(watched([*dark, (shade(2), 2.0)]), LIMITS) is Trouble.DARK
    assert trouble_of(watched([*dark, (scene(1), 1.95), (shade(2), 2.0)]), LIMITS) is None


@pytest.mark.parametrize("trouble", list(Trouble))
def test_advice_when_there_is_trouble(trouble: Trouble) -> None:
    """Every trouble has a sentence that says what to do."""
    assert ";" in ADVICE[trouble]


@given(st.integers(1, 70), st.integers(1, 70), st.data())
def test_sameness_when_one_byte_differs(height: int, width: int, data: st.DataObject) -> None:
    """A single changed byte anywhere makes another picture; a copy does not."""
    one = np.random.default_rng(height * 71 + width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    other = one.copy()
    other.flat[data.draw(st.integers(0, one.size - 1))] ^= 1

    assert is_same_picture(one, one.copy())
    assert not is_same_picture(one, other)


def test_sameness_when_the_size_differs() -> None:
    """Pictures of two sizes are never the same."""
    assert not is_same_picture(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8))


def watched(pictures: Sequence[tuple[Pixels, float]]) -> Sight:
    sight: Sight | None = None
    for pixels, now_s in pictures:
        sight = next_sight(sight, pixels.copy(), now_s=now_s, limits=LIMITS)
    assert sight is not None
    return sight


def scene(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(20, 230, (120, 160, 3)).astype(np.uint8)


def shade(level: int) -> Pixels:
    return np.full((120, 160, 3), level, np.uint8)
