"""The log of who looked at or changed what, without names of people or their data."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from glancein.errors import StoreError
from glancein.web.desk_file import DeskFile

_log = logging.getLogger(__name__)
KEPT_S = 400 * 86_400  # a little over a year, so that a yearly audit sees all of it
TRIM_EVERY = 500
ONE_LOOK_S = 300.0  # a page that is open asks for its list anew every minute: that is one look
# What the time from one line to the next counts for, at most: a clock set far ahead ages nothing by years.
LONGEST_GAP_S = 7 * 86_400
# The age of a line is the time between the lines since.
_TRIM = """
    DELETE FROM audit WHERE number <= (
        SELECT coalesce(max(number), 0) FROM (
            SELECT number, sum(gap) OVER (ORDER BY number DESC) AS age FROM (
                SELECT number, max(0, min(:longest, lead(at, 1, :now) OVER (ORDER BY number) - at)) AS gap
                FROM audit
            )
        ) WHERE age > :kept
    )
"""


class Outcome(StrEnum):
    """How the change ended that a line tells of."""

    BEGUN = "begun"  # the desk was ended meanwhile: whether it was done is not known
    DONE = "done"
    FAILED = "failed"  # an error came; of a change in several steps the first may be done


@dataclass(slots=True)
class Change:
    """A change that is under way. What the block sets here is written down with its end."""

    detail: str
    outcome: Outcome = Outcome.DONE


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line: when, who, what they did, to whom or what, how, and how that ended."""

    number: int
    at: float
    who: str
    did: str
    about: str
    detail: str
    outcome: Outcome


class AuditLog:
    """Append-only: rows are never changed but for the end of what they tell of, and leave only by age."""

    def __init__(self, file: DeskFile, *, now_s: Callable[[], float] = time.time) -> None:
        self._file = file
        self._now_s = now_s
        self._since_trim = 0
        self._looks: dict[tuple[str, str], float] = {}

    def note(self, who: str, did: str, *, about: str = "", detail: str = "") -> None:
        """Write a line about what changes nothing. Raises StoreError: what cannot be noted is not shown."""
        self._add(who, did, about, detail, Outcome.DONE)

    def note_look(self, who: str, did: str) -> None:
        """Write a line about a look at a list of everybody, unless it goes on from one a moment ago.

        A log that takes no line hides no list: people come to it to see what is wrong.
        """
        now_s, last_s = self._now_s(), self._looks.get((who, did))
        if last_s is None or abs(now_s - last_s) > ONE_LOOK_S:
            try:
                self.note(who, did)
            except StoreError as err:
                _log.warning("a look at a list is not in the audit log: %s", err)
                return
        self._looks[who, did] = now_s

    @contextmanager
    def noting(self, who: str, did: str, *, about: str = "", detail: str = "") -> Iterator[Change]:
        """Write a line before the block changes something, and after it how that ended.

        Raises StoreError before the block runs: what cannot be noted is not done.
        """
        number, change = self._add(who, did, about, detail, Outcome.BEGUN), Change(detail)
        try:
            yield change
        except BaseException:
            change.outcome = Outcome.FAILED
            raise
        finally:
            self._end(number, change)

    def entries(self, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """The latest lines, newest first; ``before`` continues below a number."""
        rows = self._file.rows(
            "SELECT number, at, who, did, about, detail, outcome FROM audit "
            "WHERE :before IS NULL OR number < :before ORDER BY number DESC LIMIT :limit",
            before=before,
            limit=limit,
        )
        return [
            AuditEntry(number, at, who, did, about, detail, Outcome(outcome))
            for number, at, who, did, about, detail, outcome in rows
        ]

    def _add(self, who: str, did: str, about: str, detail: str, outcome: Outcome) -> int:
        number = self._file.add(
            "INSERT INTO audit (at, who, did, about, detail, outcome) "
            "VALUES (:at, :who, :did, :about, :detail, :outcome)",
            at=self._now_s(),
            who=who[:128],
            did=did,
            about=about[:200],
            detail=detail[:500],
            outcome=outcome,
        )
        self._since_trim += 1
        if self._since_trim >= TRIM_EVERY:
            self._since_trim = 0
            self._file.change(_TRIM, now=self._now_s(), longest=LONGEST_GAP_S, kept=KEPT_S)
        return number

    def _end(self, number: int, change: Change) -> None:
        """What was done stays done when its end cannot be written: the line is there."""
        try:
            self._file.change(
                "UPDATE audit SET outcome = :outcome, detail = :detail WHERE number = :number",
                outcome=change.outcome,
                detail=change.detail[:500],
                number=number,
            )
        except StoreError as err:
            _log.warning("how line %d of the audit log ended is not written there: %s", number, err)
