"""Decoding the finder's grids and keeping one box for each face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain.detect import (
    Candidates,
    Level,
    Plane,
    decode,
    overlaps,
    suppress,
    to_faces,
    without_repeats,
)
from glancein.types import Box, Face, Floats


def level(stride: int, rows: int, columns: int) -> Level:
    """A grid that sees nothing."""
    return Level(
        stride,
        Plane(np.full((rows, columns, 1), -8.0, np.float32)),
        Plane(np.ones((rows, columns, 4), np.float32)),
        Plane(np.zeros((rows, columns, 10), np.float32)),
    )


def candidates(edges: list[list[float]], scores: list[float]) -> Candidates:
    """Boxes whose five landmarks are all their top left corner."""
    array = np.asarray(edges, np.float32).reshape(-1, 4)
    return Candidates(array, np.repeat(array[:, None, :2], 5, axis=1), np.asarray(scores, np.float32))


def plain_overlap(one: Floats, other: Floats) -> float:
    """Intersection over union of two boxes, written out."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    shared = width * height
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(shared / max(areas - shared, 1e-9))


def test_silent_grids_give_no_candidates() -> None:
    """Where every score is low there is nothing."""
    assert len(decode([level(8, 3, 4), level(16, 2, 2)], threshold=0.5)) == 0


def test_one_cell_gives_its_box_and_landmarks_in_pixels() -> None:
    """The cell in column 2, row 1 of stride 8 stands for (20, 12); distances and offsets count in strides."""
    grid = level(8, 3, 4)
    grid.score.stored[1, 2, 0] = 2.0
    grid.box.stored[1, 2] = (1, 2, 3, 4)
    grid.landmarks.stored[1, 2] = np.arange(10)

    found = decode([grid], threshold=0.5)

    np.testing.assert_allclose(found.edges, [[12, -4, 44, 44]])
    np.testing.assert_allclose(found.landmarks[0, 1], [20 + 2 * 8, 12 + 3 * 8])
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_int8_planes_decode_like_floats() -> None:
    """A stored step counts from its zero point in units of its scale."""
    grid = level(8, 1, 1)
    rough = Level(
        8,
        Plane(np.array([[[20]]], np.int8), 0.1, -10),
        Plane(np.full((1, 1, 4), 7, np.int8), 0.5, 5),
        Plane(np.full((1, 1, 10), -4, np.int8), 0.25, 0),
    )
    grid.score.stored[:] = 3.0

    exact, found = decode([grid], threshold=0.5), decode([rough], threshold=0.5)

    np.testing.assert_allclose(found.edges, exact.edges)
    np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-6)
    np.testing.assert_allclose(found.landmarks, exact.landmarks - 8)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_threshold_is_a_probability(threshold: float) -> None:
    """Exactly the cells whose probability reaches the threshold are kept, best first."""
    grid = level(8, 4, 5)
    logits = np.linspace(-4, 4, 20, dtype=np.float32)
    grid.score.stored[:] = logits.reshape(4, 5, 1)

    found = decode([grid], threshold=threshold)

    assert len(found) == int((1 / (1 + np.exp(-logits)) >= threshold).sum())
    assert (np.diff(found.scores) <= 0).all()


def test_cells_of_one_face_become_one_weighted_mean() -> None:
    """Two boxes of one face give one whose place is the mean weighted by the squared scores."""
    found = suppress(candidates([[0, 0, 10, 10], [2, 0, 12, 10]], [0.8, 0.6]))

    assert len(found) == 1
    assert found.scores[0] == pytest.approx(0.8)
    assert found.edges[0, 0] == pytest.approx(2 * 0.36 / (0.64 + 0.36))
    assert found.landmarks[0, 0, 0] == pytest.approx(0.72)


def test_faces_apart_stay_apart() -> None:
    """Boxes that hardly overlap are several faces, in the order of their scores."""
    found = suppress(candidates([[0, 0, 10, 10], [8, 0, 18, 10], [40, 40, 60, 60]], [0.9, 0.8, 0.7]))

    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7])
    np.testing.assert_allclose(found.edges[2], [40, 40, 60, 60])


def test_weak_neighbour_does_not_pull() -> None:
    """A cell with less than half the best score is swallowed but not averaged."""
    found = suppress(candidates([[0, 0, 10, 10], [2, 0, 12, 10]], [0.9, 0.4]))

    np.testing.assert_allclose(found.edges, [[0, 0, 10, 10]], atol=1e-6)


