"""The one aligner, against geometry and against a slow plain version of itself."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import cast

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain import align
from glancein.types import Crop, Floats, Pixels

TEMPLATE: Floats = np.asarray(align.TEMPLATE, np.float32)
ANGLES = st.floats(-math.pi, math.pi)
SCALES = st.floats(0.2, 12.0)
SHIFTS = st.floats(-500.0, 2000.0)


def similarity_matrix(angle: float, scale: float, right: float, down: float) -> Floats:
    """(2, 3) rotation, scale and shift."""
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[a, -b, right], [b, a, down]], np.float32)


@given(ANGLES, SCALES, SHIFTS, SHIFTS)
def test_similarity_takes_a_moved_template_home(
    angle: float, scale: float, right: float, down: float
) -> None:
    """Whatever way a rigid face is turned, scaled and moved, its landmarks come back to the template."""
    seen = align.transform(similarity_matrix(angle, scale, right, down), TEMPLATE)

    home = align.transform(align.similarity(seen), seen)

    # float32 pixels of up to 4000 carry steps of 2e-4; a small face enlarges them.
    np.testing.assert_allclose(home, TEMPLATE, atol=0.02)


@given(ANGLES, SCALES, SHIFTS, SHIFTS)
def test_similarity_is_the_inverse_of_how_the_face_was_moved(
    angle: float, scale: float, right: float, down: float
) -> None:
    """The transform found is the way back: one scale, one rotation, no reflection."""
    moved = similarity_matrix(angle, scale, right, down)

    found = align.similarity(align.transform(moved, TEMPLATE))

    assert found[0, 0] == pytest.approx(found[1, 1])
    assert found[0, 1] == pytest.approx(-found[1, 0])
    np.testing.assert_allclose(found[:, :2] @ moved[:, :2], np.eye(2), atol=1e-3)


@given(ANGLES, SCALES, st.integers(0, 4), st.floats(8.0, 60.0), ANGLES)
def test_one_wild_landmark_does_not_tilt_the_face(
    angle: float, scale: float, which: int, far_px: float, towards: float
) -> None:
    """With four landmarks right, the fifth may lie anywhere."""
    moved = similarity_matrix(angle, scale, 300.0, 200.0)
    seen = align.transform(moved, TEMPLATE)
    wild = seen.copy()
    wild[which] += np.float32(far_px * scale) * np.array([math.cos(towards), math.sin(towards)], np.float32)

    np.testing.assert_allclose(align.similarity(wild), align.similarity(seen), atol=0.05, rtol=0.01)


@given(ANGLES, SCALES, SHIFTS, SHIFTS)
def test_invert_undoes_a_similarity(angle: float, scale: float, right: float, down: float) -> None:
    """There and back again is where we were."""
    matrix = similarity_matrix(angle, scale, right, down)

    back = align.transform(align.invert(matrix), align.transform(matrix, TEMPLATE))

    np.testing.assert_allclose(back, TEMPLATE, atol=0.02)


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 4.0))
def test_similarity_agrees_with_a_slow_plain_version(seed: int, noise_px: float) -> None:
    """Least median of squares over all pairs, then least squares over the inliers, in plain Python."""
    rng = np.random.default_rng(seed)
    seen = (2.0 * TEMPLATE + 40.0 + rng.normal(0.0, noise_px, (5, 2))).astype(np.float32)

    slow = plain_least_median([(float(x), float(y)) for x, y in seen])

    np.testing.assert_allclose(align.similarity(seen), slow, atol=1e-3)


def plain_least_median(points: list[tuple[float, float]]) -> list[list[float]]:
    """The same rule with loops, real numbers and the normal equations."""
    best_median = math.inf
    best: list[float] = []
    for pair in itertools.combinations(range(5), 2):
        matrix = plain_fit([points[i] for i in pair], [align.TEMPLATE[i] for i in pair])
        squared = [
            (matrix[0][0] * x + matrix[0][1] * y + matrix[0][2] - u) ** 2
            + (matrix[1][0] * x + matrix[1][1] * y + matrix[1][2] - v) ** 2
            for (x, y), (u, v) in zip(points, align.TEMPLATE, strict=True)
        ]
        if statistics.median(squared) < best_median:
            best_median, best = statistics.median(squared), squared
    limit = 2.5 * 1.4826 * (1 + 5 / 3) * math.sqrt(best_median)
    kept = [i for i in range(5) if best[i] <= max(limit**2, 1e-6)]
    return plain_fit([points[i] for i in kept], [align.TEMPLATE[i] for i in kept])


def plain_fit(points: list[tuple[float, float]], target: list[tuple[float, float]]) -> list[list[float]]:
    """a, b, right, down of u = a x - b y + right, v = b x + a y + down by the four normal equations."""
    rows, wanted = [], []
    for (x, y), (u, v) in zip(points, target, strict=True):
        rows += [[x, -y, 1.0, 0.0], [y, x, 0.0, 1.0]]
        wanted += [u, v]
    system = np.asarray(rows, np.float64)
    a, b, right, down = np.linalg.solve(system.T @ system, system.T @ np.asarray(wanted, np.float64)).tolist()
    return [[a, -b, right], [b, a, down]]


@pytest.mark.parametrize(
    "landmarks",
    [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2)), np.full((5, 2), 7.0)],
    ids=["at the origin", "not finite", "four", "coincident"],
)
def test_impossible_landmarks_are_refused(landmarks: Floats) -> None:
    """Five distinct finite points or a ValueError."""
    with pytest.raises(ValueError, match="landmarks"):
        align.similarity(landmarks.astype(np.float32))


def ramp(width: int, height: int) -> Pixels:
    """A picture whose red grows to the right and green downwards, a step every four pixels."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x // 4, y // 4, np.zeros_like(x)], axis=2).astype(np.uint8)


