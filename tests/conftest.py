"""What every test may ask for: the development data, the broker program, and permission for long runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import settings
from tests.faults.promises import Promise, Promises

ROOT = Path(__file__).resolve().parent.parent

# No deadline: a busy machine breaks no promise. The same examples every time: a red run can be repeated.
settings.register_profile("glancein", deadline=None, derandomize=True)
settings.load_profile("glancein")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Switches: long runs, rewriting the golden files, and where the fault tests write their table."""
    parser.addoption("--heavy", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--promises", type=Path, default=None, help="write the table of the fault tests here")
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew")


class PromisesTold:
    """Gathers what the fault tests tried, whichever process ran them, and prints the table at the end."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._told = Promises()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test is through."""
        if report.when == "teardown":
            for kind, promise in report.user_properties:
                if kind == "promise" and isinstance(promise, dict):
                    self._told.add(Promise(**promise))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table; ``--promises FILE`` also writes it."""
        if not self._told.kept:
            return
        terminalreporter.section("promises")
        terminalreporter.write_line(self._told.table())
        if self._file is not None:
            self._file.write_text(f"{self._told.table()}\n", encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """One table for each run."""
    config.pluginmanager.register(PromisesTold(config.getoption("--promises")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the minutes-long tests out unless they are asked for, and say so."""
    if config.getoption("--heavy"):
        return
    for item in items:
        if "heavy" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes; run with --heavy"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of development data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("GLANCEIN_DEV_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "README.md").exists():
        pytest.skip(f"no development data in {folder}")
    return folder


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """Path of the mosquitto program; the test is skipped where it is absent."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no mosquitto on this machine: sudo apt install mosquitto")
    return program


@pytest.fixture
def promises(request: pytest.FixtureRequest) -> Iterator[Promises]:
    """Where a fault test writes down how many trials it made and how many failed."""
    table = Promises()
    yield table
    request.node.user_properties += [("promise", asdict(promise)) for promise in table.kept.values()]


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """True when the golden files are to be written anew."""
    return bool(request.config.getoption("--update-golden"))
