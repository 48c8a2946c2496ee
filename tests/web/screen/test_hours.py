"""The hours of today that the screen shows with a punch."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from tests.device.punches import NOON, check_in, moment

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.types import Direction
from glancein.web.screen.serve import hours_today


@pytest.mark.parametrize(
    ("made", "now", "hours"),
    [
        ([("in", -4)], 0, 4.0),
        ([("in", -4), ("out", -1)], 0, 3.0),
        ([("in", -4), ("in", 1)], 1, 0.0),
        ([("in", -4), ("in", 1), ("out", 5)], 5, 4.0),
        ([("in", -20)], 0, 0.0),
        ([("in", -14), ("out", -8)], 0, 4.0),
    ],
    ids=["still in", "whole", "in twice", "in twice and out", "forgotten yesterday", "over midnight"],
)
def test_hours_are_of_stays_with_both_ends_and_the_last(
    tmp_path: Path, made: list[tuple[str, int]], now: int, hours: float
) -> None:
    """Hours from noon; a stay that a later one followed does not run on until now."""
    with closing(SqliteLedger(tmp_path / "kiosk.db", site="hq", kiosk="door")) as ledger:
        for direction, hour in made:
            at = moment(wall=NOON + timedelta(hours=hour))
            ledger.record(check_in("E1", at=at, direction=Direction(direction)))

        assert hours_today(
            ledger, "E1", NOON + timedelta(hours=now), longest=timedelta(hours=16)
        ) == pytest.approx(hours)
