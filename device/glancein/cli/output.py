"""What a command prints: tables for people, lines for pipes and files, one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table

Item = TypeVar("Item")
SHORT = 14  # characters: on a narrow terminal such a column stays whole and longer ones are broken


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go. With ``as_json`` standard output holds JSON and nothing else."""

    as_json: bool

    def result(self, document: object, show: Callable[[Console], None]) -> None:
        """Print ``document`` as JSON, or let ``show`` print it for people."""
        if self.as_json:
            print(_encodable(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)))
        else:
            show(open_console())

    def line(self, document: object, line: str) -> None:
        """Print ``document`` as one line of JSON, or the line for people, as a long run goes on."""
        told = _encodable(json.dumps(document, ensure_ascii=False, allow_nan=False)) if self.as_json else line
        print(told, flush=True)

    def track(self, items: Iterable[Item], what: str, *, total: int | None = None) -> Iterator[Item]:
        """The items, with a progress bar on standard error when somebody looks."""
        if not sys.stderr.isatty():
            yield from items
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(items, description=what, total=total)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: drawn on a terminal, elsewhere one uncut line a row with a tab between its columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if console.is_terminal:
            yield _drawn(self)
            return
        for line in ((self.title,), self.columns, *self.rows):
            yield Segment("\t".join(line))
            yield Segment.line()


def table(title: str, *columns: str, rows: Iterable[Sequence[object]]) -> Sheet:
    """A table of plain values; nothing in a cell is taken for markup."""
    return Sheet(title, columns, tuple(tuple(map(_plain, row)) for row in rows))


def open_console(*, stderr: bool = False) -> Console:
    """Where text for people goes; only on a terminal is a line broken at its width."""
    console = Console(stderr=stderr)
    console.soft_wrap = not console.is_terminal
    return console


def one_line(text: str) -> str:
    """The text on one line: what cannot be shown, such as a line break in a file's name, as an escape."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text
    )


def _drawn(sheet: Sheet) -> Table:
    from rich.markup import escape  # noqa: PLC0415  # only when a table is drawn

    drawn = Table(title=escape(sheet.title), title_justify="left")
    for heading, *cells in zip(sheet.columns, *sheet.rows, strict=True):
        is_short = max(map(len, (heading, *cells))) <= SHORT
        drawn.add_column(escape(heading), overflow="fold", no_wrap=is_short)
    for row in sheet.rows:
        drawn.add_row(*map(escape, row))
    return drawn


def _plain(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:.3f}" if isinstance(cell, float) else one_line(str(cell))


def _encodable(document: str) -> str:
    """File names may hold bytes that are no text; they become JSON's own escapes."""
    return document.encode("utf-8", "backslashreplace").decode("utf-8")
