"""The enrolled people, in SQLite: what the kiosk reads and what the command line administers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from sqlite_utils import Database

from glancein.domain.align import CROP_BEGINS, CROP_PX
from glancein.domain.person import (
    Enrolment,
    HistoryEntry,
    Outcome,
    Person,
    PersonRecord,
    StoredTemplate,
    check_name,
    check_person_id,
    refuse_unsafe,
)
from glancein.errors import InputError, StoreError
from glancein.storage.database import erase_traces, scalar, storage_errors, transaction
from glancein.storage.handle import Handle
from glancein.types import Floats, Template

DIMENSIONS = 128
UNIT_TOLERANCE = 1e-3
LARGEST_CROP_BYTES = 1 << 20
CHANGES_BITS = 32  # of a version; the file's inode stands above them


class SqlitePeople:
    """Implements the port People, and the administration of people; safe to use from several threads.

    Every change of people adds one to a counter row in the same transaction, which is what ``version``
    reads: a kiosk sees within one query whether any process changed them, or set the file aside.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._file = Handle(path)
        self._seen: tuple[tuple[int, int], int] | None = None  # inode and PRAGMA data_version; the counter

    def version(self) -> int:
        """A number that changes whenever the enrolled people change, whichever process changed them."""
        with self._open() as database:
            inode = self._file.inode
            state = inode, _number(scalar(database, "PRAGMA data_version"))
            if self._seen is None or self._seen[0] != state:
                counter = scalar(database, "SELECT value FROM meta WHERE key = 'people_version'")
                self._seen = state, _number(counter)
            return (inode << CHANGES_BITS) + self._seen[1]

    def templates(self, model_sha256: str) -> list[Template]:
        """Active templates made by this model, ordered by person."""
        with self._open() as database:
            rows = database.execute(
                """
                SELECT person_id, vector FROM templates
                WHERE active = 1 AND model_sha256 = :model ORDER BY person_id
                """,
                {"model": model_sha256},
            ).fetchall()
        return [Template(person_id, _vector(blob), model_sha256) for person_id, blob in rows]

    def name_of(self, person_id: str) -> str | None:
        """The display name, None if the person is not enrolled."""
        with self._open() as database:
            found = scalar(database, "SELECT name FROM people WHERE id = :id", {"id": person_id})
        return found if isinstance(found, str) else None

    def add(self, person_id: str, enrolment: Enrolment, *, at: datetime) -> Outcome:
        """Enrol somebody new; the same photo, model and name again changes nothing.

        Raises InputError for a bad id, name, vector or crop, and for a person who is enrolled with another
        photo.
        """
        person_id, enrolment = _checked(person_id, enrolment)
        with self._change() as database:
            current = _current(database, person_id)
            if current is None:
                return _enrol_new(database, person_id, enrolment, at=at)
            if current != (enrolment.name, enrolment.photo_sha256):
                raise InputError(
                    f"{person_id} is enrolled already, with another photo or name; re-enrol to replace it"
                )
            return _put_template(database, person_id, enrolment, at=at)

    def replace(self, person_id: str, enrolment: Enrolment, *, at: datetime) -> Outcome:
        """Re-enrol with a new photo, name or model; earlier templates stay, inactive, with the reason.

        Adds the person if there is none. The same photo, model and name again changes nothing. Raises
        InputError.
        """
        person_id, enrolment = _checked(person_id, enrolment)
        with self._change() as database:
            current = _current(database, person_id)
            if current is None:
                return _enrol_new(database, person_id, enrolment, at=at)
            if current == (enrolment.name, enrolment.photo_sha256):
                return _put_template(database, person_id, enrolment, at=at)
            if current[1] != enrolment.photo_sha256:
                database.execute("UPDATE templates SET active = 0 WHERE person_id = :id", {"id": person_id})
            database.execute(
                "UPDATE people SET name = :name, photo_sha256 = :photo WHERE id = :id",
                {"name": enrolment.name, "photo": enrolment.photo_sha256, "id": person_id},
            )
            _put_template(database, person_id, enrolment, at=at)
            _note(database, person_id, "re-enrolled", enrolment, at=at)
            return Outcome.REPLACED

    def remove(self, person_id: str, *, first: Callable[[], None] = lambda: None) -> bool:
        """Erase a person: row, templates and history, also from free pages and the write-ahead log.

        False if nobody had that id; ``first`` takes away what is kept elsewhere, once they can be erased.
        Their punches stay: they are the company's time record and hold no biometrics. Raises StoreError, with
        nothing erased, if another process keeps an old copy open; one that begins to at that very moment
        keeps the bytes, not the row, until this is called again.
        """
        with self._change() as database:
            # Written as it was, the row puts a page in the log: a reader in the way shows while all is there.
            there = database.execute("UPDATE people SET id = id WHERE id = :id", {"id": person_id}).rowcount
        self._wipe("nothing is erased yet")
        if there:
            first()
            with self._change() as database:
                database.execute("DELETE FROM people WHERE id = :id", {"id": person_id})
            self._wipe("the rows are deleted, but not yet wiped from the file")
        return there > 0

    def _wipe(self, so_far: str) -> None:
        with self._open() as database:
            erase_traces(database, so_far)

    def people(self) -> list[Person]:
        """Everybody enrolled, ordered by id."""
        with self._open() as database:
            rows = database.execute(
                """
                SELECT id, name, enrolled_at, photo_sha256,
                    (SELECT group_concat(model_sha256) FROM templates WHERE person_id = id AND active = 1)
                FROM people ORDER BY id
                """
            ).fetchall()
        return [_person(row) for row in rows]

    def record_of(self, person_id: str) -> PersonRecord | None:
        """Everything stored about one person; None if nobody has that id."""
        with self._open() as database:
            return _record_of(database, person_id)

    def lacking(self, model_sha256: str) -> list[str]:
        """Ids of the people who have no active template of this model, in order."""
        with self._open() as database:
            rows = database.execute(
                """
                SELECT id FROM people WHERE NOT EXISTS (
                    SELECT 1 FROM templates
                    WHERE person_id = people.id AND model_sha256 = :model AND active = 1
                ) ORDER BY id
                """,
                {"model": model_sha256},
            ).fetchall()
        return [row[0] for row in rows]

    def portrait_of(self, person_id: str) -> StoredTemplate | None:
        """The newest active template, of whichever model, with its crop; None if there is none."""
        with self._open() as database:
            row = database.execute(
                """
                SELECT vector, model_sha256, crop_png, quality, created_at, active FROM templates
                WHERE person_id = :id AND active = 1 ORDER BY number DESC LIMIT 1
                """,
                {"id": person_id},
            ).fetchone()
        return None if row is None else _template(row)

    def add_template(self, person_id: str, template: StoredTemplate, *, like: StoredTemplate) -> bool:
        """Store another model's template of the portrait ``like``.

        False, and nothing stored, if the person has a new portrait or such a template by now, or has left.
        Raises InputError for a vector that is none.
        """
        _check_vector(template.vector)
        chosen = {
            "id": person_id,
            "model": template.model_sha256,
            "like": like.model_sha256,
            "crop": like.crop_png,
        }
        with self._change() as database:
            wanted = scalar(
                database,
                """
                SELECT EXISTS (
                    SELECT 1 FROM templates
                    WHERE person_id = :id AND model_sha256 = :like AND crop_png = :crop AND active = 1
                ) AND NOT EXISTS (
                    SELECT 1 FROM templates WHERE person_id = :id AND model_sha256 = :model AND active = 1
                )
                """,
                chosen,
            )
            if wanted:
                _insert_stored(database, person_id, template)
        return bool(wanted)

    def restore(self, records: list[PersonRecord]) -> dict[str, Outcome]:
        """Put exported people in, all or nobody: equal ones stay, differing ones are replaced.

        What an archive does not hold stays: PINs, passes, and templates of models that it does not mention,
        which are inactive from then on if the photo is another. Raises InputError for a record that could
        not have been enrolled.
        """
        outcomes: dict[str, Outcome] = {}
        with self._change() as database:
            for record in _restorable(database, records):
                outcomes[record.person.person_id] = _restore(database, record)
        return outcomes

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._file.close()

    @contextmanager
    def _open(self) -> Iterator[Database]:
        with self._lock, storage_errors("the people cannot be read or written"):
            yield self._file.database()

    @contextmanager
    def _change(self) -> Iterator[Database]:
        """A transaction that adds one to the counter if it changed a row."""
        with self._open() as database, transaction(database):
            before = database.conn.total_changes
            yield database
            if database.conn.total_changes != before:
                database.execute("UPDATE meta SET value = value + 1 WHERE key = 'people_version'")
                self._seen = None  # data_version does not change for the connection that made the change


