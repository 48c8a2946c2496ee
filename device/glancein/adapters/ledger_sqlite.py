"""The append-only record of punches and its outbox, in SQLite."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from glancein.domain import wire
from glancein.domain.event_body import as_sent
from glancein.domain.punches import Punch, last_standing
from glancein.errors import DamagedError, InputError, NotRecorded, StoreError
from glancein.storage import look_back
from glancein.storage.ballast import Ballast
from glancein.storage.database import (
    in_words,
    is_disk_error,
    make_durable,
    open_database,
    scalar,
    storage_errors,
    transaction,
)
from glancein.storage.handle import inode_at
from glancein.storage.history import read_history
from glancein.storage.recovery import bring_in, compare, epochs_behind
from glancein.storage.rescue import carry_over, check, is_damage, set_aside
from glancein.storage.second_copy import SecondCopy, first_uncopied, gone_of
from glancein.storage.stream import NO_STREAM, add_event, begin_stream, read_event, renew_event, settle_target
from glancein.storage.tail import Gone, Memory, Tail
from glancein.types import Body, CheckIn, Correction, Event, EventId, Hole, LaidAside, StreamPosition, TimeFix

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

FEW = 8  # check-ins looked back on for the next punch: more than anybody takes back in a row

_NAMES: dict[type[Body], str] = {CheckIn: "check-in", Correction: "correction", TimeFix: "time fix"}


class SqliteLedger:
    """Implements the ports Ledger, History and Archive on one SQLite file; safe to use from several threads.

    A stream epoch is opened when the file is made and whenever the site or the kiosk has another name than
    before, so that an event's (kiosk, epoch, seq) never means two things. ``rescue`` is for the kiosk itself:
    it sets a damaged file aside and renames; whoever else opens the file goes by the names in it. With
    ``names`` the events that come out carry the display name of the person, as long as the person is
    enrolled; the ledger itself stores no names.
    """

    def __init__(
        self, path: Path, *, site: str, kiosk: str, names: bool = False, rescue: bool = False
    ) -> None:
        self._path = path
        self._site = wire.check_segment("site", site)
        self._kiosk = wire.check_segment("kiosk", kiosk)
        self._names = names
        self._rescues = rescue
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._inode = 0
        self._tail = Tail(path)
        self._copy = SecondCopy(self._tail, read_event)
        self._counted: tuple[object, int] | None = None  # PRAGMA data_version, rows in the outbox under it
        self._ballast = Ballast(path.parent) if rescue else None
        self._unreadable: set[tuple[str, int]] = set()  # epochs and numbers that were warned of
        self._is_doubtful = False  # the disk reported an error: what can be read may not be on it
        self._begin()

    def record(self, body: Body) -> Event:
        """Write event and outbox row in one transaction, then the second copy.

        Raises NotRecorded if it was not committed: then no part of it is in the file and the number is not
        used up.
        """
        return self._recorded(body, None)

    def note(self, check_in: CheckIn, said_of: Callable[[EventId], Correction]) -> Event:
        """Record a check-in and what is said of it at once, both or neither; returns the check-in.

        Raises NotRecorded as ``record`` does.
        """
        return self._recorded(check_in, said_of)

    def last_of(self, person_id: str) -> Punch | None:
        """The person's punch that happened last and counts, of any epoch, as it stands. Raises StoreError."""
        return last_standing(self._surviving(lambda: self.latest_of(person_id, FEW)), person_id)

    def latest_of(self, person_id: str, limit: int) -> list[Event]:
        """The person's latest check-ins with their corrections and time fixes, in the order of recording.

        The latest recorded and the latest by time, among those made by hand as many again, and what became
        theirs by a correction. A row that cannot be read any more hides no other. Raises StoreError.
        """
        return self._looked_back(look_back.LATEST_OF, person=person_id, limit=limit)

    def pending(self, limit: int) -> list[Event]:
        """Oldest events not yet acknowledged, at most ``limit``. Raises StoreError."""
        sql = "SELECT body, hash FROM outbox JOIN events USING (number) ORDER BY number LIMIT :limit"
        return self._surviving(lambda: self._events(sql, limit=limit))

    def acknowledge(self, epoch: str, up_to_seq: int) -> int:
        """Take events of this epoch up to this number out of the outbox; returns how many went.

        An epoch that is not ours or a number that was never given out changes nothing. Raises StoreError.
        """
        with self._open() as database:
            with transaction(database):
                given_out = scalar(database, "SELECT seq FROM stream WHERE epoch = :epoch", {"epoch": epoch})
                lowest = scalar(database, _LOWEST_WAITING, {"epoch": epoch})
                if not (isinstance(given_out, int) and isinstance(lowest, int)):
                    return 0
                if not lowest <= up_to_seq <= given_out:
                    return 0
                gone = database.execute(
                    """
                    DELETE FROM outbox WHERE number IN (
                        SELECT number FROM events WHERE epoch = :epoch AND seq BETWEEN :lowest AND :up_to
                    )
                    """,
                    {"epoch": epoch, "lowest": lowest, "up_to": up_to_seq},
                ).rowcount
            self._count(-gone)
            self._copy.forget(database, gone_of(database, epoch))
            return gone

    def position(self) -> StreamPosition:
        """Where the current stream stands and how much waits. Raises StoreError."""
        with self._open() as database:
            row = database.execute(
                """
                SELECT epoch, seq, head,
                    coalesce((SELECT min(seq) FROM events WHERE events.epoch = stream.epoch), seq + 1),
                    (SELECT count(*) FROM laid_aside)
                FROM stream ORDER BY number DESC LIMIT 1
                """
            ).fetchone()
            if row is None:
                raise StoreError(NO_STREAM)
            epoch, seq, head, history_from, aside = row
            return StreamPosition(epoch, seq, head, history_from, self._waiting(database), aside)

    def history(self, epoch: str, from_seq: int, limit: int) -> list[Event | Hole]:
        """So many numbers of an epoch from one on, acknowledged or not: events, and holes among them.

        A row that is not what was recorded, or that is lost, hides no other. Raises StoreError.
        """
        with self._open() as database:
            found = read_history(database, epoch, from_seq=from_seq, limit=limit)
            return [self._with_name(database, one) if isinstance(one, Event) else one for one in found]

    def replay(self, epoch: str, from_seq: int, limit: int) -> list[Event]:
        """The same, without the holes. Raises StoreError."""
        return [one for one in self.history(epoch, from_seq, limit) if isinstance(one, Event)]

    def renewed(self, epoch: str, first_seq: int, last_seq: int) -> dict[int, int]:
        """Which of these events were recorded anew, and under which numbers. Raises StoreError."""
        with self._open() as database:
            rows = database.execute(
                """
                SELECT old.seq, anew.seq FROM renewed JOIN events AS old USING (number)
                JOIN events AS anew ON anew.number = became
                WHERE old.epoch = :epoch AND old.seq BETWEEN :first AND :last
                """,
                {"epoch": epoch, "first": first_seq, "last": last_seq},
            )
            return dict(rows.fetchall())

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
            "SELECT body, hash FROM events WHERE epoch = :epoch AND seq = :seq",
            epoch=name.epoch,
            seq=name.seq,
        )
        return next((event for event in found if event.kiosk == name.kiosk), None)

    def between(self, first: datetime, end: datetime, person_id: str | None = None) -> list[Event]:
        """Every event that bears on the check-ins of a span of time, in the order of recording.

        Check-ins whose recorded, fixed or corrected time lies in it, with a second to spare; their
        corrections; the time fixes of their boots. Of one person: those recorded as theirs, and all that
        became theirs by a correction. A row that cannot be read any more hides no other. Raises StoreError.
        """
        span = {"first": math.floor(first.timestamp()) - 1, "end": math.ceil(end.timestamp()) + 1}
        if person_id is None:
            return self._looked_back(look_back.BETWEEN, **span)
        return self._looked_back(look_back.BETWEEN_OF, **span, person=person_id)

    def unfixed(self, boot_id: str) -> Event | None:
        """The latest check-in of that boot with a time nobody could believe and no time fix after it.

        Raises StoreError.
        """
        found = self._events(look_back.UNFIXED, boot=boot_id)
        return found[0] if found else None

    def open_epoch(self, why: str) -> None:
        """Begin a new stream for what is recorded from now on; what waits keeps its name.

        For a file that turned out to be an old copy: the numbers it gives out were used before, by events
        that are lost here but known to the consumer. Raises StoreError.
        """
        with self._open() as database, transaction(database):
            self._begin_stream(database, why)

    def lay_aside(self, name: EventId, why: str) -> bool:
        """Take a waiting event out of the outbox and keep it for a person; False if it does not wait."""
        with self._open() as database:
            with transaction(database):
                number = scalar(database, _NUMBER_WAITING, {"epoch": name.epoch, "seq": name.seq})
                if number is None:
                    return False
                database.execute(
                    "INSERT OR REPLACE INTO laid_aside (number, why) VALUES (:number, :why)",
                    {"number": number, "why": why},
                )
                database.execute("DELETE FROM outbox WHERE number = :number", {"number": number})
            self._count(-1)
            return True

    def laid_aside(self) -> list[LaidAside]:
        """What was laid aside and can be read, oldest first. Raises StoreError."""
        sql = "SELECT epoch, seq, why, at FROM laid_aside JOIN events USING (number) ORDER BY number"
        with self._open() as database:
            rows = database.execute(sql).fetchall()
            return [
                LaidAside(self._with_name(database, event), why, at)
                for epoch, seq, why, at in rows
                for event in read_history(database, epoch, from_seq=seq, limit=1)
                if isinstance(event, Event)
            ]

    def send_again(self) -> int:
        """Record all that was laid aside anew, under new names; returns how many. Raises StoreError.

        Under their old ones nobody could tell whether an acknowledgement means them. Corrections go with
        their check-ins.
        """
        return self._renew_all(
            "SELECT number, body, hash FROM laid_aside JOIN events USING (number) ORDER BY number"
        )

    def renew(self, epoch: str, first_seq: int, last_seq: int) -> int:
        """Record waiting events of an epoch anew, under new names in another; returns how many.

        The punches keep their times. Corrections go with their check-ins. Raises StoreError.
        """
        with self._open() as database:
            if epoch == self._current(database):
                self.open_epoch("the consumer knows these numbers otherwise")
        return self._renew_all(
            """
            SELECT number, body, hash FROM outbox JOIN events USING (number)
            WHERE epoch = :epoch AND seq BETWEEN :first AND :last ORDER BY seq
            """,
            epoch=epoch,
            first=first_seq,
            last=last_seq,
        )

    def close(self) -> None:
        """Let the files go; the ledger opens them again when it is used."""
        with self._lock:
            self._tail.close()
            self._counted = None
            if self._database is not None:
                self._database.conn.close()
                self._database = None

    @property
    def speaks_as(self) -> str:
        """Site and kiosk of what is recorded now: ``site/kiosk``."""
        return f"{self._site}/{self._kiosk}"

    @property
    def is_disk_tight(self) -> bool:
        """True while the disk is nearly full: nothing but check-ins should be written to it."""
        return self._ballast is not None and self._ballast.is_tight

    @property
    def tail_problem(self) -> str | None:
        """Why there is no second copy of what is recorded now, and what to do; None if there is one."""
        return self._copy.problem

    def is_all_copied(self) -> bool:
        """True if everything that waits has its second copy, whichever process recorded it.

        Reads both from the disk. Raises StoreError.
        """
        with self._open() as database:
            return first_uncopied(database, self._remember()) is None

    def _recorded(self, body: Body, said_of: Callable[[EventId], Correction] | None) -> Event:
        try:
            settled = as_sent(body)
            return self._surviving(lambda: self._record(settled, said_of))
        except (InputError, StoreError) as err:
            raise NotRecorded(f"the {_NAMES[type(body)]} was not recorded: {err}") from err

    def _record(self, body: Body, said_of: Callable[[EventId], Correction] | None) -> Event:
        if self._ballast is not None:
            self._ballast.look()
        with self._open() as database:
            with transaction(database):
                written = [add_event(database, settle_target(database, body))]
                event = written[0][0]
                if said_of is not None:
                    written.append(add_event(database, as_sent(said_of(event.id))))
            # It is recorded: raising now would have it recorded twice, or called not recorded.
            self._count(len(written))
            for one, number in written:
                self._copy.add(database, one, number)
            try:
                return self._with_name(database, event)
            except sqlite3.Error as err:
                log.warning("the name of a person cannot be read: %s", in_words(err))
                return event

    def _renew_all(self, sql: str, **parameters: object) -> int:
        with self._open() as database:
            with transaction(database):
                rows = database.execute(sql, parameters).fetchall()
                written = [
                    renewal
                    for number, body, digest in rows
                    for renewal in renew_event(database, number, read_event(body, digest))
                ]
            self._counted = None
            for new, number, old in written:
                self._copy.add(database, new, number)
                self._copy.forget(database, [Gone(old.epoch, old.seq, old.seq)])
            return len(written)

    def _waiting(self, database: Database) -> int:
        """How many rows the outbox has; counted only when another process may have changed it."""
        version = scalar(database, "PRAGMA data_version")
        if self._counted is None or self._counted[0] != version:
            rows = scalar(database, "SELECT count(*) FROM outbox")
            self._counted = version, rows if isinstance(rows, int) else 0
        return self._counted[1]

    def _count(self, change: int) -> None:
        if self._counted is not None:
            self._counted = self._counted[0], self._counted[1] + change

    def _current(self, database: Database) -> object:
        return scalar(database, "SELECT epoch FROM stream ORDER BY number DESC LIMIT 1")

    def _events(self, sql: str, **parameters: object) -> list[Event]:
        with self._open() as database:
            rows = database.execute(sql, parameters).fetchall()
            return [self._with_name(database, read_event(body, digest)) for body, digest in rows]

    def _looked_back(self, sql: str, **parameters: object) -> list[Event]:
        with self._open() as database:
            rows = database.execute(sql, parameters).fetchall()
        # A year is read for minutes: nobody who records waits for that.
        events = [event for row in rows if (event := self._readable(*row)) is not None]
        if not self._names:
            return events
        with self._open() as database:
            return [self._with_name(database, event) for event in events]

    def _readable(self, epoch: str, seq: int, body: bytes, digest: bytes, waits: int) -> Event | None:
        """The event, None if it is not what was recorded; who can rescue one that waits hears of it."""
        try:
            return read_event(body.decode(errors="replace"), digest.decode(errors="replace"))
        except DamagedError as err:
            if waits and self._rescues:
                raise
            if (epoch, seq) not in self._unreadable:
                self._unreadable.add((epoch, seq))
                log.warning("number %d of %s is missing in what is looked back on: %s", seq, epoch, err)
            return None

    def _with_name(self, database: Database, event: Event) -> Event:
        if not self._names or not isinstance(event.body, CheckIn):
            return event
        person = {"person": event.body.person_id}
        name = scalar(database, "SELECT name FROM people WHERE id = :person", person)
        return replace(event, name=name) if isinstance(name, str) else event

    def _surviving(self, act: Callable[[], Answer]) -> Answer:
        """Do it; if the database turns out to be damaged, set it aside and do it with what can be saved."""
        inode = inode_at(self._path)
        try:
            return act()
        except StoreError as err:
            if not (self._rescues and is_damage(err)):
                raise
            with self._lock:
                if inode_at(self._path) == inode:  # else another thread met the damage, too, and was faster
                    self.close()
                    self._rescue(self._remember(), err)
            return act()

    def _begin(self) -> None:
        """Make sure of the file, of its second copy and of the stream. Raises StoreError."""
        with self._lock:
            memory = self._remember()
            if self._rescues:
                self._rescue_if_damaged(memory)
            with self._open() as database, transaction(database):
                row = database.execute(
                    "SELECT site, kiosk FROM stream ORDER BY number DESC LIMIT 1"
                ).fetchone()
                if row is not None and not self._rescues:
                    self._site, self._kiosk = row
                if behind := epochs_behind(database, memory):
                    found = bring_in(database, self._tail, memory)
                    log.warning("the database is an old copy: %d events come from the second copy", found)
                    self._begin_stream(database, f"the database was behind in {', '.join(behind)}")
                elif row is None:
                    self._begin_stream(database, "the database was made")
                elif tuple(row) != (self._site, self._kiosk):
                    self._begin_stream(database, f"renamed from {row[0]}/{row[1]}")
                self._copy.begin(database, memory)

    def _remember(self) -> Memory:
        with storage_errors("the second copy of the events cannot be read"):
            return self._tail.remember()

    def _rescue_if_damaged(self, memory: Memory) -> None:
        try:
            check(self._path, was_ours=bool(memory.highest))
            if self._path.exists():
                with self._open() as database:
                    compare(database, self._tail, memory)
        except StoreError as err:
            if not is_damage(err):
                raise
            self._rescue(memory, err)

    def _rescue(self, memory: Memory, err: StoreError) -> None:
        self.close()
        aside = set_aside(self._path)
        log.warning("the database is damaged and was set aside as %s: %s", aside.name, err)
        with self._open() as database:
            counts = carry_over(aside, database)
            with transaction(database):
                bring_in(database, self._tail, memory)
                self._begin_stream(database, f"the database was damaged; see {aside.name}")
        log.warning("rows carried over from the damaged database: %s", counts)

    def _begin_stream(self, database: Database, why: str) -> None:
        begin_stream(database, site=self._site, kiosk=self._kiosk, why=why)

    @contextmanager
    def _open(self) -> Iterator[Database]:
        """The connection, for one thread at a time.

        After an error it is dropped and made anew: following a failed fsync, what SQLite remembers of the
        file, what the system shows of it and what the disk holds may differ.
        """
        with self._lock, storage_errors("the ledger cannot be read or written"):
            if self._database is not None and self._inode != inode_at(self._path):
                self.close()  # another process set the file aside
            if self._database is None:
                self._database = self._reopened()
                self._inode = inode_at(self._path)
            try:
                yield self._database
            except (sqlite3.Error, OSError, StoreError) as err:
                self._is_doubtful = self._is_doubtful or is_disk_error(err)
                self.close()
                raise

    def _reopened(self) -> Database:
        """The connection; after an error only if all that can be read is on the disk."""
        database = open_database(self._path)
        if self._is_doubtful:
            try:
                make_durable(database)
            except BaseException:
                database.conn.close()
                raise
        self._is_doubtful = False
        return database


_NUMBER_WAITING = """
SELECT number FROM events JOIN outbox USING (number) WHERE epoch = :epoch AND seq = :seq
"""
# Of one epoch the lower numbers lie before the higher ones; others may lie between.
_LOWEST_WAITING = """
SELECT seq FROM outbox CROSS JOIN events USING (number) WHERE epoch = :epoch ORDER BY number LIMIT 1
"""
