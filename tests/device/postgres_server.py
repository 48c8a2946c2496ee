"""A real PostgreSQL server for the tests: Debian's, on a socket, stopped by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
PATIENCE_S = 60.0


class PostgresServer:
    """A server that can be killed and started again on the same data."""

    def __init__(self) -> None:
        if not PROGRAMS:
            pytest.skip("no PostgreSQL server on this machine: sudo apt install postgresql")
        pytest.importorskip("psycopg", reason="needs pip install glancein[postgres]")
        self._programs = PROGRAMS[-1]
        # The server refuses to run as root, and its user must be able to enter the folder.
        self._user = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="glancein-pg-"))
        if self._user is not None:
            shutil.chown(self.folder, self._user, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "--no-sync", "--auth=trust", "--username=hr", "--encoding=UTF8",
                  "--locale=C", "--pgdata", str(self.folder / "data"))  # fmt: skip

    def dsn(self) -> str:
        """The address of its database."""
        return f"postgresql://hr@/postgres?host={self.folder}"

    def start(self) -> None:
        """Run until it answers."""
        settings = ("listen_addresses=", "shared_buffers=16MB", "max_connections=20", "max_wal_size=64MB")
        options = [word for setting in settings for word in ("-c", setting)]
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder)]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options], user=self._user, group=self._user, cwd="/", stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            assert self._process.poll() is None, "PostgreSQL ended at once"
            time.sleep(0.05)

    def kill(self) -> None:
        """End every process of it at once, without a chance to save anything."""
        if self._process is not None:
            children = _children(self._process.pid)
            for number in (self._process.pid, *children):
                _signal(number, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Stop it and take its folder away."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # at once, and without leaving shared memory behind
            self._process.wait(PATIENCE_S)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder.parent / f"{self.folder.name}.log").unlink(missing_ok=True)

    def empty(self) -> str:
        """Its one database without anything of ours in it; returns the address."""
        import psycopg  # noqa: PLC0415  # only where there is a server

        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS glancein CASCADE")
        return self.dsn()

    def _answers(self) -> bool:
        import psycopg  # noqa: PLC0415  # as above

        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            user=self._user,
            group=self._user,
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
        )


def _children(parent: int) -> list[int]:
    """The numbers of a process's children, from /proc."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return [int(word) for word in listed.split()]


def _signal(number: int, what: signal.Signals) -> None:
    try:
        os.kill(number, what)
    except ProcessLookupError:
        return
