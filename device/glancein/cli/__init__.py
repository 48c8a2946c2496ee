"""The command line: one module for each group of commands; heavy modules are imported by the command that needs them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from glancein.cli.app import app, load_commands
from glancein.errors import GlanceinError

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 some failed, 2 bad input, 3 store, 4 camera, 5 feed, 6 model)."""
    load_commands()
    try:
        code = app(args=argv, standalone_mode=False, prog_name="glancein")
    except GlanceinError as err:
        print(f"glancein: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as err:
        return _usage(err)
    return code if isinstance(code, int) else 0


def _usage(err: Exception) -> int:
    """A wrong option, in one line; anything else is a fault of ours and keeps its traceback."""
    import click  # noqa: PLC0415  # typer has loaded it by now

    match err:
        case click.exceptions.Exit():
            return err.exit_code
        case click.Abort():
            return INTERRUPTED
        case click.ClickException():
            print(f"glancein: {err.format_message()} (see glancein --help)", file=sys.stderr)
            return err.exit_code
    raise err
