"""How usable an aligned face is: size, sharpness, light, contrast, pose, covering -> Quality with reasons.

Every measure is taken on the canonical 112 x 112 crop, so one limit fits every picture. What each means, its
limits and the pictures they were set on are in docs/reasons.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from glancein.domain import align
from glancein.domain.advice import ADVICE
from glancein.types import Crop, Face, Finding, Floats, Pixels, Quality, Reason

EYES_APART_CROP_PX = 35.24  # between the eyes of align.TEMPLATE
# The face itself, without hair, ears and background: an ellipse in crop pixels (centre x, y; half axes).
OVAL = (56.0, 70.0, 30.0, 40.0)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_BURNT = 254  # a channel this high has lost its detail
_BLACK = 0.06
# Blur is read where the coarse gradient is strongest: edges of eyes, nose and mouth, not skin and its noise.
_EDGE_SHARE = 0.15
_FINE_PX, _COARSE_PX = 1.0, 2.0
_DIRECTIONS = ((1.0, 0.0), (0.0, 1.0), (0.7071, 0.7071), (0.7071, -0.7071))  # a hand may move any way


class Audience(StrEnum):
    """Whom the advice speaks to: who brings a photo, or who stands in front of the kiosk."""

    PHOTOGRAPHER = "photographer"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a face must reach. Lengths are crop pixels unless they say otherwise; light is 0 (black) to 1."""

    audience: Audience
    eye_distance_px: float  # at least: picture pixels between the eyes
    max_blur_px: float  # standard deviation of the equivalent Gaussian blur
    min_light: float  # the brightest 5 % of the face, so that dark skin is not taken for a dark picture
    max_black_share: float
    max_burnt_share: float
    max_mean_light: float
    min_contrast: float
    max_nose_offset: float  # from the middle of the face, in eye distances
    min_nose_height: float  # 0 level with the eyes, 1 level with the mouth
    max_nose_height: float
    max_face_aspect: float  # eyes to mouth over eye to eye: grows as a head turns to profile
    min_mouth_detail: float  # edges at the mouth over edges at the eyes
    min_eye_light: float  # the brighter eye region over the skin below it
    max_outside_share: float  # of the face oval beyond the picture's edge


PHOTO_LIMITS = QualityLimits(
    audience=Audience.PHOTOGRAPHER,
    eye_distance_px=12.0,
    max_blur_px=3.6,
    min_light=0.20,
    max_black_share=0.35,
    max_burnt_share=0.30,
    max_mean_light=0.85,
    min_contrast=0.030,
    max_nose_offset=0.35,
    min_nose_height=0.35,
    max_nose_height=0.80,
    max_face_aspect=1.50,
    min_mouth_detail=0.25,
    min_eye_light=0.23,
    max_outside_share=0.10,
)
PHOTO_WISHES = QualityLimits(
    audience=Audience.PHOTOGRAPHER,
    eye_distance_px=24.0,
    max_blur_px=2.4,
    min_light=0.30,
    max_black_share=0.10,
    max_burnt_share=0.10,
    max_mean_light=0.78,
    min_contrast=0.045,
    max_nose_offset=0.20,
    min_nose_height=0.42,
    max_nose_height=0.72,
    max_face_aspect=1.30,
    min_mouth_detail=0.30,
    min_eye_light=0.32,
    max_outside_share=0.02,
)
PROBE_LIMITS = QualityLimits(
    audience=Audience.PERSON,
    eye_distance_px=20.0,
    max_blur_px=4.2,
    min_light=0.12,
    max_black_share=0.60,
    max_burnt_share=0.45,
    max_mean_light=0.92,
    min_contrast=0.020,
    max_nose_offset=0.55,
    min_nose_height=0.20,
    max_nose_height=0.95,
    max_face_aspect=1.80,
    min_mouth_detail=0.20,
    min_eye_light=0.20,
    max_outside_share=0.25,
)

