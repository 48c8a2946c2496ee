"""An empty desk for each test, and one for a whole module of tests that only read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.web.desk.office import Office, open_office


@pytest.fixture
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A desk with accounts and nobody enrolled."""
    opened = open_office(tmp_path_factory.mktemp("desk"))
    yield opened
    opened.desk.close()


@pytest.fixture(scope="module")
def standing_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The same for all tests of a module."""
    opened = open_office(tmp_path_factory.mktemp("desk"))
    opened.person("E1024", "Ada Lovelace")
    yield opened
    opened.desk.close()
