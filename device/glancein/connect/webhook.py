"""A webhook of your own, signed as Standard Webhooks has it (standardwebhooks.com, specification 1.0.0)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence

from glancein.connect.http_link import HttpLink, Reply, Site, words_of
from glancein.domain.delivery import Answer, Done, Later, Parcel, Refused
from glancein.domain.event_body import kind_of
from glancein.domain.strict_json import canonical, parse_object
from glancein.errors import SettingsError

PREFIX = "whsec_"
SHORTEST_KEY = 24  # bytes, as the specification wants
# The receiver's judgement of this one event; every other failure is about the receiver.
UNACCEPTABLE = frozenset({400, 413, 415, 422})


class Webhook:
    """Implements the port Remote: one POST for each event, of every kind.

    ``webhook-id`` and ``Idempotency-Key`` are the same for an event whenever it is sent: a receiver that
    knows it answers 2xx and does nothing.
    """

    most = 1

    def __init__(self, site: Site, secret: str, *, now: Callable[[], float] = time.time) -> None:
        self._key = _key(secret)
        self._link = HttpLink(site)
        self._now = now

    def deliver(self, parcels: Sequence[Parcel]) -> Answer:
        """Hand over one event."""
        (parcel,) = parcels
        body = body_of(parcel)
        name = f"{parcel.event.epoch}_{parcel.event.seq}"
        stamp = str(int(self._now()))
        reply = self._link.post(
            "",
            body,
            headers={
                "webhook-id": name,
                "webhook-timestamp": stamp,
                "webhook-signature": signature(self._key, name, stamp, body),
                "Idempotency-Key": name,
            },
        )
        return reply if isinstance(reply, Later) else self._judge(reply)

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _judge(self, reply: Reply) -> Answer:
        if 200 <= reply.status < 300:
            return Done()
        busy = self._link.busy(reply)
        if busy is not None:
            return busy
        words = f"{self._link} answered HTTP {reply.status}: {words_of(reply)}"
        if reply.status in UNACCEPTABLE:
            return Refused(words)
        return Later(words, is_about_all=reply.status < 500)


def body_of(parcel: Parcel) -> bytes:
    """The JSON that is sent: what the kiosk said, and the punch that follows from it."""
    event, punch = parcel.event, parcel.punch
    data: dict[str, object] = {
        "id": event.id.word,
        "event": parse_object(parcel.payload),
        "punch": None
        if punch is None
        else {
            "person_id": punch.person_id,
            "direction": punch.direction.value,
            "time": punch.time.isoformat(),
            "time_is": punch.time_is,
        },
    }
    return canonical(
        {"type": kind_of(event.body), "timestamp": event.body.moment.wall.isoformat(), "data": data}
    )


def signature(key: bytes, name: str, stamp: str, body: bytes) -> str:
    """What stands in ``webhook-signature``."""
    digest = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or len(key) < SHORTEST_KEY:
        raise SettingsError(
            f"the webhook's secret is not {PREFIX!r} and at least {SHORTEST_KEY} bytes in base64; "
            f'make one with: echo "{PREFIX}$(openssl rand -base64 32)"'
        )
    return key
