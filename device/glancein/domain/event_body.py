"""What an event says, as fields of JSON and back: a check-in, a correction, a time fix. Part of ``wire``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import assert_never

from glancein.domain.person import check_person_id
from glancein.domain.strict_json import (
    LARGEST_SEQ,
    WORD_LIMIT,
    cosine,
    expect,
    matching,
    one_of,
    refuse,
    text,
    time_of,
    whole,
)
from glancein.errors import FeedError, InputError
from glancein.types import (
    Becomes,
    Body,
    CheckIn,
    ClockTrust,
    Correction,
    Direction,
    EventId,
    Method,
    Moment,
    OtherDirection,
    OtherPerson,
    OtherTime,
    TimeFix,
    Voided,
)

DECIMALS = 4
REASON_LIMIT = 200  # characters of a correction's reason
LONGEST_BOOT_MS = 100 * 366 * 86_400_000  # no machine runs for longer than a hundred years

SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
EPOCH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

CHECK_IN, CORRECTION, TIME_FIX = "check_in", "correction", "time_fix"


def as_sent(body: Body) -> Body:
    """What was said exactly as a reader of the feed will see it: numbers rounded, times to a microsecond.

    Raises InputError if no reader would accept it.
    """
    settled = _settled(body)
    try:
        if read_body(fields_of(settled)) != settled:
            raise InputError(f"a {kind_of(body)} reads back other than it was written")
    except FeedError as err:
        raise InputError(str(err)) from None
    return settled


def kind_of(body: Body) -> str:
    """The word in ``kind``."""
    match body:
        case CheckIn():
            return CHECK_IN
        case Correction():
            return CORRECTION
        case TimeFix():
            return TIME_FIX
        case other:
            assert_never(other)


def fields_of(body: Body) -> dict[str, object]:
    """The fields of the payload, with ``kind``. The body must be ``as_sent``."""
    return {"kind": kind_of(body)} | _moment_fields(body.moment) | _own_fields(body)


def read_body(fields: Mapping[str, object]) -> Body:
    """Read them; raises FeedError that names the field that is wrong. Unknown fields are allowed."""
    match one_of(fields, "kind", {CHECK_IN, CORRECTION, TIME_FIX}):
        case "check_in":
            return _read_check_in(fields)
        case "correction":
            return _read_correction(fields)
        case _:
            offset_s = whole(fields, "offset_ms", low=-LARGEST_SEQ) / 1000
            return TimeFix(_read_moment(fields), offset_s)


def _settled(body: Body) -> Body:
    moment = replace(
        body.moment,
        wall=_fixed_offset(body.moment.wall),
        mono_s=round(body.moment.mono_s * 1000) / 1000,
    )
    if isinstance(body, CheckIn):
        return replace(
            body,
            person_id=check_person_id(body.person_id),
            score_cos=float(decimal(body.score_cos)),
            threshold_cos=float(decimal(body.threshold_cos)),
            moment=moment,
        )
    if isinstance(body, Correction):
        return replace(body, becomes=_settled_change(body.becomes), moment=moment)
    return replace(body, offset_s=round(body.offset_s * 1000) / 1000, moment=moment)


def _settled_change(becomes: Becomes) -> Becomes:
    match becomes:
        case OtherPerson(person_id):
            return OtherPerson(check_person_id(person_id))
        case OtherTime(wall):
            return OtherTime(_fixed_offset(wall))
        case _:
            return becomes


def _own_fields(body: Body) -> dict[str, object]:
    match body:
        case CheckIn():
            return {
                "person_id": body.person_id,
                "direction": body.direction.value,
                "score": decimal(body.score_cos),
                "threshold": decimal(body.threshold_cos),
                "model_sha256": body.model_sha256,
                "method": body.method,
                "reason": body.reason,
            }
        case Correction():
            return {
                "of": {"kiosk": body.of.kiosk, "epoch": body.of.epoch, "seq": body.of.seq},
                "becomes": change_fields(body.becomes),
                "reason": body.reason,
                "by": body.by,
                "method": body.method,
            }
        case TimeFix():
            return {"offset_ms": round(body.offset_s * 1000)}
        case other:
            assert_never(other)


def change_fields(becomes: Becomes) -> dict[str, object]:
    """What a correction changes: one field of the check-in and its new value, or void."""
    match becomes:
        case Voided():
            return {"void": True}
        case OtherPerson(person_id):
            return {"person_id": person_id}
        case OtherDirection(direction):
            return {"direction": direction.value}
        case OtherTime(wall):
            return {"time": wall.isoformat()}
        case other:
            assert_never(other)


def _read_check_in(fields: Mapping[str, object]) -> CheckIn:
    return CheckIn(
        person_id=_read_person_id(fields),
        direction=_read_direction(fields),
        moment=_read_moment(fields),
        score_cos=cosine(fields, "score"),
        threshold_cos=cosine(fields, "threshold"),
        model_sha256=text(fields, "model_sha256", WORD_LIMIT, shortest=0),
        method=_read_method(fields),
        reason=text(fields, "reason", WORD_LIMIT),
    )


def _read_correction(fields: Mapping[str, object]) -> Correction:
    target, becomes = fields.get("of"), fields.get("becomes")
    if not isinstance(target, dict):
        refuse("of", "is not an object")
    if not isinstance(becomes, dict) or len(becomes) != 1:
        refuse("becomes", "is not an object with one field")
    return Correction(
        of=read_id(target),
        becomes=_read_change(becomes),
        reason=text(fields, "reason", REASON_LIMIT),
        by=text(fields, "by", WORD_LIMIT),
        moment=_read_moment(fields),
        method=_read_method(fields),
    )


def read_id(fields: Mapping[str, object]) -> EventId:
    """An event's name; raises FeedError."""
    return EventId(
        kiosk=matching(fields, "kiosk", SEGMENT),
        epoch=matching(fields, "epoch", EPOCH),
        seq=whole(fields, "seq", low=1),
    )


