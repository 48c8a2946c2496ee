"""A clean crop made worse on purpose, with the names of what was done: labels that cost nothing.

Every defect is drawn either mild, as any picture has it, or plain. Between the two lies a gap: so a label
means something. The order is a camera's: cover, light, lens, sensor, file; the picture's edge comes last.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from glancein.domain import align
from glancein.domain.quality import EYES_APART_CROP_PX, OVAL
from glancein_training.packs import STORED_PX, Pixels

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


class Defect(StrEnum):
    """What can be wrong with a frame, several at once."""

    BLURRED = "blurred"
    DARK = "dark"
    BURNT_OUT = "burnt out"
    LOW_RESOLUTION = "low resolution"
    TURNED_AWAY = "turned away"
    COVERED = "covered"
    CUT_OFF = "cut off"


DEFECTS = tuple(Defect)
# Turned away cannot be painted on: it is read off the landmarks of the clean crop.
PAINTED = tuple(defect for defect in DEFECTS if defect is not Defect.TURNED_AWAY)


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A frame's crop and what is known about it."""

    pixels: Pixels  # (112, 112, 3) RGB
    wrong: frozenset[Defect]
    eyes_px: float  # picture pixels between the eyes, as the kiosk knows it
    shown: tuple[
        int, int, int, int
    ]  # left, top, right, bottom: the part of the crop that lies in the picture


def spoil(stored: Pixels, rng: Generator, *, chance: float = 0.15) -> Spoilt:
    """One stored crop (128, 128, 3) as a frame at the door; each defect but TURNED_AWAY with this chance."""
    wrong: set[Defect] = {defect for defect in PAINTED if rng.random() < chance}
    if {Defect.DARK, Defect.BURNT_OUT} <= wrong:
        wrong.remove(Defect.DARK if rng.random() < 0.5 else Defect.BURNT_OUT)
    pixels = _moved(stored, rng)
    if Defect.COVERED in wrong:
        pixels = cover(pixels, rng)
    light = _lit(pixels, rng, wrong)
    light = _smeared(light, rng, plain=Defect.BLURRED in wrong)
    low, high = (5.0, 10.0) if Defect.LOW_RESOLUTION in wrong else (20.0, 60.0)
    eyes_px = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    pixels = _sensed(light, rng, eyes_px)
    shown = _edge(rng, plain=Defect.CUT_OFF in wrong)
    return Spoilt(_cut(pixels, shown), frozenset(wrong), eyes_px, shown)


def cover(pixels: Pixels, rng: Generator) -> Pixels:
    """A mask, dark glasses or a hand painted over the aligned face."""
    kind = rng.random()
    if kind < 0.4:
        return _mask(pixels, rng)
    return _glasses(pixels, rng) if kind < 0.7 else _hand(pixels, rng)


def outside_share(shown: tuple[int, int, int, int]) -> float:
    """Share of the face oval that the picture does not show."""
    oval = _oval()
    left, top, right, bottom = shown
    return float(1 - oval[top:bottom, left:right].sum() / oval.sum())


@functools.cache
def _oval() -> Bools:
    x, y, half_width, half_height = OVAL
    rows, columns = np.ogrid[: align.CROP_PX, : align.CROP_PX]
    return np.asarray(((columns - x) / half_width) ** 2 + ((rows - y) / half_height) ** 2 <= 1)


