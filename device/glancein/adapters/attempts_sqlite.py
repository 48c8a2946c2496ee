"""Notes what the kiosk answered: the reason, when, and who if known. No picture, vector or score."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from glancein.errors import StoreError
from glancein.ports import Screen
from glancein.storage.database import open_database, transaction
from glancein.storage.desk_schema import DESK
from glancein.types import Event

_log = logging.getLogger(__name__)
RECOGNISED = "recognised"
KEPT = 20_000  # rows: a busy door's week; the oldest leave
TRIM_EVERY = 500
WAITING = 200  # answers that may wait for the disk; a stuck disk loses notes, never a punch


class AttemptNotes:
    """A screen before another one, which writes down each answer in a thread of its own.

    While ``is_disk_tight`` says so nothing is noted: what space is left belongs to check-ins.
    """

    def __init__(
        self,
        screen: Screen,
        file: Path,
        *,
        now_s: Callable[[], float] = time.time,
        is_disk_tight: Callable[[], bool] = lambda: False,
    ) -> None:
        self._screen = screen
        self._file = file
        self._now_s = now_s
        self._is_disk_tight = is_disk_tight
        self._waiting: queue.Queue[tuple[float, str, str | None] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._write, name="attempts", daemon=True)
        self._thread.start()

    def show_recorded(self, event: Event, name: str | None) -> None:
        """Somebody got in or out."""
        self._screen.show_recorded(event, name)
        if event.check_in.method == "face":
            self._note(RECOGNISED, event.check_in.person_id)

    def show_refusal(self, reason: str, advice: str) -> None:
        """Somebody was not recognised."""
        self._screen.show_refusal(reason, advice)
        self._note(str(reason), None)

    def show_repeat(self, event: Event, name: str | None) -> None:
        """Somebody looked again inside their quiet period: that says nothing of their photo."""
        self._screen.show_repeat(event, name)

    def show_not_recorded(self, why: str) -> None:
        """A punch was not stored: no matter of recognition."""
        self._screen.show_not_recorded(why)

    def close(self) -> None:
        """Write what waits, and end."""
        try:
            self._waiting.put(None, timeout=1.0)
        except queue.Full:
            return
        self._thread.join(5.0)

    def _note(self, reason: str, person_id: str | None) -> None:
        try:
            self._waiting.put_nowait((self._now_s(), reason, person_id))
        except queue.Full:
            _log.debug("an attempt was not noted: the disk is slow")

    def _write(self) -> None:
        try:
            database = open_database(self._file, schema=DESK)
        except StoreError as err:
            _log.warning("attempts are not noted: %s", err)
            while self._waiting.get() is not None:
                pass
            return
        written = 0
        while (noted := self._waiting.get()) is not None:
            if self._is_disk_tight():
                continue
            at, reason, person_id = noted
            try:
                with transaction(database):
                    database.execute(
                        "INSERT INTO attempts (at, reason, person_id) VALUES (:at, :reason, :person)",
                        {"at": at, "reason": reason, "person": person_id},
                    )
                    if written % TRIM_EVERY == 0:
                        database.execute(
                            "DELETE FROM attempts WHERE number <= (SELECT max(number) FROM attempts) - :kept",
                            {"kept": KEPT},
                        )
                written += 1
            except StoreError as err:
                _log.debug("an attempt was not noted: %s", err)
        database.conn.close()
