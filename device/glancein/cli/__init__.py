"""The command line: one module for each group of commands; each imports heavy modules when it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from glancein.cli.app import command_tree
from glancein.cli.output import one_line
from glancein.errors import GlanceinError, PhotoError

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, as ``glancein --help`` lists them."""
    try:
        code = command_tree()(args=argv, standalone_mode=False, prog_name="glancein")
    except PhotoError as err:
        print(f"glancein: {err.reason}: {one_line(str(err))}", file=sys.stderr)
        return err.exit_code
    except GlanceinError as err:
        print(f"glancein: {one_line(str(err))}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as err:  # noqa: BLE001  # the top of the program; what is not a usage error goes on
        return _usage(err)
    return code if isinstance(code, int) else 0


def _usage(err: Exception) -> int:
    """A wrong option, in one line; anything else is a fault of ours and keeps its traceback.

    Told by shape: typer carries its own copy of click from 0.20 on and used the real one before.
    """
    message = getattr(err, "format_message", None)
    if message is not None:
        if message():  # empty when a group was called without a command and showed its help
            print(f"glancein: {message()} (see glancein --help)", file=sys.stderr)
        return int(getattr(err, "exit_code", 2))
    if isinstance(err, typer.Abort):
        return INTERRUPTED
    raise err
