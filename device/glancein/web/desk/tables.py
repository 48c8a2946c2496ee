"""Days as rows, and rows as CSV and XLSX in which no cell is a formula."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING

from glancein.domain.punches import Punch
from glancein.domain.spreadsheet import FORMULA_BEGINS
from glancein.errors import InputError

if TYPE_CHECKING:
    from glancein.web.desk.record import Sheet

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
REASON_LIMIT = 120
JOINERS = "\u200c\u200d"  # they stand inside names of several scripts
COLUMNS = ("id", "name", "day", "in", "out", "hours", "late_minutes", "forgotten", "corrected")
Cell = str | float | int | None


def day_rows(sheets: Iterable[Sheet], said: Mapping[str, str], *, zone: tzinfo) -> Iterator[Sequence[Cell]]:
    """A header, then one row for each stay."""
    yield [said[f"column_{column}"] for column in COLUMNS]
    for sheet in sheets:
        for day in sheet.days:
            for number, pair in enumerate(day.pairs):
                ends = [punch for punch in (pair.came, pair.left) if punch is not None]
                yield (
                    sheet.person_id,
                    sheet.name,
                    str(day.day),
                    _clock(pair.came, zone),
                    _clock(pair.left, zone),
                    round(pair.worked.total_seconds() / 3600, 4),  # less than half a second off
                    round(day.late_by.total_seconds() / 60) if number == 0 else 0,
                    "x" if pair in day.forgotten else "",
                    "x" if any(punch.corrections for punch in ends) else "",
                )


def as_csv(rows: Iterable[Sequence[Cell]]) -> bytes:
    """UTF-8 with a byte order mark, which spreadsheets need to see that it is not their own old encoding."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    for row in rows:
        writer.writerow([neutral(cell) for cell in row])
    return out.getvalue().encode("utf-8-sig")


def as_xlsx(rows: Iterable[Sequence[Cell]]) -> bytes:
    """One sheet; text cells are written as text, whatever they begin with."""
    from openpyxl import Workbook  # noqa: PLC0415  # only for this export
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415  # as above

    book = Workbook(write_only=True)
    sheet = book.create_sheet("glancein")
    for row in rows:
        cells = []
        for value in row:
            cell = WriteOnlyCell(sheet, value=neutral(value))
            if isinstance(value, str):
                cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


KINDS: dict[str, tuple[Callable[[Iterable[Sequence[Cell]]], bytes], str]] = {
    "csv": (as_csv, "text/csv; charset=utf-8"),
    "xlsx": (as_xlsx, XLSX),
}


def neutral(cell: Cell) -> Cell:
    """The cell, with an apostrophe before what a spreadsheet would run as a formula."""
    if isinstance(cell, str):
        shown = "".join(c for c in cell if _is_shown(c))
        # Full-width signs count too: spreadsheets of East Asia take them for their narrow twins.
        seen = "".join(c for c in shown if c not in JOINERS).lstrip()
        begins = unicodedata.normalize("NFKC", seen[:1])
        return f"'{shown}" if begins.startswith(FORMULA_BEGINS) or shown[:1] == "\t" else shown
    return cell


def _is_shown(character: str) -> bool:
    """True for letters, signs, joiners, tabs and every width of space, which names may hold."""
    return character.isprintable() or character in f"\t{JOINERS}" or unicodedata.category(character) == "Zs"


def one_line(text: str, what: str) -> str:
    """A reason or remark that fits on one line. Raises InputError."""
    tidy = " ".join(text.split())
    if not tidy or len(tidy) > REASON_LIMIT or not tidy.isprintable():
        raise InputError(f"{what} has 1 to {REASON_LIMIT} characters in one line")
    return tidy


def _clock(punch: Punch | None, zone: tzinfo) -> str:
    return "" if punch is None else f"{punch.wall.astimezone(zone):%Y-%m-%d %H:%M}"
