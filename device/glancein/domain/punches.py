"""Events -> punches as they stand: times put right, corrections applied, originals untouched. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

from glancein.types import (
    Becomes,
    CheckIn,
    ClockTrust,
    Correction,
    Direction,
    Event,
    EventId,
    Moment,
    OtherDirection,
    OtherPerson,
    OtherTime,
    TimeFix,
    Voided,
)


@dataclass(frozen=True, slots=True)
class Punch:
    """A check-in as it stands now.

    ``event`` is what was recorded, ``corrections`` what was said about it since, oldest first. ``is_fixed``:
    the time is not the recorded one but follows from a time fix. Voided punches do not count.
    """

    event: Event
    person_id: str
    direction: Direction
    wall: datetime
    is_fixed: bool = False
    is_void: bool = False
    corrections: tuple[Event, ...] = ()

    @property
    def is_time_sure(self) -> bool:
        """True if a clock that had been set, a time fix or a person says when it was."""
        trusted = self.event.check_in.moment.trust is not ClockTrust.UNSYNCHRONISED
        return trusted or self.is_moved

    @property
    def is_moved(self) -> bool:
        """True if a time fix or a person says that it was at another time than recorded."""
        return self.is_fixed or self.is_given_time

    @property
    def is_given_time(self) -> bool:
        """True if a person says when it was."""
        return any(
            isinstance(event.body, Correction) and isinstance(event.body.becomes, OtherTime)
            for event in self.corrections
        )


def settle(
    events: Iterable[Event], *, first: datetime | None = None, end: datetime | None = None
) -> list[Punch]:
    """Every check-in among the events as it stands, voided ones too, by time; in recording order if equal.

    With ``first`` and ``end`` only those that stand at ``first`` or later and before ``end``. The events of
    one stream must be in the order of recording; corrections of events that are not there are passed over.
    """
    everything = list(events)
    fixes = [event.body for event in everything if isinstance(event.body, TimeFix)]
    punches: dict[EventId, Punch] = {}
    for event in everything:
        if isinstance(event.body, CheckIn):
            punches[event.id] = _as_recorded(event, event.body, fixes)
    for event in everything:
        if isinstance(event.body, Correction) and event.body.of in punches:
            punches[event.body.of] = _corrected(punches[event.body.of], event, event.body.becomes)
    standing = sorted(punches.values(), key=lambda punch: punch.wall)
    return [p for p in standing if (first is None or p.wall >= first) and (end is None or p.wall < end)]


def last_standing(events: Sequence[Event], person_id: str) -> Punch | None:
    """The person's punch that happened last and counts, as it stands; None without one.

    The events must be in the order of recording. Inside one boot the monotonic clock orders the punches that
    nobody gave another time. Else one whose time nobody knows happened after the ones recorded before it.
    """
    place = {event.id: number for number, event in enumerate(events)}
    mine = [punch for punch in settle(events) if punch.person_id == person_id and not punch.is_void]
    last: Punch | None = None
    latest: datetime | None = None
    for punch in sorted(mine, key=lambda punch: place[punch.event.id]):
        if _follows(punch, last, latest):
            last, latest = punch, punch.wall if punch.is_time_sure else latest
    return last


def true_time(moment: Moment, fixes: Sequence[TimeFix]) -> datetime | None:
    """When that moment was by the nearest time fix of its boot, None without one or without need.

    None also where no calendar has the time: a clock or a stranger may say that it is the year 9999. A
    synchronised clock needs no fix. Between the moment and the fix only the monotonic clock is believed; it
    runs at most some hundred parts per million wrong: 0.5 s in an hour and a half at 100 ppm.
    """
    mine = [fix.moment for fix in fixes if fix.moment.boot_id == moment.boot_id]
    if moment.trust is ClockTrust.SYNCHRONISED or not mine:
        return None
    nearest = min(mine, key=lambda fixed: abs(fixed.mono_s - moment.mono_s))
    since = timedelta(seconds=moment.mono_s - nearest.mono_s)
    try:
        return (nearest.wall.astimezone(UTC) + since).astimezone(moment.wall.tzinfo)
    except OverflowError:
        return None


def time_fix(unfixed: CheckIn, now: Moment) -> TimeFix | None:
    """The time fix that puts a check-in right by the clock as it is now, None as long as it is not good."""
    if now.trust is not ClockTrust.SYNCHRONISED or now.boot_id != unfixed.moment.boot_id:
        return None
    true = now.wall + timedelta(seconds=unfixed.moment.mono_s - now.mono_s)
    return TimeFix(now, (true - unfixed.moment.wall).total_seconds())


def _follows(punch: Punch, last: Punch | None, latest: datetime | None) -> bool:
    """True if it happened after the last one so far; ``latest`` is the latest time that is sure."""
    if last is not None and not (punch.is_given_time or last.is_given_time):
        then, now = last.event.check_in.moment, punch.event.check_in.moment
        if then.boot_id == now.boot_id:
            return now.mono_s >= then.mono_s
    return not punch.is_time_sure or latest is None or punch.wall >= latest


def _as_recorded(event: Event, check_in: CheckIn, fixes: Sequence[TimeFix]) -> Punch:
    fixed = true_time(check_in.moment, fixes)
    return Punch(
        event,
        check_in.person_id,
        check_in.direction,
        fixed or check_in.moment.wall,
        is_fixed=fixed is not None,
    )


def _corrected(punch: Punch, event: Event, becomes: Becomes) -> Punch:
    """The punch after one correction; the last word on each matter counts, and a voided one stays void."""
    noted = replace(punch, corrections=(*punch.corrections, event))
    match becomes:
        case Voided():
            return replace(noted, is_void=True)
        case OtherPerson(person_id):
            return replace(noted, person_id=person_id)
        case OtherDirection(direction):
            return replace(noted, direction=direction)
        case OtherTime(wall):
            return replace(noted, wall=wall)
        case other:
            assert_never(other)
