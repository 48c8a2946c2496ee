"""The enrolled people on disk: enrol, replace, erase for good, export and import."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.device.punches import MODEL, NOON, TINY_PNG, enrolment, unit_vector

from glancein.adapters.passes_sqlite import SqlitePasses
from glancein.adapters.people_archive import read_archive, write_archive
from glancein.adapters.people_sqlite import SqlitePeople, same_record
from glancein.domain.person import Enrolment, Outcome, PersonRecord
from glancein.errors import InputError, StoreError
from glancein.storage.database import open_database
from glancein.storage.rescue import carry_over, set_aside

NEWER = "cd" * 32


@pytest.fixture
def people(tmp_path: Path) -> Iterator[SqlitePeople]:
    """Nobody yet."""
    opened = SqlitePeople(tmp_path / "kiosk.db")
    yield opened
    opened.close()


def test_enrolled_person_is_known_by_name_and_template(people: SqlitePeople) -> None:
    """What was stored comes back to the last bit."""
    assert people.add("E1", enrolment("김철수"), at=NOON) is Outcome.ADDED

    (template,) = people.templates(MODEL)
    assert people.name_of("E1") == "김철수"
    assert people.name_of("E2") is None
    assert template.person_id == "E1"
    assert template.model_sha256 == MODEL
    assert np.array_equal(template.vector, unit_vector())
    assert template.vector.dtype == np.float32
    assert people.templates("other") == []


def test_enrolling_again_with_the_same_photo_changes_nothing(people: SqlitePeople) -> None:
    """Importing a list twice is harmless, and no kiosk reloads for it."""
    people.add("E1", enrolment(), at=NOON)
    version = people.version()

    assert people.add("E1", enrolment(), at=NOON + timedelta(days=1)) is Outcome.UNCHANGED
    assert people.replace("E1", enrolment(), at=NOON + timedelta(days=1)) is Outcome.UNCHANGED
    assert people.version() == version


def test_enrolling_an_enrolled_person_with_another_photo_is_refused(people: SqlitePeople) -> None:
    """Replacing somebody's face is a decision, not a slip."""
    people.add("E1", enrolment(), at=NOON)

    with pytest.raises(InputError, match="re-enrol"):
        people.add("E1", enrolment(seed=1, photo="p2"), at=NOON)
    assert np.array_equal(people.templates(MODEL)[0].vector, unit_vector())


def test_re_enrolment_uses_the_new_photo_and_keeps_the_history(people: SqlitePeople) -> None:
    """One active template, the earlier one inactive, and when and why."""
    people.add("E1", enrolment(), at=NOON)
    later = NOON + timedelta(days=400)

    outcome = people.replace("E1", enrolment("Ada King", seed=1, photo="p2"), at=later)

    record = people.record_of("E1")
    assert record is not None
    assert outcome is Outcome.REPLACED
    assert np.array_equal(people.templates(MODEL)[0].vector, unit_vector(1))
    assert [template.active for template in record.templates] == [False, True]
    assert [(entry.what, entry.photo_sha256, entry.at) for entry in record.history] == [
        ("enrolled", "p1", NOON),
        ("re-enrolled", "p2", later),
    ]
    assert (record.person.name, record.person.photo_sha256) == ("Ada King", "p2")


def test_new_model_gets_its_own_template_beside_the_old_one(people: SqlitePeople) -> None:
    """While people are re-embedded, both models keep working."""
    people.add("E1", enrolment(), at=NOON)

    people.replace("E1", enrolment(seed=5, model="cd" * 32), at=NOON)

    assert np.array_equal(people.templates(MODEL)[0].vector, unit_vector())
    assert np.array_equal(people.templates("cd" * 32)[0].vector, unit_vector(5))
    assert people.people()[0].models == (MODEL, "cd" * 32)


def test_list_is_ordered_by_id(people: SqlitePeople) -> None:
    """Everybody once."""
    for person_id in ("E3", "E1", "E2"):
        people.add(person_id, enrolment(photo=person_id), at=NOON)

    assert [person.person_id for person in people.people()] == ["E1", "E2", "E3"]


