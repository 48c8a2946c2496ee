"""Where HR keeps the feed: a SQLite file, or lines of JSON or CSV beside such a file."""

from __future__ import annotations

import codecs
import contextlib
import csv
import fcntl
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from sqlite_utils import Database

from glancein.domain import wire
from glancein.domain.delivery import BUSY
from glancein.domain.event_body import change_fields
from glancein.domain.spreadsheet import harmless
from glancein.domain.strict_json import parse_object
from glancein.errors import FeedError, InputError, StoreError
from glancein.storage.database import open_database, storage_errors, transaction
from glancein.storage.feed_schema import FEED
from glancein.storage.feed_tables import FeedTables, Row, Values
from glancein.types import Arrival, Correction, Head, StreamKey, StreamTrouble

COLUMNS = (
    "kiosk", "epoch", "seq", "site", "person_id", "name", "direction", "time", "time_utc", "clock",
    "score", "threshold", "model_sha256", "method", "reason", "chained", "hash", "kind",
    "corrects", "becomes", "value", "by",
)  # fmt: skip
LONGEST_LINE = 64 * 1024  # of the first line so much is looked at; no packet is larger
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
        with storage_errors(UNUSABLE):
            path = self._path.resolve()  # one lock, whichever link leads there
            file = path.with_name(f"{path.name}.{name}.lock").open("w")
        with file:
            with storage_errors(UNUSABLE):
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
    synced. After a crash or a full disk between the two, the file is completed before anything is said to be
    here: no line is missing and none is there twice. A file that was moved away, at any time, is begun anew.
    Raises InputError for a file that holds something else, or that is in no folder; nothing is changed or
    made then.
    """

    def __init__(self, path: Path, *, form: LineForm) -> None:
        self._path = path
        self._form = form
        state = path.with_name(f"{path.name}.state")
        _check_place(path, state)
        self._state = SqliteFeedStore(state)
        try:
            self._check_beginning()
            with storage_errors(f"cannot write {path}"):
                self._out = _opened(path)
            self._complete()
        except BaseException:
            self._state.close()
            raise

    def heads(self) -> dict[StreamKey, Head]:
        """The last committed event of every stream; raises StoreError while its line cannot be written."""
        self._complete()
        return self._state.heads()

    def hash_of(self, key: StreamKey, seq: int) -> str | None:
        """The hash of one committed event, None if it is not here."""
        return self._state.hash_of(key, seq)

    def commit(self, arrivals: Sequence[Arrival], troubles: Sequence[StreamTrouble]) -> None:
        """Commit the state, then append and sync the lines; raises StoreError."""
        self._state.commit(arrivals, troubles)
        self._complete()

    def close(self) -> None:
        """Let both files go."""
        self._out.close()
        self._state.close()

    def _check_beginning(self) -> None:
        """Raise InputError if the file begins with something that was not written here."""
        with self._state.open() as database, storage_errors(f"cannot read {self._path}"):
            number, _, rows = _unwritten(database)
            text = self._form.header + self._lines(rows)
            begun = _beginning(self._path, max(len(text) + 1, LONGEST_LINE))
        is_torn = text.startswith(begun)  # the first write of all, perhaps ended by a crash
        if not (is_torn or (number and self._form.is_ours(begun.split(b"\n", 1)[0]))):
            raise InputError(
                f"{self._path} does not begin like a file of this feed: name a new file or move this one away"
            )

    def _complete(self) -> None:
        """Bring the text file up to the state; two feeds on one file take turns."""
        with self._state.open() as database, storage_errors(f"cannot write {self._path}"):
            _, size, rows = _unwritten(database)
            if not rows:
                return
            self._follow_path()
            if size and os.fstat(self._out.fileno()).st_size == 0:
                with transaction(database):  # a torn first write may be longer than the old file was
                    database.execute("UPDATE written SET size = 0")
            with transaction(database):
                self._write_what_is_left(database)

    def _write_what_is_left(self, database: Database) -> None:
        """Inside a transaction, so that nobody else appends the same meanwhile."""
        _, size, rows = _unwritten(database)
        if not rows:
            return
        with storage_errors(f"cannot write {self._path}"):
            end = self._append_once(size, self._lines(rows))
        database.execute(
            "UPDATE written SET number = :number, size = :size", {"number": rows[-1]["number"], "size": end}
        )

    def _follow_path(self) -> None:
        """Open the file anew if it was moved away, deleted or replaced."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(self._out.fileno())):
                return
        try:
            self._check_beginning()
        except InputError as err:
            raise StoreError(str(err)) from err
        moved, self._out = self._out, _opened(self._path)
        moved.close()

    def _lines(self, rows: Sequence[Mapping[str, object]]) -> bytes:
        return b"".join(self._form.line(row) for row in rows)

    def _append_once(self, size: int, lines: bytes) -> int:
        """Append what a crash left out of these lines; returns the file's new size."""
        end = self._out.seek(0, os.SEEK_END)
        is_new = not 0 < size <= end  # never written to, or moved away since
        start, text = (0, self._form.header + lines) if is_new else (size, lines)
        self._out.seek(start)
        there = self._out.read(min(end - start, len(text) + 1))
        if text.startswith(there):
            return self._write(text[len(there) :])
        self._out.seek(-1, os.SEEK_END)  # somebody else wrote in it, and may not have ended the last line
        return self._write((b"" if self._out.read(1) == b"\n" else b"\n") + lines)

    def _write(self, text: bytes) -> int:
        """Append all of it and sync; a disk that is nearly full takes a part first and then says so."""
        self._out.seek(0, os.SEEK_END)
        left = memoryview(text)
        while left:
            left = left[self._out.write(left) :]
        os.fsync(self._out.fileno())
        return self._out.tell()


