"""The ranking network learns the order that is there, and its judge counts pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

from glancein_training.frames import rank
from glancein_training.frames.visits import Visits


def test_ordered_share_counts_pairs_that_differ() -> None:
    """One pair at a time; a tie is half right; pairs alike are not asked for."""
    worth = np.array([[0.9, 0.5, 0.52], [0.1, 0.2, 0.9]], np.float32)
    scores = np.array([[3.0, 1.0, 2.0], [2.0, 1.0, 1.0]], np.float32)

    share = rank.ordered_share(scores, worth, alike=0.05)

    right = [1, 1, 0, 0, 0.5]  # first visit: 0-1, 0-2; second: 0-1, 0-2, 1-2
    assert share == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize("name", ["measures", "pixels"])
def test_train_learns_to_order_frames(graded_visits: Visits, name: str) -> None:
    """Where the noise can be seen, two pairs in three or more stand in the right order."""
    view = next(view for view in rank.views() if view.name == name)
    learning = rank.Learning(epochs=15, visits=6, rate=5e-3)

    network = rank.train(view, graded_visits, learning)

    assert rank.ordered_share(rank.score(network, view, graded_visits), graded_visits.genuine()) > 0.66


def test_train_with_the_same_seed_gives_the_same_scores(graded_visits: Visits) -> None:
    """A training can be repeated."""
    view = next(view for view in rank.views() if view.name == "measures")
    learning = rank.Learning(epochs=2)

    first, second = (
        rank.score(rank.train(view, graded_visits, learning), view, graded_visits) for _ in range(2)
    )
    other = rank.score(rank.train(view, graded_visits, replace(learning, seed=2)), view, graded_visits)

    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
