"""Power cuts, replayed from the system calls of the real ledger: nothing shown is lost, nothing is torn."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from tests.device.punches import check_in
from tests.faults.crash_states import crash_states
from tests.faults.history import bound
from tests.faults.promises import Promises

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.errors import StoreError
from glancein.storage.tail import Tail

EVENTS = 24
START_EVERY = 50  # on every so many disks the kiosk is really started
CALLS = "pwrite64,write,fdatasync,fsync,ftruncate,unlink"
pytestmark = pytest.mark.faults


def traced(folder: Path, *, synchronous: str = "as_shipped") -> Path:
    """The log of a process that records; skipped where strace is missing or not allowed."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace on this machine: sudo apt install strace")
    log = folder.parent / "calls.log"
    outcome = subprocess.run(
        [
            *(strace, "-xx", "-y", "-s", "70000", "-e", f"trace={CALLS}", "-o", str(log)),
            *(
                sys.executable,
                "-m",
                "tests.faults.recorder",
                str(folder / "kiosk.db"),
                str(EVENTS),
                synchronous,
            ),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "PTRACE" in outcome.stderr or "ptrace" in outcome.stderr:
        pytest.skip("this machine does not allow strace")
    assert outcome.returncode == 0, outcome.stderr
    return log


def verdict_on(files: dict[str, bytes], promised: int, folder: Path) -> str:
    """What is found after the power comes back: ok, lost, corrupt or torn."""
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    database = sqlite3.connect(folder / "kiosk.db")
    try:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            return "corrupt"
        if database.execute("PRAGMA user_version").fetchone() == (0,):
            return "ok" if promised == 0 else "lost"
        numbers = [row[0] for row in database.execute("SELECT seq FROM events ORDER BY seq")]
        waiting = [
            row[0]
            for row in database.execute("SELECT seq FROM outbox JOIN events USING (number) ORDER BY number")
        ]
        given_out = database.execute("SELECT coalesce(max(seq), 0) FROM stream").fetchone()[0]
    except sqlite3.DatabaseError:
        return "corrupt"
    finally:
        database.close()
    if numbers != list(range(1, given_out + 1)) or waiting != numbers[len(numbers) - len(waiting) :]:
        return "torn"
    if given_out < promised:
        return "lost"
    return verdict_on_second_copy(folder, waiting, promised, given_out)


def verdict_on_second_copy(folder: Path, waiting: list[int], promised: int, given_out: int) -> str:
    """It holds all that was shown and waits, and never what the database does not hold."""
    tail = Tail(folder / "kiosk.db")
    memory = tail.remember()
    kept = {event.seq for _, event in tail.waiting(memory)}
    if not {seq for seq in waiting if seq <= promised} <= kept:
        return "lost from the second copy"
    return "ok" if max(memory.highest.values(), default=0) <= given_out else "second copy ahead"


def verdict_after_start(folder: Path, promised: int) -> str:
    """What the kiosk makes of the same disk: everything is there once, in the same stream."""
    try:
        ledger = SqliteLedger(folder / "kiosk.db", site="hq", kiosk="door", rescue=True)
    except StoreError as err:
        return f"not opened: {err}"
    seqs = [event.seq for event in ledger.replay(ledger.position().epoch, 1, 999)]
    waiting = [event.seq for event in ledger.pending(999)]
    following = ledger.record(check_in("E99"))
    ledger.close()
    if list(folder.glob("*.damaged-*")):
        return "set aside"
    if len(seqs) < promised or following.seq != len(seqs) + 1:
        return "lost at the start"
    return "ok" if waiting == sorted(set(waiting)) else "doubled at the start"


def verdicts_of(log: Path, source: Path, *, variants: int) -> Counter[str]:
    """How many of the possible disks are well."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a fresh folder inside
    with tempfile.TemporaryDirectory(dir=memory) as place:
        verdicts: Counter[str] = Counter()
        for number, (files, promised) in enumerate(crash_states(log, source, seed=1, variants=variants)):
            verdict = verdict_on(files, promised, Path(place))
            if verdict == "ok" and number % START_EVERY == 0:
                verdict = verdict_after_start(Path(place), promised)
            verdicts[verdict] += 1
        return verdicts


@pytest.mark.parametrize("variants", [3, pytest.param(40, marks=pytest.mark.heavy)], ids=["short", "long"])
def test_power_cut_at_any_call_loses_nothing_that_was_shown(
    tmp_path: Path, promises: Promises, variants: int
) -> None:
    """Every disk that a cut could leave behind opens, is whole, and holds every event that was shown."""
    source = tmp_path / "source"
    source.mkdir()

    verdicts = verdicts_of(traced(source), source, variants=variants)

    states = verdicts.total()
    promises.record(
        "a power cut loses, tears or doubles nothing that was shown, in the database or its second copy",
        trials=states,
        failures=states - verdicts["ok"],
    )
    print(f"\n{states} crash states of {EVENTS} events: {dict(verdicts)}; {bound(states)}")
    assert set(verdicts) == {"ok"}
    assert states >= 2000


def test_replay_finds_what_a_weaker_setting_loses(tmp_path: Path) -> None:
    """The proof of the proof: with synchronous NORMAL the same replay finds lost events."""
    source = tmp_path / "source"
    source.mkdir()

    verdicts = verdicts_of(traced(source, synchronous="NORMAL"), source, variants=0)

    print(f"\nsynchronous NORMAL: {dict(verdicts)}")
    assert verdicts["lost"] > 0
