"""What a command prints: tables for people, one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go. With ``as_json`` standard output holds JSON and nothing else."""

    as_json: bool

    def result(self, document: object, show: Callable[[Console], None]) -> None:
        """Print ``document`` as JSON, or let ``show`` print it for people."""
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False))
        else:
            show(Console())

    def track(self, items: Iterable[Item], what: str, *, total: int | None = None) -> Iterator[Item]:
        """The items, with a progress bar on standard error when somebody looks."""
        if not sys.stderr.isatty():
            yield from items
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(items, description=what, total=total)


def table(title: str, *columns: str, rows: Iterable[Sequence[object]]) -> Table:
    """A table of plain values; nothing in a cell is taken for markup."""
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*(_plain(cell) for cell in row))
    return made


def _plain(cell: object) -> str:
    from rich.markup import escape  # noqa: PLC0415  # only when a table is printed

    return "" if cell is None else escape(f"{cell:.3f}" if isinstance(cell, float) else str(cell))
