"""Stand-ins for networks and storage that behave as their ports promise, without a model or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from glancein.domain import align
from glancein.domain.person import Enrolment, Outcome, Person
from glancein.types import Box, Crop, Face, Floats, Pixels, Template

MODEL = "f" * 64


def face_at(x: float, y: float, eyes_apart: float, *, turn_deg: float = 0.0, score: float = 0.9) -> Face:
    """A frontal face whose eyes' middle lies at (x, y), turned about that point."""
    template = np.array(align.TEMPLATE, np.float32)
    centred = (template - template[:2].mean(axis=0)) * (eyes_apart / 35.24)
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    points = np.asarray(centred @ np.array([[cos, sin], [-sin, cos]], np.float32) + (x, y), np.float32)
    left, top = points.min(axis=0) - eyes_apart * 0.7
    right, bottom = points.max(axis=0) + eyes_apart * 0.7
    return Face(Box(float(left), float(top), float(right - left), float(bottom - top)), points, score)


def draw_face(pixels: Pixels, face: Face, *, seed: int = 0) -> None:
    """Paint a simple face into a picture: skin, brows, eyes, nose, lips; the seed makes another person."""
    shape = np.random.default_rng(seed).uniform(-1, 1, 12).astype(np.float32)
    portrait = cartoon(shape)
    matrix = align.invert(align.similarity(face.landmarks))
    size = (pixels.shape[1], pixels.shape[0])
    drawn = cv2.warpAffine(portrait, matrix, size, flags=cv2.INTER_AREA)
    mask = cv2.warpAffine(_oval(), matrix, size, flags=cv2.INTER_LINEAR)[:, :, None].astype(np.float32) / 255
    pixels[:] = np.rint(pixels * (1 - mask) + drawn * mask).astype(np.uint8)


def cartoon(shape: Floats) -> Pixels:
    """A 112 x 112 face in the canonical pose, drawn from twelve numbers between -1 and 1."""
    skin = np.array((188, 150, 128)) + 25 * shape[0]
    image = np.full((112, 112, 3), skin, np.float64)
    rows = np.linspace(-1, 1, 112)[:, None, None]
    image += 14 * (1 - rows**2) - 10  # a little light from the front
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    for eye_x, eye_y in align.TEMPLATE[:2]:
        x, y = round(eye_x), round(eye_y)
        brow = round(y - 10 + 2 * float(shape[1]))
        cv2.line(
            canvas, (x - 10, brow + round(2 * float(shape[2]))), (x + 10, brow), (70, 48, 40), 3, cv2.LINE_AA
        )
        cv2.ellipse(canvas, (x, y), (8, 4), 0, 0, 360, (235, 230, 226), -1, cv2.LINE_AA)
        cv2.circle(
            canvas,
            (x, y),
            3 + round(float(shape[3])),
            (60, 40 + round(30 * float(shape[4])), 30),
            -1,
            cv2.LINE_AA,
        )
    nose = 6 + round(2 * float(shape[5]))
    cv2.ellipse(canvas, (56, 74), (nose, 4), 0, 0, 180, (130, 92, 78), 2, cv2.LINE_AA)
    lips = (14 + round(4 * float(shape[6])), 5 + round(2 * float(shape[7])))
    cv2.ellipse(
        canvas, (56, 92), lips, 0, 0, 360, (150, 70 + round(20 * float(shape[8])), 72), -1, cv2.LINE_AA
    )
    cv2.line(canvas, (56 - lips[0], 92), (56 + lips[0], 92), (90, 36, 40), 2, cv2.LINE_AA)
    spot = (round(40 + 30 * abs(float(shape[9]))), round(104 + 4 * float(shape[10])))
    cv2.circle(canvas, spot, 3, (80, 50, 45), -1, cv2.LINE_AA)
    return canvas


def _small_grey(pixels: Pixels) -> Floats:
    grey = pixels.mean(axis=2, dtype=np.float32)[14:98, 14:98]
    small = np.asarray(cv2.resize(grey, (28, 28), interpolation=cv2.INTER_AREA), np.float32).ravel()
    return np.asarray(small - small.mean(), np.float32)


def _oval() -> Pixels:
    mask = np.zeros((112, 112), np.uint8)
    cv2.ellipse(mask, (56, 66), (44, 54), 0, 0, 360, 255, -1, cv2.LINE_AA)
    return mask


@dataclass(slots=True)
class FakeFinder:
    """Finds the faces it was told, in every picture."""

    faces: list[Face] = field(default_factory=list)

    def find(self, _pixels: Pixels) -> list[Face]:
        """Best score first."""
        return sorted(self.faces, key=lambda face: -face.score)

    def find_near(self, pixels: Pixels, _box: Box) -> list[Face]:
        """As find."""
        return self.find(pixels)

    def search(self, pixels: Pixels) -> list[Face]:
        """As find."""
        return self.find(pixels)


@dataclass(frozen=True, slots=True)
class FakeEmbedder:
    """A fixed random projection of what differs from person to person: like crops get like vectors."""

    model_sha256: str = MODEL

    def embed(self, crops: Sequence[Crop]) -> Floats:
        """(n, 128) unit rows."""
        projection = np.random.default_rng(1).normal(0, 1, (28 * 28, 128)).astype(np.float32)
        usual = _small_grey(cartoon(np.zeros(12, np.float32)))
        rows = []
        for crop in crops:
            small = _small_grey(crop.pixels)
            vector = (small - usual) @ projection
            rows.append(vector / max(float(np.linalg.norm(vector)), 1e-6))
        return np.asarray(rows, np.float32).reshape(len(rows), 128)


@dataclass(slots=True)
class FakeRegister:
    """Enrolled people in a dictionary."""

    stored: dict[str, Enrolment] = field(default_factory=dict)

    def templates(self, model_sha256: str) -> list[Template]:
        """Templates made by this model."""
        mine = [(p, e) for p, e in self.stored.items() if e.model_sha256 == model_sha256]
        return [Template(person_id, e.vector, e.model_sha256) for person_id, e in mine]

    def people(self) -> list[Person]:
        """Everybody."""
        at = datetime(2026, 1, 1, tzinfo=UTC)
        return [Person(p, e.name, at, e.photo_sha256, (e.model_sha256,)) for p, e in self.stored.items()]

    def replace(self, person_id: str, enrolment: Enrolment, *, at: datetime) -> Outcome:
        """Enrol or re-enrol."""
        assert at.tzinfo is not None
        before = self.stored.get(person_id)
        self.stored[person_id] = enrolment
        if before is None:
            return Outcome.ADDED
        same = (before.name, before.photo_sha256) == (enrolment.name, enrolment.photo_sha256)
        return Outcome.UNCHANGED if same else Outcome.REPLACED


@dataclass(slots=True)
class FakePictures:
    """Pictures that were never files: a name stands for its pixels."""

    pixels: dict[str, Pixels] = field(default_factory=dict)

    def fetch(self, source: Path | str | bytes) -> tuple[bytes, str]:
        """The last part of the path is both content and name."""
        name = source.decode() if isinstance(source, bytes) else Path(source).name
        return name.encode(), name

    def decode(self, data: bytes, name: str) -> Pixels:
        """The pixels put under that name."""
        assert name
        return self.pixels[data.decode()]