_PHOTO_ADVICE: Mapping[Reason, str] = {
    Reason.TOO_SMALL: "Scan or photograph the badge closer, or take the original photo.",
    Reason.BLURRED: "Take a sharp photo: hold still, focus, more light.",
    Reason.TOO_DARK: "Take the photo in more light, from the front.",
    Reason.TOO_BRIGHT: "Take the photo without flash or direct sun on the face.",
    Reason.LOW_CONTRAST: "Take the original photo: this one is faded or foggy.",
    Reason.TURNED_AWAY: "Take a photo that looks straight into the camera.",
    Reason.COVERED: "Take a photo without mask, sunglasses or a hand before the face.",
    Reason.CUT_OFF: "Take a photo that shows the whole face.",
}


def check(
    crop: Crop, face: Face, limits: QualityLimits, *, picture_px: tuple[int, int] | None = None
) -> Quality:
    """Findings of one aligned face against limits, gravest first; none means usable.

    ``picture_px`` is (height, width) of the picture the face lies in: without it a face is never cut off.
    """
    return judge(measure(crop, face, picture_px=picture_px), limits)


def measure(crop: Crop, face: Face, *, picture_px: tuple[int, int] | None = None) -> dict[str, float]:
    """Every measure by name, as ``Quality.measures`` carries them."""
    light = np.asarray(crop.pixels.astype(np.float32) @ np.array(_LUMA, np.float32) / 255, np.float32)
    face_light = light[_inside_oval()]
    return {
        "eye_distance_px": EYES_APART_CROP_PX * crop.source_px_per_crop_px,
        "blur_px": blur_px(light),
        "light": float(np.quantile(face_light, 0.95)),
        "mean_light": float(face_light.mean()),
        "black_share": float((face_light < _BLACK).mean()),
        "burnt_share": float((crop.pixels[_inside_oval()].max(axis=1) >= _BURNT).mean()),
        "contrast": float(face_light.std()),
        **_pose(face.landmarks),
        **_covering(light),
        "outside_share": 0.0 if picture_px is None else outside_share(face.landmarks, picture_px),
    }


def judge(measures: dict[str, float], limits: QualityLimits) -> Quality:
    """Quality of measures already taken."""
    findings = tuple(
        Finding(rule.reason, measures[rule.measure], limit, _advice(rule.reason, limits.audience))
        for rule in _RULES
        if (limit := rule.missed(measures[rule.measure], limits)) is not None
    )
    return Quality(overall(measures), _one_each(findings), measures)


@dataclass(frozen=True, slots=True)
class Check:
    """One check with its measure: the value, what it must and what it should reach, and on which side."""

    reason: Reason
    measure: str
    value: float
    limit: float
    wish: float
    is_least: bool  # the value should be at least, not at most

    @property
    def holds_limit(self) -> bool:
        """True if the photo is not refused for it."""
        return self.value >= self.limit if self.is_least else self.value <= self.limit

    @property
    def holds_wish(self) -> bool:
        """True if nobody is warned of it."""
        return self.value >= self.wish if self.is_least else self.value <= self.wish


def checks(measures: Mapping[str, float], must: QualityLimits, wishes: QualityLimits) -> list[Check]:
    """Every check on measures already taken, held or not, in the order a person should hear of it."""
    return [
        Check(
            rule.reason,
            rule.measure,
            measures[rule.measure],
            rule.limit(must),
            rule.limit(wishes),
            rule.is_least,
        )
        for rule in _RULES
        if rule.measure in measures
    ]


def overall(measures: Mapping[str, float]) -> float:
    """Predicted ease of recognition, 0 to 1: the product of one ramp for each measure.

    A ramp is 1 from the measure's ideal value on, 0 from its useless value on, straight between.
    """
    shares = [
        min(1.0, max(0.0, (measures[name] - useless) / (ideal - useless))) for name, useless, ideal in _RAMPS
    ]
    return float(np.prod(shares))