def same_record(stored: PersonRecord, archived: PersonRecord) -> bool:
    """True if what is stored says what the archive says.

    Stored templates of models that the archive does not mention say nothing against it: a kiosk makes them
    by itself when it gets a new embedder.
    """
    models = {template.model_sha256 for template in archived.templates}
    templates = [template for template in stored.templates if template.model_sha256 in models]
    return (
        replace(stored.person, models=archived.person.models) == archived.person
        and stored.history == archived.history
        and len(templates) == len(archived.templates)
        and all(
            np.array_equal(left.vector, right.vector)
            and (left.model_sha256, left.crop_png, dict(left.quality), left.created_at, left.active)
            == (right.model_sha256, right.crop_png, dict(right.quality), right.created_at, right.active)
            for left, right in zip(templates, archived.templates, strict=True)
        )
    )


def _checked(person_id: str, enrolment: Enrolment) -> tuple[str, Enrolment]:
    name = check_name(enrolment.name)
    _check_vector(enrolment.vector)
    _check_crop(enrolment.crop_png)
    for measure, value in enrolment.quality.items():
        if not np.isfinite(value):
            raise InputError(f"quality measure {measure!r} is not a finite number")
    return check_person_id(person_id), Enrolment(
        name=name,
        vector=enrolment.vector,
        model_sha256=enrolment.model_sha256,
        crop_png=enrolment.crop_png,
        photo_sha256=enrolment.photo_sha256,
        quality=enrolment.quality,
        reason=enrolment.reason,
    )


