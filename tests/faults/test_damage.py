"""A database whose pages were damaged, or which is an old copy: what nobody acknowledged is still there."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.device.punches import NOON, check_in, correction_of, enrolment, moment
from tests.faults.history import bound
from tests.faults.promises import Promises

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.people_sqlite import SqlitePeople
from glancein.storage.rescue import is_damage
from glancein.types import Event

ACKNOWLEDGED, WAITING = 150, 60
PAGE = 4096
pytestmark = pytest.mark.faults


@dataclass(frozen=True, slots=True)
class Kiosk:
    """A folder with a database and its second copy, and what nobody acknowledged."""

    folder: Path
    waiting: list[Event]

    @property
    def database(self) -> Path:
        """The database."""
        return self.folder / "kiosk.db"


def opened(path: Path) -> SqliteLedger:
    """The ledger as the kiosk opens it."""
    return SqliteLedger(path, site="hq", kiosk="door", rescue=True)


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: the speed of the disk is not what is tested."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a fresh folder inside
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def kiosk(memory: Path) -> Kiosk:
    """People, acknowledged events, and waiting ones of two kinds."""
    folder = memory / "sound"
    folder.mkdir()
    path = folder / "kiosk.db"
    people = SqlitePeople(path)
    for number in range(5):
        people.add(f"E{number}", enrolment(f"Person {number}", seed=number, photo=str(number)), at=NOON)
    people.close()
    ledger = opened(path)
    for number in range(ACKNOWLEDGED + WAITING - 1):
        ledger.record(check_in(f"E{number % 50}", at=moment(number)))
    ledger.record(correction_of(ledger.pending(1)[0]))
    ledger.acknowledge(ledger.position().epoch, ACKNOWLEDGED)
    waiting = ledger.pending(999)
    with ledger._open() as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.close()
    return Kiosk(folder, waiting)


def zero_pages(content: bytearray, rng: random.Random) -> None:
    """As after a card that forgot some blocks."""
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(content) // PAGE) * PAGE
        content[place : place + PAGE] = bytes(PAGE)


def flip_bits(content: bytearray, rng: random.Random) -> None:
    """Single bits anywhere."""
    for _ in range(rng.randint(1, 40)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def cut_off(content: bytearray, rng: random.Random) -> None:
    """The file ends early, on a page or within one."""
    del content[rng.randrange(len(content)) :]


def scramble(content: bytearray, rng: random.Random) -> None:
    """Blocks with other contents."""
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(content) // PAGE) * PAGE
        content[place : place + PAGE] = rng.randbytes(PAGE)


DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (zero_pages, flip_bits, cut_off, scramble)


def ruined(kiosk: Kiosk, folder: Path, seed: int) -> Path:
    """A copy of the kiosk with a damaged database."""
    shutil.copytree(kiosk.folder, folder)
    path = folder / "kiosk.db"
    content = bytearray(path.read_bytes())
    rng = random.Random(seed)
    DAMAGES[seed % len(DAMAGES)](content, rng)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("seeds", [20, pytest.param(200, marks=pytest.mark.heavy)], ids=["short", "long"])
def test_damaged_database_loses_nothing_that_waits(
    kiosk: Kiosk, memory: Path, promises: Promises, seeds: int
) -> None:
    """Zeroed and scrambled pages, flipped bits, cut files: what waits is there as it was."""
    outcomes: Counter[str] = Counter()
    for seed in range(seeds):
        path = ruined(kiosk, memory / str(seed), seed)
        ledger = opened(path)
        found = {event.id: event for event in ledger.pending(9999)}
        for event in kiosk.waiting:
            outcomes["lost"] += event.id not in found
            outcomes["changed"] += event.id in found and found[event.id] != event
        is_aside = bool(list(path.parent.glob("kiosk.db.damaged-*")))
        outcomes["set aside" if is_aside else "not noticed in what matters"] += 1
        following = ledger.record(check_in("E999"))
        outcomes["number used twice"] += following.id in found
        assert ledger.pending(9999)[-1] == following
        ledger.close()
        shutil.rmtree(path.parent)

    print(
        f"\n{seeds} damaged databases, {len(kiosk.waiting)} events waiting: {dict(outcomes)}; {bound(seeds)}"
    )
    broken = outcomes["lost"] + outcomes["changed"] + outcomes["number used twice"]
    promises.record("a damaged database loses nothing that waits", trials=seeds, failures=broken)
    assert not outcomes["lost"]
    assert not outcomes["changed"]
    assert not outcomes["number used twice"]


def test_without_the_second_copy_damage_loses_events(kiosk: Kiosk, memory: Path) -> None:
    """The proof of the proof: the same damages, but only the database to recover from."""
    lost = 0
    for seed in range(20):
        path = ruined(kiosk, memory / f"alone-{seed}", seed)
        for file in path.parent.glob("*.tail-*"):
            file.unlink()
        try:
            ledger = opened(path)
            found = {event.id: event for event in ledger.pending(9999)}
            ledger.close()
        except Exception as err:  # noqa: BLE001  # without a second copy a strange file is refused, too
            print(f"seed {seed}: {err}")
            found = {}
        lost += sum(found.get(event.id) != event for event in kiosk.waiting)

    print(f"\nwithout the second copy: {lost} of {20 * len(kiosk.waiting)} lost")
    assert lost > 0


def test_damaged_database_is_kept_and_what_is_whole_carried_over(kiosk: Kiosk, tmp_path: Path) -> None:
    """People are still enrolled and most of the history is there."""
    folder = tmp_path / "kiosk"
    shutil.copytree(kiosk.folder, folder)
    path = folder / "kiosk.db"
    content = bytearray(path.read_bytes())
    pages = len(content) // PAGE
    content[PAGE * (pages - 3) : PAGE * (pages - 1)] = bytes(2 * PAGE)
    path.write_bytes(content)

    ledger = opened(path)

    assert len(list(folder.glob("kiosk.db.damaged-*"))) >= 1
    history = ledger.replay(kiosk.waiting[0].epoch, 1, 9999)
    assert len(history) >= (ACKNOWLEDGED + WAITING) // 2
    ledger.close()
    people = SqlitePeople(path)
    assert len(people.people()) == 5
    people.close()


def test_damage_that_shows_while_the_kiosk_runs_costs_no_punch(kiosk: Kiosk, tmp_path: Path) -> None:
    """The next punch is recorded in a new database."""
    folder = tmp_path / "kiosk"
    shutil.copytree(kiosk.folder, folder)
    path = folder / "kiosk.db"
    ledger = opened(path)
    epoch = ledger.position().epoch
    content = bytearray(path.read_bytes())
    content[PAGE:] = bytes(len(content) - PAGE)
    with path.open("r+b") as file:  # the same file, under the open connection
        file.write(content)
    ledger.close()

    event = ledger.record(check_in("E7"))

    assert event.epoch == ledger.position().epoch != epoch
    assert ledger.pending(9999) == [*kiosk.waiting, event]
    ledger.close()


def test_damage_that_two_threads_meet_is_set_aside_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second finds a sound database in its place, and leaves that alone."""
    path = tmp_path / "kiosk.db"
    ledger = opened(path)
    events = [ledger.record(check_in(f"E{number}", at=moment(number))) for number in range(3)]
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER events_are_append_only")
        other.execute("UPDATE events SET body = replace(body, '\"E2\"', '\"E7\"')")
    other.close()
    both = threading.Barrier(2, timeout=60)

    def after_both_met_it(err: BaseException | None) -> bool:
        both.wait()
        return is_damage(err)

    monkeypatch.setattr("glancein.adapters.ledger_sqlite.is_damage", after_both_met_it)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(ledger.pending, (9, 9)))
    ledger.close()

    assert found == [events, events]
    assert len([p for p in tmp_path.glob("*.damaged-*") if not p.name.endswith(("-wal", "-shm"))]) == 1