def _check_place(path: Path, state: Path) -> None:
    """Raise InputError where no file of ours is or can be."""
    with storage_errors(f"cannot read {path}"):
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}: make it, or name a file elsewhere")
        if path.exists() and path.stat().st_size and not state.exists():
            raise InputError(
                f"{path} is not empty, and {state.name}, which the feed keeps beside its file, is not there: "
                "name a new file or move this one away"
            )


def _opened(path: Path) -> io.FileIO:
    return io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")


def _beginning(path: Path, most: int) -> bytes:
    """The first bytes of a file, none if there is no such file."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        return file.read(most)


def _unwritten(database: Database) -> tuple[int, int, list[dict[str, object]]]:
    """The last event in the text file, the file's size then, and the rows of the events behind it."""
    number, size = database.execute("SELECT number, size FROM written").fetchone()
    behind = "SELECT * FROM events WHERE number > :number ORDER BY number"
    return number, size, list(database.query(behind, {"number": number}))


class LineForm(Protocol):
    """How an event becomes a line."""

    header: bytes

    def is_ours(self, first_line: bytes) -> bool:
        """True if a file that begins with this line was written in this form."""

    def line(self, row: Mapping[str, object]) -> bytes:
        """The line of a row of ``events``, with its line end."""


class JsonLines:
    """Each line is the event as it was published."""

    header = b""

    def is_ours(self, first_line: bytes) -> bool:
        """True if the line is a message of this schema."""
        with contextlib.suppress(FeedError):
            return parse_object(first_line).get("schema") == wire.SCHEMA
        return False

    def line(self, row: Mapping[str, object]) -> bytes:
        """The line of a row of ``events``, with its line end."""
        return str(row["payload"]).encode() + b"\n"


class CsvLines:
    """Comma-separated with a header line (RFC 4180); no cell begins like a formula.

    UTF-8 with the mark that spreadsheets look for.
    """

    header = codecs.BOM_UTF8 + ",".join(COLUMNS).encode() + b"\r\n"

    def is_ours(self, first_line: bytes) -> bool:
        """True if the line is the header."""
        return first_line.rstrip() == self.header.rstrip()

    def line(self, row: Mapping[str, object]) -> bytes:
        """The line of a row of ``events``, with its line end."""
        text = io.StringIO()
        cells = {**row, **_correction(str(row["payload"]))}
        csv.writer(text).writerow([harmless(cells.get(column)) for column in COLUMNS])
        return text.getvalue().encode()


def _correction(payload: str) -> dict[str, object]:
    """Which check-in a correction is about, what changes in it, and who said so; nothing for others."""
    body = wire.decode_event(payload.encode()).body
    if not isinstance(body, Correction):
        return {}
    ((column, value),) = change_fields(body.becomes).items()
    return {
        "corrects": body.of.word,
        "becomes": column,
        "value": None if column == "void" else value,
        "by": body.by,
    }


def jsonl_store(path: Path) -> LinesFeedStore:
    """A feed store that writes JSON lines."""
    return LinesFeedStore(path, form=JsonLines())


def csv_store(path: Path) -> LinesFeedStore:
    """A feed store that writes CSV."""
    return LinesFeedStore(path, form=CsvLines())
