"""A million events that nobody has acknowledged: recording stays quick and memory flat."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from tests.device.punches import EPOCH, check_in, moment
from tests.faults.promises import Promises
from tests.faults.test_day import resident_bytes

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.domain import wire
from glancein.domain.event_body import as_sent
from glancein.storage.database import transaction
from glancein.storage.recovery import write_event
from glancein.types import Event

TRIALS = 2_000
LIMIT_MS = 20.0
pytestmark = pytest.mark.faults


def fill(ledger: SqliteLedger, count: int) -> None:
    """As if so many had been recorded, in one transaction: the file is what is tested, not the way there."""
    with ledger._open() as database, transaction(database):
        epoch, seq, head = database.execute("SELECT epoch, seq, head FROM stream").fetchone()
        assert epoch != EPOCH
        for number in range(seq + 1, seq + count + 1):
            event = Event(
                "hq", "door", epoch, number, head, as_sent(check_in(f"E{number % 500}", at=moment(number)))
            )
            row = write_event(database, event)
            database.execute("INSERT INTO outbox (number) VALUES (:row)", {"row": row})
            head = wire.event_hash(event)
        database.execute("UPDATE stream SET seq = :seq, head = :head", {"seq": seq + count, "head": head})


@pytest.mark.heavy
@pytest.mark.parametrize("backlog", [1_000, 1_000_000])
def test_recording_stays_quick_whatever_waits(promises: Promises, backlog: int) -> None:
    """Insert time with its syncs to the disk, memory and the first window of a drain, printed."""
    with tempfile.TemporaryDirectory() as name:
        ledger = SqliteLedger(Path(name) / "kiosk.db", site="hq", kiosk="door")
        fill(ledger, backlog)
        ledger.record(check_in())
        before = resident_bytes()
        took_ms = []
        for number in range(TRIALS):
            began = time.perf_counter()
            ledger.record(check_in(f"E{number % 500}", at=moment(backlog + number)))
            took_ms.append((time.perf_counter() - began) * 1000)
            if number % 100 == 0:
                ledger.position()
        began = time.perf_counter()
        window = ledger.pending(200)
        taken = ledger.acknowledge(window[-1].epoch, window[-1].seq)
        drain_ms = (time.perf_counter() - began) * 1000
        growth = resident_bytes() - before
        ledger.close()

    p99 = sorted(took_ms)[int(0.99 * TRIALS)]
    said = f"p99 {p99:.2f} ms, memory +{growth // 1024} KiB, a window out in {drain_ms:.1f} ms"
    print(f"\n{backlog} waiting: {said}")
    promises.record(
        "a million waiting events: insert p99 under 20 ms",
        trials=TRIALS,
        failures=int(p99 >= LIMIT_MS),
        note=f"{backlog}: {said}",
    )
    assert taken == 200
    assert p99 < LIMIT_MS
    assert growth < 4 * 1024 * 1024
