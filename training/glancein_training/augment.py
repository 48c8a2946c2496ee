"""Batched augmentation for the kiosk's world: pose, exposure, blur, low resolution, noise, JPEG, occlusion.

The teacher sees the clean crop; the student sees what this file makes of it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from cv2.typing import MatLike
from numpy.typing import NDArray
from torch import Tensor

from glancein.domain.align import CROP_PX, softened
from glancein.types import Crop

DOTS_PER_PIXEL = 4  # printer dots for each scanned pixel: 600 dpi read at 150


@dataclass(frozen=True, slots=True)
class Strength:
    """How far each disturbance goes; probabilities are per picture unless said otherwise."""

    # Run i2's, slight and few: the first runs' (training/runs/heavy.sh) cost 3 points at FAR 1e-3.
    rotate_deg: float = 4.0
    scale: float = 0.04
    shift_px: float = 2.0
    exposure: float = 0.12
    grey: float = 0.10
    low_resolution: float = 0.04
    blur: float = 0.04
    noise: float = 0.04
    jpeg: float = 0.04
    occlude: float = 0.03
    print_and_scan: float = 0.06


def augment(crops: Tensor, rng: torch.Generator, strength: Strength, *, out_px: int = 112) -> Tensor:
    """uint8 (n, 3, 128, 128) -> float32 (n, 3, out_px, out_px) in 0..255, disturbed at random."""
    images = jitter_pose(crops, rng, strength, out_px=out_px)
    images = lower_resolution(images, rng, strength.low_resolution)
    images = print_and_scan(images, rng, strength.print_and_scan)
    images = blur(images, rng, strength.blur)
    images = change_light(images, rng, strength)
    images = add_noise(images, rng, strength.noise)
    images = compress(images, rng, strength.jpeg)
    return occlude(images, rng, strength.occlude)


def uniform(rng: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """(count,) numbers between low and high."""
    return torch.rand(count, generator=rng) * (high - low) + low


def chosen(rng: torch.Generator, count: int, probability: float) -> Tensor:
    """Indices of the pictures that a disturbance with this probability falls on."""
    return torch.nonzero(torch.rand(count, generator=rng) < probability).flatten()


def jitter_pose(crops: Tensor, rng: torch.Generator, strength: Strength, *, out_px: int) -> Tensor:
    """uint8 (n, 3, h, w) mirrored, turned, scaled and shifted -> floats: the centre 112 px, as ``out_px``."""
    count, _, stored_px, _ = crops.shape
    angle = uniform(rng, count, -1, 1) * math.radians(strength.rotate_deg)
    size = 1 + uniform(rng, count, -1, 1) * strength.scale
    mirror = torch.where(torch.rand(count, generator=rng) < 0.5, -1.0, 1.0)
    reach = size * CROP_PX / out_px  # stored pixels for each one that is drawn
    shift = uniform(rng, 2 * count, -1, 1).view(count, 2) * strength.shift_px
    middle = (out_px - 1) / 2
    turn = torch.stack([mirror * angle.cos(), -angle.sin(), mirror * angle.sin(), angle.cos()], 1)
    across = reach.view(-1, 1, 1) * turn.view(count, 2, 2)
    origin = (stored_px - 1) / 2 + shift - across.sum(2) * middle
    matrices = torch.cat([across, origin.unsqueeze(2)], 2).double().numpy()
    out = torch.empty(count, 3, out_px, out_px)
    for index, (crop, matrix) in enumerate(zip(crops.permute(0, 2, 3, 1).numpy(), matrices, strict=True)):
        drawn = cv2.warpAffine(
            np.ascontiguousarray(crop),
            matrix,
            (out_px, out_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        out[index] = from_picture(drawn)
    return out


def lower_resolution(images: Tensor, rng: torch.Generator, probability: float) -> Tensor:
    """Shrink and enlarge again: a far face, or a portrait printed small. One size per call."""
    picked = chosen(rng, len(images), probability)
    if len(picked):
        px = images.shape[-1]
        small_px = int(uniform(rng, 1, 20, 72).item())
        small = F.interpolate(images[picked], size=(small_px, small_px), mode="area")
        images[picked] = F.interpolate(small, size=(px, px), mode="bilinear", align_corners=False)
    return images


def print_and_scan(images: Tensor, rng: torch.Generator, probability: float) -> Tensor:
    """A badge scanned small: clustered dots of three inks on paper, few pixels, noise, JPEG.

    Enlarged and softened as enrolment does. One press (size, screens, ink, paper, focus of the scanner) per
    call.
    """
    picked = chosen(rng, len(images), probability)
    if len(picked):
        px = images.shape[-1]
        small_px = int(uniform(rng, 1, 36, 76).item())
        dots_px = small_px * DOTS_PER_PIXEL
        screens = as_picture(255 * halftone_screens(rng, dots_px))
        darkest = uniform(rng, 1, 0.0, 0.14)
        paper = uniform(rng, 1, 0.82, 0.96) + uniform(rng, 3, -0.04, 0.04)
        focus_dots = uniform(rng, 1, 1.6, 3.2).item()
        small = torch.empty(len(picked), 3, small_px, small_px)
        for at, index in enumerate(picked.tolist()):
            sheet = cv2.resize(as_picture(images[index]), (dots_px, dots_px))
            inked = cv2.compare(sheet, screens, cv2.CMP_GT)
            seen = cv2.GaussianBlur(inked, (0, 0), focus_dots)
            small[at] = from_picture(cv2.resize(seen, (small_px, small_px), interpolation=cv2.INTER_AREA))
        small = 255 * darkest + small * (paper - darkest).view(1, 3, 1, 1)
        noise = uniform(rng, 1, 0.0, 5.0) * torch.randn(small.shape, generator=rng)
        small = compress((small + noise).clamp(0, 255), rng, 0.8)
        for index, scan in zip(picked.tolist(), small, strict=True):
            images[index] = enrolled(scan, px)
    return images


def enrolled(scan: Tensor, px: int) -> Tensor:
    """(3, h, h) a small scanned face -> (3, px, px): enlarged and softened as enrolment does."""
    enlarged = np.asarray(cv2.resize(as_picture(scan), (px, px)), np.uint8)
    return from_picture(softened(Crop(enlarged, scan.shape[-1] / px, 0.0)).pixels)


def as_picture(image: Tensor) -> NDArray[np.uint8]:
    """(3, h, w) floats in 0..255 -> uint8 (h, w, 3), as OpenCV takes it."""
    return np.ascontiguousarray(image.clamp(0, 255).round().byte().permute(1, 2, 0).numpy())


def from_picture(picture: MatLike) -> Tensor:
    """uint8 (h, w, 3) -> (3, h, w) floats."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float()


