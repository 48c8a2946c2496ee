"""The append-only record of punches and its outbox, in SQLite."""

from __future__ import annotations

import math
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from glancein.domain import wire
from glancein.domain.event_body import as_sent
from glancein.errors import FeedError, InputError, NotRecorded, StoreError
from glancein.storage.database import open_database, scalar, storage_errors, transaction
from glancein.types import Body, CheckIn, Correction, Event, EventId, StreamPosition, TimeFix

NOBODY = ""  # in the column person_id, of events that are no check-in
_NAMES: dict[type[Body], str] = {CheckIn: "check-in", Correction: "correction", TimeFix: "time fix"}


class SqliteLedger:
    """Implements the ports Ledger, History and Archive on one SQLite file; safe to use from several threads.

    A stream epoch is opened when the file is made and whenever the site or the kiosk has another name than
    before, so that an event's (kiosk, epoch, seq) never means two things. With ``names`` the events that
    come out carry the display name of the person, as long as the person is enrolled; the ledger itself
    stores no names.
    """

    def __init__(self, path: Path, *, site: str, kiosk: str, names: bool = False) -> None:
        self._path = path
        self._site = wire.check_segment("site", site)
        self._kiosk = wire.check_segment("kiosk", kiosk)
        self._names = names
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._open_stream_if_renamed()

    def record(self, body: Body) -> Event:
        """Write event and outbox row in one transaction.

        Raises NotRecorded if it was not committed: then no part of it is in the file and the number is not
        used up.
        """
        try:
            settled = as_sent(body)
            with self._open() as database:
                with transaction(database):
                    _check_target(database, settled)
                    event = self._insert(database, settled)
                return self._with_name(database, event)
        except (InputError, StoreError) as err:
            raise NotRecorded(f"the {_NAMES[type(body)]} was not recorded: {err}") from err

    def last_of(self, person_id: str) -> Event | None:
        """The person's latest check-in that was not voided, of any epoch. Raises StoreError."""
        found = self._events(
            """
            SELECT body FROM events AS punch
            WHERE person_id = :person AND NOT EXISTS (
                SELECT 1 FROM events
                WHERE kind = 'correction' AND of_epoch = punch.epoch AND of_seq = punch.seq
                AND json_extract(body, '$.becomes.void') IS NOT NULL
            )
            ORDER BY number DESC LIMIT 1
            """,
            person=person_id,
        )
        return found[0] if found else None

    def latest_of(self, person_id: str, limit: int) -> list[Event]:
        """The person's latest check-ins with their corrections and time fixes, in the order of recording.

        Raises StoreError.
        """
        return self._events(_LATEST_OF, person=person_id, limit=limit)

    def pending(self, limit: int) -> list[Event]:
        """Oldest events not yet acknowledged, at most ``limit``. Raises StoreError."""
        return self._events(
            "SELECT body FROM outbox JOIN events USING (number) ORDER BY number LIMIT :limit", limit=limit
        )

    def acknowledge(self, epoch: str, up_to_seq: int) -> int:
        """Take events of this epoch up to this number out of the outbox; returns how many went.

        An epoch that is not ours or a number that was never given out changes nothing. The rows of one epoch
        lie together, so that a backlog of a million costs no more than one of ten. Raises StoreError.
        """
        with self._open() as database, transaction(database):
            given_out = scalar(database, "SELECT seq FROM stream WHERE epoch = :epoch", {"epoch": epoch})
            if not isinstance(given_out, int) or up_to_seq > given_out:
                return 0
            return database.execute(
                """
                DELETE FROM outbox
                WHERE number >= (SELECT number FROM events WHERE epoch = :epoch ORDER BY seq LIMIT 1)
                AND number <= (
                    SELECT number FROM events
                    WHERE epoch = :epoch AND seq <= :up_to ORDER BY seq DESC LIMIT 1
                )
                """,
                {"epoch": epoch, "up_to": up_to_seq},
            ).rowcount

    def position(self) -> StreamPosition:
        """Where the current stream stands and how much waits. Raises StoreError."""
        with self._open() as database:
            row = database.execute(
                """
                SELECT epoch, seq, head,
                    coalesce((SELECT min(seq) FROM events WHERE events.epoch = stream.epoch), seq + 1),
                    (SELECT count(*) FROM outbox)
                FROM stream ORDER BY number DESC LIMIT 1
                """
            ).fetchone()
        return StreamPosition(*row)

    def replay(self, epoch: str, from_seq: int, limit: int) -> list[Event]:
        """Recorded events of an epoch from a number on, acknowledged or not. Raises StoreError."""
        return self._events(
            "SELECT body FROM events WHERE epoch = :epoch AND seq >= :from_seq ORDER BY seq LIMIT :limit",
            epoch=epoch,
            from_seq=from_seq,
            limit=limit,
        )

    def hash_of(self, epoch: str, seq: int) -> str | None:
        """The hash of one recorded event, None if it is not here. Raises StoreError."""
        with self._open() as database:
            found = scalar(
                database,
                "SELECT hash FROM events WHERE epoch = :epoch AND seq = :seq",
                {"epoch": epoch, "seq": seq},
            )
        return found if isinstance(found, str) else None

    def find(self, name: EventId) -> Event | None:
        """The recorded event of that name, None if it is not here. Raises StoreError."""
        found = self._events(
            "SELECT body FROM events WHERE epoch = :epoch AND seq = :seq", epoch=name.epoch, seq=name.seq
        )
        return next((event for event in found if event.kiosk == name.kiosk), None)

    def between(self, first: datetime, end: datetime) -> list[Event]:
        """Every event that bears on the check-ins of a span of time, in the order of recording.

        Check-ins whose recorded, fixed or corrected time lies in it, with a second to spare; their
        corrections; the time fixes of their boots. Raises StoreError.
        """
        span = {"first": math.floor(first.timestamp()) - 1, "end": math.ceil(end.timestamp()) + 1}
        return self._events(_BETWEEN, **span)

    def unfixed(self, boot_id: str) -> Event | None:
        """The latest check-in of that boot with a time nobody could believe and no time fix after it.

        Raises StoreError.
        """
        # <> as well as =, because SQLite takes the partial index only for the condition it was made with.
        found = self._events(
            """
            SELECT body FROM events
            WHERE boot_id = :boot AND kind = 'check_in' AND clock <> 'synchronised'
            AND clock = 'unsynchronised' AND number > (
                SELECT coalesce(max(number), 0) FROM events WHERE boot_id = :boot AND kind = 'time_fix'
            )
            ORDER BY mono_ms DESC LIMIT 1
            """,
            boot=boot_id,
        )
        return found[0] if found else None

    def open_epoch(self, why: str) -> int:
        """Begin a new stream and move what nobody acknowledged into it; returns how many events moved.

        For a file that turned out to be an old copy: the numbers it gives out were used before, by events
        that are lost here but known to the consumer. The punches keep their times; they get new numbers.
        Raises StoreError.
        """
        with self._open() as database, transaction(database):
            rows = database.execute(
                "SELECT number, body FROM outbox JOIN events USING (number) ORDER BY number"
            )
            waiting = rows.fetchall()
            database.execute("DELETE FROM outbox")
            self._begin_stream(database, why)
            renamed: dict[EventId, EventId] = {}
            for _, body in waiting:
                old = _event(body)
                renamed[old.id] = self._insert(database, _follow_names(old.body, renamed)).id
            return len(waiting)

    def close(self) -> None:
        """Let the file go; the ledger opens it again when it is used."""
        with self._lock:
            if self._database is not None:
                self._database.conn.close()
                self._database = None

    def _insert(self, database: Database, body: Body) -> Event:
        epoch, site, kiosk, seq, head = database.execute(
            "SELECT epoch, site, kiosk, seq, head FROM stream ORDER BY number DESC LIMIT 1"
        ).fetchone()
        event = Event(site, kiosk, epoch, seq + 1, head, body)
        digest = wire.event_hash(event)
        cursor = database.execute(
            """
            INSERT INTO events (epoch, seq, person_id, body, hash, previous_hash)
            VALUES (:epoch, :seq, :person, :body, :hash, :previous)
            """,
            {
                "epoch": epoch,
                "seq": event.seq,
                "person": body.person_id if isinstance(body, CheckIn) else NOBODY,
                "body": wire.encode_event(event).decode(),
                "hash": digest,
                "previous": head,
            },
        )
        database.execute("INSERT INTO outbox (number) VALUES (:number)", {"number": cursor.lastrowid})
        database.execute(
            "UPDATE stream SET seq = :seq, head = :head WHERE epoch = :epoch",
            {"seq": event.seq, "head": digest, "epoch": epoch},
        )
        return event

    def _events(self, sql: str, **parameters: object) -> list[Event]:
        with self._open() as database:
            rows = database.execute(sql, parameters).fetchall()
            return [self._with_name(database, _event(body)) for (body,) in rows]

    def _with_name(self, database: Database, event: Event) -> Event:
        if not self._names or not isinstance(event.body, CheckIn):
            return event
        person = {"person": event.body.person_id}
        name = scalar(database, "SELECT name FROM people WHERE id = :person", person)
        return replace(event, name=name) if isinstance(name, str) else event

    def _open_stream_if_renamed(self) -> None:
        with self._open() as database, transaction(database):
            row = database.execute("SELECT site, kiosk FROM stream ORDER BY number DESC LIMIT 1").fetchone()
            if row is None:
                self._begin_stream(database, "the database was made")
            elif tuple(row) != (self._site, self._kiosk):
                self._begin_stream(database, f"renamed from {row[0]}/{row[1]}")

    def _begin_stream(self, database: Database, why: str) -> None:
        database.execute(
            """
            INSERT INTO stream (epoch, site, kiosk, seq, head, opened_at, why)
            VALUES (:epoch, :site, :kiosk, 0, :head, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :why)
            """,
            {
                "epoch": str(uuid.uuid4()),
                "site": self._site,
                "kiosk": self._kiosk,
                "head": wire.NO_HASH,
                "why": why,
            },
        )

    @contextmanager
    def _open(self) -> Iterator[Database]:
        """The connection, for one thread at a time.

        After an error it is dropped and made anew: following a failed fsync, what SQLite remembers of the
        file and what the disk holds may differ.
        """
        with self._lock, storage_errors("the ledger cannot be read or written"):
            if self._database is None:
                self._database = open_database(self._path)
            try:
                yield self._database
            except (sqlite3.Error, OSError, StoreError):
                self.close()
                raise


