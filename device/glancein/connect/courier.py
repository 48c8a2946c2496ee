"""Hands the events of a store to another HR system: in order for each person, and until it has them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

from glancein.domain.delivery import (
    LONGEST_ASKED_S,
    Answer,
    Done,
    Later,
    Line,
    Parcel,
    Refused,
    Slip,
    Standing,
    State,
    slip_for,
    wait_s,
)
from glancein.errors import StoreError
from glancein.ports import Deliveries, Remote

log = logging.getLogger(__name__)

AT_ONCE = 500
LOOK_EVERY_S = 2.0
# So many events in a row that it could not take at their first try: the other side is ill, not the events.
MOST_MISHAPS = 3
# What failed so often may itself be what is wrong: the events behind it tell whether the other side is ill.
STUCK_AFTER = 5


@dataclass(frozen=True, slots=True)
class Round:
    """What one round brought. ``words`` say why it ended early, ``again_at`` when to go on then."""

    done: int = 0
    refused: int = 0
    failed: int = 0
    words: str | None = None
    again_at: float = 0.0


class Courier:
    """One connector at work. Every answer is written down before the next event is handed over.

    Killed between the other side's commit and ours, it hands the same event over again: remotes take that
    for what it is.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        remote: Remote,
        *,
        line: Line,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._deliveries = deliveries
        self._remote = remote
        self._line = line
        self._now = now
        self._jitter = jitter
        self._standing = Standing()
        self._mishaps = 0

    def round(self) -> Round:
        """Hand over whatever is due; ends early when the other side is away. Raises StoreError."""
        standing = self._deliveries.enlist(self._line)
        if self._now() < standing.retry_at <= self._latest():
            return Round(words=standing.words, again_at=standing.retry_at)
        self._standing = replace(standing, retry_at=0.0)
        self._mishaps = 0
        total = Round()
        for parcels in self._helpings():
            for answer, count in self._hand_over(parcels):
                total = _count(total, answer, count)
                if self._standing.retry_at > 0:
                    return replace(total, words=self._standing.words, again_at=self._standing.retry_at)
        return total

    def follow(self, stop: threading.Event, tell: Callable[[Round], None]) -> None:
        """Go on until stopped; ``tell`` hears of every round in which something happened.

        A database that is locked or away is said once in the log, and waited for.
        """
        is_away = False
        while not stop.is_set():
            try:
                done = self.round()
            except StoreError as err:
                _say(err, again=is_away)
                is_away = True
                stop.wait(LOOK_EVERY_S)
                continue
            if is_away:
                log.info("the database is back")
            is_away = False
            if done != Round(words=done.words, again_at=done.again_at):
                tell(done)
            pause = done.again_at - self._now() if done.again_at else 0.0
            stop.wait(min(60.0, max(LOOK_EVERY_S, pause)))

    def _helpings(self) -> Iterator[list[Parcel]]:
        """What is due until nothing is. A batch under way goes first: what came due since is not in it."""
        if self._remote.most > 1 and (parcels := self._due(begun=True)):
            yield parcels
        while parcels := self._due(begun=False):
            yield parcels

    def _due(self, *, begun: bool) -> list[Parcel]:
        return self._deliveries.due(
            self._line.name, now_s=self._now(), latest_s=self._latest(), most=AT_ONCE, begun=begun
        )

    def _latest(self) -> float:
        """Nothing waits for longer; what seems to was put off while this machine's clock was ahead."""
        return self._now() + max(LONGEST_ASKED_S, self._line.hold_s, self._line.settle_s)

    def _hand_over(self, parcels: Sequence[Parcel]) -> Iterator[tuple[Answer, int]]:
        # Lanes in which something did not get through just now, which the parcels behind it do not know yet.
        waiting: set[str] = set()
        for batch in self._batches(parcels):
            if self._remote.most == 1 and batch[0].lane in waiting:
                continue
            answer = self._remote.deliver(batch)
            self._write_down(batch, answer)
            if not isinstance(answer, Done):
                waiting |= {parcel.lane for parcel in batch}
            yield answer, len(batch)

    def _batches(self, parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
        """What was put together before stays together; the rest is put together, and that written down."""
        if self._remote.most == 1:
            yield from ([parcel] for parcel in parcels)
            return
        for label, group in groupby(parcels, key=lambda parcel: parcel.label):
            if label is not None:
                yield list(group)
                continue
            while batch := list(islice(group, self._remote.most)):
                called = str(batch[0].number)
                slips = [
                    Slip(parcel.number, State.PENDING, label=called, as_of=parcel.as_of) for parcel in batch
                ]
                self._deliveries.settle(self._line.name, slips, self._standing)
                yield [replace(parcel, label=called) for parcel in batch]

    def _write_down(self, batch: Sequence[Parcel], answer: Answer) -> None:
        now = self._now()
        retry_at = now + wait_s(batch[0].attempts + 1, self._jitter())
        match answer:
            case Done() | Refused():
                self._mishaps = 0
                self._standing = Standing()
            case Later(words, asked_s):
                if self._is_ill(batch, answer):
                    failures = self._standing.failures + 1
                    patience = wait_s(failures, self._jitter()) if asked_s is None else asked_s
                    self._standing = Standing(failures, now + min(patience, LONGEST_ASKED_S), words)
                    retry_at = self._standing.retry_at
        slips = [slip_for(parcel, answer, retry_at=retry_at) for parcel in batch]
        self._deliveries.settle(self._line.name, slips, self._standing)

    def _is_ill(self, batch: Sequence[Parcel], answer: Later) -> bool:
        """True if nothing else need be tried now, for it would fail as well."""
        tried = batch[0].attempts
        if tried == 0:
            self._mishaps += 1
        is_stuck = tried >= STUCK_AFTER and self._remote.most == 1 and answer.wait_s is None
        return (answer.is_about_all and not is_stuck) or self._mishaps >= MOST_MISHAPS


def _say(err: StoreError, *, again: bool) -> None:
    log.log(logging.DEBUG if again else logging.WARNING, "%s; this is tried until it works", err)


def _count(total: Round, answer: Answer, count: int) -> Round:
    match answer:
        case Done():
            return replace(total, done=total.done + count)
        case Refused():
            return replace(total, refused=total.refused + count)
        case Later():
            return replace(total, failed=total.failed + count)
