"""What the programs that run all day share: how they log, and how they are stopped."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens inside.")]


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the work in order instead of at once."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_log(*, verbose: bool) -> None:
    """Log to standard error: what happens with ``verbose``, else what is wrong."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
