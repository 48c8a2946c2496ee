"""Kill -9 at the entry of every nth system call: what was shown is there, and the kiosk starts again."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.promises import Promises
from tests.faults.syscalls import Found, kill_at, points_of

READY_WITHIN_S = 3.0
pytestmark = pytest.mark.faults


def chosen(total: int, wanted: int) -> list[int]:
    """So many of the numbers below ``total``, evenly spread."""
    wanted = min(total, wanted)
    return sorted({round(step * (total - 1) / max(1, wanted - 1)) for step in range(wanted)})


def swept(folder: Path, wanted: int, events: int) -> list[Found]:
    """A life for each chosen call, each with a database of its own."""
    points = points_of(folder / "whole.db", events)
    found = []
    for number in chosen(len(points), wanted):
        database = folder / f"{number}.db"
        found.append(kill_at(points[number], database, events))
        for file in folder.glob(f"{number}.*"):
            file.unlink()
    print(f"\n{len(points)} calls in a life of {events} events, {len(found)} lives cut short")
    return found


@pytest.mark.parametrize(
    ("wanted", "events"), [(40, 10), pytest.param(600, 20, marks=pytest.mark.heavy)], ids=["short", "long"]
)
def test_killed_at_any_call_loses_nothing_and_starts_again(
    promises: Promises, wanted: int, events: int
) -> None:
    """From the making of the database to the last event, whichever call is the last."""
    # What is tried is what the calls leave behind; how fast a disk is does not matter.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a fresh folder inside
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        found = swept(Path(folder), wanted, events)

    killed = [one for one in found if one.killed]
    faults = Counter(one.fault for one in found if one.fault)
    ready = sorted(one.ready_s for one in killed)
    p95, slowest = ready[int(0.95 * len(ready))], ready[-1]
    note = f"ready again in {p95:.2f} s (p95), {slowest:.2f} s at most"
    promises.record(
        "kill -9 at a system call: nothing lost, starts again (points)",
        trials=len(killed),
        failures=faults.total(),
        note=note,
    )
    print(f"{len(killed)} killed, faults {dict(faults)}, {note}")
    assert not faults
    assert len(killed) >= 0.9 * wanted
    if wanted >= 500:  # the long tier, on a quiet machine, also keeps time
        assert p95 < READY_WITHIN_S
