"""Which pairs of development people are left out of the strangers' scores."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the converter needs torch: pip install .[convert]")

from glancein_convert.strangers import same_person


def test_pairs_are_of_one_person_only_if_every_teacher_says_so() -> None:
    """Without a teacher nobody says so, and every pair of two names is one of strangers."""
    near, far = (np.array(rows, np.float32) for rows in ([[1, 0], [1, 0], [0, 1]], [[1, 0], [0, 1], [0, 1]]))

    assert same_person([near], 3)[0].tolist() == [True, True, False]
    assert same_person([near, far], 3)[0].tolist() == [True, False, False]
    assert not same_person([], 3).any()
