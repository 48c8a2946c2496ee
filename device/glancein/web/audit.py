"""The log of who looked at or changed what, without names of people or their data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from glancein.web.desk_file import DeskFile

KEPT_S = 400 * 86_400  # a little over a year, so that a yearly audit sees all of it
TRIM_EVERY = 500
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


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line: when, who, what they did, to whom or what, and how."""

    number: int
    at: float
    who: str
    did: str
    about: str
    detail: str


class AuditLog:
    """Append-only: rows are never changed, and leave only by age."""

    def __init__(self, file: DeskFile, *, now_s: Callable[[], float] = time.time) -> None:
        self._file = file
        self._now_s = now_s
        self._since_trim = 0

    def note(self, who: str, did: str, *, about: str = "", detail: str = "") -> None:
        """Write one line. Raises StoreError: what cannot be noted is not done."""
        self._file.change(
            "INSERT INTO audit (at, who, did, about, detail) VALUES (:at, :who, :did, :about, :detail)",
            at=self._now_s(),
            who=who[:128],
            did=did,
            about=about[:200],
            detail=detail[:500],
        )
        self._since_trim += 1
        if self._since_trim >= TRIM_EVERY:
            self._since_trim = 0
            self._file.change(_TRIM, now=self._now_s(), longest=LONGEST_GAP_S, kept=KEPT_S)

    def entries(self, *, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """The latest lines, newest first; ``before`` continues below a number."""
        rows = self._file.rows(
            "SELECT number, at, who, did, about, detail FROM audit "
            "WHERE :before IS NULL OR number < :before ORDER BY number DESC LIMIT :limit",
            before=before,
            limit=limit,
        )
        return [AuditEntry(*row) for row in rows]