def blur_px(light: Floats) -> float:
    """Equivalent Gaussian blur of the face in crop pixels, in the worst of four directions; 0 is sharp.

    light (112, 112), 0 to 1. At an edge blurred by b, the squared gradients after further blurs s and t stand
    as (b^2 + t^2) : (b^2 + s^2); solved for b (Zhuo and Sim 2011, "Defocus map estimation from a single
    image"). A ratio, so neither contrast nor brightness changes it.
    """
    import cv2  # noqa: PLC0415  # heavy, and not needed to import glancein

    oval = _inside_oval()
    fine_y, fine_x = (step[oval] for step in np.gradient(cv2.GaussianBlur(light, (0, 0), _FINE_PX)))
    coarse_y, coarse_x = (step[oval] for step in np.gradient(cv2.GaussianBlur(light, (0, 0), _COARSE_PX)))
    worst = 0.0
    for x, y in _DIRECTIONS:
        sharp, soft = (x * fine_x + y * fine_y) ** 2, (x * coarse_x + y * coarse_y) ** 2
        edges = soft >= np.quantile(soft, 1 - _EDGE_SHARE)
        ratio = float(sharp[edges].sum() / max(float(soft[edges].sum()), 1e-12))
        squared = (_COARSE_PX**2 - ratio * _FINE_PX**2) / max(ratio - 1.0, 1e-2)
        worst = max(worst, float(np.sqrt(max(0.0, squared))))
    return worst


def outside_share(landmarks: Floats, picture_px: tuple[int, int]) -> float:
    """Share of the face oval that lies beyond the picture's edge."""
    rows, columns = np.nonzero(_inside_oval()[::4, ::4])
    points = np.stack([columns, rows], axis=1).astype(np.float32) * 4
    seen = align.transform(align.invert(align.similarity(landmarks)), points)
    height, width = picture_px
    inside = (seen[:, 0] >= 0) & (seen[:, 1] >= 0) & (seen[:, 0] <= width - 1) & (seen[:, 1] <= height - 1)
    return float(1 - inside.mean())


@dataclass(frozen=True, slots=True)
class _Rule:
    """A measure, the limit it is held against, and on which side of it lies trouble."""

    reason: Reason
    measure: str
    limit: Callable[[QualityLimits], float]
    is_least: bool = False

    def missed(self, value: float, limits: QualityLimits) -> float | None:
        """The limit that the value misses, None if it holds."""
        limit = self.limit(limits)
        holds = value >= limit if self.is_least else value <= limit
        return None if holds else limit


# In the order in which a person should hear of them.
_RULES: tuple[_Rule, ...] = (
    _Rule(Reason.CUT_OFF, "outside_share", lambda limits: limits.max_outside_share),
    _Rule(Reason.TOO_SMALL, "eye_distance_px", lambda limits: limits.eye_distance_px, is_least=True),
    _Rule(Reason.TOO_DARK, "light", lambda limits: limits.min_light, is_least=True),
    _Rule(Reason.TOO_DARK, "black_share", lambda limits: limits.max_black_share),
    _Rule(Reason.TOO_BRIGHT, "burnt_share", lambda limits: limits.max_burnt_share),
    _Rule(Reason.TOO_BRIGHT, "mean_light", lambda limits: limits.max_mean_light),
    _Rule(Reason.LOW_CONTRAST, "contrast", lambda limits: limits.min_contrast, is_least=True),
    _Rule(Reason.BLURRED, "blur_px", lambda limits: limits.max_blur_px),
    _Rule(Reason.TURNED_AWAY, "nose_offset", lambda limits: limits.max_nose_offset),
    _Rule(Reason.TURNED_AWAY, "face_aspect", lambda limits: limits.max_face_aspect),
    _Rule(Reason.TURNED_AWAY, "nose_height", lambda limits: limits.min_nose_height, is_least=True),
    _Rule(Reason.TURNED_AWAY, "nose_height", lambda limits: limits.max_nose_height),
    _Rule(Reason.COVERED, "mouth_detail", lambda limits: limits.min_mouth_detail, is_least=True),
    _Rule(Reason.COVERED, "eye_light", lambda limits: limits.min_eye_light, is_least=True),
)

