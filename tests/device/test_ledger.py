"""The ledger on disk: files, failures, names, other processes."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from tests.device.punches import NOON, chain, check_in, correction_of, enrolment, moment

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.people_sqlite import SqlitePeople
from glancein.domain import wire
from glancein.errors import DamagedError, NotRecorded, SettingsError, StoreError
from glancein.storage.database import open_database, transaction
from glancein.storage.feed_schema import FEED
from glancein.storage.look_back import LATEST_OF
from glancein.storage.rescue import set_aside
from glancein.storage.schema import KIOSK, Schema
from glancein.types import Correction, Hole, OtherTime


def ledger_at(path: Path, *, kiosk: str = "door", names: bool = False, rescue: bool = False) -> SqliteLedger:
    """The ledger of hq/door."""
    return SqliteLedger(path, site="hq", kiosk=kiosk, names=names, rescue=rescue)


def test_database_is_set_up_to_lose_nothing(tmp_path: Path) -> None:
    """Every connection has the settings that survived the crash tests."""
    database = open_database(tmp_path / "kiosk.db")
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "busy_timeout", "mmap_size")

    values = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    database.conn.close()

    assert values == ["wal", 2, 1, 1, 5000, 0]


def test_database_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """It holds biometric templates."""
    path = tmp_path / "new" / "kiosk.db"
    ledger_at(path).close()

    assert path.stat().st_mode & 0o077 == 0


def test_events_survive_closing_the_file(tmp_path: Path) -> None:
    """Another start of the kiosk goes on where this one ended, in the same epoch."""
    first = ledger_at(tmp_path / "kiosk.db")
    event = first.record(check_in())
    first.close()

    again = ledger_at(tmp_path / "kiosk.db")

    assert again.pending(9) == [event]
    following = again.record(check_in("E2"))
    again.close()
    assert (following.epoch, following.seq) == (event.epoch, 2)
    assert following.previous_hash == wire.event_hash(event)


def test_renamed_kiosk_begins_a_new_epoch(tmp_path: Path) -> None:
    """A cloned card that got another name never shares a number with its twin."""
    old = ledger_at(tmp_path / "kiosk.db")
    event = old.record(check_in())
    old.close()

    new = ledger_at(tmp_path / "kiosk.db", kiosk="back-door", rescue=True)
    following = new.record(check_in("E2"))

    assert following.epoch != event.epoch
    assert (following.kiosk, following.seq) == ("back-door", 1)
    assert new.pending(9) == [event, following]
    assert new.acknowledge(event.epoch, 1) == 1
    new.close()


def test_who_only_looks_renames_nothing(tmp_path: Path) -> None:
    """The doctor or a desk with other settings than the kiosk's: a running kiosk keeps its name."""
    kiosk = ledger_at(tmp_path / "kiosk.db", rescue=True)
    event = kiosk.record(check_in())

    other = ledger_at(tmp_path / "kiosk.db", kiosk="kiosk-1")
    noted = other.record(check_in("E2"))
    following = kiosk.record(check_in("E3"))

    assert other.speaks_as == "hq/door"
    assert [(one.kiosk, one.epoch) for one in (noted, following)] == [("door", event.epoch)] * 2
    other.close()
    kiosk.close()


def test_file_that_is_still_being_restored_is_told_in_words(tmp_path: Path) -> None:
    """Another process sees the new file before the kiosk has carried anything over into it."""
    desk = ledger_at(tmp_path / "kiosk.db")
    set_aside(tmp_path / "kiosk.db")
    open_database(tmp_path / "kiosk.db").conn.close()

    for act in (desk.position, lambda: desk.record(check_in())):
        with pytest.raises(StoreError, match="the kiosk is restoring its database: try again in a minute"):
            act()

    desk.close()


