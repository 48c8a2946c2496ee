"""The screen on a terminal: a panel for the person in front, plain or JSON lines when piped."""

from __future__ import annotations

import errno
import json
import logging
import os
from datetime import tzinfo

from rich.align import Align
from rich.box import DOUBLE, ROUNDED
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from glancein.domain.wire import encode_event
from glancein.types import ClockTrust, Direction, Event

_log = logging.getLogger(__name__)
_GREETING = {Direction.IN: "Welcome", Direction.OUT: "Goodbye"}
_CLOCK_UNSET = "The clock of this kiosk is not set; HR is told so."
_PANEL_CHARS = 64


class SteadyConsole(Console):
    """A console that raises when its reader is gone; rich's own ends the program (since 13.8)."""

    def on_broken_pipe(self) -> None:
        """Called by rich in place of the BrokenPipeError it caught."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class TerminalScreen:
    """Shows panels on a terminal, else a line for each showing; ``as_json`` makes the lines JSON.

    Plain lines bear the person's id and never the name: piped output ends up in a journal. JSON lines hold
    the event as the feed does. ``zone`` is the time zone shown, the machine's by default. A terminal that
    goes away is no reason to stop: it is logged once and ignored.
    """

    def __init__(
        self, console: SteadyConsole | None = None, *, as_json: bool = False, zone: tzinfo | None = None
    ) -> None:
        self._console = console or SteadyConsole()
        self._as_json = as_json
        self._zone = zone
        self._gone = False

    def show_recorded(self, event: Event, name: str | None) -> None:
        """Greet; only ever called after the event is committed."""
        punch = event.check_in
        who = name or punch.person_id
        notes = [f"recorded: {punch.direction} at {self._time_of(event)}"]
        if punch.moment.trust is ClockTrust.UNSYNCHRONISED:
            notes.append(_CLOCK_UNSET)
        self._show(
            {"shown": "recorded", "event": _plain(event)},
            f"recorded {punch.direction} {punch.person_id} at {self._time_of(event)} #{event.seq}",
            self._panel(f"{_GREETING[punch.direction]}, {who}", notes, "bold green"),
        )

    def show_refusal(self, reason: str, advice: str) -> None:
        """Why there was no punch and what to do."""
        self._show(
            {"shown": "refused", "reason": str(reason), "advice": advice},
            f"refused ({reason}): {advice}",
            self._panel("Not recognised", [advice, f"({reason})"], "bold yellow"),
        )

    def show_repeat(self, event: Event, name: str | None) -> None:
        """The punch that stands already."""
        punch = event.check_in
        self._show(
            {"shown": "repeat", "event": _plain(event)},
            f"already recorded {punch.direction} {punch.person_id} at {self._time_of(event)} #{event.seq}",
            self._panel(
                f"{name or punch.person_id}, you are recorded already",
                [f"{punch.direction} at {self._time_of(event)}"],
                "bold cyan",
            ),
        )

    def show_not_recorded(self, why: str) -> None:
        """A punch could not be stored: loud, so that the person does not walk on."""
        self._show(
            {"shown": "not_recorded", "why": why},
            f"NOT RECORDED: {why}",
            self._panel(
                "NOT RECORDED", [why, "Please tell HR; this punch does not count."], "bold white on red"
            ),
            bell=True,
        )

    def _show(self, document: dict[str, object], line: str, panel: Panel, *, bell: bool = False) -> None:
        try:
            if self._as_json:
                # ASCII: whatever the encoding of the pipe, the line can be written.
                self._write(json.dumps(document, allow_nan=False))
            elif self._console.is_terminal:
                self._console.print(panel)
                if bell:
                    self._console.bell()
            else:
                self._write(self._printable(line))
        except (OSError, ValueError) as err:  # ValueError: the stream is closed
            if not self._gone:
                _log.warning("the terminal cannot be written to (%s); the kiosk goes on without", err)
            self._gone = True

    def _write(self, line: str) -> None:
        """Not through rich, which would break the line at the width it takes a pipe to have."""
        self._console.file.write(line + "\n")
        self._console.file.flush()

    def _panel(self, headline: str, notes: list[str], style: str) -> Panel:
        text = Text(self._printable(headline), style=style, justify="center")
        for note in notes:
            text.append(f"\n{self._printable(note)}", style="not bold")
        box = DOUBLE if "red" in style else ROUNDED
        return Panel(Align.center(text), box=box, style=style, width=min(_PANEL_CHARS, self._console.width))

    def _printable(self, text: str) -> str:
        """Without control characters, which could steer the terminal, and what the encoding cannot say."""
        visible = "".join(sign if sign.isprintable() else "?" for sign in text)
        return visible.encode(self._console.encoding, "replace").decode(self._console.encoding)

    def _time_of(self, event: Event) -> str:
        return f"{event.check_in.moment.wall.astimezone(self._zone):%H:%M:%S}"


def _plain(event: Event) -> object:
    """The event as the feed says it."""
    return json.loads(encode_event(event))
