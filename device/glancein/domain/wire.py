"""Events and control messages <-> JSON bytes, and the topics they travel on. ``docs/protocol.md`` in code.

The part of an event that is hashed, chained and signed is its canonical JSON (RFC 8785: sorted keys, no
spaces, UTF-8) without ``name`` and ``signature``: the name is a convenience looked up when sending, so that
an erased person's name does not live on in the ledger. Numbers are whole or have at most four decimals,
which every JSON library writes alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from glancein.domain.event_body import EPOCH, SEGMENT, fields_of, read_body, read_id
from glancein.domain.person import check_name
from glancein.domain.strict_json import (
    WORD_LIMIT,
    canonical,
    expect,
    matching,
    one_of,
    parse_object,
    refuse,
    text,
    whole,
)
from glancein.errors import FeedError, InputError, SettingsError
from glancein.types import Event, EventId

SCHEMA = "glancein/v1"
NO_HASH = "0" * 64  # previous_hash of the first event of an epoch
WORDS_LIMIT = 500  # characters of an explanation
LARGEST_BATCH = 32 * 1024  # bytes; about 55 signed events, and half of what our links take in one packet
LEFT_OUT = "left_out"  # ``kind`` of what is sent in place of an event that the broker never takes

HEX64 = re.compile(r"[0-9a-f]{64}\Z")

Signer = Callable[[bytes], str]  # canonical bytes -> signature text
Verifier = Callable[[str, bytes, str], bool]  # whose, canonical bytes, signature text -> is it theirs
CONSUMER = "consumer"  # whose: any trusted consumer; for kiosks it is kiosk_name(site, kiosk)


@dataclass(frozen=True, slots=True)
class Seal:
    """How one side signs what it sends and checks what it gets; None leaves that out."""

    sign: Signer | None = None
    verify: Verifier | None = None

    def accepts(self, whose: str, payload: bytes) -> bool:
        """True if the payload carries that one's signature, or nothing is checked. Raises FeedError."""
        if self.verify is None:
            return True
        core, signature = payload_core(payload)
        return signature is not None and self.verify(whose, core, signature)


UNSEALED = Seal()


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The consumer has committed every event of this epoch up to ``up_to``.

    ``head`` is the hash of that one, ``batch`` the largest batch that the consumer takes, in bytes.
    """

    epoch: str
    up_to: int
    head: str | None = None
    consumer: str = ""
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Resend:
    """Please send again from ``from_seq`` on, to ``to_seq`` or to the end. No epoch: the current one.

    In batches of at most ``batch`` bytes, if it is not 0.
    """

    from_seq: int
    to_seq: int | None = None
    epoch: str | None = None
    batch: int = 0


class RefusedFor(StrEnum):
    """Why a consumer will never take an event in."""

    FORK = "fork"  # it has another event of that name: the kiosk records the punch anew, under a new name
    UNREADABLE = "unreadable"
    UNACCEPTABLE = "unacceptable"  # it reads well, and the consumer's own rules forbid it


@dataclass(frozen=True, slots=True)
class Refusal:
    """The consumer will never commit the event with this number and hash.

    Its place in the stream counts as taken, so the ones behind it are not held up. ``words`` say to people
    what is wrong.
    """

    epoch: str
    seq: int
    hash: str
    why: RefusedFor
    words: str = ""
    consumer: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Sent in place of an event that the broker never takes, so that the ones behind it are not held up.

    ``hash`` is that of the event. The kiosk keeps it, and records it anew when somebody says so; one that
    ``is_lost`` it cannot read any more, and either hash is ``NO_HASH`` where nothing says it any more.
    """

    site: str
    name: EventId
    previous_hash: str
    hash: str
    words: str
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class KioskState:
    """What the retained state topic says. The last will carries only ``online: false`` and the names.

    Signed like an event, but for the last will: the broker publishes that.
    """

    site: str
    kiosk: str
    online: bool
    epoch: str | None = None
    seq: int | None = None
    history_from: int | None = None
    backlog: int | None = None
    laid_aside: int | None = None
    last_error: str | None = None
    second_copy: str | None = None  # why there is none of what is recorded now, and what to do
    at: str | None = None


def topic(site: str, kiosk: str, leaf: str) -> str:
    """``glancein/v1/<site>/<kiosk>/<leaf>``; ``+`` stands for any site or kiosk when subscribing."""
    return f"{SCHEMA}/{site}/{kiosk}/{leaf}"


def kiosk_name(site: str, kiosk: str) -> str:
    """The name a kiosk's key is kept under."""
    return f"kiosk {site}/{kiosk}"


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


