"""Several frames of one person -> one verdict."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain.visit import Verdict, Visit, VisitRules, add
from glancein.types import Accepted, Decision, Reason, Rejected

RULES = VisitRules(agree_n=3, window_s=2.0, patience_s=1.5, gone_s=1.0)
ADA, BOB = Accepted("ada", 0.6), Accepted("bob", 0.6)
UNKNOWN, AMBIGUOUS, BLURRED = (
    Rejected(reason) for reason in (Reason.UNKNOWN, Reason.AMBIGUOUS, Reason.BLURRED)
)


def watch(
    frames: Sequence[Decision | None], *, every_s: float = 0.2, rules: VisitRules = RULES
) -> list[Verdict]:
    """The verdicts of frames that come at a steady pace."""
    visit, verdicts = Visit(), []
    for number, decision in enumerate(frames):
        visit, verdict = add(visit, decision, number * every_s, rules)
        verdicts += [] if verdict is None else [verdict]
    return verdicts


def test_one_verdict_after_enough_agreeing_frames() -> None:
    """Two frames are not enough, the third decides, further ones say nothing."""
    assert watch([ADA] * 2) == []
    assert watch([ADA] * 3) == [ADA]
    assert watch([ADA] * 50) == [ADA]


def test_verdict_carries_the_best_frame() -> None:
    """The score that is recorded is that of the clearest look."""
    looks: list[Decision | None] = [Accepted("ada", 0.5), Accepted("ada", 0.7), Accepted("ada", 0.6)]

    assert watch(looks) == [Accepted("ada", 0.7)]


def test_single_frame_decides_when_one_is_enough() -> None:
    """Also when it is the first frame after somebody left."""
    assert watch([ADA, BOB], every_s=5.0, rules=VisitRules(agree_n=1)) == [ADA, BOB]


def test_tie_is_nobody() -> None:
    """As many frames for one as for the other: nobody is named, and it is said once."""
    assert watch([ADA, BOB] * 8) == [Rejected(Reason.NO_AGREEMENT, 0.6)]


@pytest.mark.parametrize("against", [UNKNOWN, AMBIGUOUS])
def test_unknown_and_ambiguous_frames_count_against(against: Rejected) -> None:
    """Three frames for a person do not beat six that say otherwise, half as loud each."""
    even: list[Decision | None] = [against, against, ADA] * 3

    assert watch(even, every_s=0.1) == []
    assert watch([*even, ADA], every_s=0.1) == [ADA]


def test_bad_pictures_count_for_nobody_and_against_nobody() -> None:
    """A blurred frame between good ones changes nothing."""
    assert watch([ADA, BLURRED, BLURRED, ADA, BLURRED, BLURRED, ADA]) == [ADA]


def test_frames_outside_the_window_are_forgotten() -> None:
    """Three looks spread over more than the window are not an agreement."""
    rules = VisitRules(agree_n=3, window_s=1.0, gone_s=1.0)

    assert watch([ADA] * 5, every_s=0.9, rules=rules) == [Rejected(Reason.NO_AGREEMENT, 0.6)]


def test_stranger_is_refused_once_however_long_they_stand() -> None:
    """One refusal for each visit, not for each frame."""
    assert watch([UNKNOWN] * 100) == [UNKNOWN]


def test_stranger_who_leaves_early_is_refused_when_leaving() -> None:
    """A visit too short for patience still ends with its one refusal, if enough frames were seen."""
    assert watch([UNKNOWN] * 3 + [None] * 10) == [UNKNOWN]
    assert watch([UNKNOWN] * 2 + [None] * 10) == []


def test_stranger_who_comes_back_is_refused_again() -> None:
    """A new visit gets a new answer."""
    assert watch([UNKNOWN] * 10 + [None] * 6 + [UNKNOWN] * 10) == [UNKNOWN, UNKNOWN]


def test_face_lost_for_a_moment_is_the_same_visit() -> None:
    """A gap shorter than the limit does not begin a new visit."""
    assert watch([ADA] * 5 + [None] * 3 + [ADA] * 5) == [ADA]


def test_person_who_comes_back_is_named_again() -> None:
    """After the face was gone, the same person is a new visit.

    Whether it is a punch is for attendance to say.
    """
    assert watch([ADA] * 5 + [None] * 6 + [ADA] * 5) == [ADA, ADA]


def test_no_face_decision_is_the_same_as_no_face() -> None:
    """The pipeline may say nobody is there in either way."""
    nobody = Rejected(Reason.NO_FACE)

    assert watch([ADA] * 5 + [nobody] * 6 + [ADA] * 5) == [ADA, ADA]


def test_recognised_person_who_turns_away_is_not_refused() -> None:
    """Unknown frames right after a verdict belong to the same person leaving."""
    assert watch([ADA] * 5 + [UNKNOWN] * 5 + [None] * 10) == [ADA]


def test_next_in_the_queue_is_named_without_a_gap() -> None:
    """Somebody else who takes the place at once gets a verdict of their own."""
    assert watch([ADA] * 5 + [BOB] * 12) == [ADA, BOB]


def test_stranger_next_in_the_queue_is_refused() -> None:
    """A stranger who follows a recognised person without a gap is refused, once."""
    assert watch([ADA] * 5 + [UNKNOWN] * 40) == [ADA, UNKNOWN]


def test_person_recognised_after_a_refusal_is_still_named() -> None:
    """Coming closer after a refusal helps."""
    assert watch([UNKNOWN] * 9 + [ADA] * 12) == [UNKNOWN, ADA]


def test_refusal_gives_the_reason_most_frames_gave() -> None:
    """Someone who stands too far away hears that, not that they are unknown."""
    assert watch([BLURRED] * 8 + [UNKNOWN] * 2) == [BLURRED]


@given(
    frames=st.lists(st.sampled_from([ADA, BOB, UNKNOWN, AMBIGUOUS, BLURRED, None]), max_size=60),
    every_s=st.floats(0.03, 0.9),
)
def test_nobody_is_named_unless_enough_speak_for_them_in_the_window(
    frames: list[Decision | None], every_s: float
) -> None:
    """Re-derived slowly: a name needs agree_n frames in the window and more than speak against."""
    visit = Visit()
    for number, decision in enumerate(frames):
        now = number * every_s
        visit, verdict = add(visit, decision, now, RULES)
        if isinstance(verdict, Accepted):
            recent = [f for i, f in enumerate(frames[: number + 1]) if now - i * every_s < RULES.window_s]
            agreeing = sum(f == verdict for f in recent)
            others = 2.0 * sum(isinstance(f, Accepted) and f != verdict for f in recent)
            others += 0.5 * sum(f in (UNKNOWN, AMBIGUOUS) for f in recent)
            assert agreeing >= RULES.agree_n
            assert agreeing > others
