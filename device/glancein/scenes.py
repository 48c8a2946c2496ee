"""Portraits moved and lit as in front of a camera: the pictures of the demo and the bench."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from glancein.types import Pixels

FRAME_SHAPE = (480, 640, 3)
WALL_GREY = 150


HEAD_SHARE = 0.5  # of the frame's height: somebody at arm's length


@dataclass(frozen=True, slots=True)
class Head:
    """Where the head is in a portrait: centre and height as shares of the picture's width and height."""

    centre_x: float
    centre_y: float
    height: float


HEADS = {
    "obama.jpg": Head(0.54, 0.21, 0.36),
    "obama2.jpg": Head(0.69, 0.43, 0.60),
    "obama3.jpg": Head(0.54, 0.28, 0.40),
    "biden.jpg": Head(0.58, 0.25, 0.39),
    "collins.jpg": Head(0.44, 0.22, 0.33),
}


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the head stands in the frame and how it is lit."""

    scale: float = 1.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    tilt_deg: float = 0.0
    gain: float = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Somebody, or nobody, in front of the camera for so many frames."""

    portrait: str | None
    frames: int


def demo_picture(name: str) -> Pixels:
    """One of the public-domain portraits that ship with the package (demo/CREDITS.md)."""
    data = resources.files("glancein").joinpath("demo_pictures", name).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def place(name: str, pose: Pose | None = None) -> Pixels:
    """A camera frame (480, 640, 3) with one of the portraits in front of a plain wall."""
    pose = pose or Pose()
    portrait, head = demo_picture(name), HEADS[name]
    height, width = FRAME_SHAPE[:2]
    fit = pose.scale * HEAD_SHARE * height / (head.height * portrait.shape[0])
    centre = (head.centre_x * portrait.shape[1], head.centre_y * portrait.shape[0])
    matrix = cv2.getRotationMatrix2D(centre, pose.tilt_deg, fit)
    matrix[0, 2] += width / 2 - centre[0] + pose.shift_x_px
    matrix[1, 2] += height / 2 - centre[1] + pose.shift_y_px
    source = cv2.GaussianBlur(portrait, (0, 0), 0.4 / fit) if fit < 0.8 else portrait  # no aliasing
    placed = cv2.warpAffine(source, matrix, (width, height), borderValue=(WALL_GREY,) * 3)
    return np.asarray(np.clip(placed * pose.gain, 0, 255), np.uint8)


def moving(portrait: str | None, frames: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """Frames of somebody who steps up, sways and is lit unevenly; of an empty wall without a portrait."""
    phase = float(rng.uniform(0, 2 * math.pi))
    for number in range(frames):
        noise = rng.normal(0, 3, FRAME_SHAPE)
        if portrait is None:
            frame = np.full(FRAME_SHAPE, WALL_GREY, np.float64)
        else:
            sway = math.sin(phase + number / 3)
            pose = Pose(
                scale=1.0 + 0.04 * sway,
                shift_x_px=14 * sway,
                shift_y_px=6 * math.cos(phase + number / 4),
                tilt_deg=3 * math.sin(number / 5 + phase),
                gain=0.9 + 0.12 * math.cos(number / 4),
            )
            frame = place(portrait, pose).astype(np.float64)
        yield np.asarray(np.clip(frame + noise, 0, 255), np.uint8)


def film(scenes: list[Scene], folder: Path, *, seed: int = 7) -> int:
    """Write the scenes as numbered pictures that the folder camera replays; returns how many."""
    rng = np.random.default_rng(seed)
    number = 0
    for scene in scenes:
        for frame in moving(scene.portrait, scene.frames, rng):
            Image.fromarray(frame).save(folder / f"{number:05d}.jpg", quality=92)
            number += 1
    return number
