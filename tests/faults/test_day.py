"""A day and more of check-ins in one process, on a clock that is passed in: memory stays where it was."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.device.punches import MODEL, moment

from glancein.adapters.feed_mqtt import read_arrival
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.domain import wire
from glancein.domain.attendance import Policy, Recognised, next_event
from glancein.domain.visit import Visit, VisitRules, add
from glancein.types import Accepted, Direction, Moment

EVENTS = 20_000
PEOPLE = 500
pytestmark = pytest.mark.faults


def looks() -> Iterator[tuple[str, Moment]]:
    """Who looks into the camera and when: somebody every 4.32 s, so 20,000 in 24 h."""
    start = moment()
    for number in range(EVENTS):
        seconds = number * 86_400 / EVENTS
        yield (
            f"E{number % PEOPLE}",
            replace(start, wall=start.wall + timedelta(seconds=seconds), mono_s=1000 + seconds),
        )


def test_a_day_of_check_ins_leaves_memory_where_it_was(tmp_path: Path) -> None:
    """20,000 visits through visit, attendance, ledger and acknowledgement; the growth is printed."""
    ledger = SqliteLedger(tmp_path / "kiosk.db", site="hq", kiosk="door")
    # What is promised here is memory, not durability: no need to sync 40,000 times.
    with ledger._open() as database:
        database.execute("PRAGMA synchronous = OFF")
    policy, rules = Policy(quiet_s=120), VisitRules(agree_n=1)
    visit = Visit()
    recorded, after_warm_up = 0, 0
    tracemalloc.start()
    for number, (person_id, at) in enumerate(looks()):
        visit, verdict = add(visit, Accepted(person_id, 0.6), at.mono_s, rules)
        assert isinstance(verdict, Accepted)
        who = Recognised(verdict.person_id, verdict.score_cos, 0.4, MODEL)
        check_in = next_event(who, at, last=ledger.last_of(person_id), policy=policy)
        assert check_in is not None
        recorded += ledger.record(check_in).seq > 0
        if number % 50 == 49:
            last = ledger.pending(50)[-1]
            ledger.acknowledge(last.epoch, last.seq)
        if number == EVENTS // 4:
            gc.collect()
            after_warm_up = tracemalloc.get_traced_memory()[0]
    gc.collect()
    growth = tracemalloc.get_traced_memory()[0] - after_warm_up
    tracemalloc.stop()
    last_punch = ledger.last_of("E0")
    ledger.close()

    print(f"\n{recorded} events; memory grew by {growth / 1024:.1f} KiB after the first quarter")
    assert recorded == EVENTS
    assert last_punch is not None
    assert last_punch.check_in.direction is Direction.OUT
    assert growth < 64 * 1024


def test_ten_thousand_events_are_stored_by_the_consumer_at_its_pace(tmp_path: Path) -> None:
    """The consumer's part of a backlog: read, checked and committed in batches of 100."""
    store = SqliteFeedStore(tmp_path / "feed.db")
    ledger_head, batch, total = wire.NO_HASH, [], 0
    from tests.device.punches import check_in, event  # noqa: PLC0415  # named like the local above

    for seq in range(1, 2001):
        sent = event(seq, ledger_head, punch=check_in(f"E{seq % PEOPLE}", at=moment(seq)))
        arrival = read_arrival(wire.encode_event(sent))
        ledger_head = arrival.hash
        batch.append(arrival)
        if len(batch) == 100:
            store.commit(batch, [])
            total += len(batch)
            batch = []

    heads = store.heads()
    store.close()
    assert total == 2000
    assert [head.seq for head in heads.values()] == [2000]
