"""What was tried against each promise, and what that proves: the table that ``make faults`` prints."""

from __future__ import annotations

from dataclasses import dataclass, field

COLUMNS = ("promise", "trials", "failures", "proven at 95 %", "beside it")


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise, how often it was tried and how often it was broken."""

    words: str
    trials: int = 0
    failures: int = 0
    notes: tuple[str, ...] = ()

    @property
    def bound(self) -> str:
        """What so many trials prove about the rate of failures; with any failure they prove nothing."""
        return "broken" if self.failures else f"below {rate(self.trials):.2g}"


@dataclass(slots=True)
class Promises:
    """Every promise of one run, in the order in which they were first tried."""

    kept: dict[str, Promise] = field(default_factory=dict)

    def record(self, words: str, *, trials: int, failures: int, note: str = "") -> None:
        """Add trials to a promise; the test itself asserts, this only counts."""
        self.add(Promise(words, trials, failures, (note,) if note else ()))

    def add(self, more: Promise) -> None:
        """The trials of one more test."""
        before = self.kept.get(more.words, Promise(more.words))
        self.kept[more.words] = Promise(
            more.words,
            before.trials + more.trials,
            before.failures + more.failures,
            (*before.notes, *more.notes),
        )

    def table(self) -> str:
        """All of it in Markdown."""
        rows = [
            (p.words, f"{p.trials:,}", str(p.failures), p.bound, "; ".join(p.notes[-4:]))
            for p in self.kept.values()
        ]
        lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rate(trials: int) -> float:
    """The failure rate that so many clean trials exclude (rule of three, 95 %: Hanley 1983)."""
    return min(1.0, 3 / trials) if trials else 1.0