def test_schema_that_is_no_text_any_more_is_damage(tmp_path: Path) -> None:
    """SQLite puts what it found into its message, which Python then cannot read."""
    path = tmp_path / "kiosk.db"
    ledger_at(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("UPDATE sqlite_master SET sql = 'x', name = CAST(x'f9' AS TEXT) WHERE name = 'outbox'")
    raw.close()

    with pytest.raises(DamagedError, match="the file is damaged; put it aside and restore a copy"):
        open_database(path)


def test_two_databases_never_share_an_epoch(tmp_path: Path) -> None:
    """A re-flashed card starts at 1 again, but as another stream."""
    one, two = ledger_at(tmp_path / "1.db"), ledger_at(tmp_path / "2.db")

    assert one.position().epoch != two.position().epoch
    one.close()
    two.close()


def test_name_is_added_only_when_asked_and_only_while_enrolled(tmp_path: Path) -> None:
    """The ledger stores no names: after erasure, history goes out without."""
    path = tmp_path / "kiosk.db"
    people = SqlitePeople(path)
    people.add("E1", enrolment("Ada Lovelace"), at=NOON)
    silent, named = ledger_at(path), ledger_at(path, names=True)

    assert silent.record(check_in()).name is None
    assert named.record(check_in()).name == "Ada Lovelace"
    people.remove("E1")
    assert [event.name for event in named.pending(9)] == [None, None]
    assert b"Lovelace" not in path.read_bytes()
    for open_file in (people, silent, named):
        open_file.close()


@pytest.mark.parametrize("statement", ["UPDATE events SET body = ''", "DELETE FROM events"])
def test_event_that_waits_cannot_be_changed_or_deleted(tmp_path: Path, statement: str) -> None:
    """Not even by hand with SQL, as long as foreign keys are on."""
    path = tmp_path / "kiosk.db"
    ledger = ledger_at(path)
    event = ledger.record(check_in())
    database = open_database(path)

    with pytest.raises(StoreError), transaction(database):
        database.execute(statement)

    database.conn.close()
    assert ledger.pending(9) == [event]
    ledger.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = replace(body, '0.6123', '0.6122')",
        "UPDATE events SET body = replace(body, '\"E', '\"' || CAST(x'ff' AS TEXT))",
        "UPDATE events SET hash = 'nonsense'",
        "DELETE FROM events",
    ],
    ids=["one digit", "no text", "hash", "lost"],
)
@pytest.mark.parametrize("numbers", [(3,), (3, 4), (6,), (2, 6)])
def test_event_that_cannot_be_read_hides_no_other(
    tmp_path: Path, damage: str, numbers: tuple[int, ...]
) -> None:
    """In its place is what the chain around it still says, whichever window one looks through."""
    path = tmp_path / "kiosk.db"
    ledger = ledger_at(path)
    events = [ledger.record(check_in(f"E{seq}", at=moment(seq))) for seq in range(1, 7)]
    epoch = events[0].epoch
    ledger.acknowledge(epoch, 6)
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER events_are_append_only")
        other.execute(f"{damage} WHERE seq IN ({', '.join(map(str, numbers))})")
    other.close()

    found = ledger.history(epoch, 1, 99)

    assert [one.seq for one in found] == [1, 2, 3, 4, 5, 6]
    assert ledger.replay(epoch, 1, 99) == [event for event in events if event.seq not in numbers]
    assert [one for seq in range(1, 7) for one in ledger.history(epoch, seq, 1)] == found
    holes = [one for one in found if isinstance(one, Hole)]
    assert [hole.seq for hole in holes] == list(numbers)
    assert holes[0].previous_hash == events[numbers[0] - 1].previous_hash
    assert holes[-1].hash == wire.event_hash(events[numbers[-1] - 1])
    ledger.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = replace(body, '0.6123', '0.6122') WHERE seq = 3",
        "UPDATE events SET body = replace(body, '\"E', '\"' || CAST(x'ff' AS TEXT)) WHERE seq = 3",
    ],
    ids=["one digit", "no text"],
)
@pytest.mark.parametrize("names", [False, True])
def test_delivered_punch_that_cannot_be_read_hides_no_other_at_the_desk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, *, names: bool
) -> None:
    """The days of all others, and the person's other punches, are there; the log names the number once."""
    path = tmp_path / "kiosk.db"
    ledger = ledger_at(path, names=names, rescue=True)
    events = [ledger.record(check_in(f"E{seq % 2 + 1}", at=moment(seq))) for seq in range(1, 7)]
    ledger.acknowledge(events[0].epoch, 6)
    with sqlite3.connect(path) as other:
        other.execute("DROP TRIGGER events_are_append_only")
        other.execute(damage)
    other.close()

    span = (NOON, NOON + timedelta(hours=1))
    everybody, again, of_one = (ledger.between(*span, who) for who in (None, None, "E2"))
    latest = ledger.latest_of("E2", 9)
    ledger.close()

    readable = [event for event in events if event.seq != 3]
    assert everybody == again == readable
    assert of_one == latest == [event for event in readable if event.check_in.person_id == "E2"]
    (warning,) = caplog.records
    assert warning.getMessage().startswith(f"number 3 of {events[0].epoch} is missing")


