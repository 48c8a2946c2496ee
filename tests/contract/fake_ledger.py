"""A ledger in memory: the same promises as the one on disk, as long as the process lives."""

from __future__ import annotations

import uuid
from dataclasses import replace

from glancein.domain import wire
from glancein.errors import InputError, NotRecorded
from glancein.types import CheckIn, Event, StreamPosition


class FakeLedger:
    """Implements the ports Ledger and History in memory."""

    def __init__(self, *, site: str = "hq", kiosk: str = "door") -> None:
        self._site = site
        self._kiosk = kiosk
        self._epoch = str(uuid.uuid4())
        self._events: list[Event] = []
        self._outbox: list[Event] = []
        self.full = False  # a disk without space

    def record(self, check_in: CheckIn) -> Event:
        """Number, chain and keep the event."""
        if self.full:
            raise NotRecorded("the check-in was not recorded: the disk is full; free some space")
        try:
            settled = wire.as_sent(check_in)
        except InputError as err:
            raise NotRecorded(f"the check-in was not recorded: {err}") from err
        position = self.position()
        event = Event(self._site, self._kiosk, self._epoch, position.seq + 1, position.head, settled)
        self._events.append(event)
        self._outbox.append(event)
        return event

    def last_of(self, person_id: str) -> Event | None:
        """The person's latest event."""
        return next((e for e in reversed(self._events) if e.check_in.person_id == person_id), None)

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
        return StreamPosition(self._epoch, len(mine), head, 1, len(self._outbox))

    def replay(self, epoch: str, from_seq: int, limit: int) -> list[Event]:
        """Recorded events from a number on."""
        return [e for e in self._events if e.epoch == epoch and e.seq >= from_seq][:limit]

    def hash_of(self, epoch: str, seq: int) -> str | None:
        """The hash of one recorded event."""
        return next((wire.event_hash(e) for e in self._events if (e.epoch, e.seq) == (epoch, seq)), None)

    def open_epoch(self, why: str) -> int:
        """Begin a new stream; ``why`` is for the record only."""
        del why
        waiting, self._outbox = self._outbox, []
        self._epoch = str(uuid.uuid4())
        for event in waiting:
            self.record(replace(event.check_in))
        return len(waiting)