def halftone_screens(rng: torch.Generator, px: int) -> Tensor:
    """(3, px, px) thresholds, one screen of clustered dots for each ink, four to eight dots apart.

    Each is spread evenly over 0..1, so that a tone keeps its share of the paper.
    """
    pitch = uniform(rng, 1, 4.0, 8.0).item()
    first = uniform(rng, 1, 0, math.pi / 2).item()
    axis = torch.arange(px, dtype=torch.float32) * (2 * math.pi / pitch)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    table, screens = wave_heights(), []
    for ink in range(3):
        angle = first + ink * math.pi / 6
        along = x * math.cos(angle) + y * math.sin(angle)
        across = y * math.cos(angle) - x * math.sin(angle)
        wave = along.cos() + across.cos()
        screens.append((torch.searchsorted(table, wave) + 0.5) / len(table))
    return torch.stack(screens)


@functools.cache
def wave_heights() -> Tensor:
    """The heights of a screen's wave, sorted: the place of a height among them is its rank."""
    phase = torch.linspace(0, 2 * math.pi, 65)[:-1]
    return (phase.cos()[:, None] + phase.cos()).flatten().sort().values


def blur(images: Tensor, rng: torch.Generator, probability: float) -> Tensor:
    """Motion blur along one direction or out-of-focus blur; one kernel per call."""
    picked = chosen(rng, len(images), probability)
    if len(picked):
        kernel = blur_kernel(rng).expand(3, 1, -1, -1).contiguous()
        reach = kernel.shape[-1] // 2
        padded = F.pad(images[picked], [reach] * 4, mode="reflect")
        images[picked] = F.conv2d(padded, kernel, groups=3)
    return images


