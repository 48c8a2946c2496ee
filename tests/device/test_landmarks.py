"""The second look's geometry: in and out again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain import align
from glancein.domain.landmarks import (
    CELL_PX,
    GRID,
    LOOK_PX,
    LOOK_SCALE,
    POINTS,
    centres,
    cut,
    in_look,
    joint_score,
    look_matrix,
    template,
    to_points,
)
from glancein.types import Floats


def posed(scale: float, angle: float, x: float, y: float) -> Floats:
    """The template's landmarks scaled, turned and moved."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(np.asarray(align.TEMPLATE) @ turn.T + [x, y], np.float32)


def votes_for(points: Floats) -> tuple[Floats, Floats]:
    """Weights and offsets of a network in which every cell is sure of these points of the look."""
    offsets = (points - centres()[:, :, None]) / CELL_PX
    return np.zeros((GRID, GRID, POINTS), np.float32), offsets.reshape(GRID, GRID, -1).astype(np.float32)


@given(st.floats(0.2, 8), st.floats(-3.1, 3.1), st.floats(-200, 900), st.floats(-200, 900))
def test_votes_for_the_template_give_the_pose_back(scale: float, angle: float, x: float, y: float) -> None:
    """A frontal face whose cells all say "as in the template" keeps its landmarks, whatever its pose."""
    landmarks = posed(scale, angle, x, y)

    found = to_points(*votes_for(template()), look_matrix(landmarks))

    np.testing.assert_allclose(found, landmarks, atol=0.02 * scale + 0.01)


@pytest.mark.parametrize("scale", [0.2, 0.6, 3.0])
def test_a_dot_lies_in_the_look_where_its_landmark_says(scale: float) -> None:
    """A landmark in the middle of a pixel (x.5 from the edge) is that pixel's middle in the look."""
    landmarks = posed(1 / scale, 0.4, 400, 300)
    landmarks[2] = np.floor(landmarks[2]) + 0.5
    pixels = np.full((1200, 1200, 3), 20, np.uint8)
    x, y = (int(v) for v in landmarks[2])
    reach = round(3 / scale)
    pixels[y - reach : y + reach + 1, x - reach : x + reach + 1] = 220
    matrix = look_matrix(landmarks)

    weight = np.clip(cut(pixels, matrix)[..., 0].astype(np.float32) - 130, 0, None)

    rows, columns = np.mgrid[:LOOK_PX, :LOOK_PX]
    middle = [float((weight * places).sum() / weight.sum()) for places in (columns, rows)]
    np.testing.assert_allclose(middle, in_look(matrix, landmarks)[2], atol=0.15)


def test_template_lies_inside_the_look_with_the_aligners_shape() -> None:
    """All five points are at least 20 px from the edge, and 0.95 of the crop's distances apart."""
    points = template()

    assert points.min() > 20
    assert points.max() < LOOK_PX - 10
    assert np.hypot(*(points[1] - points[0])) == pytest.approx(
        LOOK_SCALE * np.hypot(35.2372, 0.1949), rel=1e-3
    )


def test_votes_are_counted_in_the_looks_cells() -> None:
    """A cell's width to the right is 8 px of the look, turned and scaled back into the picture."""
    landmarks = posed(3.0, np.pi / 2, 500, 100)
    weights, offsets = votes_for(template())

    found = to_points(weights, offsets + np.tile(np.asarray([1, 0], np.float32), 5), look_matrix(landmarks))

    np.testing.assert_allclose(found - landmarks, [[0, CELL_PX / LOOK_SCALE * 3]] * 5, atol=0.05)


def test_cells_that_know_outvote_the_others() -> None:
    """Only the weighty cell's word counts for its point; the four others are left to all."""
    weights, offsets = votes_for(template())
    offsets[3, 4, :2] += [2, -1]
    weights[3, 4, 0] = 40

    found = to_points(weights, offsets, look_matrix(posed(1.0, 0.0, 0, 0)))

    moved = (found - posed(1.0, 0.0, 0, 0)) * LOOK_SCALE / CELL_PX
    np.testing.assert_allclose(moved[0], [2, -1], atol=0.02)
    np.testing.assert_allclose(moved[1:], 0, atol=0.05)


def test_joint_score_is_the_mean_of_both_logits() -> None:
    """Agreement keeps the score, doubt halves the certainty, and a certain no ends the matter."""
    plane = np.full((GRID, GRID), np.log(0.8 / 0.2), np.float32)

    assert joint_score(0.8, plane) == pytest.approx(0.8)
    assert joint_score(0.8, np.zeros_like(plane)) == pytest.approx(2 / 3, abs=0.001)
    assert joint_score(0.8, plane - 20) < 0.001
    assert 0.5 < joint_score(1.0, plane) < 1


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5, 6.0])
def test_look_shows_the_landmarks_at_the_template(scale: float) -> None:
    """Bright dots at the landmarks of a large picture come out bright at the template's points."""
    pixels = np.full((900, 1200, 3), 30, np.uint8)
    landmarks = posed(scale, 0.3, 400, 200)
    rows, columns = np.mgrid[:900, :1200]
    for x, y in landmarks:
        pixels[np.hypot(columns - x, rows - y) < 3 * scale + 1] = 250

    look = cut(pixels, look_matrix(landmarks))

    assert look.shape == (LOOK_PX, LOOK_PX, 3)
    for x, y in template():
        assert look[round(float(y)), round(float(x)), 0] > 150
    assert look[5, 5, 0] < 60


def test_look_beside_the_picture_is_padding() -> None:
    """What lies outside the picture is the grey that int8 calls zero."""
    look = cut(np.zeros((50, 50, 3), np.uint8), look_matrix(posed(1.0, 0.0, 5000, 5000)))

    assert (look == 128).all()
