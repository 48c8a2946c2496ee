"""Where HR keeps the feed: a SQLite file, or lines of JSON or CSV beside such a file."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlite_utils import Database

from glancein.domain.delivery import BUSY
from glancein.domain.spreadsheet import harmless
from glancein.errors import InputError
from glancein.storage.database import open_database, storage_errors, transaction
from glancein.storage.feed_schema import FEED
from glancein.storage.feed_tables import FeedTables, Row, Values
from glancein.types import Arrival, Head, StreamKey, StreamTrouble

COLUMNS = (
    "kiosk", "epoch", "seq", "site", "person_id", "name", "direction", "time", "time_utc", "clock",
    "score", "threshold", "model_sha256", "method", "reason", "chained", "hash", "kind",
)  # fmt: skip
UNUSABLE = "the feed's database cannot be read or written"


class SqliteFeedStore(FeedTables):
    """The feed in a SQLite file; HR reads ``punches``, ``checkins``, ``events`` and ``troubles``."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(path, schema=FEED)
        super().__init__(_SqliteEngine(self._database, path))

    @contextmanager
    def open(self) -> Iterator[Database]:
        """The database behind it; SQLite's errors leave as StoreError."""
        with storage_errors(UNUSABLE):
            yield self._database


class _SqliteEngine:
    """Implements Engine on one connection."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._path = path

    def rows(self, statement: str, values: Values | None = None) -> list[Row]:
        """Run one statement; its rows, if it has any."""
        with storage_errors(UNUSABLE):
            return list(self._database.conn.execute(statement, dict(values or {})).fetchall())

    def many(self, statement: str, batch: Sequence[Values]) -> None:
        """Run one statement for each set of values."""
        with storage_errors(UNUSABLE):
            self._database.conn.executemany(statement, batch)

    def transaction(self) -> AbstractContextManager[object]:
        """All or nothing, durable when the block has ended; two blocks never run at the same time."""
        return transaction(self._database)

    @contextmanager
    def only_one(self, name: str) -> Iterator[None]:
        """The only holder of that name on this database; raises InputError."""
        with (
            storage_errors(UNUSABLE),
            self._path.with_name(f"{self._path.name}.{name}.lock").open("w") as file,
        ):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(BUSY.format(name)) from None
            yield

    def close(self) -> None:
        """Let the file go."""
        self._database.conn.close()


class LinesFeedStore:
    """Implements the port FeedStore: a line for each event in a text file, and the state in a file beside it.

    ``<file>.state`` is a SqliteFeedStore and is committed first; then the new lines are appended and
    synced. After a crash between the two, opening the file completes it: no line is missing and none is
    there twice.
    """

    def __init__(self, path: Path, *, form: LineForm) -> None:
        self._path = path
        self._form = form
        self._state = SqliteFeedStore(path.with_name(f"{path.name}.state"))
        try:
            with storage_errors(f"cannot write {path}"):
                self._out = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
            self._complete()
        except BaseException:
            self._state.close()
            raise

    def heads(self) -> dict[StreamKey, Head]:
        """The last committed event of every stream."""
        return self._state.heads()

    def hash_of(self, key: StreamKey, seq: int) -> str | None:
        """The hash of one committed event, None if it is not here."""
        return self._state.hash_of(key, seq)

    def commit(self, arrivals: Sequence[Arrival], troubles: Sequence[StreamTrouble]) -> None:
        """Commit the state, then append and sync the lines; raises StoreError."""
        self._state.commit(arrivals, troubles)
        if arrivals:
            self._complete()

    def close(self) -> None:
        """Let both files go."""
        self._out.close()
        self._state.close()

    def _complete(self) -> None:
        """Bring the text file up to the state."""
        with self._state.open() as database, storage_errors(f"cannot write {self._path}"):
            number, size = database.execute("SELECT number, size FROM written").fetchone()
            rows = list(
                database.query(
                    "SELECT * FROM events WHERE number > :number ORDER BY number", {"number": number}
                )
            )
            if not rows:
                return
            lines = b"".join(self._form.line(row) for row in rows)
            beginning = b"" if number else self._form.header
            end = self._append_once(size, beginning + lines)
            with transaction(database):
                database.execute(
                    "UPDATE written SET number = :number, size = :size",
                    {"number": rows[-1]["number"], "size": end},
                )

    def _append_once(self, size: int, lines: bytes) -> int:
        """Append what a crash left out of these lines; returns the file's new size."""
        end = self._out.seek(0, os.SEEK_END)
        if size < end < size + len(lines) + 1:
            self._out.seek(size)
            if lines.startswith(self._out.read(end - size)):
                lines = lines[end - size :]
        self._out.seek(0, os.SEEK_END)
        self._out.write(lines)
        os.fsync(self._out.fileno())
        return self._out.tell()


class LineForm(Protocol):
    """How an event becomes a line."""

    header: bytes

    def line(self, row: Mapping[str, object]) -> bytes:
        """The line of a row of ``events``, with its line end."""


class JsonLines:
    """Each line is the event as it was published."""

    header = b""

    def line(self, row: Mapping[str, object]) -> bytes:
        """The line of a row of ``events``, with its line end."""
        return str(row["payload"]).encode() + b"\n"


class CsvLines:
    """Comma-separated with a header line (RFC 4180); no cell begins like a formula."""

    header = ",".join(COLUMNS).encode() + b"\r\n"

    def line(self, row: Mapping[str, object]) -> bytes:
        """The line of a row of ``events``, with its line end."""
        text = io.StringIO()
        csv.writer(text).writerow([harmless(row[column]) for column in COLUMNS])
        return text.getvalue().encode()


def jsonl_store(path: Path) -> LinesFeedStore:
    """A feed store that writes JSON lines."""
    return LinesFeedStore(path, form=JsonLines())


def csv_store(path: Path) -> LinesFeedStore:
    """A feed store that writes CSV."""
    return LinesFeedStore(path, form=CsvLines())
