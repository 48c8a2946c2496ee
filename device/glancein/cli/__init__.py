"""The command line: one module for each group of commands; each imports heavy modules when it runs."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

import typer

from glancein.cli.app import command_tree
from glancein.cli.output import one_line
from glancein.errors import GlanceinError, PhotoError

UNWRITTEN = 1
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE}
INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, as ``glancein --help`` lists them."""
    try:
        code = command_tree()(args=argv, standalone_mode=False, prog_name="glancein")
        print(end="", flush=True)  # here, where it can be told, and not when the interpreter ends
    except PhotoError as err:
        print(f"glancein: {err.reason}: {one_line(str(err))}", file=sys.stderr)
        return err.exit_code
    except GlanceinError as err:
        print(f"glancein: {one_line(str(err))}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as err:
        if not _is_of_output(err):
            raise
        if not isinstance(err, BrokenPipeError):  # a reader who has had enough is no news
            print(
                f"glancein: the result cannot be written: {err.strerror}; send it elsewhere", file=sys.stderr
            )
        return UNWRITTEN
    except Exception as err:  # noqa: BLE001  # the top of the program; what is not a usage error goes on
        return _usage(err)
    return code if isinstance(code, int) else 0


def _is_of_output(err: OSError) -> bool:
    """True if standard output takes no more; it then leads nowhere, so that nobody tries again at the end.

    Errors of files stop at their adapters and would name the file.
    """
    if err.filename is not None or err.errno not in FULL:
        return False
    with contextlib.suppress(OSError, ValueError):  # a stand-in of a test has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


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
