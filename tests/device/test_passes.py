"""PINs and QR passes: hashed, limited, revocable, and gone with the person."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from tests.device.punches import enrolment

from glancein import cli, wiring
from glancein.adapters import passes_sqlite
from glancein.adapters.pass_card import card_svg, code_of, code_png
from glancein.adapters.passes_sqlite import WRONG_PER_MINUTE, SqlitePasses, new_pin
from glancein.adapters.people_sqlite import SqlitePeople
from glancein.domain.passes import (
    FREE_TRIES,
    LONGEST_LOCK,
    PinAnswer,
    Tries,
    after_wrong,
    check_pin,
    is_locked,
    number_of,
    read_pass,
    write_pass,
)
from glancein.errors import InputError
from glancein.storage.database import open_database
from glancein.storage.rescue import carry_over, set_aside

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = b"k" * 32
PIN, WRONG = "295174", "295175"


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture(autouse=True)
def quick_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same hash with less work; how much work it is meant to be is said where it is made."""
    monkeypatch.setattr(passes_sqlite, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(tmp_path: Path) -> Iterator[SqlitePeople]:
    """E1 and E2, enrolled."""
    with closing(SqlitePeople(tmp_path / "kiosk.db")) as store:
        for person_id in ("E1", "E2"):
            store.add(person_id, enrolment(), at=NOW)
        yield store


@pytest.fixture
def passes(tmp_path: Path, people: SqlitePeople, clock: Clock) -> Iterator[SqlitePasses]:
    """An empty store of PINs and passes beside them."""
    assert people.name_of("E1")
    with closing(SqlitePasses(tmp_path / "kiosk.db", mono_s=clock)) as store:
        yield store


def test_right_pin_names_the_person(passes: SqlitePasses) -> None:
    """By the digits of the id, or by the number that HR chose."""
    assert passes.set_pin("E1", PIN, at=NOW) == "1"
    assert passes.set_pin("E2", PIN, at=NOW, number="7002") == "7002"

    assert passes.who_types("1", PIN, at=NOW) == "E1"
    assert passes.who_types(" 7002 ", PIN, at=NOW) == "E2"


def test_wrong_pin_and_unknown_number_look_alike(passes: SqlitePasses) -> None:
    """Nobody learns which numbers exist."""
    passes.set_pin("E1", PIN, at=NOW)

    assert passes.who_types("1", WRONG, at=NOW) is PinAnswer.WRONG
    assert passes.who_types("9", PIN, at=NOW) is PinAnswer.WRONG
    assert passes.who_types("1" * 500, PIN, at=NOW) is PinAnswer.WRONG
    assert passes.who_types("1", PIN * 500, at=NOW) is PinAnswer.WRONG


def test_fifth_wrong_pin_locks_and_the_right_one_has_to_wait(passes: SqlitePasses) -> None:
    """Also after a restart; once the time is over the right PIN opens and the count begins anew."""
    passes.set_pin("E1", PIN, at=NOW)
    for _ in range(FREE_TRIES):
        passes.who_types("1", WRONG, at=NOW)

    assert passes.who_types("1", PIN, at=NOW) is PinAnswer.LOCKED
    assert passes.ways_of("E1").locked_until == NOW + timedelta(minutes=5)
    later = NOW + timedelta(minutes=6)
    assert passes.who_types("1", PIN, at=later) == "E1"
    assert passes.who_types("1", WRONG, at=later) is PinAnswer.WRONG
    assert passes.who_types("1", PIN, at=later) == "E1"


def test_new_pin_from_hr_lifts_the_lock(passes: SqlitePasses) -> None:
    """HR helps who forgot."""
    passes.set_pin("E1", PIN, at=NOW)
    for _ in range(FREE_TRIES):
        passes.who_types("1", WRONG, at=NOW)

    passes.set_pin("E1", "804913", at=NOW)

    assert passes.who_types("1", "804913", at=NOW) == "E1"


def test_whole_kiosk_looks_at_so_many_wrong_pins_a_minute(passes: SqlitePasses, clock: Clock) -> None:
    """Trying one PIN on every number is no way round the lock."""
    passes.set_pin("E1", PIN, at=NOW)
    for number in range(WRONG_PER_MINUTE):
        assert passes.who_types(str(5000 + number), PIN, at=NOW) is PinAnswer.WRONG

    assert passes.who_types("1", PIN, at=NOW) is PinAnswer.TOO_FAST
    clock.s += 61
    assert passes.who_types("1", PIN, at=NOW) == "E1"


def test_only_a_slow_salted_hash_is_kept(passes: SqlitePasses, tmp_path: Path) -> None:
    """The file holds no PIN, and equal PINs look different."""
    passes.set_pin("E1", PIN, at=NOW)
    passes.set_pin("E2", PIN, at=NOW)
    with closing(sqlite3.connect(tmp_path / "kiosk.db")) as raw:
        hashes = [row[0] for row in raw.execute("SELECT hash FROM pins")]

    assert all(stored.startswith("$argon2id$") for stored in hashes)
    assert hashes[0] != hashes[1]
    assert PIN.encode() not in (tmp_path / "kiosk.db").read_bytes()


def test_number_belongs_to_one_person(passes: SqlitePasses) -> None:
    """A second person with the same digits needs another number."""
    passes.set_pin("E1", PIN, at=NOW)

    with pytest.raises(InputError, match="E1 has the number 1 already"):
        passes.set_pin("E2", PIN, at=NOW, number="1")
    assert passes.ways_of("E2").number is None


def test_new_pin_keeps_the_number(passes: SqlitePasses) -> None:
    """What the person has typed for years; another number only where one is given."""
    passes.set_pin("E1", PIN, at=NOW, number="7002")

    assert passes.set_pin("E1", "804913", at=NOW) == "7002"
    assert passes.who_types("7002", "804913", at=NOW) == "E1"
    with pytest.raises(InputError, match="number"):
        passes.set_pin("E1", "7002", at=NOW)
    assert passes.set_pin("E1", PIN, at=NOW, number="7003") == "7003"


@pytest.mark.parametrize("pin", ["", "129", "1234", "0000", "9876", "890123", "29517429517", "12a4", "١٢٣٥"])
def test_pin_that_is_guessed_first_is_refused(pin: str) -> None:
    """Too short, one digit repeated, digits in a row, or no digits."""
    with pytest.raises(InputError, match="PIN"):
        check_pin(pin)


def test_pin_is_not_the_number_before_it(passes: SqlitePasses) -> None:
    """Whoever sees the id would know it."""
    with pytest.raises(InputError, match="number"):
        passes.set_pin("E1", "7391", at=NOW, number="7391")


def test_pin_and_pass_are_for_enrolled_people(passes: SqlitePasses) -> None:
    """Nobody else has a way in."""
    with pytest.raises(InputError, match="nobody is enrolled as E9"):
        passes.set_pin("E9", PIN, at=NOW)
    with pytest.raises(InputError, match="nobody is enrolled as E9"):
        passes.issue("E9", at=NOW)


def test_erased_person_leaves_no_way_in(passes: SqlitePasses, people: SqlitePeople) -> None:
    """PIN and passes go with the person."""
    passes.set_pin("E1", PIN, at=NOW)
    text = passes.issue("E1", at=NOW)

    people.remove("E1")

    assert passes.who_types("1", PIN, at=NOW) is PinAnswer.WRONG
    assert passes.who_shows(text) is None


def test_pins_and_passes_of_a_rescued_database_are_those_of_the_new_file(
    tmp_path: Path, passes: SqlitePasses
) -> None:
    """Whoever had the old file open goes on with the new one, and with the key that seals its passes."""
    path = tmp_path / "kiosk.db"
    passes.set_pin("E1", PIN, at=NOW)
    kept = passes.issue("E1", at=NOW)
    aside = set_aside(path)
    database = open_database(path)
    at_first_empty = passes.who_shows(kept)
    carry_over(aside, database)
    database.conn.close()

    assert at_first_empty is None
    assert passes.who_shows(kept) == "E1"
    assert passes.who_types("1", PIN, at=NOW) == "E1"
    issued = passes.issue("E2", at=NOW)
    passes.clear_pin("E1")
    with closing(SqlitePasses(path)) as later:
        assert later.who_shows(issued) == "E2"
        assert later.ways_of("E1").number is None


def test_pin_can_be_taken_away(passes: SqlitePasses) -> None:
    """Once; then there was none."""
    passes.set_pin("E1", PIN, at=NOW)

    assert passes.clear_pin("E1")
    assert not passes.clear_pin("E1")
    assert passes.who_types("1", PIN, at=NOW) is PinAnswer.WRONG


def test_pass_names_its_person_until_it_is_revoked(passes: SqlitePasses) -> None:
    """Revoking leaves later passes alone."""
    first, second = passes.issue("E1", at=NOW), passes.issue("E1", at=NOW)
    assert passes.who_shows(first) == passes.who_shows(second) == "E1"
    assert passes.ways_of("E1").passes == 2

    assert passes.revoke("E1", at=NOW) == 2

    assert passes.who_shows(first) is None
    assert passes.who_shows(passes.issue("E1", at=NOW)) == "E1"


@given(st.binary(min_size=10, max_size=10), st.integers(0, 37), st.characters())
def test_pass_with_any_character_changed_is_nobodys(serial: bytes, place: int, character: str) -> None:
    """The seal covers all of it."""
    text = write_pass(serial, KEY)
    forged = text[:place] + character + text[place + 1 :]

    assert read_pass(text, KEY) is not None
    assert (read_pass(forged, KEY) is None) == (forged != text)
    assert read_pass(text, b"x" * 32) is None


@given(st.integers(0, 60))
def test_lock_grows_and_ends(wrong: int) -> None:
    """No number of wrong tries locks for longer than the longest lock."""
    tries = after_wrong(Tries(wrong), NOW)

    assert is_locked(tries, NOW) == (wrong + 1 >= FREE_TRIES)
    assert not is_locked(tries, NOW + LONGEST_LOCK)


def test_clock_set_back_locks_nobody_for_years() -> None:
    """A lock that lies further ahead than any lock can was written by a clock that was wrong."""
    assert not is_locked(Tries(9, NOW + timedelta(days=400)), NOW)


@pytest.mark.parametrize(("person_id", "number"), [("E1024", "1024"), ("kim-7-b", "7"), ("lee", "LEE")])
def test_number_is_made_of_the_id(person_id: str, number: str) -> None:
    """What stands on the badge is what one types."""
    assert number_of(person_id) == number


def test_generated_pins_may_be_used() -> None:
    """And are not one and the same."""
    pins = {check_pin(new_pin()) for _ in range(50)}

    assert len(pins) > 40


@pytest.mark.parametrize("size", [150, 260])
def test_printed_code_is_read_back(size: int) -> None:
    """By the same reader that the kiosk uses."""
    text = write_pass(b"0123456789", KEY)
    code = cv2.resize(code_of(text), (size, size), interpolation=cv2.INTER_AREA)
    wall = np.full((360, 480), 120, np.uint8)
    wall[60 : 60 + size, 90 : 90 + size] = code

    assert cv2.QRCodeDetector().detectAndDecode(wall)[0] == text
    png = cv2.imdecode(np.frombuffer(code_png(text), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert cv2.QRCodeDetector().detectAndDecode(np.asarray(png, np.uint8))[0] == text


def test_card_holds_whatever_name_as_text() -> None:
    """Markup in a name stays text, and the card is one sound picture."""
    card = card_svg("GLN1.A.B", name='<script>"&', person_id="E1", site="hq")

    words = [element.text for element in ET.fromstring(card).iter() if element.text]  # noqa: S314  # our own
    assert words == ["hq", '<script>"&', "E1"]


def test_command_line_sets_a_pin_and_prints_a_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HR's way; the card is readable by its owner only."""
    with closing(SqlitePeople(tmp_path / wiring.DATABASE_FILE)) as people:
        people.add("E1", enrolment(), at=NOW)
    home, card = ["--data", str(tmp_path)], tmp_path / "card.svg"

    assert cli.main(["people", "pin", "E1", "--generate", *home]) == 0
    pin = capsys.readouterr().out.split()[-1]
    assert cli.main(["people", "pass", "E1", str(card), *home]) == 0

    with closing(SqlitePasses(tmp_path / wiring.DATABASE_FILE)) as passes:
        assert passes.who_types("1", pin, at=NOW) == "E1"
        assert passes.ways_of("E1").passes == 1
    assert card.stat().st_mode & 0o077 == 0
    assert cli.main(["people", "pass", "E1", str(tmp_path / "card.txt"), *home]) == 2
    assert cli.main(["people", "pass", "E1", "--revoke", *home]) == 0
    assert "1 passes of E1 are revoked" in capsys.readouterr().out
