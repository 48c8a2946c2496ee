"""A day and more of check-ins in one process, on a clock that is passed in: memory stays where it was."""

from __future__ import annotations

import gc
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.device.punches import MODEL, moment

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.domain.attendance import Policy, Recognised, next_event
from glancein.domain.visit import Visit, VisitRules, add
from glancein.types import Accepted, Direction, Moment

EVENTS = 20_000
PEOPLE = 500
pytestmark = pytest.mark.faults


def resident_bytes() -> int:
    """What this process holds in memory now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def looks() -> Iterator[tuple[str, Moment]]:
    """Who looks into the camera and when: somebody every 4.32 s, so 20,000 in 24 h."""
    start = moment()
    for number in range(EVENTS):
        seconds = number * 86_400 / EVENTS
        yield (
            f"E{number % PEOPLE}",
            replace(start, wall=start.wall + timedelta(seconds=seconds), mono_s=1000 + seconds),
        )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the disk is not what is tested."""
    memory = Path("/dev/shm")  # noqa: S108  # a fresh folder inside
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def test_a_day_of_check_ins_leaves_memory_where_it_was(folder: Path) -> None:
    """20,000 visits through visit, attendance, ledger and acknowledgement; the growth is printed."""
    ledger = SqliteLedger(folder / "kiosk.db", site="hq", kiosk="door")
    # What is promised here is memory, not durability: no need to sync 40,000 times.
    with ledger._open() as database:
        database.execute("PRAGMA synchronous = OFF")
    policy, rules = Policy(quiet_s=120), VisitRules(agree_n=1)
    visit = Visit()
    recorded, after_warm_up = 0, 0
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
            after_warm_up = resident_bytes()
    growth = resident_bytes() - after_warm_up
    last_punch = ledger.last_of("E0")
    ledger.close()

    print(f"\n{recorded} events; resident memory grew by {growth / 1024:.0f} KiB after the first quarter")
    assert recorded == EVENTS
    assert last_punch is not None
    assert last_punch.direction is Direction.OUT
    assert growth < 2 * 1024 * 1024
