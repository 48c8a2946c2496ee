"""The database against its second copy: is it behind, is it damaged, and what has to be brought in."""

from __future__ import annotations

from sqlite_utils import Database

from glancein.domain import wire
from glancein.errors import DamagedError
from glancein.storage.database import scalar
from glancein.storage.tail import Memory, Tail
from glancein.types import CheckIn, Event

BROUGHT_IN = "events were brought in from the second copy"  # why a stream's row is there, or is as it is
NOBODY = ""  # in the column person_id, of events that are no check-in


def write_event(database: Database, event: Event) -> int:
    """Add a row for the event; returns its number in the file."""
    row = database.execute(
        """
        INSERT INTO events (epoch, seq, person_id, body, hash, previous_hash)
        VALUES (:epoch, :seq, :person, :body, :hash, :previous)
        """,
        {
            "epoch": event.epoch,
            "seq": event.seq,
            "person": event.body.person_id if isinstance(event.body, CheckIn) else NOBODY,
            "body": wire.encode_event(event).decode(),
            "hash": wire.event_hash(event),
            "previous": event.previous_hash,
        },
    )
    return int(row.lastrowid or 0)


def epochs_behind(database: Database, memory: Memory) -> list[str]:
    """Epochs that went further than the database knows, or otherwise: it is an old copy."""
    behind = []
    for epoch, highest in memory.highest.items():
        seq = scalar(database, "SELECT seq FROM stream WHERE epoch = :epoch", {"epoch": epoch})
        last = memory.last.get(epoch)
        is_other = last is not None and _hash(database, last) not in {None, wire.event_hash(last)}
        if not isinstance(seq, int) or seq < highest or is_other:
            behind.append(epoch)
    return behind


def compare(database: Database, tail: Tail, memory: Memory) -> None:
    """Every event of the second copy must be here as it was; one that left the outbox unnoted waits again.

    Raises DamagedError. Epochs in which the database is behind are another matter.
    """
    behind = set(epochs_behind(database, memory))
    _check_heads(database)
    lost_rows = []
    for path, event in tail.waiting(memory):
        if event.epoch in behind:
            continue
        row = database.execute(_PLACE, {"epoch": event.epoch, "seq": event.seq}).fetchone()
        if row is None:
            raise DamagedError(f"number {event.seq} of {event.epoch} is gone from the database")
        number, body, is_kept = row
        if body != wire.encode_event(event).decode():
            raise DamagedError(f"number {event.seq} of {event.epoch} is not what was recorded")
        tail.place(path, number)
        if not is_kept:
            lost_rows.append(number)
    for number in lost_rows:
        database.execute("INSERT OR IGNORE INTO outbox (number) VALUES (:number)", {"number": number})


def bring_in(database: Database, tail: Tail, memory: Memory) -> int:
    """Put every event of the second copy that is not here into record and outbox, under its own name.

    Returns how many. What left the outbox since leaves it again. An event that is here with other contents
    stays as it is here, for the consumer to tell apart.
    """
    count = 0
    for epoch, highest in memory.highest.items():
        _make_stream(database, epoch, highest, memory.last.get(epoch))
    for path, event in tail.waiting(memory):
        row = database.execute(_PLACE, {"epoch": event.epoch, "seq": event.seq}).fetchone()
        if row is None:
            number = write_event(database, event)
            count += 1
        else:
            number = row[0]
        if row is None or not row[2]:
            database.execute("INSERT OR IGNORE INTO outbox (number) VALUES (:number)", {"number": number})
        tail.place(path, number)
    for gone in memory.gone:
        database.execute(
            """
            DELETE FROM outbox WHERE number IN (
                SELECT number FROM events WHERE epoch = :epoch AND seq BETWEEN :first AND :last
            )
            """,
            {"epoch": gone.epoch, "first": gone.first, "last": gone.last},
        )
    return count


def _check_heads(database: Database) -> None:
    """Every stream must end with the event it says it ends with."""
    astray = database.execute(
        """
        SELECT stream.epoch FROM stream
        LEFT JOIN events ON events.epoch = stream.epoch AND events.seq = stream.seq
        WHERE stream.seq > 0 AND stream.why <> :brought_in AND events.hash IS NOT stream.head
        """,
        {"brought_in": BROUGHT_IN},
    ).fetchone()
    if astray is not None:
        raise DamagedError(f"the stream {astray[0]} does not end where it says")


def _make_stream(database: Database, epoch: str, highest: int, last: Event | None) -> None:
    """The row of an epoch whose events are brought in; its number stays below that of the next stream."""
    known = scalar(database, "SELECT seq FROM stream WHERE epoch = :epoch", {"epoch": epoch})
    if isinstance(known, int):
        database.execute(
            "UPDATE stream SET seq = max(seq, :seq), why = :why WHERE epoch = :epoch",
            {"seq": highest, "epoch": epoch, "why": BROUGHT_IN},
        )
    elif last is not None:
        database.execute(
            """
            INSERT INTO stream (epoch, site, kiosk, seq, head, opened_at, why)
            VALUES (:epoch, :site, :kiosk, :seq, :head, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :why)
            """,
            {
                "epoch": epoch,
                "site": last.site,
                "kiosk": last.kiosk,
                "seq": highest,
                "head": wire.event_hash(last),
                "why": BROUGHT_IN,
            },
        )


def _hash(database: Database, event: Event) -> object:
    return scalar(
        database,
        "SELECT hash FROM events WHERE epoch = :epoch AND seq = :seq",
        {"epoch": event.epoch, "seq": event.seq},
    )


# Its number and contents, and whether it waits, is laid aside or was recorded anew.
_PLACE = """
SELECT number, body,
    number IN (SELECT number FROM outbox)
    OR number IN (SELECT number FROM laid_aside)
    OR number IN (SELECT number FROM renewed)
FROM events WHERE epoch = :epoch AND seq = :seq
"""
