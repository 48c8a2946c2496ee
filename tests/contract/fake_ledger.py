"""A ledger in memory: the same promises as the one on disk, as long as the process lives."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime

from glancein.domain import wire
from glancein.domain.event_body import as_sent
from glancein.domain.punches import Punch, last_standing, settle
from glancein.errors import InputError, NotRecorded
from glancein.types import (
    Body,
    CheckIn,
    ClockTrust,
    Correction,
    Event,
    EventId,
    Hole,
    LaidAside,
    OtherPerson,
    StreamPosition,
    TimeFix,
)


class FakeLedger:
    """Implements the ports Ledger, History, Archive and DeadLetters in memory."""

    def __init__(self, *, site: str = "hq", kiosk: str = "door") -> None:
        self._site = site
        self._kiosk = kiosk
        self._epoch = str(uuid.uuid4())
        self._events: list[Event] = []
        self._outbox: list[Event] = []
        self._aside: list[LaidAside] = []
        self._renewed: dict[EventId, EventId] = {}
        self.full = False  # a disk without space
        self.tail_problem: str | None = None

    def record(self, body: Body) -> Event:
        """Number, chain and keep the event."""
        if self.full:
            raise NotRecorded("the event was not recorded: the disk is full; free some space")
        try:
            settled = as_sent(body)
        except InputError as err:
            raise NotRecorded(f"the event was not recorded: {err}") from err
        if isinstance(settled, Correction):
            settled = replace(settled, of=self._renewed.get(settled.of, settled.of))
            target = self.find(settled.of)
            if target is None or not isinstance(target.body, CheckIn):
                raise NotRecorded(f"the event was not recorded: {settled.of.seq} is no check-in here")
        position = self.position()
        event = Event(self._site, self._kiosk, self._epoch, position.seq + 1, position.head, settled)
        self._events.append(event)
        self._outbox.append(event)
        return event

    def last_of(self, person_id: str) -> Punch | None:
        """The person's last punch, as it stands."""
        return last_standing([e for e in self._events if e.id not in self._renewed], person_id)

    def pending(self, limit: int) -> list[Event]:
        """Oldest events not yet acknowledged."""
        return self._outbox[:limit]

    def acknowledge(self, epoch: str, up_to_seq: int) -> int:
        """Take events out of the outbox; ignores numbers that were never given out."""
        if up_to_seq > max((e.seq for e in self._events if e.epoch == epoch), default=0):
            return 0
        before = len(self._outbox)
        self._outbox = [e for e in self._outbox if e.epoch != epoch or e.seq > up_to_seq]
        return before - len(self._outbox)

    def position(self) -> StreamPosition:
        """Where the current stream stands."""
        mine = [e for e in self._events if e.epoch == self._epoch]
        head = wire.event_hash(mine[-1]) if mine else wire.NO_HASH
        return StreamPosition(self._epoch, len(mine), head, 1, len(self._outbox), len(self._aside))

    def history(self, epoch: str, from_seq: int, limit: int) -> list[Event | Hole]:
        """Recorded events from a number on; memory has no holes."""
        mine: list[Event | Hole] = [e for e in self._events if e.epoch == epoch and e.seq >= from_seq]
        return mine[:limit]

    def renewed(self, epoch: str, first_seq: int, last_seq: int) -> dict[int, int]:
        """Which of these events were recorded anew."""
        return {
            old.seq: new.seq
            for old, new in self._renewed.items()
            if old.epoch == epoch and first_seq <= old.seq <= last_seq
        }

    def hash_of(self, epoch: str, seq: int) -> str | None:
        """The hash of one recorded event."""
        return next((wire.event_hash(e) for e in self._events if (e.epoch, e.seq) == (epoch, seq)), None)

    def open_epoch(self, why: str) -> None:
        """Begin a new stream; ``why`` is for the record only."""
        del why
        self._epoch = str(uuid.uuid4())

    def lay_aside(self, name: EventId, why: str) -> bool:
        """Take a waiting event out of the outbox."""
        waiting = [event for event in self._outbox if event.id == name]
        self._outbox = [event for event in self._outbox if event.id != name]
        self._aside += [LaidAside(event, why, "2026-03-02T12:00:00Z") for event in waiting]
        return bool(waiting)

    def laid_aside(self) -> list[LaidAside]:
        """What was laid aside, oldest first."""
        return sorted(self._aside, key=lambda one: self._events.index(one.event))

    def send_again(self) -> int:
        """Record all of it anew."""
        return sum(self._renew(one.event) for one in self.laid_aside())

    def renew(self, epoch: str, first_seq: int, last_seq: int) -> int:
        """Record waiting events anew in another epoch."""
        meant = [e for e in self._outbox if e.epoch == epoch and first_seq <= e.seq <= last_seq]
        if epoch == self._epoch:
            self.open_epoch("these numbers mean something else to the consumer")
        return sum(self._renew(event) for event in meant)

    def find(self, name: EventId) -> Event | None:
        """The recorded event of that name."""
        return next((event for event in self._events if event.id == name), None)

    def between(self, first: datetime, end: datetime, person_id: str | None = None) -> list[Event]:
        """Every event that bears on the check-ins of a span, the slow way."""
        standing = [event for event in self._events if event.id not in self._renewed]
        meant = {punch.event.id for punch in settle(standing, first=first, end=end)}
        meant |= {e.id for e in standing if isinstance(e.body, CheckIn) and first <= e.body.moment.wall < end}
        if person_id is not None:
            meant = {e.id for e in standing if e.id in meant and e.check_in.person_id == person_id}
            meant |= {
                e.body.of
                for e in standing
                if isinstance(e.body, Correction) and e.body.becomes == OtherPerson(person_id)
            }
        boots = {e.body.moment.boot_id for e in standing if e.id in meant}
        return [
            e
            for e in standing
            if e.id in meant
            or (isinstance(e.body, Correction) and e.body.of in meant)
            or (isinstance(e.body, TimeFix) and e.body.moment.boot_id in boots)
        ]

    def unfixed(self, boot_id: str) -> Event | None:
        """The latest check-in of that boot that waits for a time fix."""
        for event in reversed(self._events):
            if event.body.moment.boot_id == boot_id and not isinstance(event.body, Correction):
                if isinstance(event.body, TimeFix):
                    return None
                if event.body.moment.trust is ClockTrust.UNSYNCHRONISED:
                    return event
        return None

    def _renew(self, old: Event) -> int:
        """The event with its corrections under new names; how many."""
        if old.id in self._renewed:
            return 0
        new = self.record(old.body).id
        self._renewed = {name: new if now == old.id else now for name, now in self._renewed.items()}
        self._renewed[old.id] = new
        self._outbox = [event for event in self._outbox if event.id != old.id]
        self._aside = [one for one in self._aside if one.event.id != old.id]
        said = [e for e in self._events if isinstance(e.body, Correction) and e.body.of == old.id]
        return 1 + sum(self._renew(event) for event in said)