def test_what_is_not_kept_is_no_hole(tmp_path: Path) -> None:
    """Before the oldest number, behind the newest, and in an epoch that is not ours."""
    ledger = ledger_at(tmp_path / "kiosk.db")
    event = ledger.record(check_in())

    assert ledger.history(event.epoch, 1, 99) == [event]
    assert ledger.history(event.epoch, 2, 99) == []
    assert ledger.history("6b1eff0d-ada2-4fe2-ac29-a549dcda56a8", 1, 99) == []
    ledger.close()


def test_locked_database_means_not_recorded_and_works_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that holds the file is named as the cause."""
    monkeypatch.setattr("glancein.storage.database.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "kiosk.db"
    ledger = ledger_at(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(NotRecorded, match="another process"):
        ledger.record(check_in())

    other.execute("ROLLBACK")
    other.close()
    assert ledger.record(check_in()).seq == 1
    ledger.close()


def test_full_disk_means_not_recorded_and_loses_nothing(tmp_path: Path) -> None:
    """In a process that may write no more bytes.

    What was recorded stays, the rest is refused, nothing is torn.
    """
    path = tmp_path / "kiosk.db"
    before = ledger_at(path)
    before.record(check_in())
    before.close()

    outcome = subprocess.run(
        [sys.executable, "-c", FILL, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)),
    ).stdout.split()

    after = ledger_at(path)
    shown, refused = (int(word) for word in outcome)
    assert refused == 4
    assert shown > 50
    assert after.position().seq == shown + 1
    assert len(after.pending(10_000)) == shown + 1
    after.close()


def test_full_disk_is_called_full_by_who_only_reads(tmp_path: Path) -> None:
    """SQLite calls it an error of the disk when the file that readers share cannot grow; the card is well."""
    path = tmp_path / "kiosk.db"
    ledger_at(path).close()

    said = subprocess.run(
        [sys.executable, "-c", OPEN, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384)),
    ).stdout

    assert "the disk is full; free some space" in said
    assert "is_disk_error: False" in said


OPEN = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from glancein.errors import StoreError
from glancein.storage.database import is_disk_error, open_database
try:
    open_database(Path(sys.argv[1]))
except StoreError as err:
    print(err, f"is_disk_error: {is_disk_error(err)}")
"""


FILL = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.errors import NotRecorded
from tests.device.punches import check_in
ledger = SqliteLedger(Path(sys.argv[1]), site="hq", kiosk="door")
shown = refused = 0
while refused < 4 and shown < 5000:
    try:
        ledger.record(check_in())
        shown += 1
    except NotRecorded:
        refused += 1
print(shown, refused)
"""


def test_read_only_file_is_refused_in_words(tmp_path: Path) -> None:
    """A file that cannot be written is told apart from a damaged one."""
    ledger = ledger_at(tmp_path / "kiosk.db")
    with ledger._open() as database:
        database.execute("PRAGMA query_only = ON")

    with pytest.raises(NotRecorded, match="cannot be written"):
        ledger.record(check_in())
    assert ledger.record(check_in()).seq == 1  # a new connection, which may write
    ledger.close()


def test_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Going back to an older glancein does not damage what a newer one wrote."""
    path = tmp_path / "kiosk.db"
    open_database(
        path, schema=Schema(KIOSK.application_id, (*KIOSK.migrations, ("CREATE TABLE x (y)",)))
    ).close()
    before = path.read_bytes()

    with pytest.raises(StoreError, match="newer glancein"):
        ledger_at(path)
    assert path.read_bytes() == before


def test_migration_keeps_what_is_there(tmp_path: Path) -> None:
    """A file of this version becomes one of the next with all its events; doing it twice changes nothing."""
    path = tmp_path / "kiosk.db"
    ledger = ledger_at(path)
    event = ledger.record(check_in())
    ledger.close()
    following = Schema(
        KIOSK.application_id, (*KIOSK.migrations, ("ALTER TABLE events ADD COLUMN note TEXT",))
    )

    for _ in range(2):
        database = open_database(path, schema=following)
        version = database.execute("PRAGMA user_version").fetchone()[0]
        rows = database.execute("SELECT hash, note FROM events").fetchall()
        database.close()

        assert version == len(following.migrations)
        assert rows == [(wire.event_hash(event), None)]


def test_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """What the first release recorded can be looked up by day and corrected."""
    path = tmp_path / "kiosk.db"
    first = open_database(path, schema=Schema(KIOSK.application_id, KIOSK.migrations[:1]))
    event = chain(1)[0]
    with transaction(first):
        first.execute(
            "INSERT INTO stream VALUES (1, :epoch, 'hq', 'door', 1, :hash, '2026-03-02T12:00:00Z', 'made')",
            {"epoch": event.epoch, "hash": wire.event_hash(event)},
        )
        first.execute(
            "INSERT INTO events VALUES (1, :epoch, 1, 'E1', :body, :hash, :previous)",
            {
                "epoch": event.epoch,
                "body": wire.encode_event(event).decode(),
                "hash": wire.event_hash(event),
                "previous": wire.NO_HASH,
            },
        )
    first.close()

    ledger = ledger_at(path)

    correction = ledger.record(correction_of(event))
    assert ledger.between(NOON, NOON + timedelta(minutes=1)) == [event, correction]
    ledger.close()


