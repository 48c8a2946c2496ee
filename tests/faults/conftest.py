"""The table of promises: tests add to it, and it is printed when they are through."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.promises import Promises

TABLE = pytest.StashKey[Promises]()


def pytest_configure(config: pytest.Config) -> None:
    """One table for each run."""
    config.stash[TABLE] = Promises()


@pytest.fixture
def promises(request: pytest.FixtureRequest) -> Promises:
    """Where a test writes down how many trials it made and how many failed."""
    table: Promises = request.config.stash[TABLE]
    return table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table; ``--promises FILE`` also writes it."""
    table = config.stash[TABLE]
    if not table.kept:
        return
    terminalreporter.section("promises")
    terminalreporter.write_line(table.table())
    file = config.getoption("--promises")
    if isinstance(file, Path):
        file.write_text(f"{table.table()}\n", encoding="utf-8")
