"""One look at the ledger for all open pages: what is new goes to every listener."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from glancein.errors import StoreError
from glancein.ports import History
from glancein.types import Event

_log = logging.getLogger(__name__)
LOOK_S = 0.5
MOST_AT_ONCE = 100
WAITING = 100  # a page that reads slower than this many events behind loses the oldest


@dataclass(frozen=True, slots=True)
class Listener:
    """One open page: its loop and what it has still to be sent."""

    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[bytes]

    def put(self, message: bytes) -> None:
        """Hand over a message; called in the listener's own loop."""
        if self.queue.full():
            self.queue.get_nowait()
        self.queue.put_nowait(message)


class Live:
    """Looks at the ledger twice a second, only while somebody listens."""

    def __init__(self, ledger: History, *, look_s: float = LOOK_S) -> None:
        self._ledger = ledger
        self._look_s = look_s
        self._open: dict[int, Listener] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.has_looked = False  # since the first of the present listeners came
        self.describe: Callable[[Event], bytes] = lambda _: b""

    def listen(self) -> Listener:
        """Begin to listen; call in the loop that will read the queue."""
        listener = Listener(asyncio.get_running_loop(), asyncio.Queue(WAITING))
        with self._changed:
            self._open[id(listener)] = listener
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="desk-live", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return listener

    def leave(self, listener: Listener) -> None:
        """Stop listening."""
        with self._changed:
            self._open.pop(id(listener), None)

    def close(self) -> None:
        """End the watch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5)

    def _watch(self) -> None:
        seen: tuple[str, int] | None = None
        while True:
            with self._changed:
                while not self._open and not self._closed:
                    seen, self.has_looked = None, False
                    self._changed.wait()
                if self._closed:
                    return
            try:
                seen = self._look(seen)
                self.has_looked = True
            except StoreError as err:
                _log.debug("live: %s", err)
            except Exception:  # noqa: BLE001  # whatever it is, pages stay open and the next look may go well
                _log.exception("live: the look at the ledger failed")
            with self._changed:
                if not self._closed:
                    self._changed.wait(self._look_s)

    def _look(self, seen: tuple[str, int] | None) -> tuple[str, int]:
        """Send what was recorded since; returns how far that is."""
        where = self._ledger.position()
        if seen is not None and seen != (where.epoch, where.seq):
            after = seen[1] if seen[0] == where.epoch else 0
            first = max(after, where.seq - MOST_AT_ONCE) + 1
            fresh = self._ledger.history(where.epoch, first, MOST_AT_ONCE)
            for event in fresh:
                if isinstance(event, Event):
                    self._send(self.describe(event))
            return where.epoch, fresh[-1].seq if fresh else where.seq
        return where.epoch, where.seq

    def _send(self, message: bytes) -> None:
        with self._changed:
            listeners = list(self._open.values())
        for listener in listeners:
            try:
                listener.loop.call_soon_threadsafe(listener.put, message)
            except RuntimeError:  # its loop has ended
                self.leave(listener)
