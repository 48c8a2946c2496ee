"""A disk that fills up, that cannot be written, or whose syncs fail: never a false thanks."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.device.punches import check_in, moment
from tests.faults.crash_states import crash_states
from tests.faults.history import bound
from tests.faults.promises import Promises

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.errors import NotRecorded
from glancein.storage.ballast import NAME, Ballast

EVENTS = 30
CALLS = "pwrite64,write,fdatasync,fsync,ftruncate,unlink"
DISK_MB = 64
ENOUGH = 10_000
pytestmark = pytest.mark.faults


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own in memory; skipped where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)],  # the system's
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"this machine does not allow mounting: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # as above


def fill(place: Path, share: float) -> Path:
    """Somebody else's file, until the disk is so full."""
    disk = shutil.disk_usage(place)
    filler = place / "somebody-elses"
    with filler.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, filler.stat().st_size + int(share * disk.total) - disk.used)
    return filler


def test_nearly_full_disk_takes_ten_thousand_check_ins_and_then_refuses(
    small_disk: Path, promises: Promises
) -> None:
    """The kept space is given up, then every punch is either in the database or refused; room heals it."""
    ledger = SqliteLedger(small_disk / "kiosk.db", site="hq", kiosk="door", rescue=True)
    ledger.record(check_in())
    assert (small_disk / NAME).exists()
    filler = fill(small_disk, 0.951)
    with ledger._open() as database:
        database.execute("PRAGMA synchronous = OFF")  # a disk in memory has nothing to sync
    for number in range(ENOUGH):
        ledger.record(check_in(f"E{number % 200}", at=moment(number)))
    fill(small_disk, 1.0)
    shown, refused = ENOUGH, 0
    while refused < 5:
        try:
            ledger.record(check_in(f"E{shown % 200}", at=moment(shown)))
            shown += 1
        except NotRecorded as err:
            refused += 1
            assert "disk is full" in str(err)  # noqa: PT017  # every one of them
    recorded = ledger.position().seq - 1

    print(f"\n{shown} check-ins after 95 % full, then refused; {recorded} in the database")
    promises.record(
        "a nearly full disk takes 10,000 check-ins, then refuses", trials=shown, failures=shown - recorded
    )
    assert recorded == shown
    assert ledger.is_disk_tight
    filler.unlink()
    assert ledger.record(check_in("E1")).seq == shown + 2
    ledger.close()


def test_read_only_disk_refuses_and_heals(small_disk: Path) -> None:
    """As after an error of the file system: NOT RECORDED, and it goes on once the disk can be written."""
    ledger = SqliteLedger(small_disk / "kiosk.db", site="hq", kiosk="door", rescue=True)
    first = ledger.record(check_in())
    ledger.close()

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    remount("ro")
    with pytest.raises(NotRecorded, match=r"may be written|cannot be written"):
        ledger.record(check_in("E2"))
    remount("rw")

    assert ledger.record(check_in("E2")).seq == first.seq + 1
    ledger.close()


@pytest.mark.parametrize("every", [3, 5], ids=lambda every: f"every-{every}th")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_failing_sync_never_shows_what_is_not_on_the_disk(
    tmp_path: Path, promises: Promises, error: str, every: int
) -> None:
    """What was written before a failed sync counts as thrown away: all that was shown is still there."""
    source = tmp_path / "source"
    source.mkdir()
    log, refused = failing(source, f"fdatasync:error={error}:when=20+{every}")

    states = false = 0
    place = tmp_path / "place"
    place.mkdir()
    for files, promised in crash_states(log, source, seed=1, variants=0):
        states += 1
        false += len(set(range(1, promised + 1)) - numbers_in(files, place))

    print(f"\nevery {every}th sync fails with {error}: {refused} refused, {states} disks, {bound(states)}")
    promises.record("a failing sync is never shown as recorded", trials=states, failures=false)
    assert refused > 0
    assert false == 0


def failing(folder: Path, injection: str) -> tuple[Path, int]:
    """The log of a process whose calls fail like that, and how many punches it refused."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace on this machine: sudo apt install strace")
    log = folder.parent / "calls.log"
    writer = [sys.executable, "-m", "tests.faults.disk_writer", str(folder / "kiosk.db"), str(EVENTS)]
    outcome = subprocess.run(
        [
            *(strace, "-xx", "-y", "-s", "70000", "-e", f"trace={CALLS}", "-e", f"inject={injection}"),
            *("-o", str(log), *writer),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "ptrace" in outcome.stderr.lower():
        pytest.skip("this machine does not allow strace")
    assert outcome.returncode == 0, outcome.stderr
    found = re.search(r"refused (\d+)", outcome.stderr)
    assert found is not None
    return log, int(found[1])


def numbers_in(files: dict[str, bytes], place: Path) -> set[int]:
    """What a database has after the power came back."""
    for old in place.iterdir():
        old.unlink()
    for name, content in files.items():
        (place / name).write_bytes(content)
    database = sqlite3.connect(place / "kiosk.db")
    try:
        return {row[0] for row in database.execute("SELECT seq FROM events")}
    except sqlite3.OperationalError:  # before the tables were there nothing can have been shown
        return set()
    finally:
        database.close()


def test_ballast_is_taken_only_where_there_is_room(tmp_path: Path) -> None:
    """A file larger than the disk is never asked for twice, and nothing fails for it."""
    huge = Ballast(tmp_path, size_bytes=shutil.disk_usage(tmp_path).total * 2)

    huge.look()

    assert not (tmp_path / NAME).exists()
    assert not huge.is_tight


def test_ballast_is_taken_once(tmp_path: Path) -> None:
    """Looking again changes nothing."""
    small = Ballast(tmp_path, size_bytes=4096)
    for _ in range(2):
        small.look()

    assert (tmp_path / NAME).stat().st_size == 4096
