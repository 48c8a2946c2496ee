"""The terminal says what happened to the person in front, and says NOT RECORDED loudly."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from glancein.adapters.screen_terminal import SteadyConsole, TerminalScreen
from glancein.ports import Screen
from glancein.types import CheckIn, ClockTrust, Direction, Event, Moment, Reason

MOMENT = Moment(datetime(2026, 11, 23, 7, 58, 4, tzinfo=UTC), 12.0, "boot-1", ClockTrust.SYNCHRONISED)
PUNCH = CheckIn("E1024", Direction.IN, MOMENT, 0.71234, 0.41, "ab" * 32)
EVENT = Event("hq", "door", "0b54a3b0-5a3c-4b39-9d54-2f6b0a3f1c11", 7, "0" * 64, PUNCH)
BERLIN = timezone(timedelta(hours=1))


class ClosedPipe(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str, /) -> int:
        """Fail as the kernel does."""
        raise BrokenPipeError(32, "Broken pipe", text)


@pytest.fixture
def pipe() -> io.StringIO:
    """Where a pipe ends."""
    return io.StringIO()


@pytest.fixture
def tty() -> io.StringIO:
    """What a terminal receives."""
    return io.StringIO()


def piped(pipe: io.StringIO, *, as_json: bool = False) -> Screen:
    return TerminalScreen(SteadyConsole(file=pipe, width=40), as_json=as_json, zone=BERLIN)


def on_terminal(tty: io.StringIO) -> Screen:
    return TerminalScreen(
        SteadyConsole(file=tty, force_terminal=True, width=80, color_system="standard"), zone=BERLIN
    )


def test_lines_when_piped(pipe: io.StringIO) -> None:
    """Each showing is one unbroken line, in local time, without the name."""
    screen = piped(pipe)

    screen.show_recorded(EVENT, "Ada Lovelace")
    screen.show_repeat(EVENT, "Ada Lovelace")
    screen.show_refusal(Reason.TOO_DARK, "It is too dark; switch on the light behind the kiosk.")
    screen.show_not_recorded("the database is locked")

    assert pipe.getvalue().splitlines() == [
        "recorded in E1024 at 08:58:04 #7",
        "already recorded in E1024 at 08:58:04 #7",
        "refused (too_dark): It is too dark; switch on the light behind the kiosk.",
        "NOT RECORDED: the database is locked",
    ]


def test_lines_when_json(pipe: io.StringIO) -> None:
    """Each line is a JSON object of its own, with the event as the feed holds it."""
    screen = piped(pipe, as_json=True)

    screen.show_recorded(EVENT, "Ada Lovelace")
    screen.show_repeat(EVENT, None)
    screen.show_refusal(Reason.UNKNOWN, "Ask HR to be enrolled, please.")
    screen.show_not_recorded("disk full")

    documents = [json.loads(line) for line in pipe.getvalue().splitlines()]
    assert [document["shown"] for document in documents] == ["recorded", "repeat", "refused", "not_recorded"]
    assert documents[0]["event"]["person_id"] == "E1024"
    assert documents[2] == {
        "shown": "refused",
        "reason": "unknown",
        "advice": "Ask HR to be enrolled, please.",
    }
    assert "Ada" not in pipe.getvalue()
    assert pipe.getvalue().isascii()


@pytest.mark.parametrize(("direction", "greeting"), [(Direction.IN, "Welcome"), (Direction.OUT, "Goodbye")])
def test_panel_when_recorded(tty: io.StringIO, direction: Direction, greeting: str) -> None:
    """The person is greeted by name and told the direction and the local time."""
    event = replace(EVENT, body=replace(PUNCH, direction=direction))

    on_terminal(tty).show_recorded(event, "Ada Lovelace")

    assert f"{greeting}, Ada Lovelace" in tty.getvalue()
    assert f"recorded: {direction} at 08:58:04" in tty.getvalue()
    assert "clock" not in tty.getvalue()


def test_panel_when_the_name_is_not_known(tty: io.StringIO) -> None:
    """Without a name the id is shown."""
    on_terminal(tty).show_recorded(EVENT, None)

    assert "Welcome, E1024" in tty.getvalue()


def test_panel_when_the_clock_is_not_set(tty: io.StringIO) -> None:
    """A time that cannot be trusted is said to be so."""
    unset = replace(MOMENT, trust=ClockTrust.UNSYNCHRONISED)

    on_terminal(tty).show_recorded(replace(EVENT, body=replace(PUNCH, moment=unset)), None)

    assert "is not set" in tty.getvalue()


def test_panel_when_seen_again(tty: io.StringIO) -> None:
    """The punch that stands is named; nothing says it was recorded now."""
    on_terminal(tty).show_repeat(EVENT, "Ada Lovelace")

    assert "Ada Lovelace, you are recorded already" in tty.getvalue()
    assert "Welcome" not in tty.getvalue()


def test_panel_when_refused(tty: io.StringIO) -> None:
    """The advice comes with the stable reason."""
    on_terminal(tty).show_refusal(Reason.TOO_SMALL, "Come closer.")

    assert "Come closer." in tty.getvalue()
    assert "(too_small)" in tty.getvalue()


def test_panel_when_not_recorded(tty: io.StringIO) -> None:
    """It is white on red, rings the bell, says why, and greets nobody."""
    on_terminal(tty).show_not_recorded("the disk is full")

    shown = tty.getvalue()
    assert "NOT RECORDED" in shown
    assert "the disk is full" in shown
    assert "41m" in shown
    assert shown.endswith("\a")
    assert "Welcome" not in shown


def test_panel_when_a_name_is_hostile(tty: io.StringIO) -> None:
    """Neither markup nor control characters in a name reach the terminal."""
    on_terminal(tty).show_recorded(EVENT, "[red]x[/red]\x1b[2J\x07\r\nNOT RECORDED")

    assert "[red]x[/red]" in tty.getvalue()
    assert "\x1b[2J" not in tty.getvalue()
    assert "\x07" not in tty.getvalue()
    assert "\r" not in tty.getvalue()


def test_panel_when_the_terminal_speaks_ascii() -> None:
    """A name that the encoding cannot say is shown as far as it can."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)

    TerminalScreen(SteadyConsole(file=stream, force_terminal=True, width=80)).show_recorded(EVENT, "Zoë")

    assert b"Zo?" in raw.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_screen_when_the_reader_is_gone(caplog: pytest.LogCaptureFixture, *, terminal: bool) -> None:
    """A closed pipe or terminal never stops the kiosk; it is logged once."""
    gone = ClosedPipe()
    screen = TerminalScreen(SteadyConsole(file=gone, force_terminal=terminal))

    with caplog.at_level(logging.WARNING):
        screen.show_recorded(EVENT, None)
        screen.show_not_recorded("the disk is full")

    assert len(caplog.records) == 1


def test_screen_when_the_stream_is_closed(pipe: io.StringIO, caplog: pytest.LogCaptureFixture) -> None:
    """Neither does a stream that somebody closed."""
    screen = piped(pipe)
    pipe.close()

    screen.show_recorded(EVENT, None)

    assert "goes on without" in caplog.text
