"""The progress bar of long runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import typer
from rich.console import Console

from glancein.errors import InputError
from glancein_training.terminal import bar, errors_in_words


def test_bar_shows_what_is_told_and_how_far_it_is() -> None:
    """On a terminal: so many of how many, and the run's own words."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)

    with bar(shown=True, console=screen) as progress:
        progress.add_task("", total=640, completed=64, told="loss 0.250, 90 images/s")

    assert isinstance(screen.file, io.StringIO)
    assert "64/640" in screen.file.getvalue()
    assert "loss 0.250, 90 images/s" in screen.file.getvalue()


@pytest.mark.parametrize(("is_first", "is_terminal"), [(True, False), (False, True)])
def test_bar_is_silent_without_a_terminal_and_in_other_processes(
    *, is_first: bool, is_terminal: bool
) -> None:
    """A log file gets no bar, a terminal only one."""
    screen = Console(file=io.StringIO(), force_terminal=is_terminal)

    with bar(shown=is_first, console=screen) as progress:
        progress.add_task("", total=None, told="")

    assert isinstance(screen.file, io.StringIO)
    assert screen.file.getvalue() == ""


def test_file_in_a_folders_place_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The system's own words with the name, no traceback."""
    (tmp_path / "out").write_text("a file", encoding="utf-8")

    with pytest.raises(typer.Exit) as ended, errors_in_words():
        (tmp_path / "out").mkdir(parents=True, exist_ok=True)

    assert ended.value.exit_code == InputError.exit_code
    assert capsys.readouterr().err == f"glancein-train: cannot use {tmp_path / 'out'}: File exists\n"


def test_error_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe of 80 columns too: who reads a log finds the whole of it in one line."""
    words = "a checkpoint in a folder of a long name " * 5

    with pytest.raises(typer.Exit) as ended, errors_in_words():
        raise InputError(words.strip())

    assert ended.value.exit_code == InputError.exit_code
    assert capsys.readouterr().err == f"glancein-train: {words.strip()}\n"
