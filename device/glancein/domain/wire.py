"""Events and control messages <-> JSON bytes, and the topics they travel on. ``docs/protocol.md`` in code.

The part of an event that is hashed, chained and signed is its canonical JSON (RFC 8785: sorted keys, no
spaces, UTF-8) without ``name`` and ``signature``: the name is a convenience looked up when sending, so that
an erased person's name does not live on in the ledger. Numbers are whole or have at most four decimals,
which every JSON library writes alike.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from glancein.domain.person import check_name, check_person_id
from glancein.errors import FeedError, InputError, SettingsError
from glancein.types import CheckIn, ClockTrust, Direction, Event, Moment

SCHEMA = "glancein/v1"
NO_HASH = "0" * 64  # previous_hash of the first event of an epoch
LARGEST_PAYLOAD = 16 * 1024
LARGEST_SEQ = 2**53 - 1  # the largest integer every JSON reader keeps exactly
DECIMALS = 4
WORD_LIMIT = 64

SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
HEX64 = re.compile(r"[0-9a-f]{64}\Z")
EPOCH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

Signer = Callable[[bytes], str]  # canonical bytes -> signature text


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The consumer has committed every event of this epoch up to ``up_to``.

    ``head`` is the hash of that one.
    """

    epoch: str
    up_to: int
    head: str | None = None
    consumer: str = ""


@dataclass(frozen=True, slots=True)
class Resend:
    """Please send again from ``from_seq`` on, to ``to_seq`` or to the end. No epoch: the current one."""

    from_seq: int
    to_seq: int | None = None
    epoch: str | None = None


@dataclass(frozen=True, slots=True)
class KioskState:
    """What the retained state topic says. The last will carries only ``online: false`` and the names."""

    site: str
    kiosk: str
    online: bool
    epoch: str | None = None
    seq: int | None = None
    history_from: int | None = None
    backlog: int | None = None
    last_error: str | None = None
    at: str | None = None


def topic(site: str, kiosk: str, leaf: str) -> str:
    """``glancein/v1/<site>/<kiosk>/<leaf>``; ``+`` stands for any site or kiosk when subscribing."""
    return f"{SCHEMA}/{site}/{kiosk}/{leaf}"


def split_topic(name: str) -> tuple[str, str, str]:
    """Site, kiosk and leaf of a topic; raises FeedError for one that is not ours."""
    parts = name.split("/")
    if len(parts) != 5 or "/".join(parts[:2]) != SCHEMA:
        raise FeedError(f"topic {name[:100]!r} is not {SCHEMA}/<site>/<kiosk>/<leaf>")
    return parts[2], parts[3], parts[4]


