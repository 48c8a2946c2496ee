"""Several frames of one person -> one verdict: a fold over frozen state, with the time passed in.

A visit begins with a face and ends when no face was seen for ``gone_s``. Each frame is a vote. A person is
accepted when at least ``agree_n`` frames of the last ``window_s`` say so and they outweigh all frames that
say otherwise: unknown and ambiguous ones count half, those that name someone else twice. A tie is nobody.
Frames that were merely bad pictures (blurred, dark) count for nobody and against nobody. Each visit says a
person's name once, and says no once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from glancein.types import Accepted, Decision, Reason, Rejected

Verdict = Accepted | Rejected

# These say "this face is not that person"; every other refusal only says that the picture was bad.
AGAINST = frozenset({Reason.UNKNOWN, Reason.AMBIGUOUS, Reason.EMPTY_GALLERY, Reason.NO_AGREEMENT})

# Limits are set so that a stranger hardly ever passes one look; people fail one often. So a frame that knows
# nobody speaks more softly than one that knows somebody (docs/experiments-lab.md, "Votes at the door").
NOBODY_WEIGHT = 0.5

# Frames that flicker between two colleagues have a majority of one at times; that is not agreement.
OTHER_NAME_WEIGHT = 2


@dataclass(frozen=True, slots=True)
class VisitRules:
    """Seconds are on the clock that is passed in; ``patience_s`` is how long to look before saying no."""

    agree_n: int = 3
    window_s: float = 2.0
    patience_s: float = 1.5
    gone_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Vote:
    """What one frame said."""

    mono_s: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class Visit:
    """What has been seen and said so far; ``Visit()`` is an empty doorway."""

    votes: tuple[Vote, ...] = ()
    began_mono_s: float = 0.0
    seen_mono_s: float | None = None  # the last frame with a face; None before the first
    accepted_id: str | None = None  # whose name was said last
    accepted_mono_s: float = 0.0  # the last frame that showed that person
    refused: bool = False
    frames: int = 0


def add(
    visit: Visit, decision: Decision | None, mono_s: float, rules: VisitRules
) -> tuple[Visit, Verdict | None]:
    """Take one frame in; None or ``no_face`` means that nobody is in front of the camera.

    Returns the new state and a verdict when this frame settles one. A visit that ends undecided after
    ``agree_n`` or more frames is settled as a refusal.
    """
    if _has_left(visit, mono_s, rules):
        fresh, verdict = add(Visit(), decision, mono_s, rules)
        return fresh, verdict or _farewell(visit, rules)
    if decision is None or (isinstance(decision, Rejected) and decision.reason is Reason.NO_FACE):
        return visit, None
    return _settle(_with_vote(visit, Vote(mono_s, decision), rules), mono_s, rules)


def _has_left(visit: Visit, mono_s: float, rules: VisitRules) -> bool:
    return visit.seen_mono_s is not None and mono_s - visit.seen_mono_s >= rules.gone_s


def _with_vote(visit: Visit, vote: Vote, rules: VisitRules) -> Visit:
    recent = tuple(old for old in visit.votes if vote.mono_s - old.mono_s < rules.window_s)
    seen = replace(
        visit,
        votes=(*recent, vote),
        began_mono_s=vote.mono_s if visit.seen_mono_s is None else visit.began_mono_s,
        seen_mono_s=vote.mono_s,
        frames=visit.frames + 1,
    )
    if visit.accepted_id is None:
        return seen
    if isinstance(vote.decision, Accepted) and vote.decision.person_id == visit.accepted_id:
        return replace(seen, accepted_mono_s=vote.mono_s)
    if _names_nobody(vote.decision) and vote.mono_s - visit.accepted_mono_s >= max(
        rules.gone_s, rules.patience_s
    ):
        # The accepted person went and somebody else took the place without a gap: a new visit.
        return Visit(votes=(vote,), began_mono_s=vote.mono_s, seen_mono_s=vote.mono_s, frames=1)
    return seen


def _settle(visit: Visit, mono_s: float, rules: VisitRules) -> tuple[Visit, Verdict | None]:
    winner = _winner(visit, rules)
    if winner is not None and winner.person_id != visit.accepted_id:
        said = replace(visit, accepted_id=winner.person_id, accepted_mono_s=mono_s)
        return said, winner
    silent = visit.refused or visit.accepted_id is not None
    if silent or winner is not None or visit.frames < rules.agree_n:
        return visit, None
    if mono_s - visit.began_mono_s < rules.patience_s:
        return visit, None
    return replace(visit, refused=True), _refusal(visit)


def _farewell(visit: Visit, rules: VisitRules) -> Rejected | None:
    """The refusal of a visit that ended before anything was said."""
    if visit.refused or visit.accepted_id is not None or visit.frames < rules.agree_n:
        return None
    return _refusal(visit)


def _winner(visit: Visit, rules: VisitRules) -> Accepted | None:
    """The person most frames agree on, with their best frame's scores; None without enough or with a tie."""
    names = Counter(vote.decision.person_id for vote in visit.votes if isinstance(vote.decision, Accepted))
    if not names:
        return None
    person_id, agreeing = names.most_common(1)[0]
    nobody = sum(_names_nobody(vote.decision) for vote in visit.votes)
    against = OTHER_NAME_WEIGHT * (sum(names.values()) - agreeing) + NOBODY_WEIGHT * nobody
    if agreeing < rules.agree_n or agreeing <= against:
        return None
    return max(
        (
            d
            for d in (vote.decision for vote in visit.votes)
            if isinstance(d, Accepted) and d.person_id == person_id
        ),
        key=lambda accepted: accepted.score_cos,
    )


def _refusal(visit: Visit) -> Rejected:
    """The reason most frames gave, as the latest of them gave it; frames that named people did not agree."""
    reasons = Counter(_reason(vote.decision) for vote in visit.votes)
    reason = reasons.most_common(1)[0][0]
    for vote in reversed(visit.votes):
        if isinstance(vote.decision, Rejected) and vote.decision.reason is reason:
            return vote.decision
    best = max(vote.decision.score_cos for vote in visit.votes if isinstance(vote.decision, Accepted))
    return Rejected(Reason.NO_AGREEMENT, best)


def _reason(decision: Decision) -> Reason:
    return decision.reason if isinstance(decision, Rejected) else Reason.NO_AGREEMENT


def _names_nobody(decision: Decision) -> bool:
    return isinstance(decision, Rejected) and decision.reason in AGAINST