def blur_kernel(rng: torch.Generator) -> Tensor:
    """(9, 9) kernel that sums to one: an oriented Gaussian, round or long and thin."""
    long_px = uniform(rng, 1, 0.7, 3.0).item()
    thin_px = long_px if torch.rand(1, generator=rng).item() < 0.5 else 0.5
    angle = uniform(rng, 1, 0, math.pi).item()
    axis = torch.arange(-4, 5, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    across = -x * math.sin(angle) + y * math.cos(angle)
    kernel = torch.exp(-0.5 * ((along / long_px) ** 2 + (across / thin_px) ** 2))
    return kernel / kernel.sum()


def change_light(images: Tensor, rng: torch.Generator, strength: Strength) -> Tensor:
    """Gain, offset, gamma, a colour cast, a side light, and now and then grey."""
    count = len(images)
    reach = strength.exposure
    shape = (count, 1, 1, 1)
    gamma = torch.exp(uniform(rng, count, -reach, reach)).view(count, 1)
    tones = (255 * torch.linspace(0, 1, 256).pow(gamma)).numpy()
    images = torch.stack(
        [from_picture(cv2.LUT(as_picture(i), t)) for i, t in zip(images, tones, strict=True)]
    )
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    contrast = torch.exp(uniform(rng, count, -reach, reach)).view(shape)
    offset = (1 - contrast) * mean + uniform(rng, count, -80, 80).view(shape) * reach
    cast = torch.exp(uniform(rng, 3 * count, -0.3, 0.3) * reach).view(count, 3, 1, 1)
    ramp = torch.linspace(-1, 1, images.shape[-1]).view(1, 1, 1, -1)
    side = uniform(rng, count, -1, 1).view(shape) * 0.8 * reach
    images = images.mul_(contrast).add_(offset).mul_(cast * (1 + side * ramp))
    grey = chosen(rng, count, strength.grey)
    if len(grey):
        images[grey] = images[grey].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return images.clamp_(0, 255)


def add_noise(images: Tensor, rng: torch.Generator, probability: float) -> Tensor:
    """Sensor noise of 2 to 16 grey levels."""
    picked = chosen(rng, len(images), probability)
    if len(picked):
        level = uniform(rng, len(picked), 2, 16).view(-1, 1, 1, 1)
        noise = torch.randn(images[picked].shape, generator=rng)
        images[picked] = (images[picked] + level * noise).clamp(0, 255)
    return images


def compress(images: Tensor, rng: torch.Generator, probability: float) -> Tensor:
    """JPEG at quality 15 to 70."""
    for index in chosen(rng, len(images), probability).tolist():
        quality = int(uniform(rng, 1, 15, 70).item())
        _, packed = cv2.imencode(".jpg", as_picture(images[index]), [cv2.IMWRITE_JPEG_QUALITY, quality])
        unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        assert unpacked is not None, "OpenCV reads what it wrote"  # noqa: S101  # an impossible state
        images[index] = from_picture(unpacked)
    return images


def occlude(images: Tensor, rng: torch.Generator, probability: float) -> Tensor:
    """A flat patch over the mouth (mask), the eyes (dark glasses) or anywhere (hand, glare)."""
    px = images.shape[-1]
    for index in chosen(rng, len(images), probability).tolist():
        kind = torch.rand(1, generator=rng).item()
        if kind < 0.3:
            top, bottom, left, right = 0.60, 1.0, 0.1, 0.9
        elif kind < 0.5:
            top, bottom, left, right = 0.38, 0.54, 0.12, 0.88
        else:
            top, left = uniform(rng, 2, 0.0, 0.8).tolist()
            height, width = uniform(rng, 2, 0.1, 0.4).tolist()
            bottom, right = min(1.0, top + height), min(1.0, left + width)
        colour = uniform(rng, 3, 0, 255).view(3, 1, 1)
        images[index, :, int(top * px) : int(bottom * px), int(left * px) : int(right * px)] = colour
    return images
