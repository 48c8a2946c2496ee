"""How much a network loses when the looks get worse: JPEG, pixels between the eyes, blur, rotation, light.

As at a kiosk only one side is disturbed: the enrolled picture stays clean, the look at the camera does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from glancein.domain.align import TEMPLATE
from glancein.errors import InputError
from glancein_training.evaluate.bootstrap import Estimate, Weights, estimate, pair_counts, person_weights
from glancein_training.evaluate.faces import Bools, Faces, Floats, Ints
from glancein_training.evaluate.verification import (
    Pairs,
    pairs_between,
    resample_true_accepts,
    thresholds_at,
    true_accepts_at,
)
from glancein_training.packs import STORED_PX, Pixels

EYES_PX = TEMPLATE[1][0] - TEMPLATE[0][0]  # 35.2 px between the eyes of a crop
MOST_IMPOSTORS = 2_000_000
FAR = 1e-3
Embed = Callable[[Pixels], Floats]  # (n, 128, 128, 3) stored crops -> (n, d) unit rows


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One way for a picture to get worse: values from mild to severe, and what it does to a stored crop."""

    name: str
    unit: str
    values: tuple[float, ...]
    apply: Callable[[Pixels, float], Pixels]

    def folder(self, value: float) -> str:
        """Where pictures as bad as this are kept: "jpeg-quality-30"."""
        return f"{re.sub('[^a-z]+', '-', self.name.lower())}-{value:g}"


Worse = Callable[[Disturbance, float], tuple[Bools, Floats]]  # (n,) faces found, (n, d) unit rows


@dataclass(frozen=True, slots=True)
class Robustness:
    """True accepts of clean against disturbed pictures at FAR 1e-3, and what a kiosk has that cannot adapt.

    Its threshold stays the one that gives FAR 1e-3 among clean pictures. Not numbers of so few people that
    this rate is less than one pair of strangers.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    clean: Estimate
    true_accepts: list[Estimate]
    accepts_at_clean_limit: list[Estimate]
    false_accepts_at_clean_limit: list[Estimate]


def disturbances() -> tuple[Disturbance, ...]:
    """Those that are measured; FaceNet's table 4 has the first two."""
    return (
        Disturbance("JPEG quality", "", (70, 50, 30, 20, 10), jpeg),
        Disturbance("pixels between the eyes", "px", (24, 16, 12, 8, 6), fewer_pixels),
        Disturbance("blur, standard deviation", "px", (1, 1.5, 2, 3, 4), blur),
        Disturbance("rotation", "degrees", (5, 10, 15, 20, 30), rotate),
        Disturbance("exposure", "share of light", (0.7, 0.5, 0.3, 0.2, 0.1), darken),
    )


def measure(
    faces: Faces, worse: Worse, *, kinds: tuple[Disturbance, ...], resamples: int, seed: int
) -> list[Robustness]:
    """Each kind at each value, over all pairs of a clean and a disturbed picture.

    ``faces`` are the clean pictures; ``worse`` gives what was found and embedded of the same ones, disturbed.
    """
    left, right = couples(faces, seed=seed)
    if FAR * int((faces.identity[left] != faces.identity[right]).sum()) < 1:
        return [_untold(kind) for kind in kinds]
    weights = person_weights(len(faces.people), resamples, seed=seed)
    clean = pairs_between(faces, faces, left, right)
    limit = float(thresholds_at(clean.impostor(), (FAR,))[0])
    out = []
    for kind in kinds:
        seen = [worse(kind, value) for value in kind.values]
        pairs = [pairs_between(replace(faces, found=f, vector=v), faces, left, right) for f, v in seen]
        fixed = [_above(one, limit, weights) for one in pairs]
        out.append(
            Robustness(
                kind.name,
                kind.unit,
                kind.values,
                _rate(clean, weights),
                [_rate(one, weights) for one in pairs],
                [accepts for accepts, _ in fixed],
                [false for _, false in fixed],
            )
        )
    return out


def disturbed(pixels: Pixels, embed: Embed) -> Worse:
    """Stored crops (n, 128, 128, 3) made worse and embedded here; a face is always taken to be there."""

    def seen(kind: Disturbance, value: float) -> tuple[Bools, Floats]:
        worse = np.stack([kind.apply(picture, value) for picture in pixels])
        return np.ones(len(pixels), bool), embed(worse)

    return seen


def couples(faces: Faces, *, seed: int) -> tuple[Ints, Ints]:
    """Every ordered pair of two pictures of one person, and as many strangers as are needed, drawn.

    Raises InputError without a pair of either kind.
    """
    n = len(faces)
    a, b = np.divmod(np.arange(n * n), n)
    same = (faces.identity[a] == faces.identity[b]) & (a != b)
    strangers = np.flatnonzero(faces.identity[a] != faces.identity[b])
    if not same.any() or len(strangers) == 0:
        raise InputError(
            f"{n} pictures of {len(faces.people)} people give no genuine or no impostor pairs; "
            f"two people are needed, and two pictures of one"
        )
    drawn = np.random.default_rng(seed).permutation(strangers)[:MOST_IMPOSTORS]
    rows = np.concatenate([np.flatnonzero(same), drawn])
    return a[rows], b[rows]


def jpeg(picture: Pixels, quality: float) -> Pixels:
    """Stored as JPEG and read back."""
    _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def fewer_pixels(picture: Pixels, eyes_px: float) -> Pixels:
    """Shrunk until the eyes are this far apart, and enlarged again."""
    px = max(2, round(STORED_PX * eyes_px / EYES_PX))
    small = cv2.resize(picture, (px, px), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (STORED_PX, STORED_PX), interpolation=cv2.INTER_LINEAR), np.uint8)


def blur(picture: Pixels, sigma_px: float) -> Pixels:
    """A round Gaussian over the crop."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma_px), np.uint8)


def rotate(picture: Pixels, degrees: float) -> Pixels:
    """Turned about the middle after alignment: what is left when landmarks are off; the edge is mirrored."""
    centre = (STORED_PX - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), degrees, 1)
    return np.asarray(
        cv2.warpAffine(picture, matrix, (STORED_PX, STORED_PX), borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def darken(picture: Pixels, share: float) -> Pixels:
    """This share of the light, rounded to whole grey levels."""
    return np.asarray(np.rint(picture * share).clip(0, 255), np.uint8)


def _untold(kind: Disturbance) -> Robustness:
    nothing = Estimate(float("nan"))
    return Robustness(
        kind.name, kind.unit, kind.values, nothing, *([nothing] * len(kind.values) for _ in range(3))
    )


def _rate(pairs: Pairs, weights: Weights) -> Estimate:
    sampled = resample_true_accepts(pairs, weights, (FAR,))[:, 0]
    return estimate(float(true_accepts_at(pairs, (FAR,))[0]), sampled)


def _above(pairs: Pairs, limit_cos: float, weights: Weights) -> tuple[Estimate, Estimate]:
    """Share of genuine and of impostor pairs above a threshold that stays.

    Without an interval where a resample has no such pair.
    """
    out = []
    for kind in (pairs.same, ~pairs.same):
        first, second, above = pairs.first[kind], pairs.second[kind], pairs.score_cos[kind] > limit_cos
        sampled = []
        for weight in weights:
            counts = pair_counts(weight, first, second)
            total = float(counts.sum())
            sampled.append(float(counts[above].sum()) / total if total else float("nan"))
        out.append(estimate(float(above.mean()), sampled))
    return out[0], out[1]
