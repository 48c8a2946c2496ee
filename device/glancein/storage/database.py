"""Open the SQLite file the safe way, bring it up to date, and run transactions on it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from glancein.errors import DamagedError, StoreError
from glancein.storage.schema import KIOSK, Schema

BUSY_TIMEOUT_S = 5.0
# How SQLite says that the disk is full when the -shm file has to grow, which is the first thing it does.
NO_ROOM_FOR_INDEX = "SQLITE_IOERR_SHMSIZE"
# WAL with FULL lost nothing in 1,643 replayed crash states and syncs 1.4 times a transaction; WAL with NORMAL
# lost promised rows, DELETE with FULL did too (docs/decisions, storage).
PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA mmap_size = 0",
    "PRAGMA wal_autocheckpoint = 400",
    "PRAGMA journal_size_limit = 4194304",
)


def open_database(path: Path, *, schema: Schema = KIOSK) -> Database:
    """A connection to the file, made and migrated if need be; readable by its owner only.

    The connection may be used by several threads, one at a time. Raises StoreError: not our file, damaged,
    written by a newer version, or a place where SQLite cannot work.
    """
    with storage_errors(f"cannot open the database {path}"):
        _make_private(path)
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            database = Database(connection, execute_plugins=False)
            _check_owner(database, path, schema)
            _configure(database, path)
            _migrate(database, path, schema)
        except BaseException:
            connection.close()
            raise
    return database


@contextmanager
def transaction(database: Database) -> Iterator[Database]:
    """All or nothing, and on the disk when the block has ended.

    Raises StoreError; then nothing was written.
    """
    with storage_errors("the database did not take the change"):
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.conn.in_transaction:
                database.execute("ROLLBACK")
            raise


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """SQLite's and the system's errors leave as StoreError, in words."""
    try:
        yield
    except UnicodeDecodeError as err:  # of Python's, where SQLite names what it found in the file
        raise DamagedError(f"{doing}: {_WORDS['SQLITE_CORRUPT']}") from err
    except (sqlite3.Error, OSError) as err:
        kind = DamagedError if _means_damage(err) else StoreError
        raise kind(f"{doing}: {in_words(err)}") from err


def in_words(err: Exception) -> str:
    """What an error means and what to do."""
    name = getattr(err, "sqlite_errorname", "")
    for beginning, words in _WORDS.items():
        if name.startswith(beginning):
            return words
    return str(err)


def erase_traces(database: Database, so_far: str, *, patience_s: float = BUSY_TIMEOUT_S) -> None:
    """Fold the write-ahead log into the file and cut it to nothing, so that no deleted row survives in it.

    Raises StoreError, which begins with ``so_far``, if another process keeps reading for longer than
    ``patience_s``.
    """
    deadline = time.monotonic() + patience_s
    with storage_errors(f"{so_far}: cannot clean the database"):
        while True:
            busy = next(iter(database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()))[0]
            if not busy:
                return
            if time.monotonic() > deadline:
                raise StoreError(
                    f"{so_far}: another process keeps an old copy of the database open: end it, such as a "
                    "backup, and run the command again"
                )
            time.sleep(0.05)


def make_durable(database: Database) -> None:
    """Write the whole write-ahead log into the file and sync it. Raises StoreError.

    After a failed fsync the system may show contents that never reach the disk; writing them once more, and
    succeeding, is the only way to know.
    """
    with storage_errors("the disk reported an error and is not well yet"):
        _, in_log, moved = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if in_log != moved:
        raise StoreError("the disk reported an error, and another process reads the database; trying again")


def scalar(database: Database, sql: str, parameters: Mapping[str, object] | None = None) -> object:
    """The first column of the first row, None without rows."""
    row = database.execute(sql, dict(parameters or {})).fetchone()
    return None if row is None else row[0]


def _means_damage(err: Exception) -> bool:
    name, words = getattr(err, "sqlite_errorname", ""), str(err)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return True
    # Our statements are fixed and what we write is JSON: if either is not understood, the file has changed.
    return name == "SQLITE_ERROR" and words.startswith(("malformed", "no such", "table "))


def is_disk_error(err: BaseException | None) -> bool:
    """True if the disk, and not its space, is what failed."""
    while err is not None:
        name = getattr(err, "sqlite_errorname", "")
        if name.startswith("SQLITE_IOERR") and name != NO_ROOM_FOR_INDEX:
            return True
        err = err.__cause__
    return False


_WORDS = {  # the first that an error's name begins with
    NO_ROOM_FOR_INDEX: "the disk is full; free some space",
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_READONLY": "the file or its folder cannot be written; check its owner and the disk",
    "SQLITE_BUSY": "another process holds it locked; wait, or stop that process",
    "SQLITE_LOCKED": "another process holds it locked; wait, or stop that process",
    "SQLITE_CORRUPT": "the file is damaged; put it aside and restore a copy",
    "SQLITE_NOTADB": "the file is not a database",
    "SQLITE_IOERR": "the disk reports errors; check the card",
    "SQLITE_CANTOPEN": "it cannot be opened; check that the folder exists and may be written",
}


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name a file in it")
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _check_owner(database: Database, path: Path, schema: Schema) -> None:
    """Nothing is changed in a file that is not ours or that a newer version wrote."""
    tables = scalar(database, "SELECT count(*) FROM sqlite_master")
    if tables and scalar(database, "PRAGMA application_id") != schema.application_id:
        raise StoreError(f"{path} is a database of another kind; name another file")
    version, newest = scalar(database, "PRAGMA user_version"), len(schema.migrations)
    if isinstance(version, int) and version > newest:
        raise StoreError(
            f"{path} was written by a newer glancein (version {version}, not {newest}); update glancein"
        )


def _configure(database: Database, path: Path) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            mode = scalar(database, "PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            # Switching a new file to WAL does not wait for a second process that is switching it just now.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise StoreError(
            f"{path} lies on a disk where SQLite cannot keep a write-ahead log; use a local disk"
        )
    for pragma in PRAGMAS:
        database.execute(pragma)


def _migrate(database: Database, path: Path, schema: Schema) -> None:
    if scalar(database, "PRAGMA user_version") == len(schema.migrations):
        return
    with transaction(database):
        version = scalar(database, "PRAGMA user_version")  # again: another process may have been faster
        if not isinstance(version, int):
            raise StoreError(f"{path} has no readable version")
        for statements in schema.migrations[version:]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA application_id = {schema.application_id}")
        database.execute(f"PRAGMA user_version = {len(schema.migrations)}")
