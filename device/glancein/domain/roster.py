"""A roster, one person a row: CSV text -> rows that can be enrolled, and rows that cannot and why."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glancein.domain.person import check_name, check_person_id, refuse_formula
from glancein.errors import InputError

BAD_ROW, DUPLICATE_ID, BAD_PHOTO = "bad_row", "duplicate_id", "bad_photo_path"
_HEADERS = {
    "id": {
        "id",
        "person id",
        "personid",
        "employee id",
        "employee no",
        "employee number",
        "badge",
        "badge id",
        "사번",
    },
    "name": {"name", "full name", "fullname", "display name", "이름", "성명"},
    "photo": {"photo", "picture", "image", "file", "filename", "file name", "photo file", "사진"},
}
# A column that a roster may have besides: why a face like an enrolled one is right.
_ALLOW_DUPLICATE = "allow_duplicate"
_FURTHER_HEADERS = {_ALLOW_DUPLICATE: {"allow duplicate", "중복 사유"}}
_SEPARATORS = ",;\t"
# The first line that Excel writes and reads to say what stands between the cells.
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RosterRow:
    """One person to enrol; ``line`` is where the row ends in its file, from 1.

    ``allow_duplicate`` is why a face like an enrolled one is right, empty if that is not said.
    """

    line: int
    person_id: str
    name: str
    photo: Path
    allow_duplicate: str = ""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and why."""

    line: int
    person_id: str
    reason: str
    message: str


def parse(text: str) -> Iterator[RosterRow | BadRow]:
    """Rows of a CSV text in order; ``photo`` is a relative path without ``..``.

    Commas, semicolons, tabs, or what a first line ``sep=`` names; header names as people write them, in any
    order; empty rows are skipped; an id that comes twice is refused the second time. Raises InputError if
    there is no usable header or the text is not CSV.
    """
    named = _SEPARATOR_LINE.match(text)
    separator = named[1] if named else max(_SEPARATORS, key=lambda mark: _headers(text, mark))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        if named:
            next(reader)
        columns = _columns(next(reader, []))
        seen: dict[str, int] = {}
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _row(reader.line_num, cells, columns, seen)
    except csv.Error as err:
        raise InputError(f"line {reader.line_num} is not CSV ({err}): save the table as CSV again") from err


def _row(line: int, cells: list[str], columns: dict[str, int], seen: dict[str, int]) -> RosterRow | BadRow:
    values = {name: cells[i].strip() if i < len(cells) else "" for name, i in columns.items()}
    person_id = values["id"]
    try:
        refuse_formula(person_id, "the id")
        refuse_formula(values["name"], "the name")
        row = RosterRow(
            line,
            check_person_id(person_id),
            check_name(values["name"]),
            _photo(values["photo"]),
            values.get(_ALLOW_DUPLICATE, ""),
        )
    except _BadPhotoError as err:
        return BadRow(line, person_id, BAD_PHOTO, str(err))
    except InputError as err:
        return BadRow(line, person_id, BAD_ROW, str(err))
    if row.person_id in seen:
        first = seen[row.person_id]
        return BadRow(line, person_id, DUPLICATE_ID, f"id {person_id} stands in line {first} already")
    seen[row.person_id] = line
    return row


def _columns(header: list[str]) -> dict[str, int]:
    """Where id, name, photo and the further columns stand. Raises InputError that lists what is missing."""
    found = _places(header)
    missing = [name for name in _HEADERS if name not in found]
    if missing:
        raise InputError(
            f"the first line must name the columns id, name, photo; missing: {', '.join(missing)}"
        )
    return found


def _places(header: list[str]) -> dict[str, int]:
    """The columns known by name, each where it first stands."""
    tidy = [re.sub(r"[\s_\-.]+", " ", cell).strip().casefold() for cell in header]
    return {
        name: next(i for i, cell in enumerate(tidy) if cell in words)
        for name, words in (_HEADERS | _FURTHER_HEADERS).items()
        if not words.isdisjoint(tidy)
    }


def _headers(text: str, separator: str) -> int:
    """How many columns are known by name if this stands between the cells."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return len(_places(next(lines, [])))
    except csv.Error:  # a quote that only another separator closes
        return 0


class _BadPhotoError(InputError):
    pass


def _photo(cell: str) -> Path:
    """A relative path; what a Windows user writes with backslashes is understood."""
    if not cell:
        raise _BadPhotoError("no photo is named")
    path = Path(cell.replace("\\", "/"))
    if path.is_absolute() or re.match(r"[A-Za-z]:", cell) or ".." in path.parts or not cell.isprintable():
        raise _BadPhotoError(f"photo {cell[:80]!r} must be a name inside the photo folder")
    return path
