"""What the laboratory's commands share: how they print, how they fail, and options that several take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glancein.errors import GlanceinError, InputError

out_console = Console()
error_console = Console(stderr=True)

CACHE = Path.home() / ".cache/glancein"
Labels = Annotated[Path | None, typer.Option(help="labels.csv with path and identity (or id), split, groups")]
Split = Annotated[str, typer.Option(help="only this split of the labels")]
Half = Annotated[str, typer.Option(help="even (to choose on), odd (to report on) or all people")]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of the configuration; repeatable")]


def bar(*, shown: bool, console: Console = out_console) -> Progress:
    """A progress bar with what is ``told`` and the time left; silent where nobody looks at a terminal."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not (shown and console.is_terminal))


def say(line: str) -> None:
    """One line at once, also into a log."""
    print(line, flush=True)


def say_finished(out: Path, seen: str) -> None:
    """That a run's decay is over, after so many pictures of its kind, and that nothing was changed."""
    print(f"{out} is finished, after {seen}; go on with --start-from in a fresh folder")


def say_start_unused(out: Path, start: Path) -> None:
    """That a run goes on from its own checkpoint, whatever weights were named to begin with."""
    print(f"{out} goes on from its own checkpoint; --start-from {start} is for a fresh folder", flush=True)


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Ours and files that cannot be used as one line and an exit code, without a traceback."""
    try:
        yield
    except FileNotFoundError as err:
        _say_error(f"there is no {err.filename}")
        raise typer.Exit(InputError.exit_code) from None
    except OSError as err:
        _say_error(f"cannot use {err.filename}: {err.strerror}" if err.filename else str(err))
        raise typer.Exit(InputError.exit_code) from None
    except GlanceinError as err:
        _say_error(str(err))
        raise typer.Exit(err.exit_code) from None


def _say_error(words: str) -> None:
    """One line however long, so that a log keeps it whole."""
    error_console.print(f"glancein-train: {words}", highlight=False, markup=False, soft_wrap=True)