def encode_event(event: Event, *, signer: Signer | None = None) -> bytes:
    """The payload as published. The event's body must be ``as_sent``."""
    body = _event_fields(event)
    if signer is not None:
        body["signature"] = signer(canonical(body))
    if event.name is not None:
        body["name"] = event.name
    return canonical(body)


def decode_event(payload: bytes) -> Event:
    """Read a payload; raises FeedError that names the field that is wrong. Unknown fields are allowed."""
    body = _message(payload)
    identity = body.get("id")
    if not isinstance(identity, dict):
        refuse("id", "is not an object")
    named = read_id(identity)
    return Event(
        site=matching(body, "site", SEGMENT),
        kiosk=named.kiosk,
        epoch=named.epoch,
        seq=named.seq,
        previous_hash=matching(body, "previous_hash", HEX64),
        body=read_body(body),
        name=None if body.get("name") is None else _read_name(body),
    )


def join_batch(events: Sequence[bytes]) -> bytes:
    """The payload of a ``batch`` message: a line for each event, the same bytes as it would be alone."""
    return b"\n".join(events)


def split_batch(payload: bytes) -> list[bytes]:
    """The payloads in a ``batch`` message; raises FeedError for one larger than anybody asks for."""
    if len(payload) > LARGEST_BATCH:
        raise FeedError(f"the batch has {len(payload)} bytes, more than {LARGEST_BATCH}")
    return payload.split(b"\n")


def encode_left_out(left_out: LeftOut, *, signer: Signer | None = None) -> bytes:
    """What is published in place of an event."""
    name = left_out.name
    body: dict[str, object] = {
        "schema": SCHEMA,
        "kind": LEFT_OUT,
        "id": {"kiosk": name.kiosk, "epoch": name.epoch, "seq": name.seq},
        "site": left_out.site,
        "previous_hash": left_out.previous_hash,
        "hash": left_out.hash,
        "words": left_out.words,
    }
    if left_out.is_lost:
        body["lost"] = True
    return _signed(body, signer)


def decode_left_out(payload: bytes) -> LeftOut | None:
    """Read what came in place of an event, None if it is something else. Raises FeedError."""
    if parse_object(payload).get("kind") != LEFT_OUT:
        return None
    body = _message(payload)
    identity = body.get("id")
    if not isinstance(identity, dict):
        refuse("id", "is not an object")
    return LeftOut(
        site=matching(body, "site", SEGMENT),
        name=read_id(identity),
        previous_hash=matching(body, "previous_hash", HEX64),
        hash=matching(body, "hash", HEX64),
        words=text(body, "words", WORDS_LIMIT),
        is_lost=body.get("lost") is True,
    )


def event_hash(event: Event) -> str:
    """SHA-256 (hex) of the event's canonical JSON without name and signature."""
    return hash_of_core(canonical(_event_fields(event)))


def hash_of_core(core: bytes) -> str:
    """SHA-256 (hex) of what ``payload_core`` returns."""
    return hashlib.sha256(core).hexdigest()


def payload_core(payload: bytes) -> tuple[bytes, str | None]:
    """What a payload's hash and signature cover, and the signature it carries. Raises FeedError."""
    body = parse_object(payload)
    body.pop("name", None)
    signature = body.pop("signature", None)
    if signature is not None and not isinstance(signature, str):
        refuse("signature", "is not text")
    return canonical(body), signature


def encode_acknowledgement(ack: Acknowledgement, *, signer: Signer | None = None) -> bytes:
    """The payload of an ``ack`` message."""
    body: dict[str, object] = {"schema": SCHEMA, "epoch": ack.epoch, "up_to": ack.up_to}
    if ack.head is not None:
        body["head"] = ack.head
    if ack.consumer:
        body["consumer"] = ack.consumer
    if ack.batch:
        body["batch"] = ack.batch
    return _signed(body, signer)


def decode_acknowledgement(payload: bytes) -> Acknowledgement:
    """Read an ``ack`` message; raises FeedError."""
    body = _message(payload)
    return Acknowledgement(
        epoch=matching(body, "epoch", EPOCH),
        up_to=whole(body, "up_to", low=0),
        head=None if body.get("head") is None else matching(body, "head", HEX64),
        consumer=text(body, "consumer", WORD_LIMIT) if body.get("consumer") else "",
        batch=0 if body.get("batch") is None else whole(body, "batch", low=0),
    )


