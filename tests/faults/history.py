"""The checker: what was tried and shown against what arrived (the counts of Jepsen's total-queue)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.promises import rate

Name = tuple[str, str, int]  # kiosk, epoch, seq


@dataclass(frozen=True, slots=True)
class Verdict:
    """Valid when nothing was lost, duplicated or unexpected and no stream has a gap.

    ``attempts`` were begun, ``shown`` were promised to a person, ``recorded`` are in a kiosk's ledger, of
    which ``recovered`` were committed but cut off before they were shown.
    """

    attempts: int
    shown: int
    recorded: int
    delivered: int
    recovered: int
    lost: int
    unexpected: int
    duplicated: int
    gaps: int

    @property
    def broken(self) -> int:
        """How often the feed broke its promise."""
        return self.lost + self.unexpected + self.duplicated + self.gaps

    @property
    def valid(self) -> bool:
        """True if the feed kept its promise."""
        return not self.broken

    def __str__(self) -> str:
        """One line for the log of a test run."""
        names = ("attempts", "shown", "recorded", "delivered", "recovered")
        broken = ("lost", "unexpected", "duplicated", "gaps")
        return ", ".join(f"{name} {getattr(self, name)}" for name in (*names, *broken))


def check(shown: Iterable[Name], ledgers: Iterable[Path], feed: Path, *, attempts: int = 0) -> Verdict:
    """Compare what screens showed, what kiosks hold, and what HR has.

    Streams must begin at 1 and have no gap. Without ``attempts``, what was recorded was what was tried.
    """
    promised = set(shown)
    recorded = {name for ledger in ledgers for name in _recorded(ledger)}
    delivered = _read(feed, "SELECT kiosk, epoch, seq FROM events")
    return judge(promised, recorded, delivered, attempts=attempts)


def judge(promised: set[Name], recorded: set[Name], delivered: list[Name], *, attempts: int = 0) -> Verdict:
    """The counts themselves."""
    arrived = set(delivered)
    streams: dict[tuple[str, str], list[int]] = {}
    for kiosk, epoch, seq in sorted(arrived):
        streams.setdefault((kiosk, epoch), []).append(seq)
    return Verdict(
        attempts=attempts or len(promised | recorded),
        shown=len(promised),
        recorded=len(recorded),
        delivered=len(delivered),
        recovered=len((recorded - promised) & arrived),
        lost=len((promised | recorded) - arrived),
        unexpected=len(arrived - recorded),
        duplicated=len(delivered) - len(arrived),
        gaps=sum(numbers != list(range(1, len(numbers) + 1)) for numbers in streams.values()),
    )


def bound(trials: int) -> str:
    """What so many clean trials prove about the rate of failures."""
    return f"0 in {trials}: below {rate(trials):.2g} at 95 %"


def _recorded(ledger: Path) -> set[Name]:
    return set(_read(ledger, "SELECT :kiosk, epoch, seq FROM events"))


def _read(path: Path, sql: str) -> list[Name]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(sql, {"kiosk": path.stem}).fetchall()
    finally:
        connection.close()
