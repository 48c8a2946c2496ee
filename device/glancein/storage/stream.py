"""The kiosk's stream as rows: begun, continued, renewed, read back. Inside the caller's transaction."""

from __future__ import annotations

import uuid
from dataclasses import replace

from sqlite_utils import Database

from glancein.domain import wire
from glancein.errors import DamagedError, FeedError, InputError, StoreError
from glancein.storage.database import scalar
from glancein.storage.recovery import write_event
from glancein.types import Body, Correction, Event, EventId

# Seen by other processes while the kiosk carries a damaged file over into a new one.
NO_STREAM = "the kiosk is restoring its database: try again in a minute"


def begin_stream(database: Database, *, site: str, kiosk: str, why: str) -> None:
    """Open a new epoch: what is recorded from now on counts from 1 again."""
    database.execute(
        """
        INSERT INTO stream (epoch, site, kiosk, seq, head, opened_at, why)
        VALUES (:epoch, :site, :kiosk, 0, :head, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), :why)
        """,
        {"epoch": str(uuid.uuid4()), "site": site, "kiosk": kiosk, "head": wire.NO_HASH, "why": why},
    )


def add_event(database: Database, body: Body) -> tuple[Event, int]:
    """Number, chain and write it, with its row in the outbox; the event and its number in the file."""
    stream = database.execute(
        "SELECT epoch, site, kiosk, seq, head FROM stream ORDER BY number DESC LIMIT 1"
    ).fetchone()
    if stream is None:
        raise StoreError(NO_STREAM)
    epoch, site, kiosk, seq, head = stream
    event = Event(site, kiosk, epoch, seq + 1, head, body)
    number = write_event(database, event)
    database.execute("INSERT INTO outbox (number) VALUES (:number)", {"number": number})
    database.execute(
        "UPDATE stream SET seq = :seq, head = :head WHERE epoch = :epoch",
        {"seq": event.seq, "head": wire.event_hash(event), "epoch": epoch},
    )
    return event, number


def renew_event(database: Database, number: int, old: Event) -> list[tuple[Event, int, Event]]:
    """Record it anew under a new name, in place of the old one: the new event, its number, the old one.

    The corrections of a check-in go with it, wherever they are, and follow in the list; nothing is left to
    do for an event that went with another.
    """
    if scalar(database, "SELECT became FROM renewed WHERE number = :number", {"number": number}) is not None:
        return []
    event, became = add_event(database, settle_target(database, old.body))
    names = {"number": number, "became": became}
    database.execute("UPDATE renewed SET became = :became WHERE became = :number", names)
    database.execute("INSERT INTO renewed (number, became) VALUES (:number, :became)", names)
    database.execute("DELETE FROM outbox WHERE number = :number", {"number": number})
    database.execute("DELETE FROM laid_aside WHERE number = :number", {"number": number})
    written = [(event, became, old)]
    for correction, body, digest in database.execute(
        _CORRECTIONS_OF, {"epoch": old.epoch, "seq": old.seq}
    ).fetchall():
        written += renew_event(database, correction, read_event(body, digest))
    return written


def read_event(body: str, digest: str) -> Event:
    """The event, if it still is what was recorded; raises DamagedError."""
    try:
        event = wire.decode_event(body.encode())
    except (FeedError, UnicodeEncodeError) as err:
        raise DamagedError(f"an event in the ledger is damaged: {err}") from err
    if wire.event_hash(event) != digest:
        raise DamagedError(f"number {event.seq} in the ledger is not what was recorded")
    return event


def settle_target(database: Database, body: Body) -> Body:
    """The same, a correction with the name its check-in has now; raises InputError if there is none here."""
    if not isinstance(body, Correction):
        return body
    row = database.execute(
        """
        SELECT target.kind, stream.kiosk, target.epoch, target.seq FROM events AS named
        LEFT JOIN renewed USING (number)
        JOIN events AS target ON target.number = coalesce(became, named.number)
        JOIN stream ON stream.epoch = target.epoch
        WHERE named.epoch = :epoch AND named.seq = :seq
        """,
        {"epoch": body.of.epoch, "seq": body.of.seq},
    ).fetchone()
    if row is None or row[0] != "check_in" or row[1] != body.of.kiosk:
        raise InputError(f"number {body.of.seq} of {body.of.kiosk} is no check-in that is recorded here")
    return replace(body, of=EventId(*row[1:]))


_CORRECTIONS_OF = """
SELECT number, body, hash FROM events
WHERE kind = 'correction' AND of_epoch = :epoch AND of_seq = :seq
AND number NOT IN (SELECT number FROM renewed) ORDER BY number
"""
