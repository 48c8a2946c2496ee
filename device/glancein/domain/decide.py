"""Ranked candidates and limits -> one decision."""

from __future__ import annotations

from collections.abc import Sequence

from glancein.types import Accepted, Candidate, Decision, Limits, Reason, Rejected


def decide(ranked: Sequence[Candidate], limits: Limits) -> Decision:
    """Who this is, or why nobody.

    ``ranked`` best first, one candidate a person. The best must reach the calibrated threshold
    (verification) and lead the runner-up by the margin; otherwise two people are too alike to choose
    between, and nobody is named.
    """
    match list(ranked):
        case []:
            return Rejected(Reason.EMPTY_GALLERY)
        case [best, *_] if not best.score_cos >= limits.accept_cos:  # `not >=` also refuses NaN
            return Rejected(Reason.UNKNOWN, best.score_cos)
        case [best, second, *_] if best.score_cos - second.score_cos < limits.margin_cos:
            return Rejected(Reason.AMBIGUOUS, best.score_cos)
        case [best, second, *_]:
            return Accepted(best.person_id, best.score_cos, second.score_cos)
        case [best]:
            return Accepted(best.person_id, best.score_cos)
    raise AssertionError("the cases above are all there are")
