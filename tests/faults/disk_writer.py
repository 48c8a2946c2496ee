"""A ledger on a disk that fails: ``python -m tests.faults.disk_writer DATABASE COUNT``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.device.punches import check_in, moment

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.errors import NotRecorded


def main(argv: list[str]) -> None:
    """Try to record so many punches; say which were recorded and how many were refused."""
    ledger = SqliteLedger(Path(argv[1]), site="hq", kiosk="door")
    refused = 0
    for number in range(int(argv[2])):
        try:
            event = ledger.record(check_in(f"E{number}", at=moment(number)))
        except NotRecorded:
            refused += 1
        else:
            os.write(1, f"shown {event.seq}\n".encode())
    os.write(2, f"refused {refused}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
