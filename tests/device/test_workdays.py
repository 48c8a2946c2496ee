"""Punches -> stays, days, and who is in, late or missing."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain.punches import Punch
from glancein.domain.workdays import Hours, Presence, pair_up, parse_hours, standing, workdays
from glancein.errors import SettingsError
from glancein.types import CheckIn, ClockTrust, Direction, Event, Moment

SEOUL = ZoneInfo("Asia/Seoul")
HOURS = Hours(time(9), timedelta(minutes=5), longest=timedelta(hours=16), zone=SEOUL)
MONDAY = datetime(2026, 11, 23, tzinfo=SEOUL)


def punch(direction: str, wall: datetime, *, is_void: bool = False) -> Punch:
    """A punch as it stands."""
    moment = Moment(wall, 1.0, "boot", ClockTrust.SYNCHRONISED)
    check_in = CheckIn("E1", Direction(direction), moment, 0.7, 0.5, "f" * 64)
    event = Event("hq", "door", "e", 1, "0" * 64, check_in)
    return Punch(event, "E1", Direction(direction), wall, is_void=is_void)


def at(hour: int, minute: int = 0, *, day: int = 0) -> datetime:
    """A time of day, counted from Monday."""
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


def stays(*punches: Punch) -> list[tuple[bool, bool]]:
    """Which ends the stays have."""
    return [
        (pair.came is not None, pair.left is not None) for pair in pair_up(punches, longest=HOURS.longest)
    ]


def test_in_and_out_make_a_stay() -> None:
    """Two stays of a day, in whatever order they are given."""
    given_ = [punch("out", at(17)), punch("in", at(13)), punch("out", at(12)), punch("in", at(8))]

    assert stays(*given_) == [(True, True), (True, True)]
    assert sum((p.worked for p in pair_up(given_, longest=HOURS.longest)), timedelta(0)) == timedelta(hours=8)


def test_forgotten_end_leaves_a_stay_open() -> None:
    """An in after an in, an out after an out, an out a day later."""
    assert stays(punch("in", at(8)), punch("in", at(8, day=1)), punch("out", at(17, day=1))) == [
        (True, False),
        (True, True),
    ]
    assert stays(punch("out", at(12)), punch("out", at(17))) == [(False, True), (False, True)]
    assert stays(punch("in", at(8)), punch("out", at(8, day=1))) == [(True, False), (False, True)]


def test_voided_punch_does_not_count() -> None:
    """What HR struck out makes no stay."""
    assert stays(punch("in", at(8)), punch("out", at(9), is_void=True)) == [(True, False)]


def test_stay_counts_from_minute_to_minute() -> None:
    """In at 08:00:50, out at 17:00:20: nine hours, as whoever reads 08:00 and 17:00 works out."""
    made = [punch("in", at(8) + timedelta(seconds=50)), punch("out", at(17) + timedelta(seconds=20.5))]

    [pair] = pair_up(made, longest=HOURS.longest)

    assert pair.worked == timedelta(hours=9)


def test_night_belongs_to_the_day_it_began_on() -> None:
    """In at 22, out at 6: eight hours on Monday, none on Tuesday."""
    night = pair_up([punch("in", at(22)), punch("out", at(6, day=1))], longest=HOURS.longest)
    days = workdays(night, HOURS, at(12, day=1))

    assert {day: work.worked for day, work in days.items()} == {MONDAY.date(): timedelta(hours=8)}


def test_day_is_that_of_the_site_not_of_greenwich() -> None:
    """08:30 in Seoul is the evening before in UTC, and Monday here."""
    days = workdays(pair_up([punch("in", at(8, 30).astimezone(UTC))], longest=HOURS.longest), HOURS, at(9))

    assert list(days) == [MONDAY.date()]


@pytest.mark.parametrize(
    ("came", "late"),
    [
        (at(9, 5), 0),
        (at(9, 5) + timedelta(seconds=59), 0),
        (at(9, 6) + timedelta(seconds=40), 6),
        (at(8), 0),
        (at(11, day=5), 0),
    ],
    ids=str,
)
def test_late_counts_from_the_start_once_the_grace_is_over(came: datetime, late: int) -> None:
    """Five minutes are forgiven whole, by the minute that is shown; a Saturday has no start."""
    work = workdays(pair_up([punch("in", came)], longest=HOURS.longest), HOURS, came)[came.date()]

    assert work.late_by == timedelta(minutes=late)


def test_nobody_knows_how_late_who_forgot_to_check_in_was() -> None:
    """Out at 12 without an in, back at 13: the return from lunch is no arrival."""
    made = [punch("out", at(12)), punch("in", at(13)), punch("out", at(17))]

    work = workdays(pair_up(made, longest=HOURS.longest), HOURS, at(18))[MONDAY.date()]

    assert work.late_by == timedelta(0)
    assert len(work.forgotten) == 1


@pytest.mark.parametrize(
    ("punches", "now", "forgotten"),
    [
        ([punch("in", at(8))], at(12), []),
        ([punch("in", at(8))], at(8, day=1), [0]),
        ([punch("in", at(8)), punch("in", at(9))], at(12), [0]),
        ([punch("out", at(8)), punch("in", at(9))], at(12), [0]),
        ([punch("in", at(8)), punch("out", at(9))], at(12), []),
    ],
    ids=["still in", "a day later", "in twice", "out first", "whole"],
)
def test_only_the_last_stay_may_be_going_on(
    punches: list[Punch], now: datetime, forgotten: list[int]
) -> None:
    """Which stays of the day miss an end that will not come."""
    work = workdays(pair_up(punches, longest=HOURS.longest), HOURS, now)[MONDAY.date()]

    assert work.forgotten == tuple(work.pairs[number] for number in forgotten)


@pytest.mark.parametrize(
    ("punches", "now", "presence"),
    [
        ([], at(8), Presence.EXPECTED),
        ([], at(9, 4), Presence.EXPECTED),
        ([], at(9, 5), Presence.MISSING),
        ([], at(12, day=5), Presence.OFF),
        ([punch("in", at(9))], at(10), Presence.IN),
        ([punch("in", at(9)), punch("out", at(12))], at(13), Presence.OUT),
        ([punch("in", at(22, day=-1))], at(5), Presence.IN),
        ([punch("in", at(9, day=-1))], at(10), Presence.MISSING),
    ],
    ids=lambda value: str(value) if isinstance(value, Presence) else "",
)
def test_presence_follows_from_the_punches(punches: list[Punch], now: datetime, presence: Presence) -> None:
    """In over midnight too; a check-out forgotten yesterday keeps nobody in today."""
    found = standing("E1", pair_up(punches, longest=HOURS.longest), HOURS, now)

    assert found.presence is presence


@given(st.lists(st.tuples(st.sampled_from(["in", "out"]), st.integers(0, 10_000)), max_size=30))
def test_every_punch_is_in_exactly_one_stay(made: list[tuple[str, int]]) -> None:
    """Nothing is lost or counted twice, no stay is negative or longer than allowed."""
    punches = [punch(direction, MONDAY + timedelta(minutes=minute)) for direction, minute in made]
    pairs = pair_up(punches, longest=HOURS.longest)
    ends = [end for pair in pairs for end in (pair.came, pair.left) if end is not None]

    assert sorted(map(id, ends)) == sorted(map(id, punches))
    assert all(timedelta(0) <= pair.worked <= HOURS.longest for pair in pairs)


@pytest.mark.parametrize(
    ("start", "days"), [("9", "mon"), ("25:00", "mon"), ("09:60", "mon"), ("09:00", "monday,holiday")]
)
def test_impossible_hours_are_refused(start: str, days: str) -> None:
    """With the setting's name."""
    with pytest.raises(SettingsError, match="work_"):
        parse_hours(start, 5, days)


def test_hours_are_read_as_people_write_them() -> None:
    """Short and long names of days, one digit of an hour."""
    assert parse_hours("8:30", 10, "Mon, tuesday").days == {0, 1}
    assert parse_hours("8:30", 10, "").days == frozenset()
