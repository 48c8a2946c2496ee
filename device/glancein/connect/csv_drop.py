"""CSV files in a folder that another program picks up: whole files only, each name once."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

from glancein.domain.delivery import Answer, Done, Later, Parcel, Punch
from glancein.domain.event_body import change_fields, kind_of
from glancein.domain.spreadsheet import harmless
from glancein.errors import SettingsError
from glancein.types import Correction, Event, TimeFix

COLUMNS = (
    "event_id", "kind", "site", "kiosk", "person_id", "name", "direction", "time", "time_utc", "time_is",
    "clock", "method", "corrects", "becomes", "reason", "by",
)  # fmt: skip
DIGITS = 12  # of the digest; it tells apart batches of one number, of which there are two or three


class CsvDrop:
    """Implements the port Remote: a file ``punches-<number>-<digest>.csv`` for each batch.

    A file is written beside its place, synced, and renamed into it, so a reader never sees half of one. A
    batch interrupted by a crash is written again under the same name: a reader that takes each name once,
    or each ``event_id`` once, takes each event once. The digest is of the file's content: a number may be
    given out again, by a database put back from an older copy or by another one that drops files here.
    """

    def __init__(self, folder: Path, *, most: int = 500) -> None:
        if not folder.is_dir():
            raise SettingsError(f"the folder {folder} does not exist")
        self._folder = folder
        self._most = most

    @property
    def most(self) -> int:
        """How many rows a file has."""
        return self._most

    def deliver(self, parcels: Sequence[Parcel]) -> Answer:
        """Write one file."""
        rows = [row for parcel in parcels for row in rows_of(parcel)]
        if not rows:
            return Done(words="nothing in it counts: every check-in was voided")
        content = _text(rows)
        name = _name(int(parcels[0].label or parcels[0].number), content)
        try:
            if not (self._folder / name).exists():
                self._write(self._folder / name, content)
            self._sync_folder()
        except OSError as err:
            return Later(f"cannot write {name} in {self._folder}: {err.strerror or err}")
        return Done(label=name)

    def close(self) -> None:
        """Nothing is held open."""

    def _write(self, path: Path, content: bytes) -> None:
        unfinished = path.with_name(f".{path.name}.part")
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o640), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        except OSError as err:
            # A share of Windows' syncs files and knows no syncing of folders.
            if err.errno != errno.EINVAL:
                raise
        finally:
            os.close(folder)


def rows_of(parcel: Parcel) -> list[dict[str, object]]:
    """The rows of one event: none for a voided check-in, one for each punch that a fix came too late for."""
    event, punch = parcel.event, parcel.punch
    row: dict[str, object] = {
        "event_id": event.id.word,
        "kind": kind_of(event.body),
        "site": event.site,
        "kiosk": event.kiosk,
        "clock": event.body.moment.trust.value,
    }
    if isinstance(event.body, Correction):
        return [row | _correction(event.body)]
    if isinstance(event.body, TimeFix):
        return [row | _right_time(event, late.event, late.punch) for late in parcel.late if late.punch]
    if punch is None:
        return []
    check_in = event.check_in
    name = event.name if punch.person_id == check_in.person_id else None
    whose = {"person_id": punch.person_id, "name": name, "direction": punch.direction.value}
    return [row | whose | _times(punch) | {"method": check_in.method.value}]


def _times(punch: Punch) -> dict[str, object]:
    return {
        "time": punch.time.isoformat(),
        "time_utc": punch.time.astimezone(UTC).isoformat(),
        "time_is": punch.time_is,
    }


def _right_time(fix: Event, late: Event, punch: Punch) -> dict[str, object]:
    """As a correction; its ``event_id`` is of both, since a time fix may put right many."""
    return _times(punch) | {
        "event_id": f"{fix.id.word}+{late.id.word}",
        "kind": "correction",
        "corrects": late.id.word,
        "becomes": "time",
        "reason": "the clock was not set",
        "by": fix.kiosk,
    }


def _correction(correction: Correction) -> dict[str, object]:
    """What an earlier row becomes: ``becomes`` names the column that changes, or says void."""
    ((column, value),) = change_fields(correction.becomes).items()
    cells: dict[str, object] = {
        "corrects": correction.of.word,
        "becomes": column,
        "reason": correction.reason,
        "by": correction.by,
        "method": correction.method.value,
    }
    return cells if column == "void" else cells | {column: value}


def _name(number: int, content: bytes) -> str:
    """In the order of the batches, and never the same for other rows."""
    return f"punches-{number:010d}-{hashlib.sha256(content).hexdigest()[:DIGITS]}.csv"


def _text(rows: Sequence[dict[str, object]]) -> bytes:
    """UTF-8 with the mark that spreadsheets look for, RFC 4180 line ends, no cell that is a formula."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({column: harmless(value) for column, value in row.items()} for row in rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()
