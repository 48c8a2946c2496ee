"""Training scenes: labelled pictures moved, turned, resized and set side by side on faceless backgrounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from glancein.domain.landmarks import HALF_PX
from glancein_training.finder import backgrounds
from glancein_training.finder.data import Floats, Labels, Picture, Pixels


@dataclass(frozen=True, slots=True)
class Choice:
    """What kinds of scenes are made: probabilities per scene, sizes of faces as sqrt(width * height)."""

    faceless: float = 0.10
    mosaic: float = 0.30
    turned_over: float = (
        0.06  # by 90, 180 or 270 degrees: such faces are background, enrolment turns the picture
    )
    tilted: float = 0.25  # evenly up to tilt_deg; the others normally distributed
    tilt_deg: float = 42.0
    usual_tilt_deg: float = 12.0
    smallest_px: float = 12.0
    largest_px: float = 190.0
    hidden: float = 0.12
    sure_face: float = 0.70  # labels below are neither faces nor background


@dataclass(frozen=True, slots=True)
class Scene:
    """One training picture. Faces of ``weights`` 0 are ignored: neither face nor background."""

    pixels: Pixels  # (h, w, 3)
    boxes: Floats  # (n, 4) left, top, width, height
    landmarks: Floats  # (n, 5, 2)
    weights: Floats  # (n,)


def compose(pictures: Sequence[Picture], rng: Generator, choice: Choice, *, width: int, height: int) -> Scene:
    """A scene of this size; undisturbed, see ``disturb.py``."""
    kind = rng.random()
    if kind < choice.faceless:
        return empty(backgrounds.faceless(pictures, rng, width=width, height=height))
    canvas = backgrounds.filling(pictures, rng, width=width, height=height)
    if kind >= choice.faceless + choice.mosaic:
        return join(canvas, [place(canvas, pictures, rng, choice, (0, 0, width, height))])
    columns, rows = ((2, 1), (2, 2), (3, 2))[rng.integers(3)]
    tile_w, tile_h = width // columns, height // rows
    tiles = [(c * tile_w, r * tile_h, tile_w, tile_h) for c in range(columns) for r in range(rows)]
    return join(canvas, [place(canvas, pictures, rng, choice, tile) for tile in tiles])


def place(
    canvas: Pixels,
    pictures: Sequence[Picture],
    rng: Generator,
    choice: Choice,
    tile: tuple[int, int, int, int],
) -> tuple[Floats, Floats, Floats]:
    """Draw one picture into a tile (left, top, width, height); boxes, landmarks and weights of its faces."""
    picture = with_a_face(pictures, rng)
    labels = picture.labels
    left, top, width, height = tile
    aim = int(rng.integers(len(labels)))
    largest = min(choice.largest_px, 0.95 * min(width, height))
    size_px = math.exp(rng.uniform(math.log(choice.smallest_px), math.log(largest)))
    scale = size_px / math.sqrt(float(labels.boxes[aim, 2] * labels.boxes[aim, 3]))
    # Enlarging a label of a few pixels teaches nothing: no face is blown up more than threefold.
    scale = min(scale, 3.0)
    angle, over = draw_angle(rng, choice)
    mirror = bool(rng.random() < 0.5)
    centre = labels.boxes[aim, :2] + labels.boxes[aim, 2:] * np.float32(0.5)
    reach = 0.5 * min(size_px, width, height) * 0.9
    drawn = rng.uniform(reach, width - reach), rng.uniform(reach, height - reach)
    target = np.asarray(drawn, np.float32)
    matrix = similarity(scale, angle, centre, target, mirror=mirror)
    view = canvas[top : top + height, left : left + width]
    draw(view, picture.pixels, matrix, scale)
    boxes, landmarks = move(labels, matrix, mirror=mirror)
    weights = (labels.scores >= choice.sure_face).astype(np.float32)
    weights *= visible(boxes, width, height) > 0.7
    if rng.random() < choice.hidden:
        hide(view, landmarks[aim], rng)
    keep = visible(boxes, width, height) > 0.02
    if over:
        keep &= weights == 0  # a face turned over is background
    shift = np.array([left, top], np.float32)
    boxes[:, :2] += shift
    return boxes[keep], landmarks[keep] + shift, weights[keep]


def with_a_face(pictures: Sequence[Picture], rng: Generator) -> Picture:
    """One of the pictures that show a face; there has to be one."""
    while True:
        picture = pictures[int(rng.integers(len(pictures)))]
        if len(picture.labels):
            return picture


def draw_angle(rng: Generator, choice: Choice) -> tuple[float, bool]:
    """An angle in degrees, and whether the picture is turned over."""
    if rng.random() < choice.turned_over:
        return float(rng.choice([90, 180, 270]) + rng.normal(0, 8)), True
    if rng.random() < choice.tilted:
        return float(rng.uniform(-choice.tilt_deg, choice.tilt_deg)), False
    return float(np.clip(rng.normal(0, choice.usual_tilt_deg), -choice.tilt_deg, choice.tilt_deg)), False


def similarity(scale: float, angle_deg: float, centre: Floats, target: Floats, *, mirror: bool) -> Floats:
    """(2, 3) matrix that turns and scales around ``centre``, maybe mirrored, and brings it to ``target``."""
    a = scale * math.cos(math.radians(angle_deg))
    b = scale * math.sin(math.radians(angle_deg))
    linear = np.array([[a, -b], [b, a]])
    if mirror:
        linear[:, 0] *= -1
    return np.column_stack([linear, target - linear @ centre]).astype(np.float32)


def draw(view: Pixels, pixels: Pixels, matrix: Floats, scale: float) -> None:
    """Warp a picture into a view; what it does not cover stays. Shrinking averages, so nothing aliases."""
    source, adapted = pixels, matrix
    if scale < 0.75:
        height, width = pixels.shape[:2]
        size = (max(2, round(width * scale)), max(2, round(height * scale)))
        source = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        stretch = np.array([width / size[0], height / size[1]], np.float32)
        adapted = matrix.copy()
        adapted[:, :2] *= stretch
        # Pixel centres: x_source = stretch * (x_small + 0.5) - 0.5.
        adapted[:, 2] += matrix[:, :2] @ ((stretch - 1) / 2)
    cv2.warpAffine(
        source,
        adapted,
        (view.shape[1], view.shape[0]),
        dst=view,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )


def move(labels: Labels, matrix: Floats, *, mirror: bool) -> tuple[Floats, Floats]:
    """Boxes and landmarks after the transform of pixel middles. A mirrored face swaps left and right.

    Labels count from the edge of a pixel, before and after.
    """
    linear = matrix[:, :2]
    shift = matrix[:, 2] + HALF_PX - linear.sum(axis=1) * HALF_PX
    landmarks = labels.landmarks @ linear.T + shift
    if mirror:
        landmarks = landmarks[:, [1, 0, 2, 4, 3]]
    centres = (labels.boxes[:, :2] + labels.boxes[:, 2:] / 2) @ linear.T + shift
    # A head is an ellipse: the box of the turned ellipse, not of the turned box.
    extents = np.sqrt(labels.boxes[:, 2:] ** 2 @ (linear**2).T)
    boxes = np.concatenate([centres - extents / 2, extents], axis=1)
    return np.asarray(boxes, np.float32), np.asarray(landmarks, np.float32)


def visible(boxes: Floats, width: int, height: int) -> Floats:
    """Share of each box that lies inside the tile."""
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], (width, height))
    inside = np.prod(np.clip(high - low, 0, None), axis=1)
    return np.asarray(inside / np.maximum(np.prod(boxes[:, 2:], axis=1), 1e-6), np.float32)


def hide(view: Pixels, landmarks: Floats, rng: Generator) -> None:
    """Draw a mask over mouth and nose, dark glasses over the eyes, or a bar anywhere on the face."""
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    across, down = right_eye - left_eye, mouth - eyes
    kind = rng.random()
    if kind < 0.5:
        top = nose - down * rng.uniform(0.0, 0.4)
        corners = [
            top - across * 0.75,
            top + across * 0.75,
            mouth + across * 0.6 + down * 0.7,
            mouth - across * 0.6 + down * 0.7,
        ]
    elif kind < 0.75:
        corners = [eyes - across * 0.95 - down * 0.2, eyes + across * 0.95 - down * 0.2]
        corners += [eyes + across * 0.95 + down * 0.22, eyes - across * 0.95 + down * 0.22]
    else:
        at = eyes + across * rng.uniform(-1, 1) + down * rng.uniform(-0.5, 1.5)
        size = across * rng.uniform(0.2, 0.6), down * rng.uniform(0.2, 0.6)
        corners = [
            at - size[0] - size[1],
            at + size[0] - size[1],
            at + size[0] + size[1],
            at - size[0] + size[1],
        ]
    colour = rng.integers(0, 256, 3) if rng.random() < 0.6 else np.full(3, rng.integers(0, 256))
    cv2.fillConvexPoly(
        view, np.rint(np.array(corners)).astype(np.int32), [int(c) for c in colour], cv2.LINE_AA
    )


def empty(pixels: Pixels) -> Scene:
    """A scene without faces."""
    zero = np.zeros((0,), np.float32)
    return Scene(pixels, zero.reshape(0, 4), zero.reshape(0, 5, 2), zero)


def join(canvas: Pixels, parts: Sequence[tuple[Floats, Floats, Floats]]) -> Scene:
    """One scene of several tiles."""
    boxes, landmarks, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Scene(canvas, boxes, landmarks, weights)
