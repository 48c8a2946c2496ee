"""Keeping the second copy of what waits in step with the database."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from sqlite_utils import Database

from glancein.errors import StoreError
from glancein.storage.database import in_words, scalar
from glancein.storage.tail import Gone, Memory, Tail, spans_without
from glancein.types import Event

log = logging.getLogger(__name__)

MOST_TO_COPY = 500  # at once, so that nobody in front waits for it
ADVICE = "check the disk, free some space; until then a damaged database could lose them"

Read = Callable[[str, str], Event]  # body and hash, as they are in the table of events


class SecondCopy:
    """Writes the tail of one database; used by one thread at a time.

    Where it cannot be written the event is recorded all the same; ``problem`` says so, with what to do, and
    what is missing follows as soon as the disk is well.
    """

    def __init__(self, tail: Tail, read: Read) -> None:
        self._tail = tail
        self._read = read
        self._uncopied: int | None = None  # from this number on, the copy may miss what waits
        self.problem: str | None = None

    def begin(self, database: Database, memory: Memory) -> None:
        """Find what an earlier process could not copy: it follows with the next event."""
        self._uncopied = first_uncopied(database, memory)

    def add(self, database: Database, event: Event, number: int) -> None:
        """Copy an event that was committed under this number, and what is still missing before it.

        Raises nothing that the disk or the database does: the event is recorded, and must not be once more.
        """
        try:
            if self._uncopied is None:
                self._tail.append([(event, number)])
            else:
                self._catch_up(database, self._uncopied)
            self.problem = None
        except (OSError, StoreError, sqlite3.Error) as err:
            why = err.strerror if isinstance(err, OSError) else in_words(err)
            if self.problem is None:
                log.warning("there is no second copy of what is recorded now: %s", why)
            self.problem = f"there is no second copy of what is recorded now: {why}; {ADVICE}"
            self._uncopied = number if self._uncopied is None else self._uncopied

    def forget(self, database: Database, gone: list[Gone]) -> None:
        """These numbers have left the outbox."""

        def waits(first: int, last: int) -> bool:
            return scalar(database, _KEPT_BETWEEN, {"first": first, "last": last}) is not None

        try:
            self._tail.note(gone)
            if done := self._tail.done(waits):
                for epoch in sorted(self._tail.epochs_without(done)):
                    self._tail.note(gone_of(database, epoch))
                self._tail.delete(done)
        except OSError as err:  # these events will be sent once more after the next start, and known there
            log.debug("the second copy does not know what is gone: %s", err)

    def _catch_up(self, database: Database, first: int) -> None:
        rows = database.execute(
            """
            SELECT body, hash, number FROM outbox JOIN events USING (number)
            WHERE number >= :first ORDER BY number LIMIT :most
            """,
            {"first": first, "most": MOST_TO_COPY},
        ).fetchall()
        self._tail.append([(self._read(body, digest), number) for body, digest, number in rows])
        self._uncopied = None if len(rows) < MOST_TO_COPY else rows[-1][2] + 1


def gone_of(database: Database, epoch: str) -> list[Gone]:
    """The numbers of an epoch, below the first that waits, that left the outbox and were not laid aside."""
    up_to = scalar(database, _BELOW_ALL_WAITING, {"epoch": epoch})
    if not isinstance(up_to, int):
        return []
    kept = database.execute(_LAID_ASIDE_BELOW, {"epoch": epoch, "up_to": up_to}).fetchall()
    return spans_without(epoch, up_to, [seq for (seq,) in kept])


def first_uncopied(database: Database, memory: Memory) -> int | None:
    """The lowest number of a waiting event beyond the end of the second copy, None if there is none."""
    numbers = [
        scalar(database, _FIRST_BEYOND, {"epoch": epoch, "copied": memory.highest.get(epoch, 0)})
        for epoch, last in database.execute(_LAST_WAITING).fetchall()
        if last > memory.highest.get(epoch, 0)
    ]
    return min((number for number in numbers if isinstance(number, int)), default=None)


_LAST_WAITING = "SELECT epoch, max(seq) FROM outbox JOIN events USING (number) GROUP BY epoch"
_FIRST_BEYOND = """
SELECT min(number) FROM outbox JOIN events USING (number) WHERE epoch = :epoch AND seq > :copied
"""
# Of one epoch the lower numbers lie before the higher ones; others may lie between.
_BELOW_ALL_WAITING = """
SELECT coalesce((
    SELECT events.seq - 1 FROM outbox CROSS JOIN events USING (number)
    WHERE events.epoch = stream.epoch ORDER BY number LIMIT 1
), seq) FROM stream WHERE epoch = :epoch
"""
_LAID_ASIDE_BELOW = """
SELECT seq FROM laid_aside JOIN events USING (number)
WHERE epoch = :epoch AND seq <= :up_to ORDER BY seq
"""
_KEPT_BETWEEN = """
SELECT number FROM outbox WHERE number BETWEEN :first AND :last
UNION ALL
SELECT number FROM laid_aside WHERE number BETWEEN :first AND :last
LIMIT 1
"""
