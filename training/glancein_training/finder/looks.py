"""What the second look learns from: faces and false faces brought to its pose, not quite exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from glancein.domain import align
from glancein.domain import landmarks as look
from glancein.domain.detect import overlaps
from glancein.types import Face
from glancein_training.finder import backgrounds, data, predict
from glancein_training.finder.data import Floats, Picture, Pixels
from glancein_training.finder.disturb import Strength, disturb
from glancein_training.finder.network import Finder
from glancein_training.finder.scenes import hide

Rows = NDArray[np.int64]

FALSE, POSE, OWN = range(3)  # no face; a face of which the pose is known; and all its points

TEMPLATE = np.asarray(align.TEMPLATE, np.float32)
CROP_MARGIN_PX = 8  # of the stored crops, around the aligner's
FALSE_SCORE = 0.1  # proposals from this score on that lie on no label are false faces
APART = 0.1  # they overlap a label less than this
BLANK_PX = (256, 192)  # faceless pictures to look for false faces in


@dataclass(frozen=True, slots=True)
class Jitter:
    """How far the rough pose may be off: turned, scaled and shifted around the look's middle."""

    rotate_deg: float = 12.0  # standard deviations
    scale: float = 0.12
    shift_px: float = 5.5


@dataclass(frozen=True, slots=True)
class Choice:
    """What kinds of looks are made."""

    false_share: float = 0.25
    crops_share: float = 0.2
    small_share: float = 0.5  # of the looks that are off by a quarter of the jitter only: a second pass
    hidden: float = 0.08
    jitter: Jitter = Jitter()
    strength: Strength = field(default_factory=lambda: Strength(coarse=0.15, blur=0.15, noise=0.2, jpeg=0.15))


@dataclass(frozen=True, slots=True)
class Source:
    """A place to look at: a face, of which all points or only the pose is known, or none."""

    pixels: Pixels
    landmarks: Floats  # (5, 2)
    kind: int = OWN


class Batch(NamedTuple):
    """Looks with what should be said of them."""

    pixels: Tensor  # (n, 3, 88, 88) uint8
    points: Tensor  # (n, 5, 2) in the look
    kinds: Tensor  # (n,) FALSE, POSE or OWN


def sources_of(
    pictures: Sequence[Picture], *, sure_face: float = 0.75, smallest_px: float = 24.0
) -> list[Source]:
    """Every face that is sure and large enough."""
    return [
        Source(picture.pixels, picture.labels.landmarks[index])
        for picture in pictures
        for index in range(len(picture.labels))
        if picture.labels.scores[index] >= sure_face and picture.labels.boxes[index, 2:].min() >= smallest_px
    ]


def false_faces(finder: Finder, pictures: Sequence[Picture], *, blanks: int, seed: int = 3) -> list[Source]:
    """Where a finder sees faces that are none: in these pictures and in so many faceless ones."""
    rng = np.random.default_rng(seed)
    width, height = BLANK_PX
    nobody = data.labels_of([])
    drawn = [
        Picture("", backgrounds.faceless(pictures, rng, width=width, height=height), nobody)
        for _ in range(blanks)
    ]
    shown = [*pictures, *drawn]
    found = predict.find_all(finder, shown, lowest=FALSE_SCORE)
    return [
        Source(picture.pixels, face.landmarks, FALSE)
        for picture, faces in zip(shown, found, strict=True)
        for face in apart(faces, picture.labels)
        if np.ptp(face.landmarks, axis=0).max() > 1
    ]


def apart(faces: Sequence[Face], labels: data.Labels) -> list[Face]:
    """The faces that lie on no label, however unsure that is."""
    if not faces or not len(labels):
        return list(faces)
    boxes = [face.box for face in faces]
    edges = np.asarray([[b.left, b.top, b.left + b.width, b.top + b.height] for b in boxes], np.float32)
    known = np.concatenate([labels.boxes[:, :2], labels.boxes[:, :2] + labels.boxes[:, 2:]], axis=1)
    shared = overlaps(edges, known).max(axis=1)
    return [face for face, share in zip(faces, shared, strict=True) if share < APART]


def jittered(matrix: Floats, rng: Generator, jitter: Jitter, *, reach: float = 1.0) -> Floats:
    """The matrix followed by a random turn, scale and shift, ``reach`` times the jitter's."""
    angle = np.radians(rng.normal(0, reach * jitter.rotate_deg))
    size = np.exp(rng.normal(0, reach * jitter.scale))
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, look.LOOK_PX / 2)
    shift = middle - turn @ middle + rng.normal(0, reach * jitter.shift_px, 2)
    return np.asarray(np.column_stack([turn @ matrix[:, :2], turn @ matrix[:, 2] + shift]), np.float32)


class Looks(Dataset[Batch]):
    """The endless stream of looks: batch k depends on the seed and k alone."""

    def __init__(
        self,
        sources: tuple[Sequence[Source], Sequence[Source]],
        crops: tuple[Pixels, Rows],
        choice: Choice,
        *,
        batch: int = 64,
        seed: int = 1,
    ) -> None:
        """sources: faces, and false faces (may be none). crops: stored crops and which of them to take."""
        self.faces, self.false = sources
        self.crops, self.rows = crops
        self.choice = choice
        self.batch = batch
        self.seed = seed

    def __getitem__(self, first: int) -> Batch:
        """The batch that begins with look number ``first``."""
        rng = np.random.default_rng([self.seed, first])
        cv2.setNumThreads(0)
        cv2.setRNGSeed(first % 2**31)
        made = [self.one(rng, self.draw(rng)) for _ in range(self.batch)]
        return Batch(
            torch.from_numpy(np.stack([pixels for pixels, *_ in made])).permute(0, 3, 1, 2),
            torch.from_numpy(np.stack([points for _, points, _ in made])),
            torch.tensor([kind for *_, kind in made]),
        )

    def draw(self, rng: Generator) -> Source:
        """A face, a stored crop or a false face."""
        kind = rng.random()
        if self.false and kind < self.choice.false_share:
            return self.false[int(rng.integers(len(self.false)))]
        if len(self.rows) and kind > 1 - self.choice.crops_share:
            return Source(np.asarray(self.crops[rng.choice(self.rows)]), TEMPLATE + CROP_MARGIN_PX, POSE)
        return self.faces[int(rng.integers(len(self.faces)))]

    def one(self, rng: Generator, source: Source) -> tuple[Pixels, Floats, int]:
        """One look with its points and kind."""
        reach = 0.25 if rng.random() < self.choice.small_share else 1.0
        matrix = jittered(look.look_matrix(source.landmarks), rng, self.choice.jitter, reach=reach)
        pixels = look.cut(source.pixels, matrix)
        points = look.in_look(matrix, source.landmarks)
        if rng.random() < 0.5:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
            points = (
                np.asarray([look.LOOK_PX - 1, 0], np.float32) + points * np.asarray([-1, 1], np.float32)
            )[[1, 0, 2, 4, 3]]
        if rng.random() < self.choice.hidden:
            hide(pixels, points, rng)
        return disturb(pixels, rng, self.choice.strength), np.asarray(points, np.float32), source.kind
