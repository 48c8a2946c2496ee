"""What a connector hands to another HR system, and what became of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from glancein.types import Direction, Event

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 3600.0
WORDS_LIMIT = 500  # characters of an explanation


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

    Events of one ``lane`` are handed over in order; a person's check-ins and their corrections are one.
    ``punch`` is None for a voided check-in and for events that are none. ``label`` is what the connector
    called the batch that this event belongs to, if it was under way already.
    """

    number: int
    event: Event
    payload: bytes
    lane: str = ""
    punch: Punch | None = None
    attempts: int = 0
    label: str | None = None


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
    """Not now. ``is_about_all``: the other side is away, so nothing else need be tried either."""

    words: str
    wait_s: float | None = None  # what the other side asked for
    is_about_all: bool = True


Answer = Done | Refused | Later


@dataclass(frozen=True, slots=True)
class Slip:
    """What is written down about one event after it was tried."""

    number: int
    state: State
    retry_at: float = 0.0  # seconds since 1970
    label: str | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A connector as the store knows it.

    ``hold_s`` is how long an event with an unbelievable time waits for a time fix; with ``fixes`` the
    connector wants time fixes themselves, too.
    """

    name: str
    hold_s: float = 0.0
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


def wait_s(failures: int, jitter: float) -> float:
    """How long to wait after so many failures in a row; ``jitter`` between 0 and 1 spreads it.

    Exponential back-off with equal jitter (Brooker, "Exponential Backoff and Jitter", 2015): at least half
    of 5 s, 10 s, 20 s ... an hour.
    """
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 20))
    return longest * (0.5 + jitter / 2)


def slip_for(number: int, answer: Answer, *, retry_at: float) -> Slip:
    """What to write down about an event after this answer."""
    match answer:
        case Done(label, words):
            return Slip(number, State.DONE, label=label, words=_short(words))
        case Refused(words):
            return Slip(number, State.REFUSED, words=_short(words))
        case Later(words):
            return Slip(number, State.FAILED, retry_at, words=_short(words))


def _short(words: str | None) -> str | None:
    return None if words is None else " ".join(words.replace("\x00", " ").split())[:WORDS_LIMIT]
