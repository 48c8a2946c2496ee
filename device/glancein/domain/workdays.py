"""Punches as they stand -> pairs of in and out, days, and who is in, late or missing. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

from glancein.domain.punches import Punch
from glancein.errors import SettingsError
from glancein.types import Direction

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Hours:
    """When people are expected: from this time of day on, on these days; later by the grace is late.

    ``longest`` is the longest stay that is believed, ``zone`` where days begin.
    """

    start: time = time(9)
    grace: timedelta = timedelta(minutes=5)
    days: frozenset[int] = frozenset(range(5))  # 0 is Monday
    longest: timedelta = timedelta(hours=16)
    zone: tzinfo = UTC

    def late_from(self, day: date) -> datetime | None:
        """The moment from which who is not there is late, None on a day off."""
        if day.weekday() not in self.days:
            return None
        return datetime.combine(day, self.start, self.zone) + self.grace


@dataclass(frozen=True, slots=True)
class Pair:
    """A stay: in and out. One of them is missing while it lasts, or when it was forgotten."""

    came: Punch | None
    left: Punch | None

    @property
    def worked(self) -> timedelta:
        """How long from the minute of one end to that of the other, zero unless both are known."""
        if self.came is None or self.left is None:
            return timedelta(0)
        return _minute(self.left) - _minute(self.came)

    def begins(self) -> datetime:
        """When it began as far as is known."""
        for punch in (self.came, self.left):
            if punch is not None:
                return punch.wall
        raise ValueError("a stay has at least one end")


@dataclass(frozen=True, slots=True)
class Workday:
    """One person's day. A stay over midnight belongs to the day it began on."""

    day: date
    pairs: tuple[Pair, ...]
    forgotten: tuple[Pair, ...] = ()  # those of the stays whose in or out is missing and will not come
    late_by: timedelta = timedelta(0)

    @property
    def worked(self) -> timedelta:
        """The sum of the stays with both ends."""
        return sum((pair.worked for pair in self.pairs), timedelta(0))


class Presence(StrEnum):
    """Where somebody is today, as far as their punches tell."""

    IN = "in"
    OUT = "out"
    MISSING = "missing"
    EXPECTED = "expected"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Standing:
    """One person now: where, since when, and by how much they came late today."""

    person_id: str
    presence: Presence
    since: datetime | None
    today: Workday


def parse_hours(start: str, late_after_min: float, days: str) -> Hours:
    """Hours out of the settings. Raises SettingsError."""
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", start.strip()):
        raise SettingsError(f"work_start = {start!r} is not a time of day such as 09:00")
    hour, _, minute = start.strip().partition(":")
    words = [word.strip().lower()[:3] for word in days.split(",") if word.strip()]
    wrong = [word for word in words if word not in WEEKDAYS]
    if wrong:
        raise SettingsError(f"work_days = {days!r}: {wrong[0]!r} is none of {', '.join(WEEKDAYS)}")
    return Hours(
        time(int(hour), int(minute)),
        timedelta(minutes=late_after_min),
        frozenset(WEEKDAYS.index(word) for word in words),
    )


def pair_up(punches: Iterable[Punch], *, longest: timedelta) -> list[Pair]:
    """Stays of one person in order of time; voided punches do not count.

    An out that follows its in by more than ``longest`` is not that stay's end.
    """
    stays: list[Pair] = []
    open_in: Punch | None = None
    for punch in sorted((p for p in punches if not p.is_void), key=lambda p: p.wall):
        if punch.direction is Direction.IN:
            if open_in is not None:
                stays.append(Pair(open_in, None))
            open_in = punch
            continue
        fits = open_in is not None and punch.wall - open_in.wall <= longest
        if open_in is not None and not fits:
            stays.append(Pair(open_in, None))
        stays.append(Pair(open_in if fits else None, punch))
        open_in = None
    return stays if open_in is None else [*stays, Pair(open_in, None)]


def workdays(pairs: Sequence[Pair], hours: Hours, now: datetime) -> dict[date, Workday]:
    """The days on which somebody was there, from all their stays in order of time."""
    by_day: dict[date, list[Pair]] = {}
    for pair in pairs:
        by_day.setdefault(pair.begins().astimezone(hours.zone).date(), []).append(pair)
    going_on = stay_going_on(pairs, now, longest=hours.longest)
    return {
        day: Workday(
            day,
            tuple(stays),
            tuple(stay for stay in stays if None in (stay.came, stay.left) and stay is not going_on),
            _late_by(day, stays, hours),
        )
        for day, stays in by_day.items()
    }


def stay_going_on(pairs: Sequence[Pair], now: datetime, *, longest: timedelta) -> Pair | None:
    """The stay that somebody is in now: the last one, if it has no out and is not too long ago."""
    last = pairs[-1] if pairs else None
    if last is None or last.came is None or last.left is not None or now - last.came.wall > longest:
        return None
    return last


def standing(person_id: str, pairs: Sequence[Pair], hours: Hours, now: datetime) -> Standing:
    """Where a person is now, from their stays of today and of the night before."""
    today = now.astimezone(hours.zone).date()
    mine = workdays(pairs, hours, now).get(today, Workday(today, ()))
    going_on = stay_going_on(pairs, now, longest=hours.longest)
    if going_on is not None:
        return Standing(person_id, Presence.IN, going_on.begins(), mine)
    if mine.pairs:
        return Standing(person_id, Presence.OUT, _latest(mine.pairs[-1]), mine)
    late_from = hours.late_from(today)
    if late_from is None:
        return Standing(person_id, Presence.OFF, None, mine)
    return Standing(person_id, Presence.MISSING if now >= late_from else Presence.EXPECTED, None, mine)


def _latest(pair: Pair) -> datetime:
    return pair.left.wall if pair.left is not None else pair.begins()


def _late_by(day: date, stays: Sequence[Pair], hours: Hours) -> timedelta:
    """How long after the start of work somebody came; zero within the grace, on a day off, or if unknown."""
    late_from, first = hours.late_from(day), stays[0].came
    if late_from is None or first is None or _minute(first) <= late_from:
        return timedelta(0)
    return _minute(first) - (late_from - hours.grace)


def _minute(punch: Punch) -> datetime:
    """When it was as every sheet shows it, without seconds: what is counted from it adds up by hand."""
    return punch.wall.replace(second=0, microsecond=0)