def check_segment(what: str, text: str) -> str:
    """A site or kiosk name that can stand in a topic; raises SettingsError."""
    if not SEGMENT.match(text):
        raise SettingsError(
            f"{what} {text[:70]!r} cannot be part of a topic: use 1 to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return text


def as_sent(check_in: CheckIn) -> CheckIn:
    """The check-in exactly as a reader of the feed will see it: numbers rounded, the time to a microsecond.

    Raises InputError if no reader would accept it.
    """
    settled = replace(
        check_in,
        person_id=check_person_id(check_in.person_id),
        score_cos=float(_decimal(check_in.score_cos)),
        threshold_cos=float(_decimal(check_in.threshold_cos)),
        moment=replace(
            check_in.moment,
            wall=_whole_minute_offset(check_in.moment.wall),
            mono_s=round(check_in.moment.mono_s * 1000) / 1000,
        ),
    )
    try:
        _check_in(_check_in_fields(settled))
    except FeedError as err:
        raise InputError(str(err)) from None
    return settled


def encode_event(event: Event, *, signer: Signer | None = None) -> bytes:
    """The payload as published. The event's check-in must be ``as_sent``."""
    body = _event_fields(event)
    if signer is not None:
        body["signature"] = signer(canonical(body))
    if event.name is not None:
        body["name"] = event.name
    return canonical(body)


def decode_event(payload: bytes) -> Event:
    """Read a payload; raises FeedError that names the field that is wrong. Unknown fields are allowed."""
    body = _object(payload)
    _expect(body.get("schema") == SCHEMA, "schema", f"is not {SCHEMA}")
    _expect(body.get("kind") == "check_in", "kind", "is not check_in")
    identity = body.get("id")
    if not isinstance(identity, dict):
        _refuse("id", "is not an object")
    name = body.get("name")
    try:
        checked_name = None if name is None else check_name(_text(body, "name", 200))
    except InputError as err:
        raise FeedError(f"the event's name is wrong: {err}") from None
    return Event(
        site=_matching(body, "site", SEGMENT),
        kiosk=_matching(identity, "kiosk", SEGMENT),
        epoch=_matching(identity, "epoch", EPOCH),
        seq=_whole(identity, "seq", low=1),
        previous_hash=_matching(body, "previous_hash", HEX64),
        check_in=_check_in(body),
        name=checked_name,
    )


def event_hash(event: Event) -> str:
    """SHA-256 (hex) of the event's canonical JSON without name and signature."""
    return hash_of_core(canonical(_event_fields(event)))


def hash_of_core(core: bytes) -> str:
    """SHA-256 (hex) of what ``payload_core`` returns."""
    return hashlib.sha256(core).hexdigest()


def payload_core(payload: bytes) -> tuple[bytes, str | None]:
    """What a payload's hash and signature cover, and the signature it carries. Raises FeedError."""
    body = _object(payload)
    body.pop("name", None)
    signature = body.pop("signature", None)
    if signature is not None and not isinstance(signature, str):
        _refuse("signature", "is not text")
    return canonical(body), signature


def encode_acknowledgement(ack: Acknowledgement, *, signer: Signer | None = None) -> bytes:
    """The payload of an ``ack`` message."""
    body: dict[str, object] = {"schema": SCHEMA, "epoch": ack.epoch, "up_to": ack.up_to}
    if ack.head is not None:
        body["head"] = ack.head
    if ack.consumer:
        body["consumer"] = ack.consumer
    return _signed(body, signer)


def decode_acknowledgement(payload: bytes) -> Acknowledgement:
    """Read an ``ack`` message; raises FeedError."""
    body = _object(payload)
    _expect(body.get("schema") == SCHEMA, "schema", f"is not {SCHEMA}")
    return Acknowledgement(
        epoch=_matching(body, "epoch", EPOCH),
        up_to=_whole(body, "up_to", low=0),
        head=None if body.get("head") is None else _matching(body, "head", HEX64),
        consumer=_text(body, "consumer", WORD_LIMIT) if body.get("consumer") else "",
    )


def encode_resend(resend: Resend, *, signer: Signer | None = None) -> bytes:
    """The payload of a ``resend`` message."""
    body: dict[str, object] = {"schema": SCHEMA, "from": resend.from_seq}
    if resend.to_seq is not None:
        body["to"] = resend.to_seq
    if resend.epoch is not None:
        body["epoch"] = resend.epoch
    return _signed(body, signer)


def decode_resend(payload: bytes) -> Resend:
    """Read a ``resend`` message; raises FeedError."""
    body = _object(payload)
    _expect(body.get("schema") == SCHEMA, "schema", f"is not {SCHEMA}")
    return Resend(
        from_seq=_whole(body, "from", low=1),
        to_seq=None if body.get("to") is None else _whole(body, "to", low=1),
        epoch=None if body.get("epoch") is None else _matching(body, "epoch", EPOCH),
    )


def encode_state(state: KioskState) -> bytes:
    """The payload of the retained ``state`` message."""
    fields: dict[str, object] = {
        "site": state.site,
        "kiosk": state.kiosk,
        "online": state.online,
        "epoch": state.epoch,
        "seq": state.seq,
        "history_from": state.history_from,
        "backlog": state.backlog,
        "last_error": state.last_error,
        "at": state.at,
    }
    return canonical({"schema": SCHEMA} | {key: value for key, value in fields.items() if value is not None})


def decode_state(payload: bytes) -> KioskState:
    """Read a ``state`` message; raises FeedError."""
    body = _object(payload)
    _expect(body.get("schema") == SCHEMA, "schema", f"is not {SCHEMA}")
    online = body.get("online")
    if not isinstance(online, bool):
        _refuse("online", "is not true or false")
    return KioskState(
        site=_matching(body, "site", SEGMENT),
        kiosk=_matching(body, "kiosk", SEGMENT),
        online=online,
        epoch=None if body.get("epoch") is None else _matching(body, "epoch", EPOCH),
        seq=None if body.get("seq") is None else _whole(body, "seq", low=0),
        history_from=None if body.get("history_from") is None else _whole(body, "history_from", low=1),
        backlog=None if body.get("backlog") is None else _whole(body, "backlog", low=0),
        last_error=None if body.get("last_error") is None else _text(body, "last_error", 500),
        at=None if body.get("at") is None else _text(body, "at", WORD_LIMIT),
    )


def canonical(body: Mapping[str, object]) -> bytes:
    """Canonical JSON (RFC 8785) of an object whose numbers are whole or have few decimals."""
    return json.dumps(
        body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _event_fields(event: Event) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "kind": "check_in",
        "id": {"kiosk": event.kiosk, "epoch": event.epoch, "seq": event.seq},
        "site": event.site,
        "previous_hash": event.previous_hash,
    } | _check_in_fields(event.check_in)


def _check_in_fields(check_in: CheckIn) -> dict[str, object]:
    moment = check_in.moment
    return {
        "person_id": check_in.person_id,
        "direction": check_in.direction.value,
        "time": moment.wall.isoformat(),
        "clock": moment.trust.value,
        "boot_id": moment.boot_id,
        "mono_ms": round(moment.mono_s * 1000),
        "score": _decimal(check_in.score_cos),
        "threshold": _decimal(check_in.threshold_cos),
        "model_sha256": check_in.model_sha256,
        "method": check_in.method,
        "reason": check_in.reason,
    }


def _check_in(body: Mapping[str, object]) -> CheckIn:
    try:
        person_id = check_person_id(_text(body, "person_id", WORD_LIMIT))
    except InputError as err:
        raise FeedError(f"the event's person_id is wrong: {err}") from None
    return CheckIn(
        person_id=person_id,
        direction=Direction(_one_of(body, "direction", {word.value for word in Direction})),
        moment=Moment(
            wall=_time(body, "time"),
            mono_s=_whole(body, "mono_ms", low=0) / 1000,
            boot_id=_text(body, "boot_id", WORD_LIMIT),
            trust=ClockTrust(_one_of(body, "clock", {word.value for word in ClockTrust})),
        ),
        score_cos=_cosine(body, "score"),
        threshold_cos=_cosine(body, "threshold"),
        model_sha256=_text(body, "model_sha256", WORD_LIMIT, shortest=0),
        method=_text(body, "method", WORD_LIMIT),
        reason=_text(body, "reason", WORD_LIMIT),
    )


def _signed(body: dict[str, object], signer: Signer | None) -> bytes:
    if signer is not None:
        body["signature"] = signer(canonical(body))
    return canonical(body)


def _decimal(value: float) -> float | int:
    """Few decimals, and whole numbers as integers: 1.0 and 1 are one number with one spelling."""
    rounded = round(float(value), DECIMALS)
    return int(rounded) if rounded.is_integer() else rounded


def _whole_minute_offset(wall: datetime) -> datetime:
    """RFC 3339 knows offsets of whole minutes only."""
    offset = wall.utcoffset()
    if offset is None:
        raise InputError("the time of a check-in has no offset from UTC")
    return wall if offset % timedelta(minutes=1) == timedelta(0) else wall.astimezone(UTC)


def _object(payload: bytes) -> dict[str, object]:
    if len(payload) > LARGEST_PAYLOAD:
        raise FeedError(f"the message has {len(payload)} bytes, more than {LARGEST_PAYLOAD}")
    try:
        body = json.loads(payload.decode(), parse_constant=_no_constant, object_pairs_hook=_no_repeats)
        canonical(body if isinstance(body, dict) else {})
    except (ValueError, RecursionError) as err:
        raise FeedError(f"the message is not JSON: {str(err)[:100]}") from None
    if not isinstance(body, dict):
        raise FeedError("the message is not a JSON object")
    return body


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a field is there twice")
    return body


def _refuse(field: str, why: str) -> NoReturn:
    raise FeedError(f"the message's {field} {why}")


def _expect(condition: bool, field: str, why: str) -> None:  # noqa: FBT001  # reads as a sentence
    if not condition:
        _refuse(field, why)


def _text(body: Mapping[str, object], field: str, limit: int, *, shortest: int = 1) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        _refuse(field, "is not text")
    _expect(shortest <= len(value) <= limit, field, f"has {len(value)} characters, not {shortest} to {limit}")
    _expect(value.isprintable(), field, "has control characters")
    return value


def _matching(body: Mapping[str, object], field: str, pattern: re.Pattern[str]) -> str:
    value = _text(body, field, WORD_LIMIT)
    _expect(pattern.match(value) is not None, field, f"{value!r} has the wrong form")
    return value


def _one_of(body: Mapping[str, object], field: str, words: set[str]) -> str:
    value = _text(body, field, WORD_LIMIT)
    _expect(value in words, field, f"is {value!r}, none of {', '.join(sorted(words))}")
    return value


def _whole(body: Mapping[str, object], field: str, *, low: int) -> int:
    value = body.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(field, "is not a whole number")
    _expect(low <= value <= LARGEST_SEQ, field, f"is not within {low} to {LARGEST_SEQ}")
    return value


def _cosine(body: Mapping[str, object], field: str) -> float:
    value = body.get(field)
    if not isinstance(value, int | float) or isinstance(value, bool):
        _refuse(field, "is not a number")
    _expect(-1 <= value <= 1 and math.isfinite(value), field, "is not a cosine between -1 and 1")
    return float(value)


def _time(body: Mapping[str, object], field: str) -> datetime:
    value = _text(body, field, WORD_LIMIT)
    try:
        moment = datetime.fromisoformat(value)
        aware = moment.utcoffset() is not None
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(field, f"{value!r} is not a date and time")
    _expect(aware, field, f"{value!r} has no offset from UTC")
    return moment
