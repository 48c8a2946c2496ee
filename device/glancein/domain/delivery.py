"""What a connector hands to another HR system, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from glancein.domain import punches
from glancein.types import (
    CheckIn,
    Correction,
    Direction,
    Event,
    OtherDirection,
    OtherPerson,
    OtherTime,
    Voided,
)

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 3600.0
LONGEST_ASKED_S = 24 * 3600.0  # so long at most another system may put us off
WORDS_LIMIT = 10_000  # characters of an explanation
MOST_LISTED = 50  # punches that one explanation names; with the longest names they fit
BUSY = (
    "the connector {!r} is running already on this database; stop that one, or give this one another --name"
)


class State(StrEnum):
    """Where an event stands with one connector."""

    PENDING = "pending"  # not tried yet
    DONE = "done"
    FAILED = "failed"  # tried, and will be tried again
    REFUSED = "refused"  # the other side will never take it as it is; a person decides


@dataclass(frozen=True, slots=True)
class Punch:
    """A check-in as payroll counts it: corrected, and with the time a good clock would have shown."""

    person_id: str
    direction: Direction
    time: datetime
    time_is: str  # recorded, fixed or corrected


@dataclass(frozen=True, slots=True)
class Parcel:
    """One event on its way to one connector.

    Events of one ``lane`` are handed over in order; a person's check-ins and their corrections are one,
    whoever was recorded. ``punch`` is None for a voided check-in and for events that are none. ``label`` is
    what the connector called the batch that this event belongs to, if it was under way already; ``punch`` is
    then as it was when that was put together. ``as_of``: events up to that number are in ``punch``.
    ``came_late`` is a correction of a check-in that was handed over without it; a check-in has
    ``changed_since`` if it was corrected, or its time fixed, after an attempt that may have got through.
    ``late`` are, for a time fix, the check-ins that were handed over with the time of a clock that was not
    set, as they are now. ``refused_in``: when this person's last check-in before this check-out was, if that
    was refused.
    """

    number: int
    event: Event
    payload: bytes
    lane: str = ""
    punch: Punch | None = None
    attempts: int = 0
    label: str | None = None
    as_of: int = 0
    came_late: bool = False
    changed_since: bool = False
    late: tuple[Parcel, ...] = ()
    refused_in: datetime | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The other side has it. ``label`` is its name there."""

    label: str | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side will never take this event as it is."""

    words: str


@dataclass(frozen=True, slots=True)
class Later:
    """Not now. ``is_about_all``: the other side is away, so nothing else need be tried either.

    ``may_be_there``: it was asked, and may have done it without our hearing so.
    """

    words: str
    wait_s: float | None = None  # what the other side asked for, or may still be at work
    is_about_all: bool = True
    may_be_there: bool = False


Answer = Done | Refused | Later


@dataclass(frozen=True, slots=True)
class Slip:
    """What is written down about one event after it was tried."""

    number: int
    state: State
    retry_at: float = 0.0  # seconds since 1970
    label: str | None = None
    words: str | None = None
    as_of: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A connector as the store knows it.

    ``hold_s`` is how long, after it arrived, a check-in with an unbelievable time waits for a time fix, and
    ``settle_s`` how long every check-in waits for being taken back. With ``fixes`` the connector wants time
    fixes themselves, too.
    """

    name: str
    hold_s: float = 0.0
    settle_s: float = 0.0
    fixes: bool = True
    only_new: bool = False  # when it is run for the first time: leave what is there already


@dataclass(frozen=True, slots=True)
class Standing:
    """How a connector and its other side get on: failures in a row, when to try again, and why."""

    failures: int = 0
    retry_at: float = 0.0
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many events stand where, for one connector."""

    connector: str
    standing: Standing
    counts: dict[State, int]


@dataclass(frozen=True, slots=True)
class Held:
    """One event that did not get through, for the list that people read."""

    number: int
    state: State
    event: Event
    attempts: int
    retry_at: float
    words: str


def punch_of(standing: punches.Punch) -> Punch | None:
    """A check-in as payroll counts it, None if it was voided."""
    if standing.is_void:
        return None
    is_said = any(
        isinstance(said.body, Correction) and isinstance(said.body.becomes, OtherTime)
        for said in standing.corrections
    )
    time_is = "corrected" if is_said else "fixed" if standing.is_fixed else "recorded"
    return Punch(standing.person_id, standing.direction, standing.wall, time_is)


def wait_s(failures: int, jitter: float) -> float:
    """How long to wait after so many failures in a row; ``jitter`` between 0 and 1 spreads it.

    Exponential back-off with equal jitter (Brooker, "Exponential Backoff and Jitter", 2015): at least half
    of 5 s, 10 s, 20 s ... an hour.
    """
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 20))
    return longest * (0.5 + jitter / 2)


def slip_for(parcel: Parcel, answer: Answer, *, retry_at: float) -> Slip:
    """What to write down about an event after this answer."""
    number, label, as_of = parcel.number, parcel.label, parcel.as_of
    match answer:
        case Done(there, words):
            return Slip(number, State.DONE, 0, there or label, _short(words), as_of)
        case Refused(words):
            return Slip(number, State.REFUSED, 0, label, _short(words), as_of)
        case Later(words):
            as_of = as_of if answer.may_be_there else 0
            return Slip(number, State.FAILED, retry_at, label, _short(words), as_of)


def _short(words: str | None) -> str | None:
    return None if words is None else " ".join(words.replace("\x00", " ").split())[:WORDS_LIMIT]


def answer_without_punch(parcel: Parcel, system: str) -> Answer:
    """For a system that keeps punches only: what it need not get, and what a person has to see to.

    A voided check-in is left out, if it cannot be there. A correction was in what was handed over, or it came
    too late.
    """
    body = parcel.event.body
    if parcel.changed_since:
        return Refused(
            f"{system} may have this punch as it was before it was corrected or its time fixed, for its "
            "answer got lost: look there and delete or correct it, then try again"
        )
    if parcel.late:
        return Refused(_with_an_unset_clock(parcel.late, system))
    if not isinstance(body, Correction):
        return Done(words="voided before it was handed over" if isinstance(body, CheckIn) else None)
    if not parcel.came_late:
        return Done(words="it was in what was handed over")
    match body.becomes:
        case Voided():
            change = "delete it"
        case OtherPerson(person_id):
            change = f"it was {person_id}"
        case OtherDirection(direction):
            change = f"it was {direction.value}"
        case OtherTime(wall):
            change = f"it was at {wall.isoformat()}"
    of = f"{body.of.kiosk} #{body.of.seq}"
    return Refused(
        f"{system} has the punch {of} already; correct it there: {change} ({body.reason}; {body.by})"
    )


def _with_an_unset_clock(late: Sequence[Parcel], system: str) -> str:
    listed = [
        f"{p.punch.person_id} {p.punch.direction.value} ({p.event.kiosk} #{p.event.seq}) "
        f"was at {p.punch.time.isoformat(timespec='seconds')}"
        for p in late[:MOST_LISTED]
        if p.punch is not None
    ]
    if len(late) > MOST_LISTED:
        listed.append(f"{len(late) - MOST_LISTED} more are in the view punches, with time_is = 'fixed'")
    return f"{system} has punches with a clock that was not set; correct them there: {'; '.join(listed)}"
