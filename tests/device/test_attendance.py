"""The rules that make punches out of recognitions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.device.punches import MODEL, NOON, check_in, correction_of, event, moment

from glancein.domain.attendance import (
    Alternate,
    Ask,
    Change,
    DirectionRule,
    Fixed,
    Policy,
    Recognised,
    Schedule,
    asks,
    ever_asks,
    next_event,
    parse_rule,
)
from glancein.domain.punches import Punch, last_standing
from glancein.errors import SettingsError
from glancein.types import (
    Becomes,
    CheckIn,
    ClockTrust,
    Direction,
    Event,
    Method,
    Moment,
    OtherDirection,
    OtherTime,
)

ADA = Recognised("E1", 0.62, 0.41, MODEL)
IN, OUT = Direction.IN, Direction.OUT


def punch(at: Moment, last: CheckIn | None = None, policy: Policy | None = None) -> CheckIn | None:
    """What the rules say, with the last punch as it was recorded."""
    stands = None if last is None else standing(event(punch=last))
    return next_event(ADA, at, last=stands, policy=policy or Policy())


def standing(*events: Event) -> Punch | None:
    """The last punch of these events."""
    return last_standing(events, "E1")


def corrected(becomes: Becomes) -> Punch | None:
    """A punch in at noon that became something else."""
    recorded = event()
    return standing(recorded, event(2, punch=correction_of(recorded, becomes)))


def direction(at: Moment, last: CheckIn | None = None, policy: Policy | None = None) -> Direction | None:
    """Which way the punch goes, None without one."""
    made = punch(at, last, policy)
    return None if made is None else made.direction


def test_first_punch_is_in_and_carries_all_that_was_measured() -> None:
    """A punch holds the person, the moment, score, threshold, model, method and reason."""
    made = punch(moment())

    assert made == CheckIn("E1", IN, moment(), 0.62, 0.41, MODEL, Method.FACE, "recognised")


def test_punches_alternate_when_nothing_else_is_asked() -> None:
    """In, then out, then in."""
    assert direction(moment(3600), check_in(direction=IN)) is OUT
    assert direction(moment(7200), check_in(at=moment(3600), direction=OUT)) is IN


@pytest.mark.parametrize(("after_s", "recorded"), [(0, False), (119.9, False), (120, True)])
def test_second_look_inside_quiet_period_is_not_a_new_event(after_s: float, *, recorded: bool) -> None:
    """The quiet period ends exactly when it says."""
    assert (punch(moment(after_s), check_in()) is not None) is recorded


@given(step=st.timedeltas(timedelta(days=-90), timedelta(days=900)), after_s=st.floats(0, 1000))
def test_wall_clock_steps_do_not_touch_debounce_within_a_boot(step: timedelta, after_s: float) -> None:
    """Whatever the wall clock does, the quiet period is counted on the monotonic clock."""
    stepped = moment(after_s, wall=NOON + step)

    assert (punch(stepped, check_in()) is None) is (after_s < 120)


@pytest.mark.parametrize(
    ("at_s", "expected"), [(10, None), (20, None), (119, None), (150, IN), (280, IN), (7300, IN)]
)
def test_clock_that_steps_back_doubles_nothing(at_s: float, expected: Direction | None) -> None:
    """The time server was an hour ahead at the first punch and put right before the second."""
    ahead = event(1, punch=check_in(at=moment(-1800, wall=NOON + timedelta(minutes=30))))
    right = event(2, punch=check_in(at=moment(), direction=OUT))

    made = next_event(ADA, moment(at_s), last=standing(ahead, right), policy=Policy())

    assert (None if made is None else made.direction) is expected


@pytest.mark.parametrize(("after_s", "recorded"), [(60, False), (121, True), (-3600, True)])
def test_debounce_across_boots_uses_the_wall_clock(after_s: float, *, recorded: bool) -> None:
    """After a restart the wall clock counts; one that ran backwards silences nobody."""
    later = moment(boot="boot-2", wall=NOON + timedelta(seconds=after_s))

    assert (punch(later, check_in()) is not None) is recorded


def test_unset_clock_after_a_restart_silences_nobody() -> None:
    """A clock that was never set cannot tell how long ago something was."""
    unset = moment(boot="boot-2", wall=NOON + timedelta(seconds=5), trust=ClockTrust.UNSYNCHRONISED)

    assert punch(unset, check_in()) is not None


def test_punch_written_by_hand_silences_nobody() -> None:
    """Whoever noted it was at the desk, and the person may be at the door."""
    assert punch(moment(30), replace(check_in(), method=Method.MANUAL)) is not None


@pytest.mark.parametrize(
    ("becomes", "after_h", "expected"),
    [
        (OtherDirection(OUT), 2.0, IN),
        (OtherTime(NOON - timedelta(hours=15)), 2.0, IN),  # 17 hours: the check-out was forgotten
        (OtherTime(NOON + timedelta(hours=2)), 17.0, OUT),
    ],
)
def test_direction_follows_from_the_last_punch_as_it_stands(
    becomes: Becomes, after_h: float, expected: Direction
) -> None:
    """What HR said of it counts, its direction as well as its time."""
    made = next_event(ADA, moment(after_h * 3600), last=corrected(becomes), policy=Policy())

    assert made is not None
    assert made.direction is expected


def test_unset_clock_cannot_tell_that_a_check_out_was_forgotten() -> None:
    """The time that HR gave the last punch lies on another clock."""
    last = corrected(OtherTime(NOON - timedelta(days=2)))
    made = next_event(ADA, moment(600, trust=ClockTrust.UNSYNCHRONISED), last=last, policy=Policy())

    assert made is not None
    assert made.direction is OUT


def test_night_shift_ends_with_out_after_midnight() -> None:
    """In at 22:00 and out at 06:00 the next day is one shift."""
    evening = moment(wall=datetime(2026, 3, 2, 22, 0, tzinfo=UTC))
    morning = moment(8 * 3600, wall=datetime(2026, 3, 3, 6, 0, tzinfo=UTC))

    assert direction(morning, check_in(at=evening, direction=IN)) is OUT


@pytest.mark.parametrize(("hours", "expected"), [(15.9, OUT), (16.1, IN), (24, IN)])
def test_forgotten_check_out_makes_the_next_punch_in(hours: float, expected: Direction) -> None:
    """A shift longer than the limit was not ended by this punch."""
    assert direction(moment(hours * 3600), check_in(direction=IN)) is expected


@pytest.mark.parametrize("way", [IN, OUT])
def test_fixed_kiosk_always_punches_one_way(way: Direction) -> None:
    """A kiosk at the entrance never records an exit, nor the other way round."""
    policy = Policy(rule=Fixed(way))

    assert direction(moment(), None, policy) is way
    assert direction(moment(3600), check_in(direction=way), policy) is way


@pytest.mark.parametrize(
    ("hour", "minute", "expected"),
    [(0, 30, OUT), (4, 59, OUT), (5, 0, IN), (10, 59, IN), (15, 0, OUT), (23, 59, OUT)],
)
def test_schedule_gives_the_direction_by_local_time_of_day(
    hour: int, minute: int, expected: Direction
) -> None:
    """The last change before now holds, also over midnight, in the kiosk's own time zone."""
    seoul = ZoneInfo("Asia/Seoul")
    policy = Policy(rule=parse_rule("05:00=in, 15:00=out"), zone=seoul)
    at = moment(wall=datetime(2026, 3, 2, hour, minute, tzinfo=seoul).astimezone(UTC))

    assert direction(at, None, policy) is expected


