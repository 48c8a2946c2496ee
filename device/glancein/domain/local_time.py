"""A time of day as people write it -> the moment it was, also in the nights when clocks are set. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from glancein.errors import AmbiguousTime, InputError


def local_moment(text: str, zone: tzinfo) -> datetime:
    """The moment of an ISO 8601 time, local unless it carries an offset.

    Raises InputError for what is no time or was left out as clocks were set forward, and AmbiguousTime for
    what came twice as they were set back.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is not None:
            return moment
        first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() == second.utcoffset():
            return first
        is_left_out = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment
    except (ValueError, OverflowError):
        raise InputError(f"{text[:40]!r} is not a time such as 2026-11-30T17:30") from None
    if is_left_out:
        raise InputError(f"{moment:%Y-%m-%d %H:%M} did not exist: clocks were set forward over it")
    raise AmbiguousTime(f"{moment:%Y-%m-%d %H:%M}", (first.isoformat()[-6:], second.isoformat()[-6:]))