def test_sound_database_is_left_alone(kiosk: Kiosk, tmp_path: Path) -> None:
    """No new epoch, nothing set aside, nothing waits that was acknowledged."""
    folder = tmp_path / "kiosk"
    shutil.copytree(kiosk.folder, folder)

    for _ in range(3):
        ledger = opened(folder / "kiosk.db")
        assert ledger.position().epoch == kiosk.waiting[0].epoch
        assert ledger.pending(9999) == kiosk.waiting
        ledger.close()
    assert not list(folder.glob("*.damaged-*"))


def test_old_copy_of_the_database_is_noticed_at_the_start(tmp_path: Path) -> None:
    """A restored backup: a new epoch, and what waited since comes from the second copy under its old name."""
    path = tmp_path / "kiosk.db"
    ledger = opened(path)
    for number in range(5):
        ledger.record(check_in(f"E{number}", at=moment(number)))
    ledger.close()
    backup = path.read_bytes()
    for number in range(5, 12):
        ledger.record(check_in(f"E{number}", at=moment(number)))
    old = ledger.position().epoch
    ledger.acknowledge(old, 8)
    waiting = ledger.pending(99)
    ledger.close()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(backup)

    restored = opened(path)

    assert restored.pending(99) == waiting
    assert restored.record(check_in("E99")).epoch != old
    assert restored.acknowledge(old, 12) == len(waiting)
    restored.close()


