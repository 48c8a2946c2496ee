"""The real ledger under strace: ``python -m tests.faults.recorder DATABASE COUNT SYNCHRONOUS``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.device.punches import check_in, moment

from glancein.adapters.ledger_sqlite import SqliteLedger


def main(argv: list[str]) -> None:
    """Record so many punches, say each one after its commit, and end without closing anything."""
    ledger = SqliteLedger(Path(argv[1]), site="hq", kiosk="door")
    with ledger._open() as database:  # more checkpoints in fewer events
        database.execute("PRAGMA wal_autocheckpoint = 20")
        if argv[3] != "as_shipped":
            database.execute(f"PRAGMA synchronous = {argv[3]}")
    ledger._tail._file_bytes = 5_000  # and several files of the second copy
    for number in range(int(argv[2])):
        event = ledger.record(check_in(f"E{number % 7}", at=moment(number)))
        os.write(1, f"shown {event.seq}\n".encode())
        if event.seq % 10 == 0:
            ledger.acknowledge(event.epoch, event.seq - 5)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