def _check_vector(vector: Floats) -> None:
    if vector.shape != (DIMENSIONS,) or vector.dtype != np.float32:
        raise InputError(f"a template is {DIMENSIONS} float32 numbers, not {vector.dtype} {vector.shape}")
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not abs(length - 1) <= UNIT_TOLERANCE:  # also refuses NaN
        raise InputError(f"a template has length 1, this one {length:.4g}")


def _check_crop(crop_png: bytes) -> None:
    if not crop_png.startswith(CROP_BEGINS) or len(crop_png) > LARGEST_CROP_BYTES:
        raise InputError(
            f"the crop is not a PNG picture of {CROP_PX} x {CROP_PX} pixels and at most "
            f"{LARGEST_CROP_BYTES >> 20} MB"
        )


def _current(database: Database, person_id: str) -> tuple[str, str] | None:
    row = database.execute(
        "SELECT name, photo_sha256 FROM people WHERE id = :id", {"id": person_id}
    ).fetchone()
    return None if row is None else (row[0], row[1])


def _enrol_new(database: Database, person_id: str, enrolment: Enrolment, *, at: datetime) -> Outcome:
    _insert_person(database, person_id, enrolment, at=at)
    _insert_template(database, person_id, enrolment, at=at)
    _note(database, person_id, "enrolled", enrolment, at=at)
    return Outcome.ADDED


def _insert_person(database: Database, person_id: str, enrolment: Enrolment, *, at: datetime) -> None:
    database.execute(
        "INSERT INTO people (id, name, enrolled_at, photo_sha256) VALUES (:id, :name, :at, :photo)",
        {"id": person_id, "name": enrolment.name, "at": at.isoformat(), "photo": enrolment.photo_sha256},
    )


def _put_template(database: Database, person_id: str, enrolment: Enrolment, *, at: datetime) -> Outcome:
    """Make this the active template of its model, unless it is already."""
    same_model = {"id": person_id, "model": enrolment.model_sha256}
    stored = scalar(
        database,
        "SELECT vector FROM templates WHERE person_id = :id AND model_sha256 = :model AND active = 1",
        same_model,
    )
    if stored == _blob(enrolment.vector):
        return Outcome.UNCHANGED
    database.execute(
        "UPDATE templates SET active = 0 WHERE person_id = :id AND model_sha256 = :model", same_model
    )
    _insert_template(database, person_id, enrolment, at=at)
    return Outcome.REPLACED


def _insert_template(database: Database, person_id: str, enrolment: Enrolment, *, at: datetime) -> None:
    _insert_stored(
        database,
        person_id,
        StoredTemplate(
            enrolment.vector, enrolment.model_sha256, enrolment.crop_png, enrolment.quality, at, active=True
        ),
    )


def _insert_stored(database: Database, person_id: str, template: StoredTemplate) -> None:
    database.execute(
        """
        INSERT INTO templates (person_id, model_sha256, vector, crop_png, quality, created_at, active)
        VALUES (:id, :model, :vector, :crop, :quality, :at, :active)
        """,
        {
            "id": person_id,
            "model": template.model_sha256,
            "vector": _blob(template.vector),
            "crop": template.crop_png,
            "quality": json.dumps(dict(template.quality), sort_keys=True),
            "at": template.created_at.isoformat(),
            "active": int(template.active),
        },
    )


def _note(database: Database, person_id: str, what: str, enrolment: Enrolment, *, at: datetime) -> None:
    _insert_history(database, person_id, HistoryEntry(at, what, enrolment.photo_sha256, enrolment.reason))


def _insert_history(database: Database, person_id: str, entry: HistoryEntry) -> None:
    database.execute(
        """
        INSERT INTO person_history (person_id, at, what, photo_sha256, reason)
        VALUES (:id, :at, :what, :photo, :reason)
        """,
        {
            "id": person_id,
            "at": entry.at.isoformat(),
            "what": entry.what,
            "photo": entry.photo_sha256,
            "reason": entry.reason,
        },
    )