@pytest.mark.parametrize("acknowledged", [False, True], ids=["waiting", "all acknowledged"])
def test_lost_database_never_uses_a_number_twice(tmp_path: Path, *, acknowledged: bool) -> None:
    """Somebody deletes the file: the second copy brings back what waited, in its old epoch."""
    path = tmp_path / "kiosk.db"
    ledger = opened(path)
    events = [ledger.record(check_in(f"E{number}", at=moment(number))) for number in range(5)]
    if acknowledged:
        ledger.acknowledge(events[0].epoch, 5)
    ledger.close()
    for file in tmp_path.glob("kiosk.db*"):
        if ".tail-" not in file.name:
            file.unlink()

    again = opened(path)

    assert again.pending(99) == ([] if acknowledged else events)
    assert again.record(check_in("E9")).epoch != events[0].epoch
    again.close()


def test_second_copy_does_not_grow_without_end(tmp_path: Path) -> None:
    """Files whose events are all acknowledged are deleted."""
    ledger = opened(tmp_path / "kiosk.db")
    ledger._tail._file_bytes = 5_000
    for number in range(100):
        event = ledger.record(check_in(f"E{number}", at=moment(number)))
        if number % 10 == 9:
            ledger.acknowledge(event.epoch, event.seq)

    files = list(tmp_path.glob("kiosk.db.tail-*"))
    ledger.close()

    assert sum(file.stat().st_size for file in files) < 40_000


@pytest.mark.parametrize("starts", [1, 5], ids=["one start", "several starts"])
def test_second_copy_does_not_grow_behind_what_was_laid_aside(tmp_path: Path, starts: int) -> None:
    """One event waits for a person: its file stays, the others go, and nothing else is sent again."""
    path = tmp_path / "kiosk.db"
    first = opened(path)
    first._tail._file_bytes = 5_000
    events = [first.record(check_in(f"E{number}", at=moment(number))) for number in range(4)]
    first.lay_aside(events[1].id, "the broker never takes it")
    first.open_epoch("test")
    first.close()
    for start in range(starts):
        ledger = opened(path)
        ledger._tail._file_bytes = 5_000
        ledger.acknowledge(events[0].epoch, 4)
        for number in range(60):
            event = ledger.record(check_in(f"E{number}", at=moment(100 * start + number)))
            ledger.acknowledge(event.epoch, event.seq)
        ledger.close()

    files = list(tmp_path.glob("kiosk.db.tail-*"))
    again = opened(path)

    assert len(files) <= 4
    assert again.pending(999) == []
    assert [one.event for one in again.laid_aside()] == [events[1]]
    again.close()
    path.unlink()
    saved = opened(path)
    assert saved.pending(999) == [events[1]]
    saved.close()


