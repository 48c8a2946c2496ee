"""One short life of the real ledger, ended by SIGKILL at the entry of a chosen system call (strace)."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

import pytest
from tests.device.punches import check_in, moment
from tests.faults.processes import FORKS

from glancein.adapters.ledger_sqlite import SqliteLedger

ALLOW_TRACING = 0x59616D61  # prctl(2), PR_SET_PTRACER, for machines where only a parent may trace
ANYBODY = ctypes.c_ulong(-1)
WITHIN_S = 120.0
LOGGED = re.compile(r"^(\w+)\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Point:
    """The entry of the ``count``-th call of this name."""

    call: str
    count: int

    @property
    def injection(self) -> str:
        """In strace's words."""
        return f"inject={self.call}:signal=KILL:when={self.count}"


@dataclass(frozen=True, slots=True)
class Found:
    """What was there after a life, and whether it was cut short."""

    killed: bool
    fault: str  # empty if all is well: lost, corrupt, torn, reused
    ready_s: float


def points_of(database: Path, events: int) -> list[Point]:
    """Every system call of an undisturbed life, in order."""
    log = database.with_suffix(".calls")
    _live(database, events, "-o", str(log))
    seen: Counter[str] = Counter()
    points = []
    for call in LOGGED.findall(log.read_text(errors="replace")):
        seen[call] += 1
        points.append(Point(call, seen[call]))
    return points


def kill_at(point: Point, database: Path, events: int) -> Found:
    """Live until the call, then look at what is left and start again."""
    shown, killed = _live(database, events, "-o", os.devnull, "-e", point.injection)
    fault = _examine(database, shown)
    began = time.monotonic()
    ready_s = float("inf")
    with _child(_start_again, str(database)) as child:
        if child.says.poll(WITHIN_S):
            fault = fault or child.says.recv()
            ready_s = time.monotonic() - began
    return Found(killed, fault, ready_s)


@dataclass(slots=True)
class _Child:
    """A process forked from a server that has everything loaded, and a pipe each way."""

    process: ForkServerProcess
    hears: Connection
    says: Connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.hears.close()
        self.says.close()


def _child(work: Callable[..., None], *arguments: object) -> _Child:
    told, tells = FORKS.Pipe(duplex=False)
    heard, says = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=work, args=(told, says, *arguments), daemon=True)
    process.start()
    told.close()
    says.close()
    return _Child(process, tells, heard)


def _live(database: Path, events: int, *options: str) -> tuple[int, bool]:
    """How many events a traced life has shown, and whether it was killed."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace on this machine: sudo apt install strace")
    with _child(_record, str(database), events) as child:
        assert child.says.poll(WITHIN_S)
        child.says.recv()
        command = [strace, *options, "-p", str(child.process.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            attached = tracer.stderr.readline()
            if "attached" not in attached:
                tracer.kill()
                pytest.skip(f"this machine does not allow strace: {attached.strip()}")
            child.hears.send("go")
            child.process.join(WITHIN_S)
            tracer.kill()
        shown = 0
        while child.says.poll():
            try:
                shown = child.says.recv()
            except EOFError:
                break
        return shown, child.process.exitcode == -9


def _record(hears: Connection, says: Connection, database: str, events: int) -> None:
    """The life: make or open the database, record, and say each number after its commit."""
    ctypes.CDLL(None).prctl(ALLOW_TRACING, ANYBODY, 0, 0, 0)
    says.send("waiting")
    hears.recv()
    ledger = SqliteLedger(Path(database), site="hq", kiosk="door")
    for number in range(events):
        says.send(ledger.record(check_in(f"E{number % 7}", at=moment(number))).seq)
    os._exit(0)


def _start_again(_hears: Connection, says: Connection, database: str) -> None:
    """As the kiosk does after a power cut: open, and record the next one."""
    ledger = SqliteLedger(Path(database), site="hq", kiosk="door")
    before = ledger.position().seq
    event = ledger.record(check_in("E8", at=moment(100)))
    says.send("" if event.seq == before + 1 else "reused")


def _examine(database: Path, shown: int) -> str:
    """What is wrong with the file; empty if nothing is."""
    if not database.exists():
        return "lost" if shown else ""
    connection = sqlite3.connect(database)
    try:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            return "corrupt"
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            return "lost" if shown else ""
        numbers = [row[0] for row in connection.execute("SELECT seq FROM events ORDER BY seq")]
        waiting = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
    except sqlite3.DatabaseError:
        return "corrupt"
    finally:
        connection.close()
    if numbers != list(range(1, len(numbers) + 1)) or waiting != len(numbers):
        return "torn"
    return "lost" if len(numbers) < shown else ""
