"""What the record still has of a stream: its events, and a hole wherever one cannot be read any more."""

from __future__ import annotations

from dataclasses import dataclass

from sqlite_utils import Database

from glancein.domain import wire
from glancein.errors import DamagedError
from glancein.storage.stream import read_event
from glancein.types import Event, Hole


def read_history(database: Database, epoch: str, *, from_seq: int, limit: int) -> list[Event | Hole]:
    """So many numbers of an epoch in a row, from the oldest that is kept on; nothing of an unknown epoch.

    What was recorded before the oldest row is no hole: it is not kept.
    """
    stream = database.execute(_STREAM, {"epoch": epoch}).fetchone()
    if stream is None or stream[2] is None:
        return []
    site, kiosk, oldest, newest, head = stream
    first = max(from_seq, oldest)
    numbers = range(first, min(newest, first + limit - 1) + 1)
    rows = database.execute(_ROWS, {"epoch": epoch, "first": first - 1, "last": first + limit}).fetchall()
    found = _Rows({seq: _Row.of(epoch, seq, *columns) for seq, *columns in rows}, newest, head)
    return [
        found.event(seq) or Hole(site, kiosk, epoch, seq, found.hash_of(seq - 1), found.hash_of(seq))
        for seq in numbers
    ]


_STREAM = """
SELECT site, kiosk, (SELECT min(seq) FROM events WHERE events.epoch = stream.epoch),
    max(seq, (SELECT max(seq) FROM events WHERE events.epoch = stream.epoch)), head
FROM stream WHERE epoch = :epoch
"""
# As bytes: text that is no UTF-8 any more would take the readable rows with it.
_ROWS = """
SELECT seq, CAST(body AS BLOB), CAST(hash AS BLOB), CAST(previous_hash AS BLOB) FROM events
WHERE epoch = :epoch AND seq BETWEEN :first AND :last ORDER BY seq
"""


@dataclass(frozen=True, slots=True)
class _Row:
    """What a row says; ``event`` None if that is not what was recorded."""

    event: Event | None
    hash: str | None
    previous_hash: str | None

    @staticmethod
    def of(epoch: str, seq: int, body: bytes, digest: bytes, previous: bytes) -> _Row:
        try:
            event = read_event(body.decode(errors="replace"), digest.decode(errors="replace"))
        except DamagedError:
            return _Row(None, _hash(digest), _hash(previous))
        is_here = (event.epoch, event.seq) == (epoch, seq)
        return _Row(event if is_here else None, _hash(digest), event.previous_hash)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows by number, and how the stream ends."""

    rows: dict[int, _Row]
    newest: int
    head: str

    def event(self, seq: int) -> Event | None:
        """The event, if it can be read."""
        row = self.rows.get(seq)
        return None if row is None else row.event

    def hash_of(self, seq: int) -> str | None:
        """The hash of a number, by its neighbours if need be; the same whichever rows were asked for."""
        row, following = self.rows.get(seq), self.rows.get(seq + 1)
        if seq == 0:
            return wire.NO_HASH
        if row is not None and row.event is not None:
            return row.hash
        if following is not None and following.previous_hash is not None:
            return following.previous_hash
        if seq == self.newest:
            return _hash(self.head.encode())
        return None if row is None else row.hash


def _hash(column: bytes) -> str | None:
    text = column.decode(errors="replace")
    return text if wire.HEX64.match(text) else None
