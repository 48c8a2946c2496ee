"""Frame -> decision: straight-line code over the ports, no I/O of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from glancein.domain import align, quality
from glancein.domain.decide import decide
from glancein.domain.gallery import Gallery
from glancein.ports import Embedder, FaceFinder
from glancein.types import Candidate, Decision, Face, Frame, Limits, Quality, Reason, Rejected

# Two faces closer in size than this both stand in front of the kiosk; a much smaller one passes behind.
RIVAL_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Sight:
    """What one frame gave: the face it was about, its quality, the decision, and who came nearest."""

    frame: Frame
    face: Face | None
    quality: Quality | None
    decision: Decision | None  # None: nobody is there
    ranked: tuple[Candidate, ...] = ()  # best first, whatever was decided; never for the person to see


class Eye(Protocol):
    """What the kiosk needs of a pipeline."""

    @property
    def model_sha256(self) -> str:
        """Hash of the model whose templates it compares with."""

    def look(self, frame: Frame, gallery: Gallery, limits: Limits) -> Sight:
        """Decide who stands in front of the kiosk in this frame."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Implements Eye: a finder, an embedder and the limits of quality they need."""

    finder: FaceFinder
    embedder: Embedder
    probe_limits: quality.QualityLimits

    @property
    def model_sha256(self) -> str:
        """Hash of the embedder's model."""
        return self.embedder.model_sha256

    def look(self, frame: Frame, gallery: Gallery, limits: Limits) -> Sight:
        """Decide who stands in front of the kiosk in this frame."""
        faces = self.finder.find(frame.pixels)
        if not faces:
            return Sight(frame, None, None, None)
        nearest = max(faces, key=eye_distance_px)
        if has_rival(nearest, faces):
            return Sight(frame, nearest, None, Rejected(Reason.SEVERAL_FACES))
        crop = align.crop(frame.pixels, nearest.landmarks)
        seen = quality.check(crop, nearest, self.probe_limits, picture_px=frame.pixels.shape[:2])
        if seen.findings:
            return Sight(frame, nearest, seen, Rejected(seen.findings[0].reason, findings=seen.findings))
        embedding = self.embedder.embed([crop])[0]
        ranked = gallery.rank(embedding)
        return Sight(frame, nearest, seen, decide(ranked, limits), tuple(ranked))


def eye_distance_px(face: Face) -> float:
    """Pixels between the eyes: how near a face is."""
    left, right = face.landmarks[0], face.landmarks[1]
    return float(((left - right) ** 2).sum() ** 0.5)


def has_rival(nearest: Face, faces: list[Face]) -> bool:
    """True when a second face stands about as near as the nearest one."""
    limit = RIVAL_SHARE * eye_distance_px(nearest)
    return sum(eye_distance_px(face) >= limit for face in faces) > 1