@pytest.mark.parametrize("suffix", ["00000001.bak", "00000001~", "zzz", "", "²"])
def test_foreign_file_beside_the_second_copy_is_left_alone(tmp_path: Path, suffix: str) -> None:
    """Somebody's copy of it, say: it is neither read, nor continued, nor deleted."""
    ledger = opened(tmp_path / "kiosk.db")
    first = ledger.record(check_in("E1"))
    ledger.close()
    foreign = tmp_path / f"kiosk.db.tail-{suffix}"
    foreign.write_bytes((tmp_path / "kiosk.db.tail-00000001").read_bytes())

    again = opened(tmp_path / "kiosk.db")
    second = again.record(check_in("E2", at=moment(1)))
    again.acknowledge(second.epoch, second.seq)
    again.close()

    assert second.previous_hash != first.previous_hash
    assert again.tail_problem is None
    assert foreign.exists()


def test_second_copy_that_cannot_be_written_stops_nobody_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is in the database; the problem is told, and the copy is complete once the disk is well."""
    path = tmp_path / "kiosk.db"
    ledger = opened(path)
    first = ledger.record(check_in("E1"))

    def fail(descriptor: int) -> None:
        raise OSError(5, f"Input/output error on {descriptor}")

    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", fail)
        second = ledger.record(check_in("E2", at=moment(1)))
        told = ledger.tail_problem
    third = ledger.record(check_in("E3", at=moment(2)))

    assert told is not None
    assert ledger.tail_problem is None
    ledger.close()
    path.unlink()
    again = opened(path)
    assert again.pending(9) == [first, second, third]
    again.close()


@pytest.mark.parametrize("rescue", [True, False], ids=["kiosk", "desk"])
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            "UPDATE events SET body = replace(body, '\"E2\"', '\"E7\"')",
            "number 2 in the ledger is not what was",
        ),
        ("DROP TABLE people", None),
    ],
    ids=["what is to be copied", "names"],
)
def test_punch_is_recorded_once_whatever_is_damaged_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, problem: str | None, *, rescue: bool
) -> None:
    """What goes with it, others' second copy and the name, makes it neither fail nor come twice."""
    path = tmp_path / "kiosk.db"
    ledger = SqliteLedger(path, site="hq", kiosk="door", names=True, rescue=rescue)
    ledger.record(check_in("E1"))

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", fail)
        ledger.record(check_in("E2", at=moment(1)))
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER events_are_append_only")
        other.execute(damage)

    event = ledger.record(check_in("E3", at=moment(2)))

    found = other.execute("SELECT epoch, seq FROM events WHERE person_id = 'E3'").fetchall()
    assert found == [(event.epoch, event.seq)]
    assert (problem is None) == (ledger.tail_problem is None)
    assert str(problem or None) in str(ledger.tail_problem)
    other.close()
    ledger.close()


def test_what_had_no_second_copy_gets_one_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kiosk that died while the copy could not be written: any process tells it, the next makes it good."""
    path = tmp_path / "kiosk.db"
    ledger = opened(path)
    events = [ledger.record(check_in("E1"))]

    def fail(descriptor: int) -> None:
        raise OSError(28, f"No space left on {descriptor}")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", lambda descriptor, *_: fail(descriptor))
        events += [ledger.record(check_in(f"E{number}", at=moment(number))) for number in (2, 3)]
    assert "No space left" in str(ledger.tail_problem)
    ledger.close()
    again = opened(path)
    before = again.is_all_copied()
    events.append(again.record(check_in("E4", at=moment(4))))
    after = again.is_all_copied()
    again.close()
    path.unlink()

    saved = opened(path)
    assert (before, after) == (False, True)
    assert saved.pending(9) == events
    saved.close()


def test_two_processes_keep_their_own_files(tmp_path: Path) -> None:
    """The kiosk and the desk record in one database; neither deletes what the other writes to."""
    path = tmp_path / "kiosk.db"
    kiosk, desk = opened(path), opened(path)
    punch = kiosk.record(check_in())
    correction = desk.record(correction_of(punch))
    kiosk.acknowledge(punch.epoch, 1)

    kiosk.close()
    desk.close()
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)

    again = opened(path)
    assert again.pending(9) == [correction]
    again.close()


def test_file_of_another_program_is_never_set_aside(tmp_path: Path) -> None:
    """Only what was ours can be damaged."""
    path = tmp_path / "kiosk.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE x (y)")
    other.close()

    with pytest.raises(Exception, match="another kind"):
        opened(path)

    assert [file.name for file in tmp_path.iterdir()] == ["kiosk.db"]