def test_schedule_can_alternate_for_a_while() -> None:
    """Over lunch, a schedule may leave the direction to the last punch."""
    policy = Policy(rule=parse_rule("05:00=in,11:00=alternate,14:00=out"))

    assert direction(moment(3600), check_in(at=moment(-7200), direction=IN), policy) is OUT
    assert direction(moment(3600), check_in(at=moment(-7200), direction=OUT), policy) is IN


def test_policy_that_asks_suggests_what_alternating_would_give() -> None:
    """The person decides; the likely direction is only put first."""
    policy = Policy(rule=parse_rule("ask"))

    assert asks(moment(), policy=policy)
    assert direction(moment(3600), check_in(at=moment(-7200), direction=IN), policy) is OUT
    assert direction(moment(3600), None, policy) is IN


def test_schedule_may_ask_at_some_times_only() -> None:
    """A kiosk that asks around noon asks nobody in the morning, and still needs a screen to touch."""
    rule = parse_rule("05:00=in,11:00=ask,14:00=out")
    policy = Policy(rule=rule)

    assert asks(moment(wall=datetime(2026, 3, 2, 12, tzinfo=UTC)), policy=policy)
    assert not asks(moment(wall=datetime(2026, 3, 2, 8, tzinfo=UTC)), policy=policy)
    assert ever_asks(rule)
    assert not ever_asks(parse_rule("05:00=in,14:00=out"))


