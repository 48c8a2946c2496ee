"""What is not a face: parts of pictures without one, plain colours, gradients, textures, text, patterns."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from glancein_training.finder.data import Picture, Pixels


def filling(pictures: Sequence[Picture], rng: Generator, *, width: int, height: int) -> Pixels:
    """What surrounds a picture that does not fill its scene: mostly plain, sometimes a background."""
    kind = rng.random()
    if kind < 0.25:
        return np.full((height, width, 3), 128, np.uint8)  # what the device pads with
    if kind < 0.55:
        return plain(rng, width=width, height=height)
    return faceless(pictures, rng, width=width, height=height)


def faceless(pictures: Sequence[Picture], rng: Generator, *, width: int, height: int) -> Pixels:
    """A picture of this size that shows no face."""
    if rng.random() < 0.6:
        found = cutting(pictures, rng, width=width, height=height)
        if found is not None:
            return found
    makers = (plain, gradient, noise, stripes, checks, writing, blobs)
    return makers[rng.integers(len(makers))](rng, width=width, height=height)


def cutting(pictures: Sequence[Picture], rng: Generator, *, width: int, height: int) -> Pixels | None:
    """A part of some picture that no labelled face touches, enlarged; None if eight tries find none."""
    for _ in range(8):
        picture = pictures[int(rng.integers(len(pictures)))]
        full_h, full_w = picture.pixels.shape[:2]
        cut_w = int(rng.integers(min(32, full_w), full_w + 1))
        cut_h = min(full_h, max(24, round(cut_w * height / width)))
        left, top = int(rng.integers(full_w - cut_w + 1)), int(rng.integers(full_h - cut_h + 1))
        boxes = picture.labels.boxes
        low = np.maximum(boxes[:, :2], (left, top))
        high = np.minimum(boxes[:, :2] + boxes[:, 2:], (left + cut_w, top + cut_h))
        if (np.min(high - low, axis=1) <= 0).all():
            part = picture.pixels[top : top + cut_h, left : left + cut_w]
            if rng.random() < 0.5:
                part = part[:, ::-1]
            return np.asarray(
                cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_AREA),
                np.uint8,
            )
    return None


def colour(rng: Generator) -> tuple[int, int, int]:
    """Any colour, half of them greys."""
    if rng.random() < 0.5:
        level = int(rng.integers(256))
        return level, level, level
    red, green, blue = rng.integers(0, 256, 3)
    return int(red), int(green), int(blue)


def plain(rng: Generator, *, width: int, height: int) -> Pixels:
    """One colour."""
    return np.full((height, width, 3), colour(rng), np.uint8)


def gradient(rng: Generator, *, width: int, height: int) -> Pixels:
    """Four colours, one in each corner."""
    corners = np.array([[colour(rng), colour(rng)], [colour(rng), colour(rng)]], np.uint8)
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def noise(rng: Generator, *, width: int, height: int) -> Pixels:
    """Random texture, grainy to cloudy, several sizes added."""
    total = np.zeros((height, width, 3), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        cell = int(rng.integers(1, 48))
        small = rng.normal(0, 1, (height // cell + 2, width // cell + 2, int(rng.choice([1, 3])))).astype(
            np.float32
        )
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, -1)
        total += large * np.float32(rng.uniform(5, 60))
    return np.clip(total + np.array(colour(rng), np.float32), 0, 255).astype(np.uint8)


def stripes(rng: Generator, *, width: int, height: int) -> Pixels:
    """Waves in one direction: blinds, cloth, panels."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(3, 60)
    wave = np.sin(
        (x * np.cos(angle) + y * np.sin(angle)) * np.float32(2 * np.pi / period) + rng.uniform(0, 6)
    )
    share = np.clip(wave * rng.uniform(0.5, 6) / 2 + 0.5, 0, 1)[..., None]
    mixed = share * np.array(colour(rng)) + (1 - share) * np.array(colour(rng))
    return np.asarray(mixed, np.uint8)


def checks(rng: Generator, *, width: int, height: int) -> Pixels:
    """A grid of random colours: tiles, shelves, windows."""
    palette = np.array([colour(rng) for _ in range(int(rng.integers(2, 6)))], np.uint8)
    rows, columns = (int(n) for n in rng.integers(2, 24, 2))
    cells = palette[rng.integers(len(palette), size=(rows, columns))]
    method = cv2.INTER_NEAREST if rng.random() < 0.7 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cells, (width, height), interpolation=method), np.uint8)


def writing(rng: Generator, *, width: int, height: int) -> Pixels:
    """Lines of printed letters: posters, cards, screens."""
    canvas = (
        gradient(rng, width=width, height=height)
        if rng.random() < 0.5
        else plain(rng, width=width, height=height)
    )
    letters = np.array(list("abcdefghijklmnoprstuvwxyzABCDEFGHIOQRS0123456789 .:;()-%&@oO8B"))
    for _ in range(int(rng.integers(3, 16))):
        text = "".join(rng.choice(letters, int(rng.integers(1, 24))))
        at = int(rng.integers(-20, width - 10)), int(rng.integers(5, height))
        font, size = int(rng.integers(0, 8)), float(rng.uniform(0.3, 4.0))
        cv2.putText(canvas, text, at, font, size, colour(rng), int(rng.integers(1, 8)), cv2.LINE_AA)
    return canvas


def blobs(rng: Generator, *, width: int, height: int) -> Pixels:
    """Ellipses, rings and boxes in several colours: lamps, balls, sockets, things that look at you."""
    canvas = (
        noise(rng, width=width, height=height)
        if rng.random() < 0.5
        else gradient(rng, width=width, height=height)
    )
    for _ in range(int(rng.integers(2, 14))):
        at = int(rng.integers(width)), int(rng.integers(height))
        axes = int(rng.integers(2, 70)), int(rng.integers(2, 70))
        thickness = -1 if rng.random() < 0.6 else int(rng.integers(1, 8))
        if rng.random() < 0.7:
            cv2.ellipse(
                canvas, at, axes, float(rng.uniform(0, 180)), 0, 360, colour(rng), thickness, cv2.LINE_AA
            )
        else:
            cv2.rectangle(canvas, at, (at[0] + axes[0], at[1] + axes[1]), colour(rng), thickness)
    return canvas