def test_failed_migration_leaves_the_old_version(tmp_path: Path) -> None:
    """Half a migration is none."""
    path = tmp_path / "kiosk.db"
    ledger_at(path).close()
    broken = Schema(KIOSK.application_id, (*KIOSK.migrations, ("CREATE TABLE half (x)", "NONSENSE")))

    with pytest.raises(StoreError):
        open_database(path, schema=broken)

    ledger_at(path).close()


@pytest.mark.parametrize(
    ("content", "words"), [(b"this is not a database, but long enough" * 30, "not a database"), (b"", None)]
)
def test_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes, words: str | None) -> None:
    """An empty file becomes a database, anything else is left as it is."""
    path = tmp_path / "kiosk.db"
    path.write_bytes(content)

    if words is None:
        ledger_at(path).close()
        return
    with pytest.raises(StoreError, match=words):
        ledger_at(path)
    assert path.read_bytes() == content


def test_other_programs_database_is_refused(tmp_path: Path) -> None:
    """Neither a foreign database nor HR's feed file becomes a kiosk's."""
    foreign, feed = tmp_path / "foreign.db", tmp_path / "feed.db"
    with sqlite3.connect(foreign) as other:
        other.execute("CREATE TABLE x (y)")
    other.close()
    open_database(feed, schema=FEED).close()

    for path in (foreign, feed):
        with pytest.raises(StoreError, match="another kind"):
            ledger_at(path)


def test_folder_is_refused_as_database(tmp_path: Path) -> None:
    """Naming the folder instead of the file is a common slip."""
    with pytest.raises(StoreError, match="is a folder"):
        ledger_at(tmp_path)


def test_kiosk_name_that_breaks_topics_is_refused(tmp_path: Path) -> None:
    """Before any file is made."""
    with pytest.raises(SettingsError):
        ledger_at(tmp_path / "kiosk.db", kiosk="a/b")
    assert not (tmp_path / "kiosk.db").exists()


def test_recording_from_several_threads_keeps_the_chain(tmp_path: Path) -> None:
    """Two ledgers on one file and four threads: no number twice, none missing, chain unbroken."""
    ledgers = [ledger_at(tmp_path / "kiosk.db") for _ in range(2)]

    def work(number: int) -> None:
        for count in range(10):
            ledgers[number % 2].record(check_in(f"E{number}-{count}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    events = ledgers[0].pending(99)
    for ledger in ledgers:
        ledger.close()
    assert [event.seq for event in events] == list(range(1, 41))
    hashes = [wire.NO_HASH, *(wire.event_hash(event) for event in events)]
    assert [event.previous_hash for event in events] == hashes[:-1]


def test_punch_and_its_time_are_recorded_both_or_neither(tmp_path: Path) -> None:
    """A correction that nobody could read leaves no punch behind; the second copy holds both."""
    ledger = ledger_at(tmp_path / "kiosk.db")

    with pytest.raises(NotRecorded, match="check-in was not recorded"):
        ledger.note(check_in(), lambda name: Correction(name, OtherTime(NOON), "", "hr", moment()))
    event = ledger.note(check_in(), lambda name: Correction(name, OtherTime(NOON), "forgot", "hr", moment()))

    punch, correction = ledger.pending(9)
    assert (event, punch.seq, correction.seq) == (punch, 1, 2)
    assert isinstance(correction.body, Correction)
    assert correction.body.of == punch.id
    assert (ledger.position().backlog, ledger.is_all_copied()) == (2, True)
    ledger.close()


def test_last_punches_are_found_by_index(tmp_path: Path) -> None:
    """Somebody waits in front while it is looked up, among a million."""
    ledger = ledger_at(tmp_path / "kiosk.db")
    with ledger._open() as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN {LATEST_OF}", {"person": "E1", "limit": 10}).fetchall()
    ledger.close()

    steps = [step for *_, step in plan if "events" in step or step.startswith("SEARCH")]
    assert any("events_by_person" in step for step in steps)
    assert any("corrections_to_person" in step for step in steps)
    assert not [step for step in steps if step.startswith("SCAN")]
