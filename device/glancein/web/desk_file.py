"""The desk's own SQLite file: accounts, sessions, tokens, consents, the audit log and the attempts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from glancein.storage.database import erase_traces, open_database, storage_errors, transaction
from glancein.storage.desk_schema import DESK
from glancein.wiring import DESK_FILE


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

    def forget(self, person_id: str) -> int:
        """Erase a person's consents and name at attempts; returns how many consents. Raises StoreError."""
        consents, _ = self.change_all(
            [
                ("DELETE FROM consents WHERE person_id = :id", {"id": person_id}),
                ("UPDATE attempts SET person_id = NULL WHERE person_id = :id", {"id": person_id}),
            ]
        )
        self.wipe()
        return consents

    def wipe(self) -> None:
        """Leave no trace of deleted rows in the file. Raises StoreError."""
        with self._open() as database:
            erase_traces(database)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._database.conn.close()

    @contextmanager
    def _open(self) -> Iterator[Database]:
        with self._lock, storage_errors("the desk's file cannot be read or written"):
            yield self._database
