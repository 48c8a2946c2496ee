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
from tests.faults.crash_states import crash_states
from tests.faults.history import bound

EVENTS = 40
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
        waiting = database.execute("SELECT count(*) FROM outbox").fetchone()[0]
        given_out = database.execute("SELECT coalesce(max(seq), 0) FROM stream").fetchone()[0]
    except sqlite3.DatabaseError:
        return "corrupt"
    finally:
        database.close()
    if numbers != list(range(1, given_out + 1)) or waiting != given_out:
        return "torn"
    return "ok" if given_out >= promised else "lost"


def verdicts_of(log: Path, source: Path, *, variants: int) -> Counter[str]:
    """How many of the possible disks are well."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a fresh folder inside
    with tempfile.TemporaryDirectory(dir=memory) as place:
        return Counter(
            verdict_on(files, promised, Path(place))
            for files, promised in crash_states(log, source, seed=1, variants=variants)
        )


@pytest.mark.parametrize("variants", [3, pytest.param(40, marks=pytest.mark.heavy)], ids=["short", "long"])
def test_power_cut_at_any_call_loses_nothing_that_was_shown(tmp_path: Path, variants: int) -> None:
    """Every disk that a cut could leave behind opens, is whole, and holds every event that was shown."""
    source = tmp_path / "source"
    source.mkdir()

    verdicts = verdicts_of(traced(source), source, variants=variants)

    states = verdicts.total()
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