def test_removed_person_leaves_no_byte_behind(tmp_path: Path) -> None:
    """Neither template, crop nor name is in the database or its log, while a kiosk has the file open."""
    path = tmp_path / "kiosk.db"
    people, kiosk = SqlitePeople(path), SqlitePeople(path)
    for number in range(30):
        people.add(f"E{number}", enrolment(f"Name-{number:04d}", seed=number, photo=f"p{number}"), at=NOON)
    people.replace("E7", enrolment("Name-0007", seed=77, photo="p77"), at=NOON)
    kiosk.templates(MODEL)
    secrets = [unit_vector(7).tobytes(), unit_vector(77).tobytes(), b"Name-0007"]
    assert all(any(secret in content for content in _files(path)) for secret in secrets)

    assert people.remove("E7") is True

    for secret in (*secrets, unit_vector(7)[:16].tobytes(), unit_vector(77)[-16:].tobytes()):
        assert not any(secret in content for content in _files(path))
    assert any(unit_vector(8).tobytes() in content for content in _files(path))
    assert people.remove("E7") is False
    assert len(kiosk.templates(MODEL)) == 29
    people.close()
    kiosk.close()


def test_removal_says_so_when_a_reader_keeps_the_old_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is erased while it could not be wiped; the same again does it once the reader has gone."""
    monkeypatch.setattr("glancein.storage.database.erase_traces.__kwdefaults__", {"patience_s": 0.05})
    monkeypatch.setattr("glancein.storage.database.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "kiosk.db"
    people = SqlitePeople(path)
    people.add("E1", enrolment(), at=NOON)
    reader = open_database(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM people").fetchone()

    with pytest.raises(StoreError, match=r"nothing is erased yet: .* run the command again"):
        people.remove("E1")

    assert people.name_of("E1") is not None
    reader.execute("ROLLBACK")
    reader.conn.close()
    assert people.remove("E1") is True
    assert people.name_of("E1") is None
    assert not any(unit_vector().tobytes() in content for content in _files(path))
    people.close()


def test_version_changes_when_another_connection_changes_people(tmp_path: Path) -> None:
    """A running kiosk notices what the command line did, and only that."""
    path = tmp_path / "kiosk.db"
    kiosk, desk = SqlitePeople(path), SqlitePeople(path)
    seen = [kiosk.version()]

    desk.add("E1", enrolment(), at=NOON)
    seen.append(kiosk.version())
    desk.replace("E1", enrolment(seed=1, photo="p2"), at=NOON)
    seen.append(kiosk.version())
    desk.remove("E1")
    seen.append(kiosk.version())
    desk.remove("E1")

    assert len(set(seen)) == 4
    assert kiosk.version() == desk.version() == seen[-1]
    kiosk.close()
    desk.close()


def test_people_of_a_rescued_database_are_those_of_the_new_file(tmp_path: Path) -> None:
    """A kiosk and a desk that were open before see and change what lies there now, not the set-aside file."""
    path = tmp_path / "kiosk.db"
    with closing(SqlitePeople(path)) as kiosk, closing(SqlitePeople(path)) as desk:
        kiosk.add("E1", enrolment(), at=NOON)
        seen = [kiosk.version()]
        rescue(path)
        seen.append(kiosk.version())
        desk.add("E2", enrolment(seed=2, photo="p2"), at=NOON)
        seen.append(kiosk.version())

        assert [person.person_id for person in kiosk.people()] == ["E1", "E2"]
        assert len(set(seen)) == 3
        with closing(SqlitePeople(path)) as later:
            assert [person.person_id for person in later.people()] == ["E1", "E2"]
            assert later.version() == kiosk.version()


def test_people_stay_known_while_no_file_lies_there(tmp_path: Path) -> None:
    """Between the old file's leaving and the new one's coming nobody makes an empty one."""
    path = tmp_path / "kiosk.db"
    with closing(SqlitePeople(path)) as people:
        people.add("E1", enrolment(), at=NOON)
        set_aside(path)

        assert people.name_of("E1") == "Ada Lovelace"
        assert not path.exists()


def rescue(path: Path) -> None:
    """Another process finds the database damaged: it sets it aside and carries over what it can read."""
    aside = set_aside(path)
    database = open_database(path)
    carry_over(aside, database)
    database.conn.close()


@pytest.mark.parametrize(
    "person_id",
    ["", "x" * 65, "a/b", "a\\b", "a+b", "a#b", "a\nb", "a\x00b", "a\u2028b", " a", "a ", "\u200f"],
)
def test_id_that_would_break_something_is_refused(people: SqlitePeople, person_id: str) -> None:
    """Topics, file names and terminals all have to carry it."""
    with pytest.raises(InputError, match="person id"):
        people.add(person_id, enrolment(), at=NOON)
    assert people.people() == []


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\nb", "a\x1b[31m"])
def test_name_that_would_break_something_is_refused(people: SqlitePeople, name: str) -> None:
    """Any language, but no control characters."""
    with pytest.raises(InputError, match="name"):
        people.add("E1", enrolment(name), at=NOON)


@pytest.mark.parametrize(
    "name", ["Zoë", "김철수", "Олександр", "محمد علي", "O'Brien-Smith, Jr.", "=1+1", "🙂", "x" * 200]
)
def test_name_in_any_language_comes_back_equal(people: SqlitePeople, name: str) -> None:
    """Names are data, whatever they look like."""
    people.add("E1", enrolment(name), at=NOON)

    assert people.name_of("E1") == name


def test_decomposed_and_composed_id_are_one_person(people: SqlitePeople) -> None:
    """Two ways to type the same letters are the same id."""
    people.add("José", enrolment(), at=NOON)

    assert people.add("Jose\u0301", enrolment(), at=NOON) is Outcome.UNCHANGED


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(128, np.float32),
        np.full(128, np.nan, np.float32),
        np.full(128, np.inf, np.float32),
        unit_vector() * np.float32(2),
        unit_vector()[:64],
        unit_vector().astype(np.float64),
    ],
)
def test_vector_that_is_no_unit_vector_is_never_stored(people: SqlitePeople, vector: np.ndarray) -> None:
    """A broken template would match anybody or nobody."""
    with pytest.raises(InputError, match="template"):
        people.add("E1", Enrolment("Ada", vector, MODEL, TINY_PNG, "p1"), at=NOON)
    assert people.people() == []


@pytest.mark.parametrize(
    "crop",
    [
        b"<svg onload=alert(1)>",
        b"\x89PNG\r\n\x1a\nnothing",
        TINY_PNG.replace(b"\0\0\0\x70", (40_000).to_bytes(4, "big")),
    ],
)
def test_crop_that_is_no_crop_is_refused(people: SqlitePeople, crop: bytes) -> None:
    """Crops are shown to people later, and decoded for every new embedder."""
    people.add("E1", enrolment(), at=NOON)
    (record,) = _records(people)
    shown = replace(record, templates=(replace(record.templates[0], crop_png=crop),))

    with pytest.raises(InputError, match="PNG"):
        people.add("E2", Enrolment("Ada", unit_vector(), MODEL, crop, "p1"), at=NOON)
    with pytest.raises(InputError, match="PNG"):
        people.restore([shown])
    (kept,) = _records(people)
    assert same_record(kept, record)


def test_export_and_import_carry_everything(tmp_path: Path, people: SqlitePeople) -> None:
    """Another kiosk gets the same people; doing it twice changes nothing."""
    people.add("E1", enrolment("Zoë"), at=NOON)
    people.replace("E1", enrolment("Zoë", seed=1, photo="p2"), at=NOON)
    people.add("E2", enrolment("김철수", seed=2, photo="p3"), at=NOON)
    write_archive(tmp_path / "people.jsonl", _records(people))
    other = SqlitePeople(tmp_path / "other.db")

    first = other.restore(read_archive(tmp_path / "people.jsonl"))
    version = other.version()
    second = other.restore(read_archive(tmp_path / "people.jsonl"))

    assert set(first.values()) == {Outcome.ADDED}
    assert set(second.values()) == {Outcome.UNCHANGED}
    assert other.version() == version
    assert all(same_record(*pair) for pair in zip(_records(people), _records(other), strict=True))
    assert (tmp_path / "people.jsonl").stat().st_mode & 0o077 == 0
    other.close()


def test_import_of_a_changed_person_leaves_their_ways_in(tmp_path: Path, people: SqlitePeople) -> None:
    """An archive holds neither PIN nor pass, so it says nothing of them."""
    people.add("E1", enrolment("Ada"), at=NOON)
    (record,) = _records(people)
    with closing(SqlitePasses(tmp_path / "kiosk.db")) as passes:
        passes.set_pin("E1", "8301", at=NOON)
        shown = passes.issue("E1", at=NOON)

        outcomes = people.restore([replace(record, person=replace(record.person, name="Ada King"))])

        assert outcomes == {"E1": Outcome.REPLACED}
        assert people.name_of("E1") == "Ada King"
        assert passes.who_types("1", "8301", at=NOON) == "E1"
        assert passes.who_shows(shown) == "E1"


def test_import_leaves_templates_of_models_that_the_archive_does_not_know(people: SqlitePeople) -> None:
    """It was written before this kiosk renewed everybody: who is here with the same record is unchanged."""
    people.add("E1", enrolment(), at=NOON)
    (record,) = _records(people)
    renew(people, "E1")

    same = people.restore([record])
    renamed = people.restore([replace(record, person=replace(record.person, name="Ada King"))])

    assert (same, renamed) == ({"E1": Outcome.UNCHANGED}, {"E1": Outcome.REPLACED})
    assert people.people()[0].models == (MODEL, NEWER)
    assert len(people.templates(NEWER)) == 1


def test_import_of_another_photo_retires_the_templates_of_the_old_one(
    tmp_path: Path, people: SqlitePeople
) -> None:
    """Of every model: otherwise the old face would go on being recognised, and never be renewed."""
    people.add("E1", enrolment(), at=NOON)
    renew(people, "E1")
    with closing(SqlitePeople(tmp_path / "other.db")) as other:
        other.add("E1", enrolment(seed=1, photo="p2"), at=NOON)

        people.restore(_records(other))

    assert people.people()[0].models == (MODEL,)
    assert people.lacking(NEWER) == ["E1"]


def renew(people: SqlitePeople, person_id: str) -> None:
    """Give a person a template of a newer model, made of the stored crop."""
    portrait = people.portrait_of(person_id)
    assert portrait is not None
    people.add_template(
        person_id, replace(portrait, vector=unit_vector(9), model_sha256=NEWER), like=portrait
    )


def test_import_is_all_or_nobody(tmp_path: Path, people: SqlitePeople) -> None:
    """One bad record in the middle, and nobody is in."""
    people.add("E1", enrolment(), at=NOON)
    people.add("E2", enrolment(seed=2, photo="p2"), at=NOON)
    write_archive(tmp_path / "people.jsonl", _records(people))
    lines = (tmp_path / "people.jsonl").read_text().splitlines()
    bad = {**json.loads(lines[2]), "id": "a/b"}
    (tmp_path / "people.jsonl").write_text("\n".join([*lines[:2], json.dumps(bad)]))
    other = SqlitePeople(tmp_path / "other.db")

    with pytest.raises(InputError, match="a/b"):
        other.restore(read_archive(tmp_path / "people.jsonl"))
    assert other.people() == []
    other.close()


@pytest.mark.parametrize(
    ("person_id", "name", "words"),
    [
        ("=E9", "Bob", "=E9: the id begins with '='"),
        ("E9", "=cmd|x", "E9: the name begins with '='"),
        ("e1", "Bob", "e1 differs from E1 only in case"),
        ("a1", "Bob", "a1 differs from A1 only in case"),
    ],
)
def test_import_of_somebody_new_who_could_not_be_enrolled_is_refused(
    people: SqlitePeople, person_id: str, name: str, words: str
) -> None:
    """The same ids and names are refused as at enrolment, and then nobody comes in."""
    people.add("E1", enrolment(), at=NOON)
    (record,) = _records(people)
    archive = [_called(record, "A1", "Ann"), _called(record, person_id, name)]

    with pytest.raises(InputError, match=re.escape(words)):
        people.restore(archive)
    (kept,) = _records(people)
    assert same_record(kept, record)


def test_import_of_an_id_and_name_that_are_stored_already_may_be_odd(people: SqlitePeople) -> None:
    """Who came in under them before they were refused can still be brought up to date."""
    people.add("-F2", enrolment("=Ann"), at=NOON)
    people.add("-f2", enrolment("=Bea", photo="p2"), at=NOON)
    records = [replace(record, history=()) for record in _records(people)]

    assert people.restore(records) == {"-F2": Outcome.REPLACED, "-f2": Outcome.REPLACED}


def test_archive_that_holds_an_id_twice_is_refused(tmp_path: Path, people: SqlitePeople) -> None:
    """However it is typed: the second would silently replace the first."""
    people.add("José", enrolment(), at=NOON)
    (record,) = _records(people)
    write_archive(tmp_path / "people.jsonl", [record, _called(record, "Jose\u0301", "Other")])

    with pytest.raises(InputError, match="line 3: id José is on line 2 already"):
        read_archive(tmp_path / "people.jsonl")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_export_is_refused_in_one_line(data: st.DataObject, tmp_path: Path) -> None:
    """Cut, flipped or retyped: an InputError that names the file, or people that could have been enrolled."""
    source = _archive(tmp_path)
    content = bytearray(source)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    target = SqlitePeople(tmp_path / "target.db")

    words = ""
    try:
        target.restore(read_archive(path))
    except InputError as err:
        words = str(err)
    target.close()

    assert "\n" not in words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an export"),
        (b"\x00\xff", "is not an export"),
        (b"[1]", "is not an export"),
        (b'{"format":"glancein-people","version":2,"people":0}', "update glancein"),
        (b'{"format":"glancein-people","version":1,"people":3}', "cut short"),
        (b'{"format":"glancein-people","version":1,"people":1}\n{"id":7}', "line 2"),
    ],
)
def test_file_that_is_no_export_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """Each says what it is not."""
    path = tmp_path / "people.jsonl"
    path.write_bytes(content)

    with pytest.raises(InputError, match=words):
        read_archive(path)


@pytest.mark.parametrize("place", ["nowhere/people.jsonl", "a file/people.jsonl", "."])
def test_export_where_nobody_may_write_is_refused(tmp_path: Path, place: str) -> None:
    """A wrong place is a wrong argument, in one line that names it, and not a fault of the database."""
    (tmp_path / "a file").touch()

    with pytest.raises(InputError, match="cannot be written"):
        write_archive(tmp_path / place, [])


def test_missing_export_is_named(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        read_archive(tmp_path / "nowhere.jsonl")


def _records(people: SqlitePeople) -> list[PersonRecord]:
    records = [people.record_of(person.person_id) for person in people.people()]
    return [record for record in records if record is not None]


def _called(record: PersonRecord, person_id: str, name: str) -> PersonRecord:
    return replace(record, person=replace(record.person, person_id=person_id, name=name))


def _archive(folder: Path) -> bytes:
    path = folder / "source.jsonl"
    if not path.exists():
        people = SqlitePeople(folder / "source.db")
        people.add("E1", enrolment(), at=NOON)
        write_archive(path, _records(people))
        people.close()
    return path.read_bytes()


def _files(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in path.parent.glob(f"{path.name}*")]
