"""Scenes for the finder: labels move with the pixels, what is turned over is no face."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from glancein_training.finder import backgrounds
from glancein_training.finder.data import Labels, Picture, labels_of
from glancein_training.finder.disturb import Strength, disturb
from glancein_training.finder.scenes import Choice, compose, draw, move, similarity, visible

PLAIN = Choice(faceless=0.0, mosaic=0.0, turned_over=0.0, hidden=0.0)


def marked(width: int = 120, height: int = 160) -> Picture:
    """A dark picture of one face whose landmarks are bright dots, a colour each."""
    pixels = np.full((height, width, 3), 30, np.uint8)
    landmarks = np.array([[40, 60], [80, 62], [60, 85], [46, 106], [75, 108]], np.float32)
    for x, y in landmarks:
        cv2.circle(pixels, (int(x), int(y)), 5, (255, 255, 255), -1)
    from_edge = landmarks + np.float32(0.5)  # the dot's middle is the middle of a pixel
    labels = Labels(np.array([[30, 40, 60, 80]], np.float32), from_edge[None], np.array([0.9], np.float32))
    return Picture("marked", pixels, labels)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_landmarks_stay_on_their_pixels(scale: float, mirror: bool) -> None:  # noqa: FBT001  # a parameter
    """After turning, scaling and mirroring, every landmark lies in the middle of its dot."""
    picture = marked()
    matrix = similarity(scale, 25.0, np.array([60, 80]), np.array([150, 140]), mirror=mirror)
    canvas = np.zeros((300, 300, 3), np.uint8)

    draw(canvas, picture.pixels, matrix, scale)
    _, landmarks = move(picture.labels, matrix, mirror=mirror)

    grey = canvas[..., 0].astype(np.float32)
    for x, y in landmarks[0]:
        reach = round(5 * scale) + 2
        rows, columns = np.mgrid[int(y) - reach : int(y) + reach + 1, int(x) - reach : int(x) + reach + 1]
        weight = np.clip(grey[rows, columns] - 60, 0, None)
        assert (weight * columns).sum() / weight.sum() == pytest.approx(x - 0.5, abs=0.25)
        assert (weight * rows).sum() / weight.sum() == pytest.approx(y - 0.5, abs=0.25)


def test_mirrored_face_keeps_its_left_eye_on_the_left() -> None:
    """Landmarks are named as seen in the picture."""
    matrix = similarity(1.0, 0.0, np.array([60, 80]), np.array([60, 80]), mirror=True)

    _, landmarks = move(marked().labels, matrix, mirror=True)

    assert landmarks[0, 0, 0] < landmarks[0, 1, 0]
    assert landmarks[0, 3, 0] < landmarks[0, 4, 0]


def test_box_of_a_turned_face_is_that_of_its_ellipse() -> None:
    """By a quarter turn the box lies down; by 45 degrees its sides are the root mean square of both."""
    labels = marked().labels
    lying, _ = move(
        labels,
        similarity(1.0, 90.0, np.zeros(2, np.float32), np.zeros(2, np.float32), mirror=False),
        mirror=False,
    )
    leaning, _ = move(
        labels,
        similarity(1.0, 45.0, np.zeros(2, np.float32), np.zeros(2, np.float32), mirror=False),
        mirror=False,
    )

    np.testing.assert_allclose(lying[0, 2:], [80, 60], rtol=1e-4)
    np.testing.assert_allclose(leaning[0, 2:], [np.sqrt((60**2 + 80**2) / 2)] * 2, rtol=1e-4)


def test_same_seed_gives_the_same_scene() -> None:
    """Scene k is a function of (seed, k) alone."""
    pictures = [marked(), marked(200, 180)]

    def made() -> np.ndarray:  # uint8 pixels
        rng = np.random.default_rng([1, 7])
        cv2.setRNGSeed(7)
        return disturb(compose(pictures, rng, Choice(), width=128, height=96).pixels, rng, Strength())

    np.testing.assert_array_equal(made(), made())


def test_every_scene_has_its_size_and_finite_labels() -> None:
    """Whatever is drawn, arrays agree in length and boxes are of some size."""
    pictures = [marked(), marked(200, 180)]
    for number in range(60):
        scene = compose(pictures, np.random.default_rng(number), Choice(), width=128, height=96)

        assert scene.pixels.shape == (96, 128, 3)
        assert len(scene.boxes) == len(scene.landmarks) == len(scene.weights)
        assert np.isfinite(scene.boxes).all()
        assert (scene.boxes[:, 2:] > 0).all()


def test_faces_turned_over_are_background() -> None:
    """A lying or upside-down face is neither a label nor ignored: the finder learns to be silent on it."""
    choice = replace(PLAIN, turned_over=1.0)

    scenes = [compose([marked()], np.random.default_rng(k), choice, width=128, height=96) for k in range(20)]

    assert all(len(scene.boxes) == 0 for scene in scenes)


def test_pictures_without_faces_are_background_when_scenes_are_made() -> None:
    """They are never what is placed, however many there are."""
    nobody = replace(marked(), labels=labels_of([]))
    pictures = [nobody, nobody, marked(), nobody]

    scenes = [compose(pictures, np.random.default_rng(k), PLAIN, width=128, height=96) for k in range(10)]

    assert all(len(scene.boxes) for scene in scenes)


def test_uncertain_labels_are_ignored() -> None:
    """A label below the limit stays with weight 0."""
    picture = marked()
    unsure = replace(picture, labels=replace(picture.labels, scores=np.array([0.5], np.float32)))

    scene = compose([unsure], np.random.default_rng(3), PLAIN, width=128, height=96)

    assert scene.weights.tolist() == [0.0]


def test_visible_share_is_counted() -> None:
    """Inside one, half outside a half, outside nothing."""
    boxes = np.array([[10, 10, 20, 20], [-10, 10, 20, 20], [200, 10, 20, 20]], np.float32)

    np.testing.assert_allclose(visible(boxes, 100, 100), [1, 0.5, 0])


@pytest.mark.parametrize("name", ["plain", "gradient", "noise", "stripes", "checks", "writing", "blobs"])
def test_drawn_backgrounds_have_the_size_asked_for(name: str) -> None:
    """Every maker gives uint8 RGB of the size."""
    made = getattr(backgrounds, name)(np.random.default_rng(0), width=70, height=50)

    assert made.shape == (50, 70, 3)
    assert made.dtype == np.uint8


def test_cutting_never_shows_a_labelled_face() -> None:
    """Parts cut as background leave the bright dots out."""
    for number in range(30):
        part = backgrounds.cutting([marked(320, 300)], np.random.default_rng(number), width=64, height=48)

        assert part is None or part.max() < 60
