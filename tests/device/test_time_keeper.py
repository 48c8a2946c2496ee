"""A time fix is recorded once the clock is good, and only if something waits for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.contract.fake_ledger import FakeLedger
from tests.device.punches import NOON, check_in, moment

from glancein.domain.punches import settle
from glancein.time_keeper import LOOK_S, TimeKeeper
from glancein.types import ClockTrust, Event, Moment, TimeFix

AT_1970 = moment(0, wall=datetime(1970, 1, 1, tzinfo=UTC), trust=ClockTrust.UNSYNCHRONISED)


class HandClock:
    """Shows what it is told."""

    def __init__(self, shown: Moment) -> None:
        self.shown = shown

    def now(self) -> Moment:
        """What it was told."""
        return self.shown


def fixes(ledger: FakeLedger) -> list[Event]:
    """Every time fix there is."""
    return [event for event in ledger.pending(99) if isinstance(event.body, TimeFix)]


def test_fix_comes_when_the_clock_is_good_and_once() -> None:
    """From 1970 to noon: one event puts the punch right and wakes the publisher."""
    ledger, clock, woken = FakeLedger(), HandClock(AT_1970), [0]

    def wake() -> None:
        woken[0] += 1

    keeper = TimeKeeper(ledger, clock, wake=wake)
    ledger.record(check_in(at=AT_1970))
    keeper.look()
    assert fixes(ledger) == []

    for seconds in (600.0, 601.0, 600.0 + 2 * LOOK_S):
        clock.shown = moment(seconds)
        keeper.look()

    (fix,) = fixes(ledger)
    assert woken == [1]
    (punch,) = settle(ledger.pending(99))
    assert punch.wall == NOON
    assert isinstance(fix.body, TimeFix)
    assert timedelta(seconds=fix.body.offset_s) == NOON - AT_1970.wall


def test_good_clock_needs_no_fix() -> None:
    """Nothing is recorded where nothing is wrong."""
    ledger = FakeLedger()
    ledger.record(check_in())

    TimeKeeper(ledger, HandClock(moment(600)), wake=lambda: None).look()

    assert fixes(ledger) == []


def test_restarted_kiosk_still_fixes_what_it_recorded_before() -> None:
    """What waits for a fix stands in the record, not in a variable."""
    ledger = FakeLedger()
    ledger.record(check_in(at=AT_1970))

    TimeKeeper(ledger, HandClock(moment(900)), wake=lambda: None).look()

    assert len(fixes(ledger)) == 1


def test_fix_waits_while_the_disk_is_full() -> None:
    """And comes when there is room."""
    ledger, clock = FakeLedger(), HandClock(moment(600))
    ledger.record(check_in(at=AT_1970))
    keeper = TimeKeeper(ledger, clock, wake=lambda: None)
    ledger.full = True
    keeper.look()
    ledger.full = False
    clock.shown = moment(600 + 2 * LOOK_S)

    keeper.look()

    assert len(fixes(ledger)) == 1
