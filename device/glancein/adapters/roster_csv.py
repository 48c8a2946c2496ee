"""A CSV file of people and a folder of photos -> rows whose photo lies inside that folder."""

from __future__ import annotations

import codecs
from dataclasses import replace
from pathlib import Path

from glancein.domain import roster
from glancein.domain.roster import BAD_PHOTO, BadRow, RosterRow
from glancein.errors import InputError

OR_NAME_IT = ", or name its encoding (cp1252 for Western, cp949 for Korean Windows)"
MAX_BYTES = 20_000_000
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_roster(path: Path, photos: Path, *, encoding: str | None = None) -> list[RosterRow | BadRow]:
    """Rows of a CSV file in order, each photo as a path inside ``photos``.

    UTF-8, or UTF-16 with its byte order mark; anything else only if ``encoding`` names it, since guessing
    would enrol people under garbled names. Links that lead out of the folder are refused. Raises InputError
    if the file cannot be read, is not in that encoding, has no usable header or is not CSV to its end.
    """
    text = decode_text(_read(path), str(path), encoding, otherwise=OR_NAME_IT)
    folder = _folder(photos)
    try:
        return [row if isinstance(row, BadRow) else _placed(row, folder) for row in roster.parse(text)]
    except InputError as err:
        raise InputError(f"{path}: {err}") from err


def _placed(row: RosterRow, folder: Path) -> RosterRow | BadRow:
    photo = folder / row.photo
    try:
        inside = photo.resolve().is_relative_to(folder)
        exists = photo.is_file()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long
        inside = exists = False
    if not exists or not inside:
        what = "leads out of the photo folder" if exists else "is not in the photo folder"
        return BadRow(row.line, row.person_id, BAD_PHOTO, f"photo {str(row.photo)!r} {what}")
    return replace(row, photo=photo)


def _folder(photos: Path) -> Path:
    if not photos.is_dir():
        raise InputError(f"{photos} is not a folder: --photos names the folder that holds the photos")
    return photos.resolve()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err.strerror}") from err
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB: split it")
    return data


def decode_text(data: bytes, name: str, encoding: str | None = None, *, otherwise: str = "") -> str:
    """The text of a CSV file's bytes. Raises InputError.

    ``name`` is what to call it in errors, ``otherwise`` what else than saving it anew would help.
    """
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding or marked).removeprefix("\ufeff")
    except UnicodeDecodeError as err:
        hint = "check the encoding given" if encoding else f"save it as 'CSV UTF-8'{otherwise}"
        line = data.count(b"\n", 0, err.start) + 1
        raise InputError(f"{name}, line {line}: not {encoding or marked}; {hint}") from err
    except (LookupError, UnicodeError) as err:  # such as Python's own codec "undefined"
        raise InputError(f"there is no encoding {encoding!r}: utf-8, cp1252, cp949 and others") from err
    if "\0" in text:
        raise InputError(f"{name} is not text: save the table as CSV")
    return text
