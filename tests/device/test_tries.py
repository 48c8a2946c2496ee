"""Answers at the camera -> reasons of refusals, and who needs several tries."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from glancein.adapters.attempts_sqlite import AttemptNotes
from glancein.domain.tries import RECOGNISED, Attempt, Struggler, refusals, strugglers, tries_of
from glancein.storage.database import open_database
from glancein.storage.desk_schema import DESK
from glancein.types import CheckIn, ClockTrust, Direction, Event, Method, Moment


def test_refusals_count_for_who_is_recognised_next() -> None:
    """Two refusals and a recognition are three tries; an hour later it is another visit."""
    seen = [
        Attempt(0, "blurred"),
        Attempt(5, "unknown"),
        Attempt(9, RECOGNISED, "E1"),
        Attempt(3600, "unknown"),
        Attempt(7200, RECOGNISED, "E2"),
    ]

    assert tries_of(seen) == {"E1": [3], "E2": [1]}
    assert refusals(seen) == [("unknown", 2), ("blurred", 1)]


def test_only_repeated_trouble_makes_a_struggler() -> None:
    """Three visits at least, and more than every second one with a second try."""
    seen = []
    for visit in range(4):
        at = visit * 1000.0
        seen += [
            Attempt(at, "unknown"),
            Attempt(at + 2, RECOGNISED, "E1"),
            Attempt(at + 500, RECOGNISED, "E2"),
        ]
    seen += [Attempt(9000, "unknown"), Attempt(9001, RECOGNISED, "E3")]

    assert strugglers(seen) == [Struggler("E1", 4, 2.0)]


class Quiet:
    """A screen that shows nothing."""

    def show_recorded(self, event: Event, name: str | None) -> None:
        pass

    def show_refusal(self, reason: str, advice: str) -> None:
        pass

    def show_repeat(self, event: Event, name: str | None) -> None:
        pass

    def show_not_recorded(self, why: str) -> None:
        pass


def event(method: Method) -> Event:
    """A recorded punch."""
    moment = Moment(moment_wall(), 1.0, "boot", ClockTrust.SYNCHRONISED)
    check_in = CheckIn("E1", Direction.IN, moment, 0.7, 0.5, "f" * 64, method)
    return Event("hq", "door", "e", 1, "0" * 64, check_in)


def moment_wall() -> datetime:
    """Some time."""
    return datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_answers_are_noted_without_name_or_score(tmp_path: Path) -> None:
    """A refusal without a person, a recognition with the id; PINs and repeats say nothing of a photo."""
    path = tmp_path / "desk.sqlite"
    notes = AttemptNotes(Quiet(), path, now_s=lambda: 1234.5)
    notes.show_refusal("blurred", "Please hold still.")
    notes.show_recorded(event(Method.FACE), "Ada")
    notes.show_recorded(event(Method.PIN), "Ada")
    notes.show_repeat(event(Method.FACE), "Ada")
    notes.show_not_recorded("the disk is full")
    notes.close()
    database = open_database(path, schema=DESK)
    rows = database.execute("SELECT at, reason, person_id FROM attempts ORDER BY number").fetchall()
    database.conn.close()

    assert rows == [(1234.5, "blurred", None), (1234.5, "recognised", "E1")]


def test_nothing_is_noted_while_the_disk_is_tight(tmp_path: Path) -> None:
    """What space is left belongs to check-ins; afterwards noting goes on."""
    path = tmp_path / "desk.sqlite"
    tight = iter([True, False])
    notes = AttemptNotes(Quiet(), path, now_s=lambda: 1.0, is_disk_tight=lambda: next(tight))
    notes.show_refusal("blurred", "")
    notes.show_refusal("dark", "")
    notes.close()
    database = open_database(path, schema=DESK)
    reasons = [reason for (reason,) in database.execute("SELECT reason FROM attempts").fetchall()]
    database.conn.close()

    assert reasons == ["dark"]


def test_attempts_that_cannot_be_noted_stop_nothing(tmp_path: Path) -> None:
    """A folder in the way of the file: the screen goes on."""
    notes = AttemptNotes(Quiet(), tmp_path, now_s=lambda: 0.0)
    notes.show_refusal("blurred", "")
    notes.close()
