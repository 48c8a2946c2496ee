"""The feed in PostgreSQL, for a head office: the same tables as in a SQLite file, in schema ``glancein``."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from glancein.domain.delivery import BUSY
from glancein.errors import InputError, SettingsError, StoreError
from glancein.storage.feed_schema import POSTGRES_MIGRATIONS
from glancein.storage.feed_tables import FeedTables, Row, Values

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10
# A server that vanished without a word is noticed in half a minute; by the system's rules in 15 minutes while
# something is being sent, and in two hours while an answer is awaited.
NOTICE_SILENCE = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms
}
ONE_WRITER = 0x676C6E66  # "glnf": the advisory lock that whoever writes takes, so that numbers follow commits
LET_GO = "SELECT pg_advisory_unlock(:many, hashtext(:name))"
_PARAMETER = re.compile(r":([a-z_0-9]+)")


class PostgresFeedStore(FeedTables):
    """The feed in a PostgreSQL database; HR reads ``glancein.punches`` and the tables beside it.

    ``dsn`` is a connection string or URL of libpq; what it leaves out comes from libpq's environment and
    ~/.pgpass. A lost connection is a StoreError once, within half a minute unless the string says otherwise;
    the next use connects again, and takes again what ``only_one`` held. Raises SettingsError for a string
    that is none, StoreError if the server cannot be used.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        super().__init__(_PostgresEngine(dsn))


class _PostgresEngine:
    """Implements Engine; used by one thread at a time."""

    def __init__(self, dsn: str) -> None:
        try:
            conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            raise SettingsError(
                "that is no PostgreSQL address; write it like postgresql://payroll@db.example/attendance"
            ) from None
        self._dsn = dsn
        self._busy = threading.RLock()
        self._inside = False
        self._is_doubtful = False  # the server failed: what is left of the connection may be of no use
        self._names: set[str] = set()  # of which this is the only holder
        self._connection = self._connect()
        with self._errors():
            self._migrate()
            self._warn_if_careless()

    def rows(self, statement: str, values: Values | None = None) -> list[Row]:
        """Run one statement; its rows, if it has any."""
        with self._errors():
            cursor = self._alive().execute(_in_psycopg(statement), values or {})
            return cursor.fetchall() if cursor.description is not None else []

    def many(self, statement: str, batch: Sequence[Values]) -> None:
        """Run one statement for each set of values."""
        if batch:
            with self._errors(), self._alive().cursor() as cursor:
                cursor.executemany(_in_psycopg(statement), batch)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when the block has ended; two blocks never run at the same time."""
        with self._busy, self._errors(), self._alive().transaction():
            self._inside = True
            try:
                self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (ONE_WRITER,))
                yield
            finally:
                self._inside = False

    @contextmanager
    def only_one(self, name: str) -> Iterator[None]:
        """The only holder of that name on this database; raises InputError."""
        with self._errors():
            is_taken = not _take(self._alive(), name)
        if is_taken:
            raise InputError(BUSY.format(name))
        self._names.add(name)
        try:
            yield
        finally:
            self._names.discard(name)
            if not self._connection.closed:  # else it has let the lock go already
                with contextlib.suppress(StoreError):  # lost just now
                    self.rows(LET_GO, {"many": ONE_WRITER, "name": name})

    def close(self) -> None:
        """Let the server go."""
        self._connection.close()

    def _alive(self) -> psycopg.Connection[Row]:
        """The connection, made anew after the server failed; within a transaction that ends the transaction.

        One that broke in the midst of a batch may stay open and take nothing more.
        """
        if (self._connection.closed or self._is_doubtful) and not self._inside:
            self._connection.close()
            self._connection = self._connect_again()
            self._is_doubtful = False
        return self._connection

    def _connect_again(self) -> psycopg.Connection[Row]:
        """A connection that holds what the lost one held, or none: raises StoreError."""
        connection = self._connect()
        if not all(_take(connection, name) for name in self._names):
            connection.close()
            # By another connector, or by the lost connection, until the server notices that it is.
            raise StoreError("the connection to the PostgreSQL server was lost, and its place is taken")
        return connection

    def _connect(self) -> psycopg.Connection[Row]:
        with self._errors():
            connection: psycopg.Connection[Row] = psycopg.connect(
                make_conninfo("", **{**NOTICE_SILENCE, **conninfo_to_dict(self._dsn)}),
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="glancein",
                # What was acknowledged to a kiosk must be on this server's disk, whatever its default says.
                options="-c synchronous_commit=on -c client_min_messages=warning",
            )
            connection.execute("CREATE SCHEMA IF NOT EXISTS glancein")
            connection.execute("SET search_path TO glancein")
            connection.execute("SET timezone TO 'UTC'")
            return connection

    def _migrate(self) -> None:
        with self.transaction():
            self.rows("CREATE TABLE IF NOT EXISTS version (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)")
            self.rows("INSERT INTO version (id, number) VALUES (1, 0) ON CONFLICT DO NOTHING")
            version = int(str(self.rows("SELECT number FROM version")[0][0]))
            if version > len(POSTGRES_MIGRATIONS):
                raise StoreError(
                    f"the database was written by a newer glancein (version {version}, not "
                    f"{len(POSTGRES_MIGRATIONS)}); update glancein"
                )
            for statements in POSTGRES_MIGRATIONS[version:]:
                for statement in statements:
                    self.rows(statement)
            self.rows("UPDATE version SET number = :number", {"number": len(POSTGRES_MIGRATIONS)})

    def _warn_if_careless(self) -> None:
        if self.rows("SHOW fsync") == [("off",)]:
            log.warning(
                "the PostgreSQL server runs with fsync off: a power cut there loses punches that the kiosks "
                "were told are safe"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.OperationalError as err:
            self._is_doubtful = True
            raise StoreError(f"the PostgreSQL server cannot be used: {_first_line(err)}") from err
        except psycopg.Error as err:
            raise StoreError(f"the PostgreSQL database did not take it: {_first_line(err)}") from err


def _take(connection: psycopg.Connection[Row], name: str) -> bool:
    """Take the name for this connection; False if another one has it."""
    taken = connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (ONE_WRITER, name))
    return taken.fetchall() == [(True,)]


def _in_psycopg(statement: str) -> str:
    return _PARAMETER.sub(r"%(\1)s", statement)


def _first_line(err: psycopg.Error) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]
