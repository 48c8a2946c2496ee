"""Child processes that are killed without warning and started again."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

STARTED_WITHIN_S = 60.0
Line = tuple[str, str, int]

# Each life is forked from a server that has imported everything: a kill costs milliseconds, not an
# interpreter's start.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.kiosk_writer", "tests.faults.consumer", "tests.faults.baseline"])


class Victim:
    """One of our programs; every line it ever said is kept, also from lives that were cut short."""

    def __init__(self, work: Callable[..., None], *arguments: str | float) -> None:
        self._work = work
        self._arguments = arguments
        self._process: ForkServerProcess | None = None
        self._hears: Connection | None = None
        self.said: list[Line] = []
        self.ready_after_s: list[float] = []

    def start(self) -> None:
        """Run it and wait until it says that it is ready."""
        began = time.monotonic()
        self._hears, says = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(target=_live, args=(says, self._work, self._arguments), daemon=True)
        self._process.start()
        says.close()
        assert self._hears.poll(STARTED_WITHIN_S)
        assert self._hears.recv()[0] == "ready"
        self.ready_after_s.append(time.monotonic() - began)

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        if self._process is None:
            return
        self._process.kill()
        self.listen()
        self._process.join()
        self._process.close()
        self._process = None

    def listen(self) -> None:
        """Take in all it said; a word that was cut short by a kill was not said."""
        if self._hears is None:
            return
        try:
            while True:
                self.said.append(self._hears.recv())
        except (EOFError, OSError):
            self._hears.close()
            self._hears = None

    def listen_for(self, seconds: float) -> None:
        """Let it work for so long, and keep its pipe empty meanwhile."""
        deadline = time.monotonic() + seconds
        while self._hears is not None and (left := deadline - time.monotonic()) > 0:
            if self._hears.poll(left):
                self.said.append(self._hears.recv())


def _live(says: Connection, work: Callable[..., None], arguments: tuple[str | float, ...]) -> None:
    work(says.send, *arguments)
