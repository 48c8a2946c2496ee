"""A damaged database is set aside, and what can still be read of it is carried over into a new one."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database

from glancein.domain import wire
from glancein.errors import DamagedError, FeedError, StoreError
from glancein.storage.database import open_database, scalar, storage_errors, transaction
from glancein.storage.recovery import BROUGHT_IN
from glancein.storage.schema import KIOSK

log = logging.getLogger(__name__)

ENVIRONMENT = ("BUSY", "LOCKED", "FULL", "READONLY", "IOERR", "CANTOPEN", "PERM", "NOMEM", "INTERRUPT")
PLAUSIBLE_VERSION = 1000


def check(path: Path, *, was_ours: bool) -> None:
    """Open the file and look at every page; raises DamagedError, or StoreError if the disk cannot be used.

    ``was_ours``: we wrote it before, so a strange header is damage and not another program's file.
    """
    if not path.exists():
        return
    try:
        database = open_database(path)
    except StoreError as err:
        if is_damage(err) or (was_ours and not _is_environment(err) and not _is_newer(path)):
            raise DamagedError(str(err)) from err
        raise
    try:
        with storage_errors("cannot check the database"):
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    finally:
        database.conn.close()
    if found != "ok":
        raise DamagedError(f"{path} is damaged: {found}")


def is_damage(err: BaseException | None) -> bool:
    """True if this error, or what caused it, says that the file does not hold what was written to it."""
    while err is not None:
        if isinstance(err, DamagedError):
            return True
        err = err.__cause__
    return False


def set_aside(path: Path) -> Path:
    """Rename the database with all that belongs to it; returns its new name. Raises StoreError."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    count = 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{count}")
    with storage_errors(f"cannot set the damaged database {path} aside"):
        # The database last: a power cut in between leaves it under its old name, to be set aside again.
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(f"{path.name}{suffix}")
            if part.exists():
                part.rename(aside.with_name(f"{aside.name}{suffix}"))
        _sync_folder(path.parent)
    return aside


def carry_over(aside: Path, database: Database) -> dict[str, int]:
    """Copy every row that can be read and is whole into the new database; returns how many by table.

    Of events only those whose hash is that of their contents; rows that refer to a lost one stay behind.
    """
    counts: dict[str, int] = {}
    try:
        old = sqlite3.connect(f"file:{aside}", uri=True, isolation_level=None)
    except sqlite3.Error:
        return counts
    with storage_errors("cannot carry rows over"):
        tables = [
            row[0]
            for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
            if not row[0].startswith("sqlite_") and row[0] != "outbox"
        ]
        database.execute("PRAGMA foreign_keys = OFF")
        with transaction(database):
            for table in tables:
                counts[table] = _copy(old, database, table)
            counts["outbox"] = _copy_outbox(old, database)
            database.execute(_STREAMS_OF_EVENTS, {"why": BROUGHT_IN})
            _drop_orphans(database)
        database.execute("PRAGMA foreign_keys = ON")
    old.close()
    return counts


_STREAMS_OF_EVENTS = """
INSERT OR IGNORE INTO stream (epoch, site, kiosk, seq, head, opened_at, why)
SELECT epoch, json_extract(body, '$.site'), json_extract(body, '$.id.kiosk'), max(seq), hash,
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :why
FROM events GROUP BY epoch
"""


def _copy(old: sqlite3.Connection, database: Database, table: str) -> int:
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})").fetchall()]
    names = ", ".join(columns)
    marks = ", ".join("?" for _ in columns)
    copied = 0
    for row in _readable(old, table, names):
        if table == "events" and not _is_whole(dict(zip(columns, row, strict=True))):
            continue
        try:
            database.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608
        except sqlite3.Error:  # a row that breaks a rule of the table was not written by us
            continue
        copied += 1
    return copied


def _copy_outbox(old: sqlite3.Connection, database: Database) -> int:
    copied = 0
    for (number,) in _readable(old, "outbox", "number"):
        known = scalar(database, "SELECT count(*) FROM events WHERE number = :number", {"number": number})
        if known:
            database.execute("INSERT OR IGNORE INTO outbox (number) VALUES (:number)", {"number": number})
            copied += 1
    return copied


def _readable(old: sqlite3.Connection, table: str, names: str) -> Iterator[tuple[object, ...]]:
    """Rows from the front until the damage, then from the back until it."""
    seen: set[object] = set()
    for order in ("ASC", "DESC"):
        try:
            for row in old.execute(f"SELECT {names} FROM {table} ORDER BY 1 {order}"):  # noqa: S608
                if row[0] in seen:
                    return
                seen.add(row[0])
                yield row
        except (sqlite3.Error, OverflowError, UnicodeDecodeError) as err:
            log.debug("table %s can be read in part only: %s", table, err)
        else:
            return


def _is_whole(row: dict[str, object]) -> bool:
    """True if the event is what its hash was taken of, and stands under its own number."""
    try:
        event = wire.decode_event(str(row["body"]).encode())
    except (FeedError, UnicodeEncodeError):
        return False
    return wire.event_hash(event) == row["hash"] and (event.epoch, event.seq) == (row["epoch"], row["seq"])


def _drop_orphans(database: Database) -> None:
    """Rows whose partner was lost: templates without person, events without stream."""
    while orphans := database.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, *_ in orphans:
            if rowid is None:  # a table without row ids; none of ours refers to another
                raise StoreError(f"rows of {table} refer to nothing")
            database.execute(f"DELETE FROM {table} WHERE rowid = :rowid", {"rowid": rowid})  # noqa: S608


def _is_environment(err: BaseException | None) -> bool:
    while err is not None:
        name = getattr(err, "sqlite_errorname", "").removeprefix("SQLITE_")
        if isinstance(err, OSError) or name.startswith(ENVIRONMENT):
            return True
        err = err.__cause__
    return False


def _is_newer(path: Path) -> bool:
    """True if the file says that a later version wrote it, and not some nonsense."""
    connection = sqlite3.connect(path)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        ours = connection.execute("PRAGMA application_id").fetchone()[0]
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return ours == KIOSK.application_id and bool(len(KIOSK.migrations) < version < PLAUSIBLE_VERSION)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