# Measure, the value at which recognition is hopeless, the value from which more does not help.
_RAMPS: tuple[tuple[str, float, float], ...] = (
    ("eye_distance_px", 4.0, 32.0),
    ("blur_px", 6.0, 1.5),
    ("light", 0.05, 0.40),
    ("burnt_share", 0.60, 0.05),
    ("contrast", 0.0, 0.07),
    ("nose_offset", 0.80, 0.10),
    ("mouth_detail", 0.0, 0.35),
    ("eye_light", 0.0, 0.45),
    ("outside_share", 0.50, 0.0),
)


def _one_each(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The first finding of each reason."""
    first: dict[Reason, Finding] = {}
    for finding in findings:
        first.setdefault(finding.reason, finding)
    return tuple(first.values())


def _advice(reason: Reason, audience: Audience) -> str:
    return _PHOTO_ADVICE[reason] if audience is Audience.PHOTOGRAPHER else ADVICE[reason]


def _pose(landmarks: Floats) -> dict[str, float]:
    """Where the nose lies between eyes and mouth, in coordinates that neither roll nor distance changes."""
    left, right, nose, mouth_left, mouth_right = np.asarray(landmarks, np.float64)
    across, middle = right - left, (left + right) / 2
    down = (mouth_left + mouth_right) / 2 - middle
    eyes_apart = max(float(np.hypot(*across)), 1e-6)
    basis = np.stack([across, down], axis=1)
    flat = abs(float(np.linalg.det(basis))) < 1e-3 * eyes_apart**2  # mouth on the line of the eyes: a profile
    offset, height = (9.0, 0.5) if flat else np.linalg.solve(basis, nose - middle)
    return {
        "nose_offset": abs(float(offset)),
        "nose_height": float(height),
        "face_aspect": float(np.hypot(*down)) / eyes_apart,
        "roll_deg": float(np.degrees(np.arctan2(across[1], across[0]))),
    }


def _covering(light: Floats) -> dict[str, float]:
    """How much happens at the mouth compared with the eyes, and how bright the eyes are against the skin.

    A mask leaves the mouth without edges; dark glasses leave both eyes dark. Both are ratios within one face:
    they hold for any skin, light, blur or print.
    """
    import cv2  # noqa: PLC0415  # as above

    smooth = np.asarray(cv2.GaussianBlur(light, (0, 0), 1.0), np.float32)
    steps = np.asarray(np.gradient(smooth, axis=0), np.float32)
    (left_x, left_y), (right_x, right_y), _, (mouth_x, mouth_y), (mouth_end, _) = align.TEMPLATE
    eyes = [_patch(steps, x, y, 10, 7) for x, y in ((left_x, left_y), (right_x, right_y))]
    at_eyes = float(np.sqrt(_strength(eyes[0]) * _strength(eyes[1])))
    at_mouth = _strength(_patch(steps, (mouth_x + mouth_end) / 2, mouth_y, 17, 9))
    lids = [_patch(smooth, x, y, 9, 5) for x, y in ((left_x, left_y), (right_x, right_y))]
    skin = [_patch(smooth, 38, 70, 6, 5), _patch(smooth, 74, 70, 6, 5), _patch(smooth, 56, 66, 4, 6)]
    skin_light = float(np.median(np.concatenate([patch.ravel() for patch in skin])))
    brighter_eye = max(float(np.quantile(patch, 0.75)) for patch in lids)
    return {
        "mouth_detail": at_mouth / max(at_eyes, 1e-4),
        "eye_light": brighter_eye / max(skin_light, 0.02),
    }


def _patch(plane: Floats, x: float, y: float, half_width: int, half_height: int) -> Floats:
    return plane[
        round(y) - half_height : round(y) + half_height, round(x) - half_width : round(x) + half_width
    ]


def _strength(steps: Floats) -> float:
    return float(np.sqrt(np.mean(steps**2)))


def _inside_oval() -> Pixels:
    """(112, 112) mask of the face."""
    x, y, half_width, half_height = OVAL
    rows, columns = np.ogrid[: align.CROP_PX, : align.CROP_PX]
    return np.asarray(((columns - x) / half_width) ** 2 + ((rows - y) / half_height) ** 2 <= 1)