def test_crop_of_a_face_in_place_is_a_plain_cut() -> None:
    """Landmarks that lie on the template, moved by whole pixels, give the picture's own pixels."""
    picture = ramp(400, 300)

    crop = align.crop(picture, TEMPLATE + np.float32(60))

    np.testing.assert_array_equal(crop.pixels, picture[60:172, 60:172])
    assert crop.source_px_per_crop_px == pytest.approx(1.0, abs=1e-4)
    assert crop.residual_px == pytest.approx(0.0, abs=1e-3)


def test_wider_crop_keeps_the_scale_and_adds_a_margin() -> None:
    """The 128 px crop is the 112 px crop with eight pixels more on every side."""
    picture = cv2.GaussianBlur(cv2.resize(ramp(400, 300), (800, 600)), (0, 0), 2).astype(np.uint8)
    landmarks = TEMPLATE * np.float32(1.3) + np.float32(200)

    narrow = align.crop(picture, landmarks)
    wide = align.crop(picture, landmarks, out_px=128)

    # cv2 interpolates in steps of 1/32 pixel, so the two grids may differ by one grey level.
    assert np.abs(wide.pixels[8:120, 8:120].astype(int) - narrow.pixels.astype(int)).max() <= 1


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0, 4.0, 6.5, 8.0, 11.0])
def test_shrunken_source_has_no_shift(scale: float) -> None:
    """However much larger the face, a mark on it lands on one crop pixel: halving keeps pixel centres."""
    landmarks = (TEMPLATE + np.float32(0.5)) * np.float32(scale) - np.float32(0.5) + np.float32(20)
    mark_at = (np.array([56.0, 60.0]) + 0.5) * scale - 0.5 + 20
    px = int(112 * scale) + 60
    x, y = np.meshgrid(np.arange(px), np.arange(px))
    reach = 6.0 * scale
    bump = np.exp(-((x - mark_at[0]) ** 2 + (y - mark_at[1]) ** 2) / (2 * reach**2))
    picture = np.repeat((255 * bump)[:, :, None], 3, axis=2).astype(np.uint8)

    crop = align.crop(picture, landmarks).pixels[:, :, 0].astype(np.float64)

    across, down = np.meshgrid(np.arange(112), np.arange(112))
    centre = np.array([(crop * across).sum(), (crop * down).sum()]) / crop.sum()
    np.testing.assert_allclose(centre, [56.0, 60.0], atol=0.05)


def test_fine_stripes_in_a_large_source_do_not_alias() -> None:
    """One-pixel stripes of a face eight times too large become grey, not a new pattern."""
    picture = np.zeros((1000, 1000, 3), np.uint8)
    picture[:, ::2] = 255

    crop = align.crop(picture, TEMPLATE * np.float32(8) + np.float32(20)).pixels

    assert cast("float", crop[10:-10, 10:-10].std()) < 3.0


def test_turned_head_lies_far_from_the_template() -> None:
    """A nose tip that wanders sideways shows in the residual and leaves the crop where the others put it."""
    turned = TEMPLATE.copy()
    turned[2, 0] += 15

    crop = align.crop(ramp(200, 200), turned)

    assert crop.residual_px == pytest.approx(15 / math.sqrt(5), rel=0.05)


def test_softened_leaves_a_crop_that_was_not_enlarged() -> None:
    """A face of as many pixels as the crop, or more, loses nothing."""
    cut = Crop(np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8), 1.2, 0.0)

    assert align.softened(cut) is cut


@pytest.mark.parametrize("source_px_per_crop_px", [0.4, 0.5, 0.8])
def test_softened_hides_the_edges_of_source_pixels(source_px_per_crop_px: float) -> None:
    """A single bright column of an enlarged source is spread by 0.7 of its pixels, and keeps its light."""
    pixels = np.zeros((112, 112, 3), np.uint8)
    pixels[:, 56] = 200

    soft = align.softened(Crop(pixels, source_px_per_crop_px, 0.0))

    row = soft.pixels[56, :, 0].astype(float)
    spread = math.sqrt(float((row * (np.arange(112) - 56) ** 2).sum() / row.sum()))
    assert row.sum() == pytest.approx(200, rel=0.05)
    assert spread == pytest.approx(0.7 * math.sqrt(source_px_per_crop_px**-2 - 1), rel=0.1)
    assert soft.source_px_per_crop_px == source_px_per_crop_px


def test_looks_are_the_crop_and_its_eight_shifts() -> None:
    """Each pixel comes from two pixels aside, or from the edge where nothing is there."""
    rng = np.random.default_rng(0)
    cut = Crop(rng.integers(0, 256, (112, 112, 3), np.uint8), 1.2, 0.5)

    found = align.looks(cut)

    steps = [(down, right) for down in (0, -2, 2) for right in (0, -2, 2)]
    assert len(found) == len(steps)
    for look, (down, right) in zip(found, steps, strict=True):
        for y, x in rng.integers(0, 112, (50, 2)):
            source = min(max(y + down, 0), 111), min(max(x + right, 0), 111)
            assert look.pixels[y, x].tolist() == cut.pixels[source].tolist()
        assert (look.source_px_per_crop_px, look.residual_px) == (1.2, 0.5)