def _event(body: str) -> Event:
    try:
        return wire.decode_event(body.encode())
    except FeedError as err:
        raise StoreError(f"an event in the ledger is damaged: {err}") from err


def _check_target(database: Database, body: Body) -> None:
    """Only what is recorded here can be corrected here; raises InputError."""
    if not isinstance(body, Correction):
        return
    kind = scalar(
        database,
        """
        SELECT kind FROM events JOIN stream USING (epoch)
        WHERE epoch = :epoch AND events.seq = :seq AND kiosk = :kiosk
        """,
        {"epoch": body.of.epoch, "seq": body.of.seq, "kiosk": body.of.kiosk},
    )
    if kind != "check_in":
        raise InputError(f"number {body.of.seq} of {body.of.kiosk} is no check-in that is recorded here")


def _follow_names(body: Body, renamed: Mapping[EventId, EventId]) -> Body:
    """The same, with a correction pointing to the new name of its check-in."""
    return replace(body, of=renamed.get(body.of, body.of)) if isinstance(body, Correction) else body


# By index in every part: recorded in the span; fixed into it; corrected into it.
_BETWEEN = """
WITH
fixes AS (
    SELECT boot_id, at_s * 1000 - mono_ms AS zero_ms FROM events WHERE kind = 'time_fix'
),
meant AS (
    SELECT number, epoch, seq, boot_id FROM events
    WHERE at_s BETWEEN :first AND :end AND kind = 'check_in'
    UNION
    SELECT number, epoch, seq, events.boot_id FROM fixes CROSS JOIN events ON
        events.boot_id = fixes.boot_id AND kind = 'check_in' AND clock <> 'synchronised'
        AND mono_ms BETWEEN :first * 1000 - zero_ms AND :end * 1000 - zero_ms
    UNION
    SELECT target.number, target.epoch, target.seq, target.boot_id FROM events
    JOIN events AS target ON target.epoch = events.of_epoch AND target.seq = events.of_seq
    WHERE events.at_s BETWEEN :first AND :end AND events.kind = 'correction'
)
SELECT body FROM events WHERE number IN (
    SELECT number FROM meant
    UNION
    SELECT events.number FROM meant
    JOIN events ON kind = 'correction' AND of_epoch = meant.epoch AND of_seq = meant.seq
    UNION
    SELECT events.number FROM events WHERE kind = 'time_fix' AND boot_id IN (SELECT boot_id FROM meant)
)
ORDER BY number
"""

_LATEST_OF = """
WITH meant AS (
    SELECT number, epoch, seq, boot_id FROM events
    WHERE person_id = :person ORDER BY number DESC LIMIT :limit
)
SELECT body FROM events WHERE number IN (
    SELECT number FROM meant
    UNION
    SELECT events.number FROM meant
    JOIN events ON kind = 'correction' AND of_epoch = meant.epoch AND of_seq = meant.seq
    UNION
    SELECT events.number FROM events WHERE kind = 'time_fix' AND boot_id IN (SELECT boot_id FROM meant)
)
ORDER BY number
"""
