"""The disturbances stay what they say they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import numpy as np
import torch  # only where it is there

from glancein.domain import align
from glancein_training import augment  # as above

STILL = augment.Strength(
    rotate_deg=0,
    scale=0,
    shift_px=0,
    exposure=0,
    grey=0,
    low_resolution=0,
    blur=0,
    noise=0,
    jpeg=0,
    occlude=0,
    print_and_scan=0,
)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_crops(count: int) -> torch.Tensor:
    """uint8 (count, 3, 128, 128) without fine detail, so that a scaled picture can be compared."""
    coarse = torch.rand(count, 3, 5, 5, generator=generator(1))
    large = torch.nn.functional.interpolate(coarse, size=128, mode="bicubic").clamp(0, 1)
    return (255 * large).round().to(torch.uint8)


def test_no_strength_gives_the_centre_or_its_mirror_image() -> None:
    """With everything switched off, what comes out is the plain 112 px crop, mirrored or not."""
    crops = smooth_crops(16)
    plain = crops[:, :, 8:120, 8:120].float()

    out = augment.augment(crops, generator(), STILL)

    same = (out - plain).abs().amax(dim=(1, 2, 3)) < 0.01
    mirrored = (out - plain.flip(3)).abs().amax(dim=(1, 2, 3)) < 0.01
    assert bool((same | mirrored).all())
    assert bool(same.any())
    assert bool(mirrored.any())


def test_fewer_pixels_show_the_whole_crop() -> None:
    """Training at 80 px shows the same face smaller, not its middle."""
    crops = smooth_crops(4)

    large = augment.augment(crops, generator(), STILL)
    small = augment.augment(crops, generator(), STILL, out_px=80)

    shrunk = torch.nn.functional.interpolate(large, size=80, mode="bilinear", align_corners=False)
    torch.testing.assert_close(small, shrunk, atol=2.0, rtol=0.0)


def test_same_seed_gives_the_same_pictures() -> None:
    """Randomness comes from the generator passed in and from nowhere else."""
    crops = smooth_crops(8)
    half = augment.Strength(
        low_resolution=0.5, blur=0.5, noise=0.5, jpeg=0.5, occlude=0.5, print_and_scan=0.5
    )

    once = augment.augment(crops, generator(), half)
    again = augment.augment(crops, generator(), half)

    torch.testing.assert_close(once, again, atol=0.0, rtol=0.0)


def test_pictures_stay_within_grey_levels() -> None:
    """Whatever happens to a picture, its values stay finite and between 0 and 255."""
    strong = augment.Strength(
        exposure=1.0, grey=1.0, low_resolution=1.0, blur=1.0, noise=1.0, jpeg=1.0, occlude=1.0
    )

    out = augment.augment(smooth_crops(32), generator(), strong)

    assert out.shape == (32, 3, 112, 112)
    assert bool(out.isfinite().all())
    assert out.min() >= 0
    assert out.max() <= 255.001  # enlarging by interpolation rounds


@pytest.mark.parametrize("seed", range(5))
def test_blur_keeps_a_flat_picture_flat(seed: int) -> None:
    """Every blur kernel sums to one and has no negative part."""
    kernel = augment.blur_kernel(generator(seed))

    assert kernel.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert kernel.min() >= 0


def test_shift_moves_the_face_by_at_most_its_pixels() -> None:
    """A shift of five pixels moves a mark by no more than five crop pixels either way."""
    crops = torch.zeros(64, 3, 128, 128, dtype=torch.uint8)
    crops[:, :, 63:65, 63:65] = 255
    shifted = replace(STILL, shift_px=5.0)

    out = augment.jitter_pose(crops, generator(), shifted, out_px=112)[:, 0]

    axis = torch.arange(112.0)
    across = (out.sum(1) * axis).sum(1) / out.sum((1, 2)) - 55.5
    assert across.abs().max() <= 5.05
    assert across.abs().max() > 3


def test_occlusion_covers_one_flat_patch() -> None:
    """Outside the patch the picture is untouched, inside it has one colour."""
    images = smooth_crops(20)[:, :, 8:120, 8:120].float()

    out = augment.occlude(images.clone(), generator(), 1.0)

    changed = (out != images).any(dim=1)
    for picture, mask in zip(out, changed, strict=True):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        patch = picture[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert patch.flatten(1).std(1).max() == 0


def test_grey_has_three_equal_channels() -> None:
    """A grey picture is grey all over."""
    grey = augment.Strength(exposure=0.0, grey=1.0)

    out = augment.change_light(smooth_crops(4).float(), generator(), grey)

    torch.testing.assert_close(out[:, 0], out[:, 2])


def test_print_and_scan_loses_fine_detail_and_keeps_the_face() -> None:
    """A scanned print stays within the range, differs from the crop, and keeps its coarse light and dark."""
    crops = smooth_crops(4)[:, :, 8:120, 8:120].float()

    out = augment.print_and_scan(crops.clone(), generator(), 1.0)

    coarse = [torch.nn.functional.avg_pool2d(x.mean(1), 28).flatten() for x in (crops, out)]
    assert out.min() >= 0
    assert out.max() <= 255.001  # enlarging by interpolation rounds
    assert (out - crops).abs().mean() > 1
    assert torch.corrcoef(torch.stack(coarse))[0, 1] > 0.8


def test_scan_is_softened_as_the_kiosk_softens_a_portrait_cut_out_of_a_scan() -> None:
    """A scan of half the size, cut out by the device's own aligner and softened, is what training shows."""
    scan = torch.randint(0, 256, (3, 56, 56), generator=generator()).float()
    landmarks = (np.asarray(align.TEMPLATE, np.float32) - np.float32(0.5)) / np.float32(
        2
    )  # pixel centres lie between

    cut = align.softened(align.crop(augment.as_picture(scan), landmarks)).pixels

    inside = (slice(8, -8), slice(8, -8))  # beyond the scan the aligner shows black
    shown = augment.as_picture(augment.enrolled(scan, 112))
    assert np.abs(shown[inside].astype(int) - cut[inside]).max() <= 2


def test_halftone_screens_keep_the_share_of_paper() -> None:
    """Of every screen, as many thresholds lie below a tone as the tone says; the three screens differ."""
    screens = augment.halftone_screens(generator(), 96)

    for tone in (0.1, 0.5, 0.9):
        assert torch.allclose((screens < tone).float().mean(dim=(1, 2)), torch.full((3,), tone), atol=0.03)
    assert (screens[0] - screens[1]).abs().mean() > 0.1
    assert (screens[1] - screens[2]).abs().mean() > 0.1