def test_mouth_inside_a_better_face_is_no_face() -> None:
    """A weaker small box inside goes, and does not pull at the face; a better small one keeps both."""
    face, mouth = [0.0, 0, 100, 100], [30.0, 60, 60, 80]

    weaker = suppress(candidates([face, mouth], [0.9, 0.6]))
    better = suppress(candidates([mouth, face], [0.9, 0.6]))

    np.testing.assert_allclose(weaker.edges, [face])
    assert len(better) == 2


def test_suppressing_nothing_gives_nothing() -> None:
    """No candidates, no faces."""
    assert len(suppress(candidates([], []))) == 0


boxes = st.lists(
    st.tuples(st.floats(0, 80), st.floats(0, 80), st.floats(1, 40), st.floats(1, 40)), min_size=1, max_size=8
)


@given(boxes)
def test_overlaps_are_those_of_the_plain_version(drawn: list[tuple[float, float, float, float]]) -> None:
    """The vectorised table equals the one written out, is symmetric and one on the diagonal."""
    edges = np.array([[x, y, x + w, y + h] for x, y, w, h in drawn], np.float32)

    table = overlaps(edges, edges)

    expected = [[plain_overlap(one, other) for other in edges] for one in edges]
    np.testing.assert_allclose(table, expected, atol=1e-4)
    np.testing.assert_allclose(np.diag(table), 1, atol=1e-4)


def plain_share_inside(outer: Floats, inner: Floats) -> float:
    """Which share of the inner box lies in the outer one; boxes are left, top, right, bottom."""
    width = min(outer[2], inner[2]) - max(outer[0], inner[0])
    height = min(outer[3], inner[3]) - max(outer[1], inner[1])
    return float(max(width, 0) * max(height, 0) / ((inner[2] - inner[0]) * (inner[3] - inner[1])))


def test_a_box_without_area_is_a_candidate_like_others() -> None:
    """What a damaged network might say gives no division by zero."""
    found = suppress(candidates([[10, 10, 10, 10], [40, 40, 60, 60]], [0.9, 0.8]))

    np.testing.assert_allclose(found.scores, [0.9, 0.8])
    np.testing.assert_allclose(found.edges, [[10, 10, 10, 10], [40, 40, 60, 60]])


@given(boxes)
def test_what_is_kept_hardly_overlaps_its_best_cells(drawn: list[tuple[float, float, float, float]]) -> None:
    """As many faces are kept as the textbook's greedy suppression keeps."""
    edges = np.array([[x, y, x + w, y + h] for x, y, w, h in drawn], np.float32)
    scores = np.linspace(0.9, 0.5, len(edges), dtype=np.float32)

    found = suppress(candidates(edges.tolist(), scores.tolist()), overlap=0.35)

    kept: list[int] = []
    for index in range(len(edges)):
        free = [float(overlaps(edges[[k]], edges[[index]])[0, 0]) <= 0.35 for k in kept]
        outside = [plain_share_inside(edges[k], edges[index]) <= 0.7 for k in kept]
        if all(free) and all(outside):
            kept.append(index)
    np.testing.assert_allclose(found.scores, scores[kept])


def test_faces_lie_where_their_window_lies() -> None:
    """Input pixels become picture pixels: scaled, moved by the window's corner, edges on edges."""
    found = candidates([[10, 20, 30, 60]], [0.9])

    (face,) = to_faces(found, input_px_per_px=0.5, left=100, top=50)

    assert (face.box.left, face.box.top, face.box.width, face.box.height) == (120, 90, 40, 80)
    np.testing.assert_allclose(face.landmarks[0], [10 / 0.5 + 100, 20 / 0.5 + 50])


def test_boxes_with_the_same_landmarks_are_one_face() -> None:
    """A box beside a face whose landmarks ended on that face goes; a neighbour half a face away stays."""
    points = np.array([[30, 40], [60, 40], [45, 60], [33, 75], [57, 75]], np.float32)
    best = Face(Box(10, 10, 70, 90), points, 0.9)
    again = Face(Box(60, 15, 70, 90), points + 5, 0.8)
    neighbour = Face(Box(50, 10, 70, 90), points + np.asarray([40, 0], np.float32), 0.7)

    assert without_repeats([best, again, neighbour]) == [best, neighbour]
    assert without_repeats([]) == []
