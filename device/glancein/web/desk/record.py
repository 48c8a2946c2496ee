"""The time record as the desk shows it: who is where, sheets of days, events in plain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from glancein.domain.punches import Punch, settle
from glancein.domain.workdays import Hours, Pair, Presence, Standing, Workday, pair_up, standing, workdays
from glancein.errors import InputError
from glancein.ports import Archive, Clock
from glancein.types import (
    Becomes,
    CheckIn,
    Correction,
    Event,
    EventId,
    OtherDirection,
    OtherPerson,
    OtherTime,
    TimeFix,
    Voided,
)

TYPICAL_ORDER = (Presence.MISSING, Presence.IN, Presence.OUT, Presence.EXPECTED, Presence.OFF)
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One person's span of days."""

    person_id: str
    name: str
    days: list[Workday]
    voided: list[Punch]

    @property
    def worked(self) -> timedelta:
        """The sum over the days."""
        return sum((day.worked for day in self.days), timedelta(0))

    @property
    def forgotten(self) -> int:
        """Stays whose in or out was forgotten."""
        return sum(len(day.forgotten) for day in self.days)


@dataclass(frozen=True, slots=True)
class Record:
    """Reads the ledger for the desk. Raises StoreError."""

    archive: Archive
    clock: Clock
    hours: Hours

    def now(self) -> datetime:
        """Local time of the site."""
        return self.clock.now().wall.astimezone(self.hours.zone)

    def standings(self, person_ids: Iterable[str]) -> list[Standing]:
        """These people now, those who are missing first."""
        now = self.now()
        punches = self._by_person(now.date(), now.date() + timedelta(days=1))
        found = [
            standing(who, pair_up(punches.get(who, []), longest=self.hours.longest), self.hours, now)
            for who in person_ids
        ]
        return sorted(
            found,
            key=lambda s: (TYPICAL_ORDER.index(s.presence), -s.today.late_by.total_seconds(), s.person_id),
        )

    def sheets(self, names: dict[str, str], first: date, end: date) -> list[Sheet]:
        """A sheet for everybody who is enrolled or was there, from a day on and before another."""
        punches = self._by_person(first, end)
        everybody = (
            self._sheet(who, names.get(who, ""), punches.get(who, []), (first, end))
            for who in sorted({*names, *punches})
        )
        return [sheet for sheet in everybody if sheet.person_id in names or sheet.days or sheet.voided]

    def sheet(self, person_id: str, name: str, first: date, end: date) -> Sheet:
        """One person's sheet, empty for who was not there."""
        punches = self._by_person(first, end, person_id).get(person_id, [])
        return self._sheet(person_id, name, punches, (first, end))

    def punches(self, first: date, end: date, person_id: str | None = None) -> list[Punch]:
        """Every check-in of a span, or one person's, as it stands now."""
        begin, stop = self.midnight(first), self.midnight(end)
        found = settle(self.archive.between(begin, stop, person_id), first=begin, end=stop)
        return [punch for punch in found if person_id in {None, punch.person_id}]

    def midnight(self, day: date) -> datetime:
        """When a day begins. Raises OverflowError or ValueError at the ends of the calendar."""
        return datetime.combine(day, time(0), self.hours.zone)

    def _by_person(self, first: date, end: date, person_id: str | None = None) -> dict[str, list[Punch]]:
        """Punches with days to spare on both sides, so that a night's or longer stay finds its other end."""
        by_person: defaultdict[str, list[Punch]] = defaultdict(list)
        spare = timedelta(days=1 + self.hours.longest // timedelta(days=1))
        for punch in self.punches(first - spare, end + spare, person_id):
            by_person[punch.person_id].append(punch)
        return by_person

    def _sheet(self, person_id: str, name: str, punches: list[Punch], span: tuple[date, date]) -> Sheet:
        made = workdays(pair_up(punches, longest=self.hours.longest), self.hours, self.now())
        days = [made[day] for day in sorted(made) if span[0] <= day < span[1]]
        begin, stop = (self.midnight(day) for day in span)
        voided = [punch for punch in punches if punch.is_void and begin <= punch.wall < stop]
        return Sheet(person_id, name, days, voided)


def event_id(text: str) -> EventId:
    """The name that ``EventId.word`` wrote. Raises InputError."""
    kiosk, _, rest = text.partition("/")
    epoch, _, seq = rest.partition("/")
    if not (kiosk and epoch and seq.isascii() and seq.isdigit() and len(seq) < 16):
        raise InputError(f"{text[:80]!r} is not an event's name: kiosk/epoch/number")
    return EventId(kiosk, epoch, int(seq))


def becomes_words(becomes: Becomes) -> tuple[str, str]:
    """What a correction makes of a check-in: the kind, and the value in plain words."""
    match becomes:
        case Voided():
            return "void", ""
        case OtherPerson(person_id):
            return "person", person_id
        case OtherDirection(direction):
            return "direction", direction.value
        case OtherTime(wall):
            return "time", wall.isoformat(timespec="minutes")


def event_json(event: Event, name: str, hours: Hours) -> Json:
    """An event as the live list shows it; ``name`` is that of its person."""
    found: Json = {"event": event.id.word, "time": _local(event.body.moment.wall, hours)}
    match event.body:
        case CheckIn() as punch:
            return found | {
                "kind": "check_in",
                "id": punch.person_id,
                "name": name,
                "direction": punch.direction.value,
                "method": str(punch.method),
            }
        case Correction() as correction:
            kind, what = becomes_words(correction.becomes)
            return found | {
                "kind": "correction",
                "of": correction.of.word,
                "becomes": kind,
                "what": what,
                "by": correction.by,
            }
        case TimeFix():
            return found | {"kind": "time_fix"}


def punch_json(punch: Punch) -> Json:
    """A punch as it stands, as JSON values."""
    recorded = punch.event.check_in
    return {
        "event": punch.event.id.word,
        "id": punch.person_id,
        "direction": punch.direction.value,
        "time": punch.wall.isoformat(),
        "method": str(recorded.method),
        "clock": recorded.moment.trust.value,
        "void": punch.is_void,
        "recorded_time": recorded.moment.wall.isoformat(),
        "corrections": [correction_json(event) for event in punch.corrections],
    }


def correction_json(event: Event) -> Json:
    """A correction as JSON values."""
    if not isinstance(event.body, Correction):
        raise TypeError(f"event {event.seq} is no correction")
    kind, value = becomes_words(event.body.becomes)
    return {
        "event": event.id.word,
        "becomes": kind,
        "value": value,
        "reason": event.body.reason,
        "by": event.body.by,
        "at": event.body.moment.wall.isoformat(),
    }


def standing_json(person: Standing, name: str) -> Json:
    """Where somebody is, as JSON values."""
    return {
        "id": person.person_id,
        "name": name,
        "presence": person.presence.value,
        "since": None if person.since is None else person.since.isoformat(),
        "late_by_s": int(person.today.late_by.total_seconds()),
        "worked_s": int(person.today.worked.total_seconds()),
        "forgotten": len(person.today.forgotten),
    }


def sheet_json(sheet: Sheet, first: date, end: date) -> Json:
    """One person's days as JSON values."""
    return {
        "id": sheet.person_id,
        "name": sheet.name,
        "from": str(first),
        "to": str(end - timedelta(days=1)),
        "worked_s": int(sheet.worked.total_seconds()),
        "days": [_day_json(day) for day in sheet.days],
        "voided": [punch_json(punch) for punch in sheet.voided],
    }


def _day_json(day: Workday) -> Json:
    return {
        "day": str(day.day),
        "worked_s": int(day.worked.total_seconds()),
        "late_by_s": int(day.late_by.total_seconds()),
        "forgotten": len(day.forgotten),
        "pairs": [_pair_json(pair) for pair in day.pairs],
    }


def _pair_json(pair: Pair) -> Json:
    return {
        "in": None if pair.came is None else punch_json(pair.came),
        "out": None if pair.left is None else punch_json(pair.left),
    }


def _local(wall: datetime, hours: Hours) -> str:
    return wall.astimezone(hours.zone).isoformat(timespec="seconds")
