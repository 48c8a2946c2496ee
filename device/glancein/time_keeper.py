"""Times that nobody could believe are put right: a time fix is recorded once the clock is good."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from glancein.domain.punches import time_fix
from glancein.errors import StoreError
from glancein.ports import Archive, Clock, Ledger
from glancein.types import ClockTrust

_log = logging.getLogger(__name__)
LOOK_S = 5.0


class Book(Ledger, Archive, Protocol):
    """The ledger as the time keeper needs it."""


class TimeKeeper:
    """Used by one thread. What to do follows from the record alone, so that no restart makes it forget."""

    def __init__(self, book: Book, clock: Clock, *, wake: Callable[[], None]) -> None:
        self._book = book
        self._clock = clock
        self._wake = wake
        self._look_at_s = float("-inf")

    def look(self) -> None:
        """Record a time fix if check-ins of this boot wait for one and the clock is good; now and then."""
        now = self._clock.now()
        if now.trust is not ClockTrust.SYNCHRONISED or now.mono_s < self._look_at_s:
            return
        self._look_at_s = now.mono_s + LOOK_S
        try:
            unfixed = self._book.unfixed(now.boot_id)
            if unfixed is None:
                return
            fix = time_fix(unfixed.check_in, self._clock.now())
            if fix is not None:
                self._book.record(fix)
                _log.info("the clock is good; it had been %.0f s behind", fix.offset_s)
                self._wake()
        except StoreError as err:
            _log.warning("the time fix waits: %s", err)
