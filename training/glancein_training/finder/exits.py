"""How the finder's own programs end."""

from __future__ import annotations

from collections.abc import Callable

import typer

from glancein_training.terminal import errors_in_words


def exit_code_of(act: Callable[[], None]) -> int:
    """Do it: 0, or, after one line that says what was wrong, the error's exit code."""
    try:
        with errors_in_words():
            act()
    except typer.Exit as stop:
        return stop.exit_code
    return 0