def _read_change(fields: Mapping[str, object]) -> Becomes:
    match next(iter(fields)):
        case "person_id":
            return OtherPerson(_read_person_id(fields))
        case "direction":
            return OtherDirection(_read_direction(fields))
        case "time":
            return OtherTime(time_of(fields, "time"))
        case other:
            expect(other == "void", "becomes", "is none of void, person_id, direction, time")
            expect(fields["void"] is True, "void", "is not true")
            return Voided()


def _moment_fields(moment: Moment) -> dict[str, object]:
    return {
        "time": moment.wall.isoformat(),
        "clock": moment.trust.value,
        "boot_id": moment.boot_id,
        "mono_ms": round(moment.mono_s * 1000),
    }


def _read_moment(fields: Mapping[str, object]) -> Moment:
    return Moment(
        wall=time_of(fields, "time"),
        mono_s=whole(fields, "mono_ms", low=0, high=LONGEST_BOOT_MS) / 1000,
        boot_id=text(fields, "boot_id", WORD_LIMIT),
        trust=ClockTrust(one_of(fields, "clock", {word.value for word in ClockTrust})),
    )


def _read_person_id(fields: Mapping[str, object]) -> str:
    try:
        return check_person_id(text(fields, "person_id", WORD_LIMIT))
    except InputError as err:
        raise FeedError(f"the event's person_id is wrong: {err}") from None


def _read_direction(fields: Mapping[str, object]) -> Direction:
    return Direction(one_of(fields, "direction", {word.value for word in Direction}))


def _read_method(fields: Mapping[str, object]) -> Method:
    return Method(one_of(fields, "method", {word.value for word in Method}))


def decimal(value: float) -> float | int:
    """Few decimals, and whole numbers as integers: 1.0 and 1 are one number with one spelling."""
    rounded = round(float(value), DECIMALS)
    return int(rounded) if rounded.is_integer() else rounded


def _fixed_offset(wall: datetime) -> datetime:
    """The same moment as a reader gets it: RFC 3339 knows no zones, and offsets of whole minutes only."""
    offset = wall.utcoffset()
    if offset is None:
        raise InputError("the time of an event has no offset from UTC")
    # In an hour that is repeated or skipped, a time in a zone equals none in another (PEP 495).
    return wall.astimezone(timezone(offset) if offset % timedelta(minutes=1) == timedelta(0) else UTC)
