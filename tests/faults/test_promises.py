"""The table of promises counts what tests report and says no more than that proves."""

from __future__ import annotations

import pytest
from tests.faults.promises import Promises, rate


def test_trials_of_one_promise_add_up() -> None:
    """Twenty seeds of one test are one line of the table."""
    table = Promises()
    for _ in range(20):
        table.record("nothing is lost", trials=24, failures=0)

    assert "| nothing is lost | 480 | 0 | below 0.0063 |" in table.table()


def test_one_failure_proves_nothing() -> None:
    """A broken promise has no bound."""
    table = Promises()
    table.record("nothing is lost", trials=1000, failures=1)

    assert "| 1,000 | 1 | broken |" in table.table()


@pytest.mark.parametrize(("trials", "proven"), [(0, 1.0), (1, 1.0), (300, 0.01)])
def test_bound_is_the_rule_of_three(trials: int, proven: float) -> None:
    """Three over the trials, and never more than certainty."""
    assert rate(trials) == proven
