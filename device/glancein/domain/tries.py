"""What happened at the camera over some days -> why people are refused, and who needs several tries. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

RECOGNISED = "recognised"
# Refusals this shortly before a recognition were most likely the same person trying.
TOGETHER_S = 25.0
LEAST_VISITS = 3  # fewer tell nothing of a photo
SEVERAL = 1.5  # mean tries from which a new photo is worth the time


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer of the kiosk: when (seconds since the epoch), the reason's word, and who, if known."""

    at: float
    reason: str
    person_id: str | None = None


@dataclass(frozen=True, slots=True)
class Struggler:
    """Somebody who often needs more than one try."""

    person_id: str
    visits: int
    mean_tries: float


def refusals(attempts: Sequence[Attempt]) -> list[tuple[str, int]]:
    """Reason and how often, most frequent first."""
    return Counter(a.reason for a in attempts if a.reason != RECOGNISED).most_common()


def tries_of(attempts: Sequence[Attempt]) -> dict[str, list[int]]:
    """Person -> how many tries each of their recognitions took.

    Attempts in order of time. A refusal counts for whoever is recognised next, if that follows within
    ``TOGETHER_S`` of it; the kiosk does not know who was refused, so a queue blurs this a little.
    """
    taken: defaultdict[str, list[int]] = defaultdict(list)
    waiting: list[float] = []
    for attempt in attempts:
        if attempt.reason != RECOGNISED:
            waiting.append(attempt.at)
            continue
        if attempt.person_id is not None:
            recent = sum(0 <= attempt.at - at <= TOGETHER_S for at in waiting)
            taken[attempt.person_id].append(1 + recent)
        waiting.clear()
    return dict(taken)


def strugglers(attempts: Sequence[Attempt]) -> list[Struggler]:
    """Who needs several tries on average, worst first: their photos are worth taking again."""
    found = [
        Struggler(person_id, len(counts), sum(counts) / len(counts))
        for person_id, counts in tries_of(attempts).items()
        if len(counts) >= LEAST_VISITS
    ]
    return sorted((s for s in found if s.mean_tries >= SEVERAL), key=lambda s: -s.mean_tries)
