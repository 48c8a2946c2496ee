"""A decision names somebody only above the threshold and clear of the runner-up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain.decide import decide
from glancein.types import Accepted, Candidate, Limits, Reason, Rejected

LIMITS = Limits(accept_cos=0.5, margin_cos=0.1)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], Rejected(Reason.EMPTY_GALLERY)),
        ([0.49], Rejected(Reason.UNKNOWN, 0.49)),
        ([math.nan], Rejected(Reason.UNKNOWN, math.nan)),
        ([0.8, 0.75], Rejected(Reason.AMBIGUOUS, 0.8)),
        ([0.8, 0.2], Accepted("p0", 0.8, 0.2)),
        ([0.5], Accepted("p0", 0.5)),
    ],
)
def test_decide_when_the_scores_are(scores: list[float], expected: Accepted | Rejected) -> None:
    """Each kind of ranking has its one answer."""
    answer = decide([Candidate(f"p{i}", score) for i, score in enumerate(scores)], LIMITS)

    assert repr(answer) == repr(expected)


@given(st.lists(st.floats(-1, 1), max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_decide_when_somebody_is_accepted(scores: list[float], accept: float, margin: float) -> None:
    """Nobody is accepted below the threshold or within the margin, whatever the scores."""
    ranked = [Candidate(f"p{i}", score) for i, score in enumerate(sorted(scores, reverse=True))]

    answer = decide(ranked, Limits(accept, margin))

    if isinstance(answer, Accepted):
        assert answer.score_cos >= accept
        assert answer.runner_up_cos is None or answer.score_cos - answer.runner_up_cos >= margin
