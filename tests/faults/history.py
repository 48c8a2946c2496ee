"""The checker: what was shown against what arrived (the counts of Jepsen's total-queue)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

Name = tuple[str, str, int]  # kiosk, epoch, seq


@dataclass(frozen=True, slots=True)
class Verdict:
    """Valid when nothing was lost, duplicated or unexpected and no stream has a gap."""

    shown: int
    recorded: int
    delivered: int
    lost: int
    unexpected: int
    duplicated: int
    gaps: int

    @property
    def valid(self) -> bool:
        """True if the feed kept its promise."""
        return not (self.lost or self.unexpected or self.duplicated or self.gaps)


def check(shown: Iterable[Name], ledgers: Iterable[Path], feed: Path) -> Verdict:
    """Compare what screens showed, what kiosks hold, and what HR has."""
    promised = set(shown)
    recorded = {name for ledger in ledgers for name in _recorded(ledger)}
    delivered = _read(feed, "SELECT kiosk, epoch, seq FROM checkins")
    streams: dict[tuple[str, str], list[int]] = {}
    for kiosk, epoch, seq in sorted(set(delivered)):
        streams.setdefault((kiosk, epoch), []).append(seq)
    return Verdict(
        shown=len(promised),
        recorded=len(recorded),
        delivered=len(delivered),
        lost=len((promised | recorded) - set(delivered)),
        unexpected=len(set(delivered) - recorded),
        duplicated=len(delivered) - len(set(delivered)),
        gaps=sum(numbers != list(range(1, len(numbers) + 1)) for numbers in streams.values()),
    )


def bound(trials: int) -> str:
    """What so many clean trials prove about the rate of failures (rule of three, 95 %)."""
    return f"0 in {trials}: below {3 / trials:.2g} at 95 %"


def _recorded(ledger: Path) -> set[Name]:
    sql = "SELECT :kiosk, epoch, seq FROM events"
    return set(_read(ledger, sql))


def _read(path: Path, sql: str) -> list[Name]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(sql, {"kiosk": path.stem}).fetchall()
    finally:
        connection.close()
