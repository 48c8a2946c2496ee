"""The machine's clocks and how far they are believed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from glancein.adapters.clock_system import SystemClock, kernel_is_synchronised, read_boot_id
from glancein.types import ClockTrust


def test_now_reads_all_clocks() -> None:
    """Wall time aware, monotonic time of this boot."""
    before = time.monotonic()
    moment = SystemClock().now()

    assert abs(moment.wall - datetime.now(UTC)) < timedelta(seconds=5)
    assert moment.wall.utcoffset() is not None
    assert before <= moment.mono_s <= time.monotonic()
    assert moment.boot_id == read_boot_id() == SystemClock().now().boot_id


def test_wall_time_carries_the_offset_of_the_zone() -> None:
    """A kiosk in Seoul records local times that everybody can read."""
    assert SystemClock(ZoneInfo("Asia/Seoul")).now().wall.utcoffset() == timedelta(hours=9)


def test_trust_follows_the_kernel() -> None:
    """Never set, set, and set earlier are three things."""
    answers = iter([False, True, False, True])
    clock = SystemClock(is_synchronised=lambda: next(answers))

    assert [clock.now().trust for _ in range(4)] == [
        ClockTrust.UNSYNCHRONISED,
        ClockTrust.SYNCHRONISED,
        ClockTrust.HOLDOVER,
        ClockTrust.SYNCHRONISED,
    ]


@pytest.mark.parametrize("step_s", [-90 * 86_400.0, 86_400.0, 2.0])
def test_step_ends_the_holdover(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    """Somebody sets the clock by hand: what it showed before says nothing any more."""
    synchronised = True
    clock = SystemClock(is_synchronised=lambda: synchronised)
    clock.now()
    synchronised = False
    assert clock.now().trust is ClockTrust.HOLDOVER
    real = time.time

    monkeypatch.setattr(time, "time", lambda: real() + step_s)

    assert clock.now().trust is ClockTrust.UNSYNCHRONISED
    monkeypatch.undo()
    assert clock.now().trust is ClockTrust.UNSYNCHRONISED


def test_kernel_can_be_asked_without_privilege() -> None:
    """The answer depends on the machine; that there is one does not."""
    assert kernel_is_synchronised() in {True, False}
