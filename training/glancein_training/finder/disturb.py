"""What light, lens, sensor and file do to a scene: exposure, backlight, low light, blur, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from glancein_training.finder.data import Floats, Pixels


@dataclass(frozen=True, slots=True)
class Strength:
    """Probabilities per scene, and the reach of exposure (natural logarithm)."""

    exposure: float = 0.45
    low_light: float = 0.12
    backlight: float = 0.12
    grey: float = 0.10
    coarse: float = 0.12
    blur: float = 0.20
    noise: float = 0.25
    jpeg: float = 0.20


def disturb(pixels: Pixels, rng: Generator, strength: Strength) -> Pixels:
    """A disturbed copy of an RGB scene (h, w, 3)."""
    pixels = lens(pixels, rng, strength)
    floats = light(pixels, rng, strength)
    if rng.random() < strength.noise:
        height, width = floats.shape[:2]
        grain = np.empty((height, width, 3), np.float32)
        level = float(rng.uniform(2, 14))
        cv2.randn(grain, np.zeros(3), np.full(3, level))  # one number would reach red only
        floats = floats + grain
    pixels = np.clip(floats, 0, 255).astype(np.uint8)
    if rng.random() < strength.jpeg:
        quality = int(rng.integers(20, 80))
        _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def light(pixels: Pixels, rng: Generator, strength: Strength) -> Floats:
    """Gamma, contrast, colour cast, a brighter side, darkness, grey. Floats in about 0..255."""
    reach = strength.exposure
    gamma = float(np.exp(rng.uniform(-reach, reach)))
    gain = np.exp(rng.uniform(-reach, reach) + rng.uniform(-0.15, 0.15, 3) * (rng.random() < 0.5))
    offset = rng.uniform(-60, 60) * reach
    if rng.random() < strength.low_light:
        gain = gain * rng.uniform(0.08, 0.45)
        offset *= 0.3
    levels = (np.arange(256, dtype=np.float32) / 255) ** gamma * 255
    table = (levels[:, None] * gain + offset).astype(np.float32)  # (256, 3)
    floats = np.empty(pixels.shape, np.float32)
    for channel in range(3):
        floats[..., channel] = table[pixels[..., channel], channel]
    if rng.random() < strength.backlight:
        corners = rng.uniform(0.2, 1.8, (2, 2)).astype(np.float32)
        floats *= cv2.resize(corners, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    if rng.random() < strength.grey:
        floats[:] = floats.mean(axis=2, keepdims=True)
    return floats


def lens(pixels: Pixels, rng: Generator, strength: Strength) -> Pixels:
    """Low resolution, soft focus or movement."""
    if rng.random() < strength.coarse:
        height, width = pixels.shape[:2]
        factor = rng.uniform(1.2, 3.0)
        small = cv2.resize(pixels, (int(width / factor), int(height / factor)), interpolation=cv2.INTER_AREA)
        pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < strength.blur:
        if rng.random() < 0.5:
            return np.asarray(cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.5, 2.2))), np.uint8)
        return np.asarray(cv2.filter2D(pixels, -1, movement(rng)), np.uint8)
    return pixels


def movement(rng: Generator) -> Floats:
    """A short line as a blur kernel, 3 to 9 pixels."""
    length = int(rng.choice([3, 5, 7, 9]))
    kernel = np.zeros((length, length), np.float32)
    middle, angle = (length - 1) / 2, rng.uniform(0, np.pi)
    ends = [
        (round(middle + s * middle * np.cos(angle)), round(middle + s * middle * np.sin(angle)))
        for s in (-1, 1)
    ]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
    return np.asarray(kernel / kernel.sum(), np.float32)