def _moved(stored: Pixels, rng: Generator) -> Pixels:
    """The centre 112 px as the finder would align it: mirrored at times, a little off."""
    if rng.random() < 0.5:
        stored = np.ascontiguousarray(stored[:, ::-1])
    middle = (STORED_PX - 1) / 2
    turn, size = rng.normal(0, 3), float(np.exp(rng.normal(0, 0.025)))
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), turn, size), np.float64)
    matrix[:, 2] += rng.normal(0, 1.0, 2) - (STORED_PX - align.CROP_PX) / 2
    crop = (align.CROP_PX, align.CROP_PX)
    return np.asarray(cv2.warpAffine(stored, matrix, crop, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _lit(pixels: Pixels, rng: Generator, wrong: set[Defect]) -> Floats:
    """Light 0..255 after the exposure; dark and burnt faces may be so from one side."""
    if Defect.DARK in wrong:
        gain = rng.uniform(0.06, 0.25)
    elif Defect.BURNT_OUT in wrong:
        gain = rng.uniform(2.0, 4.5)
    else:
        gain = rng.uniform(0.6, 1.15)
    ramp = 1 + rng.uniform(-0.5, 0.5) * np.linspace(-1, 1, align.CROP_PX)[None, :, None]
    cast = np.exp(rng.normal(0, 0.06, 3))
    return np.asarray((pixels * (gain * ramp * cast)).clip(0, 255), np.float32)


def _smeared(light: Floats, rng: Generator, *, plain: bool) -> Floats:
    """Out of focus, or moved along one direction."""
    if not plain:
        return np.asarray(cv2.GaussianBlur(light, (0, 0), rng.uniform(0.2, 0.8)), np.float32)
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(light, (0, 0), rng.uniform(2.0, 4.5)), np.float32)
    return np.asarray(cv2.filter2D(light, -1, _streak(rng), borderType=cv2.BORDER_REFLECT), np.float32)


def _streak(rng: Generator) -> Floats:
    """A line of 8 to 20 px through the middle of the kernel, summing to one."""
    kernel = np.zeros((21, 21), np.float32)
    reach, angle = rng.uniform(4, 10), rng.uniform(0, np.pi)
    step = np.array([np.cos(angle), np.sin(angle)]) * reach
    start, end = (np.rint(10 + sign * step).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _sensed(light: Floats, rng: Generator, eyes_px: float) -> Pixels:
    """As many pixels as the sensor spends on this face, noise, a JPEG at times, and the crop's size again."""
    px = max(8, round(align.CROP_PX * min(1.0, eyes_px / EYES_APART_CROP_PX)))
    small = cv2.resize(light, (px, px), interpolation=cv2.INTER_AREA)
    noisy = (small + rng.normal(0, rng.uniform(0.5, 5), small.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, packed = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(50, 95))])
        noisy = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    size = (align.CROP_PX, align.CROP_PX)
    return np.asarray(cv2.resize(noisy, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _edge(rng: Generator, *, plain: bool) -> tuple[int, int, int, int]:
    """Where the picture ends: beyond the face, or through it so that 15 to 50 % of it are missing."""
    side = int(rng.integers(4))
    shares = _missing_shares()[side]
    if plain:
        return _shown(side, int(rng.choice(np.flatnonzero((shares >= 0.15) & (shares <= 0.5)))))
    reach = int(np.flatnonzero(shares <= 0.03)[-1]) if rng.random() < 0.3 else 0
    return _shown(side, int(rng.integers(reach + 1)))


@functools.cache
def _missing_shares() -> NDArray[np.float64]:
    """(4, 56) how much of the face is missing for each side and edge."""
    return np.array([[outside_share(_shown(side, at)) for at in range(56)] for side in range(4)])


def _shown(side: int, at: int) -> tuple[int, int, int, int]:
    """The crop without ``at`` pixels on one side: left, top, right, bottom."""
    px = align.CROP_PX
    return ((at, 0, px, px), (0, at, px, px), (0, 0, px - at, px), (0, 0, px, px - at))[side]


def _cut(pixels: Pixels, shown: tuple[int, int, int, int]) -> Pixels:
    """Black where the picture does not reach, as the aligner fills it."""
    left, top, right, bottom = shown
    out = np.zeros_like(pixels)
    out[top:bottom, left:right] = pixels[top:bottom, left:right]
    return out


def _mask(pixels: Pixels, rng: Generator) -> Pixels:
    """Cloth from the bridge of the nose to below the chin, with folds, in one colour."""
    top = rng.uniform(62, 74)
    corners = np.array(
        [[rng.uniform(16, 24), top + 4], [56, top - 5], [rng.uniform(88, 96), top + 4], [84, 111], [28, 111]]
    )
    folds = 6 * np.sin(np.arange(align.CROP_PX) * rng.uniform(0.2, 0.6))[:, None]
    return _painted(pixels, corners, rng.uniform(20, 240, 3), rng, texture=folds)


def _glasses(pixels: Pixels, rng: Generator) -> Pixels:
    """Two dark lenses and a bridge, with a glint."""
    out, half = pixels.copy(), (int(rng.uniform(13, 17)), int(rng.uniform(8, 13)))
    dark = rng.uniform(0, 45, 3)
    layer = np.zeros(out.shape[:2], np.uint8)
    for x, y in align.TEMPLATE[:2]:
        cv2.ellipse(layer, (round(x), round(y) + 2), half, 0, 0, 360, 255, -1)
    cv2.line(layer, (44, 50), (68, 50), 255, 2)
    through = rng.uniform(0.0, 0.2)
    seen = layer[..., None] / 255.0
    glint = 40 * rng.random() * np.linspace(1, 0, align.CROP_PX)[:, None, None]
    return np.asarray((out * (1 - seen * (1 - through)) + seen * (dark + glint)).clip(0, 255), np.uint8)


def _hand(pixels: Pixels, rng: Generator) -> Pixels:
    """A blob in the colour of this face's own skin, striped by fingers, over a part of the face."""
    skin = np.median(pixels[62:80, 40:72].reshape(-1, 3), axis=0) * rng.uniform(0.75, 1.2)
    x, y = rng.uniform(34, 78), rng.uniform(56, 100)
    turn = np.linspace(0, 2 * np.pi, 24)[:-1]
    reach = np.stack([rng.uniform(18, 28) * np.cos(turn), rng.uniform(16, 26) * np.sin(turn)], axis=1)
    corners = reach * rng.uniform(0.85, 1.15, (len(turn), 1)) + [x, y]
    stripes = np.where(np.arange(align.CROP_PX) % int(rng.uniform(9, 14)) == 0, -45.0, 0.0)
    texture = stripes[:, None] if rng.random() < 0.5 else stripes[None, :]
    return _painted(pixels, corners, skin, rng, texture=texture)


def _painted(
    pixels: Pixels,
    corners: NDArray[np.float64],
    colour: NDArray[np.float64],
    rng: Generator,
    *,
    texture: NDArray[np.float64],
) -> Pixels:
    """A polygon of one colour, its texture and a shade over it, soft at the edge."""
    layer = np.zeros(pixels.shape[:2], np.float32)
    cv2.fillPoly(layer, [np.rint(corners).astype(np.int32)], 1.0)
    layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), 1.0), np.float32)
    shade = 1 + rng.uniform(-0.25, 0.25) * np.linspace(-1, 1, align.CROP_PX)[None, :]
    flat = (colour * shade[..., None]) + np.broadcast_to(texture, layer.shape)[..., None]
    return np.asarray((pixels * (1 - layer[..., None]) + flat * layer[..., None]).clip(0, 255), np.uint8)
