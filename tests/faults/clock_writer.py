"""A kiosk on a clock that steps: ``python -m tests.faults.clock_writer DATABASE SYNCHRONISED``.

Each line is a person to record, or ``look`` for the time keeper; each answer tells what was done and the
monotonic clock, which nobody sets.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from glancein.adapters.clock_system import SystemClock
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.domain.attendance import Policy, Recognised, next_event
from glancein.time_keeper import TimeKeeper

POLICY = Policy(quiet_s=3600.0)


def main(argv: list[str]) -> None:
    """Do as told until there is nothing more to read."""
    ledger = SqliteLedger(Path(argv[1]), site="hq", kiosk="door")
    clock = SystemClock(is_synchronised=Path(argv[2]).exists)
    for line in sys.stdin:
        person_id = line.strip()
        if person_id == "look":
            TimeKeeper(ledger, clock, wake=lambda: None).look()
            print("looked", time.monotonic(), flush=True)
            continue
        who = Recognised(person_id, 0.6, 0.4, "ab" * 32)
        punch = next_event(who, clock.now(), last=ledger.last_of(person_id), policy=POLICY)
        if punch is None:
            print("repeat", time.monotonic(), flush=True)
        else:
            print("recorded", ledger.record(punch).body.moment.mono_s, flush=True)
    ledger.close()


if __name__ == "__main__":
    main(sys.argv)
