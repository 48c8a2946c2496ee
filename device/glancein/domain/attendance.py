"""A recognised person, the moment, their last punch and the policy -> the next punch, or none. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo

from glancein.domain.punches import Punch
from glancein.errors import SettingsError
from glancein.types import CheckIn, ClockTrust, Direction, Method, Moment


@dataclass(frozen=True, slots=True)
class Alternate:
    """In, out, in, out: each punch is the opposite of the person's last one."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A kiosk at an entrance or an exit: always the same direction."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class Ask:
    """The person says which way they go; what alternating would give is only suggested."""


@dataclass(frozen=True, slots=True)
class Change:
    """From this local time of day on, punches go by this rule."""

    at: time
    rule: Alternate | Ask | Fixed


@dataclass(frozen=True, slots=True)
class Schedule:
    """The direction by time of day.

    The last change of the day also holds after midnight, until the first one. A clock that nobody believes
    does not know the time of day: then the person is asked if the schedule ever asks, else punches alternate.
    """

    changes: tuple[Change, ...]  # sorted by time, at least one


DirectionRule = Alternate | Ask | Fixed | Schedule


@dataclass(frozen=True, slots=True)
class Policy:
    """How punches are made out of recognitions.

    Within ``quiet_s`` of a person's last punch nothing is recorded. A shift longer than ``max_shift_h``
    means that the check-out was forgotten, so the next punch is IN again. ``zone`` is where times of day
    are read.
    """

    rule: DirectionRule = Alternate()
    quiet_s: float = 120.0
    max_shift_h: float = 16.0
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Recognised:
    """Who was recognised, how surely, against which limit and by which model (empty for a PIN or badge)."""

    person_id: str
    score_cos: float
    threshold_cos: float
    model_sha256: str
    method: Method = Method.FACE
    reason: str = "recognised"


def next_event(who: Recognised, moment: Moment, *, last: Punch | None, policy: Policy) -> CheckIn | None:
    """The punch that follows, or None while the person is inside their quiet period.

    ``last`` is the person's last punch as it stands, of any epoch. Durations inside one boot come from the
    monotonic clock; across boots, and where the punch was given another time, from the wall clock, and one
    that runs backwards or cannot be believed silences nobody.
    """
    if last is not None and is_repeat(last.event.check_in, moment, quiet_s=policy.quiet_s):
        return None
    return CheckIn(
        person_id=who.person_id,
        direction=direction_of(moment, last=last, policy=policy),
        moment=moment,
        score_cos=who.score_cos,
        threshold_cos=who.threshold_cos,
        model_sha256=who.model_sha256,
        method=who.method,
        reason=who.reason,
    )


def is_repeat(previous: CheckIn, moment: Moment, *, quiet_s: float) -> bool:
    """True while the same person is still inside the quiet period; one written down by hand begins none."""
    elapsed = elapsed_s(previous.moment, moment)
    return previous.method is not Method.MANUAL and elapsed is not None and 0 <= elapsed < quiet_s


def direction_of(moment: Moment, *, last: Punch | None, policy: Policy) -> Direction:
    """Which way this punch goes under the policy."""
    match _rule_at(moment, policy):
        case Fixed(direction):
            return direction
        case Alternate() | Ask():
            return _opposite(last, moment, max_shift_h=policy.max_shift_h)


def asks(moment: Moment, *, policy: Policy) -> bool:
    """True if the person has to say which way they go; ``next_event`` then only suggests one."""
    return isinstance(_rule_at(moment, policy), Ask)


def ever_asks(rule: DirectionRule) -> bool:
    """True if the rule asks at some time of day: such a kiosk needs a screen that can be touched."""
    if isinstance(rule, Schedule):
        return any(isinstance(change.rule, Ask) for change in rule.changes)
    return isinstance(rule, Ask)


def elapsed_s(earlier: Moment, later: Moment) -> float | None:
    """Seconds between two moments, None when no clock can tell: another boot, and one was never set."""
    if earlier.boot_id == later.boot_id and later.mono_s >= earlier.mono_s:
        return later.mono_s - earlier.mono_s
    if ClockTrust.UNSYNCHRONISED in {earlier.trust, later.trust}:
        return None
    return (later.wall - earlier.wall).total_seconds()


def parse_rule(text: str) -> DirectionRule:
    """Read ``alternate``, ``ask``, ``in``, ``out`` or a schedule: ``05:00=in,11:00=alternate,15:00=out``.

    Raises SettingsError.
    """
    word = text.strip().lower()
    return _WORDS[word] if word in _WORDS else Schedule(_parse_changes(word))


_WORDS: dict[str, Alternate | Ask | Fixed] = {
    "alternate": Alternate(),
    "ask": Ask(),
    "in": Fixed(Direction.IN),
    "out": Fixed(Direction.OUT),
}


def _rule_at(moment: Moment, policy: Policy) -> Alternate | Ask | Fixed:
    if isinstance(policy.rule, Schedule):
        if moment.trust is ClockTrust.UNSYNCHRONISED:
            return Ask() if ever_asks(policy.rule) else Alternate()
        return _planned(policy.rule.changes, moment.wall.astimezone(policy.zone).time())
    return policy.rule


def _opposite(last: Punch | None, moment: Moment, *, max_shift_h: float) -> Direction:
    if last is None or last.direction is Direction.OUT:
        return Direction.IN
    shift_s = _shift_s(last, moment)
    forgotten = shift_s is not None and shift_s > max_shift_h * 3600
    return Direction.IN if forgotten else Direction.OUT


def _shift_s(last: Punch, moment: Moment) -> float | None:
    """Seconds since the last punch, None when no clock can tell."""
    if not last.is_moved:
        return elapsed_s(last.event.check_in.moment, moment)
    if moment.trust is ClockTrust.UNSYNCHRONISED:
        return None
    return (moment.wall - last.wall).total_seconds()


def _planned(changes: Sequence[Change], now: time) -> Alternate | Ask | Fixed:
    """The latest change at or before now.

    Before the first change of a day, yesterday's last one still holds.
    """
    current = changes[-1]
    for change in changes:
        if change.at <= now:
            current = change
    return current.rule


def _parse_changes(text: str) -> tuple[Change, ...]:
    changes = sorted((_parse_change(part) for part in text.split(",")), key=lambda change: change.at)
    for one, two in itertools.pairwise(changes):
        if one.at == two.at:
            raise SettingsError(f"the schedule names {one.at:%H:%M} twice; keep one of them")
    return tuple(changes)


def _parse_change(text: str) -> Change:
    at, _, word = (part.strip() for part in text.partition("="))
    try:
        moment = datetime.strptime(at, "%H:%M").replace(tzinfo=UTC).time()
    except ValueError:
        raise SettingsError(
            f"direction {text.strip()!r} is none of alternate, ask, in, out, or times like 05:00=in,15:00=out"
        ) from None
    if word not in _WORDS:
        raise SettingsError(f"direction {word!r} at {at} is none of in, out, alternate, ask")
    return Change(moment, _WORDS[word])
