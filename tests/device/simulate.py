"""What happens to a badge photo on its way to us: printed, laid out on a card, scanned, turned."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from glancein.types import Floats, Pixels

# Screen angles of a printer's cyan, magenta and yellow, chosen far apart so that the dots do not beat.
SCREEN_DEG = (15.0, 75.0, 0.0)
PRINT_SCALE = 4  # printer dots for each scanned pixel
PAPER = (0.86, 0.86, 0.83)  # warm paper, added to
INK = 0.10  # ink that is not black


@dataclass(frozen=True, slots=True)
class Card:
    """A badge as scanned, and the (2, 3) matrix from portrait pixels to its pixels."""

    pixels: Pixels
    from_portrait: Floats


def print_and_scan(
    pixels: Pixels, *, portrait_px: int = 120, jpeg_quality: int = 40, seed: int = 0
) -> Pixels:
    """A portrait printed with a halftone screen on off-white paper and scanned at ``portrait_px`` across."""
    height, width = pixels.shape[:2]
    size = (portrait_px, round(portrait_px * height / width))
    large = (size[0] * PRINT_SCALE, size[1] * PRINT_SCALE)
    shrinks = large[0] < width
    printed = cv2.resize(pixels, large, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    ink = _halftone(np.asarray(cv2.GaussianBlur(printed, (0, 0), 1.0), np.float32) / np.float32(255))
    on_paper = ink * np.array(PAPER, np.float32) + np.float32(INK)
    scanned = cv2.resize(cv2.GaussianBlur(on_paper, (0, 0), 2.4), size, interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(seed).normal(0, 0.012, scanned.shape)
    return jpeg(_to_bytes(scanned + noise), jpeg_quality)


def card(
    portrait: Pixels,
    *,
    portrait_px: int = 100,
    card_px: int = 1000,
    turn_deg: float = 0.0,
    ghost: bool = False,
) -> Card:
    """A company badge with a small portrait among print, turned on a desk, with or without a ghost image."""
    sheet = _printed_sheet(card_px)
    scale = portrait_px / portrait.shape[1]
    small = _scaled(portrait, scale)
    left, top = round(0.07 * card_px), round(0.22 * card_px)
    sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    if ghost:
        _add_ghost(sheet, small)
    placed = np.array([[scale, 0, left], [0, scale, top]], np.float32)
    return _on_desk(sheet, placed, turn_deg)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """The picture after one trip through JPEG."""
    _, data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[:, :, ::-1], np.uint8)


def moved(landmarks: Floats, matrix: Floats) -> Floats:
    """Landmarks (n, 2) taken along by a (2, 3) matrix."""
    return np.asarray(landmarks @ matrix[:, :2].T + matrix[:, 2], np.float32)


def _halftone(tone: Floats) -> Floats:
    """(h, w, 3) of 0 and 1: a clustered dot for each cell of 6 printer dots, one screen for each ink."""
    rows, columns = np.mgrid[: tone.shape[0], : tone.shape[1]].astype(np.float32)
    screens = []
    for degrees in SCREEN_DEG:
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        along, across = columns * cos + rows * sin, rows * cos - columns * sin
        wave = np.cos(along * (2 * np.pi / 6)) + np.cos(across * (2 * np.pi / 6))
        ranks = np.empty(wave.size, np.float32)
        ranks[np.argsort(wave, axis=None)] = np.linspace(0, 1, wave.size, dtype=np.float32)
        screens.append(ranks.reshape(wave.shape))
    return (tone > np.stack(screens, axis=2)).astype(np.float32)


def _printed_sheet(card_px: int) -> Pixels:
    """A blank card of credit-card shape with a coloured band, a logo, lines of text and a bar code."""
    height = round(card_px * 0.63)
    sheet = np.full((height, card_px, 3), (244, 243, 238), np.uint8)
    sheet[: round(0.13 * height)] = (28, 70, 120)
    cv2.circle(sheet, (round(0.9 * card_px), round(0.3 * height)), round(0.08 * height), (200, 60, 40), -1)
    cv2.circle(sheet, (round(0.9 * card_px), round(0.3 * height)), round(0.04 * height), (250, 250, 250), -1)
    for line, words in enumerate(("NORTHWIND LTD", "A. Person", "Field engineer", "No. 004 711 8")):
        spot = (round(0.42 * card_px), round((0.36 + 0.12 * line) * height))
        cv2.putText(sheet, words, spot, cv2.FONT_HERSHEY_DUPLEX, card_px / 1100, (30, 30, 34), 1, cv2.LINE_AA)
    bars = np.random.default_rng(5).integers(0, 2, 70)
    for bar in np.flatnonzero(bars):
        left = round(0.42 * card_px) + int(bar) * round(card_px / 160)
        sheet[round(0.82 * height) : round(0.93 * height), left : left + max(1, round(card_px / 300))] = 20
    return sheet


def _add_ghost(sheet: Pixels, small: Pixels) -> None:
    """Print the portrait a second time, at 60 % of its size and a third of its contrast."""
    faded = _scaled(small, 0.6).astype(np.float32)
    grey = faded.mean(axis=2, keepdims=True).repeat(3, axis=2)
    top, left = round(0.55 * sheet.shape[0]), round(0.8 * sheet.shape[1])
    height, width = grey.shape[:2]
    sheet[top : top + height, left : left + width] = _to_bytes((grey / 255 - 0.5) * 0.33 + 0.75)


def _on_desk(sheet: Pixels, placed: Floats, turn_deg: float) -> Card:
    """Turn the card about its centre and lay it on a darker desk that is large enough for it."""
    height, width = sheet.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), turn_deg, 1.0)
    edges = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
    corners = moved(edges, turn.astype(np.float32))
    margin = 0.03 * width
    turn[:, 2] += margin - corners.min(axis=0)
    size = np.ceil(np.ptp(corners, axis=0) + 2 * margin).astype(int)
    desk = cv2.warpAffine(sheet, turn, (int(size[0]), int(size[1])), borderValue=(96, 84, 74))
    whole = turn[:, :2] @ placed
    whole[:, 2] += turn[:, 2]
    return Card(np.asarray(desk, np.uint8), whole.astype(np.float32))


def _scaled(pixels: Pixels, factor: float) -> Pixels:
    return np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def _to_bytes(tone: Floats) -> Pixels:
    return np.asarray(np.clip(np.rint(tone * 255), 0, 255), np.uint8)