def test_schedule_is_not_read_off_a_clock_that_nobody_believes() -> None:
    """At eight in the morning it may still show last evening; a time fix puts the time right, not the way."""
    policy = Policy(rule=parse_rule("05:00=in,15:00=out"))
    evening = datetime(2026, 3, 1, 18, tzinfo=UTC)

    assert direction(moment(wall=evening, trust=ClockTrust.UNSYNCHRONISED), None, policy) is IN
    assert direction(moment(3600, trust=ClockTrust.UNSYNCHRONISED), check_in(), policy) is OUT
    assert direction(moment(wall=evening, trust=ClockTrust.HOLDOVER), None, policy) is OUT


def test_schedule_that_ever_asks_asks_while_nobody_believes_the_clock() -> None:
    """It may be the hour at which it asks; one that never does needs no screen that can be touched."""
    unset = moment(wall=datetime(2026, 3, 2, 8, tzinfo=UTC), trust=ClockTrust.UNSYNCHRONISED)

    assert asks(unset, policy=Policy(rule=parse_rule("05:00=in,11:00=ask,14:00=out")))
    assert not asks(unset, policy=Policy(rule=parse_rule("05:00=in,14:00=out")))


def test_schedule_follows_daylight_saving_time() -> None:
    """At 02:30 UTC it is 03:30 in Berlin in winter and 04:30 in summer."""
    policy = Policy(rule=parse_rule("04:00=in,12:00=out"), zone=ZoneInfo("Europe/Berlin"))
    winter = moment(wall=datetime(2026, 3, 28, 2, 30, tzinfo=UTC))
    summer = moment(wall=datetime(2026, 3, 29, 2, 30, tzinfo=UTC))

    assert direction(winter, None, policy) is OUT
    assert direction(summer, None, policy) is IN


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("alternate", Alternate()),
        ("Ask", Ask()),
        ("IN", Fixed(IN)),
        (" out ", Fixed(OUT)),
        (
            "15:00=out,05:00=in",
            Schedule((Change(time(5), Fixed(IN)), Change(time(15), Fixed(OUT)))),
        ),
    ],
)
def test_rule_is_read_from_settings(text: str, rule: DirectionRule) -> None:
    """All forms of the setting are understood, in any order and case."""
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text", ["", "sideways", "25:00=in", "05:00=up", "05:00", "05:00=in,05:00=out", "05:00=in,"]
)
def test_wrong_rule_is_refused_in_words(text: str) -> None:
    """A schedule that cannot be read says which part and what to write."""
    with pytest.raises(SettingsError, match=r"direction|schedule"):
        parse_rule(text)