def _record_of(database: Database, person_id: str) -> PersonRecord | None:
    person = database.execute(
        """
        SELECT id, name, enrolled_at, photo_sha256,
            (SELECT group_concat(model_sha256) FROM templates WHERE person_id = id AND active = 1)
        FROM people WHERE id = :id
        """,
        {"id": person_id},
    ).fetchone()
    if person is None:
        return None
    templates = database.execute(
        """
        SELECT vector, model_sha256, crop_png, quality, created_at, active
        FROM templates WHERE person_id = :id ORDER BY number
        """,
        {"id": person_id},
    ).fetchall()
    history = database.execute(
        "SELECT at, what, photo_sha256, reason FROM person_history WHERE person_id = :id ORDER BY number",
        {"id": person_id},
    ).fetchall()
    return PersonRecord(
        _person(person),
        tuple(_template(row) for row in templates),
        tuple(HistoryEntry(datetime.fromisoformat(row[0]), *row[1:]) for row in history),
    )


def _restorable(database: Database, records: list[PersonRecord]) -> list[PersonRecord]:
    """The records with ids and names in normal form. Raises InputError if one could not be enrolled here."""
    names: dict[str, str] = dict(database.execute("SELECT id, name FROM people").fetchall())
    spelled = {person_id.casefold(): person_id for person_id in names}
    checked: list[PersonRecord] = []
    for record in records:
        person_id, name = check_person_id(record.person.person_id), check_name(record.person.name)
        like = spelled.setdefault(person_id.casefold(), person_id)
        try:
            refuse_unsafe(person_id, name, stored_name=names.get(person_id), spelled=like)
            for template in record.templates:
                _check_vector(template.vector)
                _check_crop(template.crop_png)
        except InputError as err:
            raise InputError(f"{person_id}: {err}") from None
        checked.append(replace(record, person=replace(record.person, person_id=person_id, name=name)))
    return checked


def _restore(database: Database, record: PersonRecord) -> Outcome:
    person_id = record.person.person_id
    existing = _record_of(database, person_id)
    if existing is not None and same_record(existing, record):
        return Outcome.UNCHANGED
    if existing is not None:
        _clear_for(database, person_id, record)
    _put_record(database, person_id, record)
    return Outcome.ADDED if existing is None else Outcome.REPLACED


def _clear_for(database: Database, person_id: str, record: PersonRecord) -> None:
    """Take away what the archive says otherwise; of another photo no template may go on being recognised."""
    who = {"id": person_id}
    database.execute("DELETE FROM person_history WHERE person_id = :id", who)
    for model in {template.model_sha256 for template in record.templates}:
        database.execute(
            "DELETE FROM templates WHERE person_id = :id AND model_sha256 = :model", {**who, "model": model}
        )
    database.execute(
        """
        UPDATE templates SET active = 0
        WHERE person_id = :id AND (SELECT photo_sha256 FROM people WHERE id = :id) != :photo
        """,
        {**who, "photo": record.person.photo_sha256},
    )


def _put_record(database: Database, person_id: str, record: PersonRecord) -> None:
    person = record.person
    database.execute(
        """
        INSERT INTO people (id, name, enrolled_at, photo_sha256) VALUES (:id, :name, :at, :photo)
        ON CONFLICT (id) DO UPDATE SET
            name = excluded.name, enrolled_at = excluded.enrolled_at, photo_sha256 = excluded.photo_sha256
        """,
        {
            "id": person_id,
            "name": person.name,
            "at": person.enrolled_at.isoformat(),
            "photo": person.photo_sha256,
        },
    )
    for template in record.templates:
        _insert_stored(database, person_id, template)
    for entry in record.history:
        _insert_history(database, person_id, entry)


def _person(row: tuple[str, str, str, str, str | None]) -> Person:
    person_id, name, enrolled_at, photo_sha256, models = row
    sorted_models = tuple(sorted(models.split(","))) if models else ()
    return Person(person_id, name, datetime.fromisoformat(enrolled_at), photo_sha256, sorted_models)


def _template(row: tuple[bytes, str, bytes, str, str, int]) -> StoredTemplate:
    vector, model, crop_png, quality, created_at, active = row
    measures: Mapping[str, float] = json.loads(quality)
    return StoredTemplate(
        _vector(vector), model, crop_png, measures, datetime.fromisoformat(created_at), active=bool(active)
    )


def _blob(vector: Floats) -> bytes:
    return vector.astype("<f4").tobytes()


def _vector(blob: bytes) -> Floats:
    if len(blob) != 4 * DIMENSIONS:
        raise StoreError("a stored template is damaged; enrol the person again")
    return np.frombuffer(blob, "<f4").astype(np.float32)


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise StoreError("the counter of changes is damaged") from None
