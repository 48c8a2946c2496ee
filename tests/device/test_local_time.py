"""What people write as a time, in the nights when clocks are set too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from glancein.domain.local_time import local_moment
from glancein.errors import AmbiguousTime, InputError

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-30T17:30", datetime(2026, 11, 30, 16, 30, tzinfo=UTC)),
        ("2026-07-01T17:30", datetime(2026, 7, 1, 15, 30, tzinfo=UTC)),
        ("2026-10-25T01:59", datetime(2026, 10, 24, 23, 59, tzinfo=UTC)),
        ("2026-10-25T03:00", datetime(2026, 10, 25, 2, 0, tzinfo=UTC)),
        ("2026-10-25T02:40+02:00", datetime(2026, 10, 25, 0, 40, tzinfo=UTC)),
        ("2026-10-25T02:40+01:00", datetime(2026, 10, 25, 1, 40, tzinfo=UTC)),
        (" 2026-03-29T03:00 ", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
    ],
)
def test_time_is_that_of_the_site_unless_it_carries_an_offset(text: str, utc: datetime) -> None:
    """Before, between and after the nights when clocks are set."""
    assert local_moment(text, BERLIN) == utc


def test_time_that_came_twice_is_asked_about() -> None:
    """With both offsets, the earlier moment first; each of them answers the question."""
    with pytest.raises(AmbiguousTime, match=r"02:40 came twice") as caught:
        local_moment("2026-10-25T02:40", BERLIN)

    first, second = (local_moment(f"2026-10-25T02:40{offset}", BERLIN) for offset in caught.value.offsets)
    assert second - first == timedelta(hours=1)


@pytest.mark.parametrize("text", ["2026-03-29T02:30", "2026-03-29T02:00"])
def test_time_that_never_was_is_refused(text: str) -> None:
    """Clocks went from 2 to 3."""
    with pytest.raises(InputError, match="did not exist: clocks were set forward"):
        local_moment(text, BERLIN)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01T00:00", "25:00", "2026-10-25T02:40+01:00+01:00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(InputError, match="is not a time such as"):
        local_moment(text, BERLIN)
