"""The device's own measures of a simulated frame, on landmarks that its second look puts on that frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from glancein.domain import align, quality
from glancein.domain import landmarks as look
from glancein.types import Box, Crop, Face
from glancein_training.finder.landmarks import LandmarkNetwork, load_network, put
from glancein_training.finder.looks import Source
from glancein_training.frames.spoil import Floats, Spoilt
from glancein_training.packs import STORED_PX, Pixels

MARGIN_PX = (STORED_PX - align.CROP_PX) // 2
# The order of the columns; ``quality.measure`` gives the same names.
MEASURES = (
    *("eye_distance_px", "blur_px", "light", "mean_light", "black_share", "burnt_share", "contrast"),
    *("nose_offset", "nose_height", "face_aspect", "mouth_detail", "eye_light", "outside_share"),
)


class SecondLook:
    """Landmarks of aligned crops by the network that the kiosk uses."""

    def __init__(self, weights: Path) -> None:
        self._network: LandmarkNetwork = load_network(weights)

    @torch.no_grad()
    def points(self, crops: Sequence[Pixels]) -> Floats:
        """(n, 5, 2) landmarks in the pixels of crops (112, 112, 3) or (128, 128, 3)."""
        offset = (crops[0].shape[0] - align.CROP_PX) // 2
        template = np.asarray(align.TEMPLATE, np.float32) + np.float32(offset)
        matrix = look.look_matrix(template)
        faces = [Source(np.ascontiguousarray(crop), template) for crop in crops]
        return np.stack(put(self._network, faces, [matrix] * len(faces)))


def measure(frame: Spoilt, landmarks: Floats) -> dict[str, float]:
    """Every measure by name as a kiosk takes it, which knows the face's size and the picture's edge."""
    left, top, right, bottom = frame.shown
    points = np.asarray(landmarks - np.array([left, top], np.float32), np.float32)
    crop = Crop(frame.pixels, frame.eyes_px / quality.EYES_APART_CROP_PX, 0.0)
    face = Face(Box(0, 0, right - left, bottom - top), points, 1.0)
    return quality.measure(crop, face, picture_px=(bottom - top, right - left))


def row_of(measures: dict[str, float]) -> Floats:
    """(13,) the measures in the order of MEASURES."""
    return np.array([measures[name] for name in MEASURES], np.float32)


def nose_offset(landmarks: Floats) -> float:
    """How far a head is turned by the device's geometry: nose from the face's middle, in eye distances."""
    blank = Crop(np.zeros((align.CROP_PX, align.CROP_PX, 3), np.uint8), 1.0, 0.0)
    return quality.measure(blank, Face(Box(0, 0, 1, 1), landmarks, 1.0))["nose_offset"]
