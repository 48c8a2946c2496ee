"""The wall clock steps under a running kiosk (libfaketime): order, quiet periods and true times hold."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
from tests.faults.promises import Promises

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.domain.punches import settle

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")
NINETY_DAYS_BACK, A_DAY_AHEAD, IN_1970, TRUE = "-90d", "+1d", "@1970-01-01 00:10:00", "+0"
PHASES = (
    (IN_1970, False),
    (TRUE, True),
    (NINETY_DAYS_BACK, False),
    (TRUE, True),
    (A_DAY_AHEAD, False),
    (TRUE, True),
)
PEOPLE = 20
pytestmark = pytest.mark.faults


class SteppedKiosk:
    """A kiosk in a process of its own whose wall clock shows what a file says."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._says = folder / "faketime"
        self._good = folder / "synchronised"
        self.step(TRUE, synchronised=False)
        self.database = folder / "kiosk.db"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.clock_writer", str(self.database), str(self._good)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "LD_PRELOAD": str(library),
                "FAKETIME_TIMESTAMP_FILE": str(self._says),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # a faked one stops the interpreter
                "TZ": "UTC",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(60) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()

    def step(self, says: str, *, synchronised: bool) -> None:
        """Set the wall clock, and whether the kernel believes it."""
        if not synchronised:
            self._good.unlink(missing_ok=True)
        self._says.write_text(f"{says}\n")
        if synchronised:
            self._good.touch()

    def tell(self, word: str) -> tuple[str, float]:
        """Have somebody punch, or the time keeper look; what came of it, and the monotonic time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        done, mono_s = self._process.stdout.readline().split()
        return done, float(mono_s)


@pytest.fixture
def kiosk(tmp_path: Path) -> Iterator[SteppedKiosk]:
    """A running kiosk; skipped where libfaketime is missing."""
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    if not found:
        pytest.skip("no libfaketime on this machine: sudo apt install libfaketime")
    with SteppedKiosk(found[0], tmp_path) as running:
        yield running


def test_steps_invert_nothing_silence_nobody_and_are_put_right(
    kiosk: SteppedKiosk, promises: Promises
) -> None:
    """1970, then NTP; 90 days back by hand, then NTP; a day ahead, then NTP. Everybody comes in each."""
    true_minus_mono_s = time.time() - time.monotonic()
    expected: list[float] = []
    false_repeats = missed_repeats = 0
    phases = [
        (IN_1970, False),
        (TRUE, True),
        (NINETY_DAYS_BACK, False),
        (TRUE, True),
        (A_DAY_AHEAD, False),
        (TRUE, True),
    ]
    for phase, (says, synchronised) in enumerate(phases):
        kiosk.step(says, synchronised=synchronised)
        for number in range(PEOPLE):
            done, mono_s = kiosk.tell(f"E{phase}-{number}")
            false_repeats += done == "repeat"
            expected.append(mono_s)
            kiosk.step(says, synchronised=synchronised)
        for earlier in range(phase + 1):  # all within the quiet hour, whatever the wall clock says
            missed_repeats += kiosk.tell(f"E{earlier}-0")[0] != "repeat"
        kiosk.tell("look")
    ledger = SqliteLedger(kiosk.database, site="hq", kiosk="door")
    events = ledger.pending(999)
    ledger.close()

    punches = sorted(settle(events), key=lambda punch: punch.event.seq)
    errors = [
        abs(punch.wall - datetime.fromtimestamp(mono_s + true_minus_mono_s, UTC))
        for punch, mono_s in zip(punches, expected, strict=True)
    ]
    monos = [punch.event.check_in.moment.mono_s for punch in punches]
    inversions = sum(later < sooner for sooner, later in itertools.pairwise(monos))
    print(
        f"\n{len(punches)} punches over {len(PHASES)} steps: order inversions {inversions}, false repeats "
        f"{false_repeats}, missed repeats {missed_repeats}, largest error {max(errors).total_seconds():.3f} s"
    )
    broken = (
        inversions + false_repeats + missed_repeats + sum(error > timedelta(seconds=1) for error in errors)
    )
    promises.record(
        "steps of the clock change neither order nor true times", trials=len(punches), failures=broken
    )
    assert max(errors) <= timedelta(seconds=1)
    assert (inversions, false_repeats, missed_repeats) == (0, 0, 0)
    shown = {punch.event.check_in.moment.wall.year for punch in punches}
    assert 1970 in shown
