"""The desk's own SQLite file: accounts, sessions, tokens, consents, the audit log and the attempts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlite_utils import Database

from glancein.storage.database import erase_traces, open_database, storage_errors, transaction
from glancein.storage.desk_schema import DESK
from glancein.wiring import DESK_FILE

if TYPE_CHECKING:
    from glancein.adapters.people_sqlite import SqlitePeople


class DeskFile:
    """One connection, used by one thread at a time; safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.RLock()
        self._database = open_database(folder / DESK_FILE, schema=DESK)

    def rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:  # Any: what SQLite gives
        """All rows of one question. Raises StoreError."""
        with self._open() as database:
            return list(database.execute(sql, parameters).fetchall())

    def change(self, sql: str, **parameters: object) -> int:
        """Run one statement in a transaction; returns how many rows it changed. Raises StoreError."""
        return self.change_all([(sql, parameters)])[0]

    def add(self, sql: str, **parameters: object) -> int:
        """Run one INSERT in a transaction; returns the new row's number. Raises StoreError."""
        with self._open() as database, transaction(database):
            return int(database.execute(sql, parameters).lastrowid or 0)

    def change_all(self, statements: list[tuple[str, Mapping[str, object]]]) -> list[int]:
        """Run several statements, all or none; returns the rows each changed. Raises StoreError."""
        with self._open() as database, transaction(database):
            return [database.execute(sql, dict(parameters)).rowcount for sql, parameters in statements]

    def forget(self, person_id: str) -> None:
        """Delete a person's consents and their name at attempts; ``wipe`` follows. Raises StoreError."""
        self.change_all(
            [
                ("DELETE FROM consents WHERE person_id = :id", {"id": person_id}),
                ("UPDATE attempts SET person_id = NULL WHERE person_id = :id", {"id": person_id}),
            ]
        )

    def check_erasable(self, person_id: str) -> None:
        """Raises StoreError, with nothing erased, if another process keeps an old copy of the file open."""
        # Written as they were, the rows put a page in the log: a reader in the way shows while all is there.
        self.change_all(
            [
                ("UPDATE consents SET by = by WHERE person_id = :id", {"id": person_id}),
                ("UPDATE attempts SET reason = reason WHERE person_id = :id", {"id": person_id}),
            ]
        )
        self.wipe("nothing is erased yet")

    def wipe(self, so_far: str = "the rows are deleted, but not yet wiped from the file") -> None:
        """Leave no trace of deleted rows in the file. Raises StoreError, which begins with ``so_far``."""
        with self._open() as database:
            erase_traces(database, so_far)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._database.conn.close()

    @contextmanager
    def _open(self) -> Iterator[Database]:
        with self._lock, storage_errors("the desk's file cannot be read or written"):
            yield self._database


def erase_person(person_id: str, people: SqlitePeople, file: DeskFile) -> None:
    """Erase somebody from the kiosk's file and the desk's. Raises StoreError, refused with nothing erased."""
    file.check_erasable(person_id)
    # The desk's own rows first: as long as the person is there, what was cut short can be done again.
    people.remove(person_id, first=lambda: file.forget(person_id))
    file.wipe()
