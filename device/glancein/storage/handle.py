"""The database that lies at a path now: a rescue sets a damaged file aside and puts another in its place."""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from glancein.storage.database import open_database


class Handle:
    """A connection to the kiosk's database, made anew once another file lies at the path.

    Used by one thread at a time. Raises StoreError where the database cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = open_database(path)
        self.inode = inode_at(path)

    def database(self) -> Database:
        """The connection; while no file lies at the path, the one to the file that did."""
        found = inode_at(self._path)
        if found not in {0, self.inode}:
            fresh = open_database(self._path)
            self.close()
            self._database, self.inode = fresh, found
        return self._database

    def close(self) -> None:
        """Let the file go."""
        self._database.conn.close()


def inode_at(path: Path) -> int:
    """Which file lies at the path; 0 for none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0
