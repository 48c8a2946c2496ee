"""Punches as they stand: corrections and time fixes applied, originals untouched."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.device.punches import NOON, check_in, correction_of, event, moment

from glancein.domain.punches import Punch, settle, time_fix, true_time
from glancein.types import (
    Becomes,
    Body,
    ClockTrust,
    Direction,
    Event,
    Moment,
    OtherDirection,
    OtherPerson,
    OtherTime,
    TimeFix,
    Voided,
)

UNSYNCHRONISED, HOLDOVER = ClockTrust.UNSYNCHRONISED, ClockTrust.HOLDOVER
PUNCH = event(1)


def stream(*bodies: Body) -> list[Event]:
    """Events after the punch."""
    return [PUNCH, *(replace(event(number), body=body) for number, body in enumerate(bodies, start=2))]


def corrected(*changes: Becomes) -> Punch:
    """The punch after these corrections."""
    (punch,) = settle(stream(*(correction_of(PUNCH, becomes) for becomes in changes)))
    return punch


def test_check_in_without_corrections_stands_as_it_was_recorded() -> None:
    """Person, direction and time are the recorded ones."""
    assert settle([PUNCH]) == [Punch(PUNCH, "E1", Direction.IN, NOON)]


def test_each_correction_changes_its_own_matter_only() -> None:
    """And the event that was recorded stays beside it, with all that was said."""
    punch = corrected(OtherPerson("E2"), OtherDirection(Direction.OUT), OtherTime(NOON - timedelta(hours=1)))

    assert (punch.person_id, punch.direction, punch.wall) == (
        "E2",
        Direction.OUT,
        NOON - timedelta(hours=1),
    )
    assert punch.event == PUNCH
    assert [said.seq for said in punch.corrections] == [2, 3, 4]
    assert not punch.is_void


def test_last_word_on_a_matter_counts() -> None:
    """HR may correct a correction."""
    assert corrected(OtherPerson("E2"), OtherPerson("E3")).person_id == "E3"


def test_void_punch_stays_void_and_is_still_shown() -> None:
    """What else is said about it does not bring it back."""
    punch = corrected(Voided(), OtherPerson("E2"))

    assert punch.is_void
    assert punch.person_id == "E2"


def test_correction_of_something_else_is_passed_over() -> None:
    """Half a span may hold the correction and not the punch."""
    assert settle(stream(correction_of(event(9)))) == settle([PUNCH])


def test_span_is_cut_by_the_time_that_stands() -> None:
    """A punch that was moved to another day belongs to that day."""
    moved = stream(correction_of(PUNCH, OtherTime(NOON - timedelta(days=1))))
    yesterday, today = NOON - timedelta(days=1), NOON

    assert len(settle(moved, first=yesterday, end=today)) == 1
    assert settle(moved, first=today) == []
    assert settle([PUNCH], end=today) == []


@pytest.mark.parametrize(
    "wall", [datetime(1970, 1, 1, tzinfo=UTC), NOON - timedelta(days=90), NOON + timedelta(days=1)]
)
@pytest.mark.parametrize("trust", [UNSYNCHRONISED, HOLDOVER])
def test_time_fix_puts_unsure_times_of_its_boot_right(wall: datetime, trust: ClockTrust) -> None:
    """Whatever the wall clock said: only the monotonic clock is believed."""
    unset = check_in(at=Moment(wall, 1000.0, "boot-1", trust))

    (punch,) = settle([event(1, punch=unset), replace(event(2), body=TimeFix(moment(600), 0.0))])

    assert punch.wall == NOON
    assert punch.is_fixed
    assert punch.is_time_sure
    assert punch.event.check_in.moment.wall == wall


def test_time_fix_of_another_boot_says_nothing() -> None:
    """Each start of the machine has its own monotonic clock."""
    unset = check_in(at=moment(0, trust=UNSYNCHRONISED))

    (punch,) = settle(
        [event(1, punch=unset), replace(event(2), body=TimeFix(moment(600, boot="boot-2"), 0.0))]
    )

    assert not punch.is_fixed
    assert not punch.is_time_sure


def test_synchronised_time_is_never_changed_by_a_fix() -> None:
    """It was good when it was recorded."""
    late_fix = TimeFix(moment(600, wall=NOON), 0.0)

    assert settle(stream(late_fix)) == settle([PUNCH])


def test_time_that_a_person_gave_beats_the_fix() -> None:
    """Somebody knows better than both clocks."""
    unset = event(1, punch=check_in(at=moment(0, trust=UNSYNCHRONISED)))
    given_by_hr = correction_of(unset, OtherTime(NOON + timedelta(hours=2)))

    (punch,) = settle(
        [unset, replace(event(2), body=given_by_hr), replace(event(3), body=TimeFix(moment(9), 0))]
    )

    assert punch.wall == NOON + timedelta(hours=2)
    assert punch.is_time_sure


def test_nearest_of_several_fixes_counts() -> None:
    """A monotonic clock drifts: the less time between, the better."""
    near, far = TimeFix(moment(60), 0.0), TimeFix(moment(3600, wall=NOON + timedelta(seconds=3601)), 0.0)

    assert true_time(moment(0, trust=UNSYNCHRONISED), [far, near]) == NOON


@pytest.mark.parametrize("zone_h", [-12, 0, 12])
def test_fix_that_leads_out_of_the_calendar_fixes_nothing(zone_h: int) -> None:
    """Whoever says that it is the year 9999 stops nobody."""
    end = datetime.max.replace(tzinfo=UTC)
    zone = timezone(timedelta(hours=zone_h))
    unset = moment(3600, wall=NOON.astimezone(zone), trust=UNSYNCHRONISED)

    assert true_time(unset, [TimeFix(moment(0, wall=end), 0.0)]) is None


def test_fix_is_made_when_the_clock_is_good_and_not_before() -> None:
    """Of the same boot only; the offset says how far the clock was behind."""
    behind = check_in(at=moment(0, wall=NOON - timedelta(days=90), trust=UNSYNCHRONISED))

    made = time_fix(behind, moment(600))

    assert made == TimeFix(moment(600), 90 * 86_400.0)
    assert time_fix(behind, moment(600, trust=HOLDOVER)) is None
    assert time_fix(behind, moment(600, boot="boot-2")) is None


@given(step_s=st.floats(-1e9, 1e9), at_s=st.floats(0, 1e6), fix_s=st.floats(0, 1e6), ppm=st.floats(-100, 100))
def test_fixed_time_is_off_by_the_drift_between_and_nothing_else(
    step_s: float, at_s: float, fix_s: float, ppm: float
) -> None:
    """However far the wall clock was away."""
    drift = 1 + ppm / 1e6
    shown = NOON + timedelta(seconds=at_s + step_s)
    unset = Moment(shown, at_s * drift, "boot-1", UNSYNCHRONISED)
    fix = TimeFix(
        Moment(NOON + timedelta(seconds=fix_s), fix_s * drift, "boot-1", ClockTrust.SYNCHRONISED), 0
    )

    found = true_time(unset, [fix])

    assert found is not None
    error_s = abs((found - (NOON + timedelta(seconds=at_s))).total_seconds())
    assert error_s <= abs(at_s - fix_s) * abs(ppm) / 1e6 + 1e-3
