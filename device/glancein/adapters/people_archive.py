"""Enrolled people as a portable file: JSON lines, the first one saying what it is."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from glancein.domain.person import HistoryEntry, Person, PersonRecord, StoredTemplate, check_person_id
from glancein.errors import InputError

FORMAT = "glancein-people"
VERSION = 1
LONGEST_LINE = 16 << 20  # a person with a dozen re-enrolments is far below


def write_archive(path: Path, records: list[PersonRecord]) -> None:
    """Write all records, readable by the owner only.

    An existing file is replaced whole, where a link leads to it. Raises InputError, for a device or pipe too.
    """
    target = Path(os.path.realpath(path))  # of /dev/stdout, which root would replace for everybody
    partial = target.with_name(f".{target.name}.partial")
    try:
        if target.exists() and not target.is_file():
            raise InputError(f"{path} cannot be written: it is no file; name one")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            out.write(_line({"format": FORMAT, "version": VERSION, "people": len(records)}))
            out.writelines(_line(_to_json(record)) for record in records)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(target)
    except OSError as err:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise InputError(f"{path} cannot be written: {err.strerror}") from err


def read_archive(path: Path) -> list[PersonRecord]:
    """Read it back; raises InputError that names the line that is wrong."""
    records: list[PersonRecord] = []
    try:
        with path.open("rb") as lines:
            expected = _read_header(path, lines.readline(LONGEST_LINE))
            number = 1
            while line := lines.readline(LONGEST_LINE):
                number += 1
                records.append(_read_line(path, number, line))
    except OSError as err:
        raise InputError(f"cannot read {path}: {err.strerror}") from err
    if len(records) != expected:
        raise InputError(
            f"{path} holds {len(records)} of {expected} people; it was cut short, export it again"
        )
    _check_once(path, records)
    return records


def _check_once(path: Path, records: list[PersonRecord]) -> None:
    lines: dict[str, int] = {}
    for number, record in enumerate(records, start=2):
        person_id = record.person.person_id
        if (first := lines.setdefault(person_id, number)) != number:
            raise InputError(f"{path} line {number}: id {person_id} is on line {first} already; export again")


def _read_header(path: Path, line: bytes) -> int:
    try:
        header = json.loads(line)
        kind, version, people = header["format"], header["version"], header["people"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path} is not an export of people") from None
    if kind != FORMAT or not isinstance(people, int):
        raise InputError(f"{path} is not an export of people")
    if version != VERSION:
        raise InputError(f"{path} has version {version!r}, this glancein reads {VERSION}; update glancein")
    return people


def _read_line(path: Path, number: int, line: bytes) -> PersonRecord:
    try:
        return _from_json(json.loads(line))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        binascii.Error,
        InputError,
    ) as err:
        raise InputError(f"{path} line {number} is damaged: {str(err)[:80] or type(err).__name__}") from None


def _line(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _to_json(record: PersonRecord) -> dict[str, object]:
    person = record.person
    return {
        "id": person.person_id,
        "name": person.name,
        "enrolled_at": person.enrolled_at.isoformat(),
        "photo_sha256": person.photo_sha256,
        "templates": [
            {
                "vector": base64.b64encode(template.vector.astype("<f4").tobytes()).decode(),
                "model_sha256": template.model_sha256,
                "crop_png": base64.b64encode(template.crop_png).decode(),
                "quality": dict(template.quality),
                "created_at": template.created_at.isoformat(),
                "active": template.active,
            }
            for template in record.templates
        ],
        "history": [
            {"at": e.at.isoformat(), "what": e.what, "photo_sha256": e.photo_sha256, "reason": e.reason}
            for e in record.history
        ],
    }


def _from_json(body: dict[str, object]) -> PersonRecord:
    templates = tuple(_template(_object(entry)) for entry in _list(body, "templates"))
    history = tuple(_history(_object(entry)) for entry in _list(body, "history"))
    models = tuple(sorted(template.model_sha256 for template in templates if template.active))
    if len(set(models)) != len(models):
        raise ValueError("two active templates of one model")
    person = Person(
        person_id=check_person_id(_text(body, "id")),
        name=_text(body, "name"),
        enrolled_at=_time(body, "enrolled_at"),
        photo_sha256=_text(body, "photo_sha256"),
        models=models,
    )
    return PersonRecord(person, templates, history)


def _template(body: dict[str, object]) -> StoredTemplate:
    active = body["active"]
    if not isinstance(active, bool):
        raise TypeError("active is not true or false")
    quality = {str(key): float(str(value)) for key, value in _object(body["quality"]).items()}
    if not all(np.isfinite(value) for value in quality.values()):
        raise ValueError("a quality measure is not finite")
    return StoredTemplate(
        vector=np.frombuffer(base64.b64decode(_text(body, "vector"), validate=True), "<f4").astype(
            np.float32
        ),
        model_sha256=_text(body, "model_sha256"),
        crop_png=base64.b64decode(_text(body, "crop_png"), validate=True),
        quality=quality,
        created_at=_time(body, "created_at"),
        active=active,
    )


def _history(body: dict[str, object]) -> HistoryEntry:
    return HistoryEntry(
        _time(body, "at"), _text(body, "what"), _text(body, "photo_sha256"), _text(body, "reason")
    )


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _list(body: dict[str, object], field: str) -> list[object]:
    value = body[field]
    if not isinstance(value, list):
        raise TypeError(f"{field} is not a list")
    return value


def _text(body: dict[str, object], field: str) -> str:
    value = body[field]
    if not isinstance(value, str):
        raise TypeError(f"{field} is not text")
    value.encode()  # a lone surrogate could not be stored
    return value


def _time(body: dict[str, object], field: str) -> datetime:
    moment = datetime.fromisoformat(_text(body, field))
    if moment.tzinfo is None:
        raise ValueError(f"{field} has no offset from UTC")
    return moment
