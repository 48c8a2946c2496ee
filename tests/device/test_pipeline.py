"""One frame, one decision: who stands nearest, alone, well seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from glancein.domain import quality
from glancein.domain.align import TEMPLATE
from glancein.domain.gallery import gather
from glancein.pipeline import Pipeline
from glancein.scenes import place
from glancein.types import (
    Accepted,
    Box,
    Crop,
    Face,
    Floats,
    Frame,
    Limits,
    Pixels,
    Reason,
    Rejected,
    Template,
)

LIMITS = Limits(accept_cos=0.5, margin_cos=0.05)
MODEL = "ef" * 32


def face(eye_px: float, *, x: float = 320, y: float = 240) -> Face:
    """A frontal face with its nose at (x, y)."""
    spread = (np.asarray(TEMPLATE, np.float32) - np.asarray(TEMPLATE[2], np.float32)) * np.float32(
        eye_px / 35.24
    )
    landmarks = spread + np.asarray([x, y], np.float32)
    return Face(Box(x - eye_px, y - eye_px, 2 * eye_px, 2 * eye_px), landmarks, 0.9)


@dataclass
class Finder:
    """Finds what it is told."""

    faces: list[Face]

    def find(self, pixels: Pixels) -> list[Face]:
        assert pixels.ndim == 3
        return self.faces

    def find_near(self, pixels: Pixels, box: Box) -> list[Face]:
        raise AssertionError((pixels.shape, box))

    def search(self, pixels: Pixels) -> list[Face]:
        raise AssertionError(pixels.shape)


class FixedEmbedder:
    """Everybody looks like the first axis."""

    model_sha256 = MODEL

    def embed(self, crops: Sequence[Crop]) -> Floats:
        return np.eye(1, 128, dtype=np.float32).repeat(len(crops), axis=0)


def look(faces: list[Face], pixels: Pixels) -> Accepted | Rejected | None:
    gallery = gather([Template("E1", np.eye(1, 128, dtype=np.float32)[0], MODEL)])
    pipeline = Pipeline(Finder(faces), FixedEmbedder(), quality.PROBE_LIMITS)
    return pipeline.look(Frame(pixels, 0.0), gallery, LIMITS).decision


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    return place("collins.jpg")


def test_look_when_nobody_is_there(portrait: Pixels) -> None:
    """No face is no decision, not a refusal."""
    assert look([], portrait) is None


def test_look_when_two_stand_equally_near(portrait: Pixels) -> None:
    """Two people at the kiosk are asked to come one at a time."""
    assert look([face(60), face(50, x=500)], portrait) == Rejected(Reason.SEVERAL_FACES)


def test_look_when_somebody_passes_behind(portrait: Pixels) -> None:
    """A much smaller face in the background disturbs nobody."""
    answer = look([face(20, x=600), face(64, y=250)], portrait)

    assert isinstance(answer, Accepted)
    assert answer.person_id == "E1"


def test_look_when_the_picture_is_black() -> None:
    """A face too dark to compare is refused with its reason and what to do, and not embedded."""
    answer = look([face(60)], np.zeros((480, 640, 3), np.uint8))

    assert isinstance(answer, Rejected)
    assert answer.reason is Reason.TOO_DARK
    assert answer.findings[0].advice
