"""Three raters tell each one's own error."""

from __future__ import annotations

import numpy as np
import pytest

from glancein_training.finder.raters import disagreement, own_errors, upright

FACES = 4000


def rated(deviations: tuple[float, float, float], seed: int = 0) -> list[np.ndarray]:
    """Three raters of the same faces, each with its own unrest along both axes and its own habits."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1, (FACES, 5, 2))
    return [
        (true + rng.normal(0, deviation, true.shape) + rng.normal(0, 0.1, (5, 2))).astype(np.float32)
        for deviation in deviations
    ]


def test_each_rater_gets_the_error_it_was_given() -> None:
    """Deviations of 1, 3 and 5 % come back as mean distances, sqrt(pi / 2) as long."""
    deviations = (0.01, 0.03, 0.05)

    found = own_errors(rated(deviations), np.random.default_rng(1))

    for error, deviation in zip(found, deviations, strict=True):
        assert error.mean == pytest.approx(1.2533 * deviation, abs=0.002)
        assert error.low <= error.mean <= error.high


def test_a_few_lost_faces_do_not_count() -> None:
    """A rater that is far off on one face in fifty is judged by the others."""
    ratings = rated((0.01, 0.03, 0.05))
    ratings[1][::50] += 3

    found = own_errors(ratings, np.random.default_rng(1))

    assert found[1].mean == pytest.approx(1.2533 * 0.03, abs=0.003)


def test_habits_are_no_disagreement() -> None:
    """Two raters that differ by the same step on every face agree."""
    one = rated((0.01, 0.01, 0.01))[0]

    assert disagreement(one, one + np.float32(0.2)) == pytest.approx(0, abs=1e-6)


def test_upright_undoes_pose() -> None:
    """A turned, enlarged and moved face has its eyes at minus and plus a half again."""
    face = np.array([[-0.5, 0], [0.5, 0], [0, 0.6], [-0.4, 1.1], [0.4, 1.1]], np.float32)
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = np.asarray(face @ turn.T * 37 + [120, 80], np.float32)

    np.testing.assert_allclose(upright(moved, moved), face, atol=1e-5)


@pytest.mark.parametrize("raters", [2, 4])
def test_three_raters_are_needed(raters: int) -> None:
    """With two nothing can be told apart."""
    with pytest.raises(ValueError, match="three raters"):
        own_errors([np.zeros((3, 5, 2), np.float32)] * raters, np.random.default_rng(0))
