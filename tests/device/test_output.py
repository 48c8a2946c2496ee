"""What commands print: whole lines into a pipe, a drawing on a terminal, JSON that can always be written."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from glancein.cli.output import Output, Sheet, one_line, open_console, table

LONG = "/srv/badges/" + "a-long-name/" * 20 + "photo.jpg"


def sheet() -> Sheet:
    """Two rows, one of them too long for any terminal."""
    return table("two [pictures]", "picture", "score", "why", rows=[(LONG, 0.5, None), ("b.jpg", 1.0, "x y")])


def test_table_into_a_pipe_is_one_whole_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is drawn, broken or cut, and an empty cell keeps its place."""
    Output(as_json=False).result(None, lambda console: console.print(sheet()))

    told = capsys.readouterr().out
    assert told == f"two [pictures]\npicture\tscore\twhy\n{LONG}\t0.500\t\nb.jpg\t1.000\tx y\n"


def test_text_into_a_pipe_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence longer than a terminal's line stays one line, on both streams."""
    sentence = "word " * 60 + "end"

    open_console().print(sentence)
    open_console(stderr=True).print(sentence)

    assert capsys.readouterr() == (f"{sentence}\n", f"{sentence}\n")


def test_table_on_a_terminal_is_drawn_and_loses_nothing() -> None:
    """A long word goes on in the next line of its cell."""
    page = io.StringIO()

    Console(file=page, force_terminal=True, width=60, color_system=None).print(sheet())

    drawn = page.getvalue()
    first = "".join(line.split("│")[1].strip() for line in drawn.splitlines() if line.count("│") == 4)
    assert "┃" in drawn
    assert first == f"{LONG}b.jpg"


def test_json_of_a_file_name_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    """A byte that is not UTF-8 becomes JSON's own escape, and letters stay as they are."""
    Output(as_json=True).result({"김": "b\udcff.jpg"}, lambda _: None)

    told = capsys.readouterr().out
    assert "김" in told
    assert json.loads(told) == {"김": "b\udcff.jpg"}
    assert told.encode("utf-8")


def test_one_line_when_a_name_holds_a_line_break() -> None:
    """What would break the line, or steer the terminal, is an escape; other letters stay."""
    assert one_line("김 a\nb\x1b[1m\udcff") == "김 a\\nb\\x1b[1m\\udcff"