def encode_resend(resend: Resend, *, signer: Signer | None = None) -> bytes:
    """The payload of a ``resend`` message."""
    body: dict[str, object] = {"schema": SCHEMA, "from": resend.from_seq}
    if resend.to_seq is not None:
        body["to"] = resend.to_seq
    if resend.epoch is not None:
        body["epoch"] = resend.epoch
    if resend.batch:
        body["batch"] = resend.batch
    return _signed(body, signer)


def decode_resend(payload: bytes) -> Resend:
    """Read a ``resend`` message; raises FeedError."""
    body = _message(payload)
    return Resend(
        from_seq=whole(body, "from", low=1),
        to_seq=None if body.get("to") is None else whole(body, "to", low=1),
        epoch=None if body.get("epoch") is None else matching(body, "epoch", EPOCH),
        batch=0 if body.get("batch") is None else whole(body, "batch", low=0),
    )


def encode_refusal(refusal: Refusal, *, signer: Signer | None = None) -> bytes:
    """The payload of a ``refuse`` message."""
    body: dict[str, object] = {
        "schema": SCHEMA,
        "epoch": refusal.epoch,
        "seq": refusal.seq,
        "hash": refusal.hash,
        "why": refusal.why.value,
    }
    if refusal.words:
        body["words"] = refusal.words
    if refusal.consumer:
        body["consumer"] = refusal.consumer
    return _signed(body, signer)


def decode_refusal(payload: bytes) -> Refusal:
    """Read a ``refuse`` message; raises FeedError."""
    body = _message(payload)
    return Refusal(
        epoch=matching(body, "epoch", EPOCH),
        seq=whole(body, "seq", low=1),
        hash=matching(body, "hash", HEX64),
        why=RefusedFor(one_of(body, "why", {word.value for word in RefusedFor})),
        words=text(body, "words", WORDS_LIMIT) if body.get("words") else "",
        consumer=text(body, "consumer", WORD_LIMIT) if body.get("consumer") else "",
    )


def encode_state(state: KioskState, *, signer: Signer | None = None) -> bytes:
    """The payload of the retained ``state`` message."""
    fields: dict[str, object] = {
        "site": state.site,
        "kiosk": state.kiosk,
        "online": state.online,
        "epoch": state.epoch,
        "seq": state.seq,
        "history_from": state.history_from,
        "backlog": state.backlog,
        "laid_aside": state.laid_aside or None,
        "last_error": state.last_error,
        "second_copy": state.second_copy,
        "at": state.at,
    }
    body: dict[str, object] = {"schema": SCHEMA}
    return _signed(body | {key: value for key, value in fields.items() if value is not None}, signer)


def decode_state(payload: bytes) -> KioskState:
    """Read a ``state`` message; raises FeedError."""
    body = _message(payload)
    online = body.get("online")
    if not isinstance(online, bool):
        refuse("online", "is not true or false")
    return KioskState(
        site=matching(body, "site", SEGMENT),
        kiosk=matching(body, "kiosk", SEGMENT),
        online=online,
        epoch=None if body.get("epoch") is None else matching(body, "epoch", EPOCH),
        seq=None if body.get("seq") is None else whole(body, "seq", low=0),
        history_from=None if body.get("history_from") is None else whole(body, "history_from", low=1),
        backlog=None if body.get("backlog") is None else whole(body, "backlog", low=0),
        laid_aside=None if body.get("laid_aside") is None else whole(body, "laid_aside", low=0),
        last_error=None if body.get("last_error") is None else text(body, "last_error", WORDS_LIMIT),
        second_copy=None if body.get("second_copy") is None else text(body, "second_copy", WORDS_LIMIT),
        at=None if body.get("at") is None else text(body, "at", WORD_LIMIT),
    )


def _event_fields(event: Event) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "id": {"kiosk": event.kiosk, "epoch": event.epoch, "seq": event.seq},
        "site": event.site,
        "previous_hash": event.previous_hash,
    } | fields_of(event.body)


def _read_name(body: Mapping[str, object]) -> str:
    """Every name that can be enrolled; the letters of some are not printable to every Python."""
    name = body["name"]
    if not isinstance(name, str):
        refuse("name", "is not text")
    try:
        return check_name(name)
    except InputError as err:
        raise FeedError(f"the event's name is wrong: {err}") from None


def _message(payload: bytes) -> dict[str, object]:
    """The object of a message of this schema; raises FeedError for anything else."""
    body = parse_object(payload)
    expect(body.get("schema") == SCHEMA, "schema", f"is not {SCHEMA}")
    return body


def _signed(body: dict[str, object], signer: Signer | None) -> bytes:
    if signer is not None:
        body["signature"] = signer(canonical(body))
    return canonical(body)
