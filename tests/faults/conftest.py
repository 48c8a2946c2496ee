"""What every fault test may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import pytest
from tests.faults.promises import Promises


@pytest.fixture
def promises(request: pytest.FixtureRequest) -> Iterator[Promises]:
    """Where a test writes down how many trials it made and how many failed."""
    table = Promises()
    yield table
    request.node.user_properties += [("promise", asdict(promise)) for promise in table.kept.values()]
