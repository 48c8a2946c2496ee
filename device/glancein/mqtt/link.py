"""One connection to a broker, driven by the thread that owns it; only ``wake`` may be called from others.

MQTT 5, because under 3.1.1 a broker that refuses a message for lack of rights acknowledges it as if it were
delivered; 3.1.1 is spoken only to a broker that says it knows nothing newer (the embedded one).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from glancein.errors import FeedError
from glancein.mqtt.broker_url import BrokerUrl

CONNECT_TIMEOUT_S = 8.0
KEEPALIVE_S = 15  # a half-open connection is noticed after one and a half times this
# A broker that no longer answers what is sent to it is left: MQTT 5 (4.4) forbids to repeat a message on the
# same connection, and twenty lost answers use up what may be in flight, for ever.
ANSWER_WITHIN_S = 20.0
PART_WITHIN_S = 1.0
MOST_IN_FLIGHT = 200  # unanswered messages, where the broker does not ask for fewer (Receive Maximum)
SILENT_BROKERS_MOST = 20  # where it cannot ask (3.1.1): what mosquitto takes by default
MOST_AT_ONCE = 200  # happenings handed out by one wait
LARGEST_PACKET = 64 * 1024
NO_SUBSCRIBER = 0x10
FAILURE = 0x80
DENIED = 0x87  # not authorized
NEVER = {0x90, 0x95, 0x99}  # topic name invalid, packet too large, payload format invalid
PACKET_OVERHEAD = 64  # at most, around topic and payload of a PUBLISH of ours
UNSUPPORTED_VERSION = 0x84
ALERT = re.compile(r"ALERT_(\w+)")


@dataclass(frozen=True, slots=True)
class Message:
    """What is published, or was received."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """The broker's answer to one published message. ``delivered`` only if somebody will get it.

    ``is_final``: it will never take this message, however often it is asked. ``is_denied``: this client may
    not publish there.
    """

    token: int
    delivered: bool
    words: str
    is_final: bool = False
    is_denied: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone."""

    why: str


Happening = Message | Receipt | Lost


class Connection(Protocol):
    """What the publisher and the feed need of a connected link; tests pass a fake."""

    def publish(self, message: Message) -> int:
        """Queue a message at QoS 1; the token comes back in its receipt."""

    def wait(self, timeout_s: float) -> list[Happening]:
        """Whatever happened, waiting at most so long for something to happen."""

    def wake(self) -> None:
        """End the wait of the owning thread now."""

    def close(self) -> None:
        """Send what is queued and part."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """How a client introduces itself: its name, its last will, and what it wants to hear."""

    client_id: str
    will: Message | None = None
    topics: Sequence[str] = ()


class Link:
    """A connection made by ``open_link``; closed when the block that uses it ends."""

    def __init__(
        self, url: BrokerUrl, greeting: Greeting, *, version: MQTTProtocolVersion, patience_s: float
    ) -> None:
        self._url = url
        self._patience_s = patience_s
        self._greeting = greeting
        self._version = version
        self._happened: list[Happening] = []
        self._tokens = itertools.count(1)
        self._queued: deque[tuple[int, Message]] = deque()
        self._under_way: dict[int, int] = {}  # packet id -> token
        self._most_under_way = SILENT_BROKERS_MOST
        self._largest_packet = sys.maxsize
        self._refused: FeedError | None = None
        self._subscribed = False
        self._lost = False
        self._alert = ""
        self._answered_at = 0.0
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)  # noqa: FBT003  # the standard library's signature
        self._client = self._make_client()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(self, message: Message) -> int:
        """Queue a message at QoS 1; the token comes back in its receipt."""
        token = next(self._tokens)
        size = len(message.topic.encode()) + len(message.payload) + PACKET_OVERHEAD
        if size > self._largest_packet:
            words = f"packet of {size} bytes is too large, the broker takes {self._largest_packet}"
            self._happened.append(Receipt(token, delivered=False, words=words, is_final=True))
            return token
        self._queued.append((token, message))
        self._send_queued()
        return token

    def wait(self, timeout_s: float) -> list[Happening]:
        """Whatever happened, waiting at most so long for something to happen."""
        if not self._happened:
            self._turn(timeout_s)
        while (has_more := self._more_to_read()) and len(self._happened) < MOST_AT_ONCE:
            self._turn(0)
        if not has_more:  # an answer may be among what was not read yet
            self._leave_if_unanswered()
        happened, self._happened = self._happened, []
        return happened

    def wake(self) -> None:
        """End the wait of the owning thread now; may be called from any thread."""
        try:
            self._wake_in.send(b"w", socket.MSG_DONTWAIT)
        except OSError:  # the buffer is full of wake-ups already, or the link was closed
            return

    def close(self) -> None:
        """Wait a second at most for the answers to what was sent, and part.

        A socket closed with something unread in it resets the connection: the broker may then drop what it
        has not read yet, publish the will and so overwrite a good-bye that was sent. Hence the wait until it
        hangs up.
        """
        deadline = time.monotonic() + PART_WITHIN_S
        while self._unsent() and time.monotonic() < deadline and not self._lost:
            self._turn(0.05)
        sock = self._client.socket()
        if sock is not None and not self._lost:
            with socket.socket(fileno=os.dup(sock.fileno())) as kept_open:
                self._client.disconnect()
                _read_to_the_end(kept_open, deadline)
        elif sock is not None:
            sock.close()
        self._client.on_disconnect = None
        self._wake_out.close()
        self._wake_in.close()

    def connect(self) -> None:
        """Connect and subscribe; raises FeedError that says in words why it did not work."""
        deadline = time.monotonic() + self._patience_s
        try:
            if self._version == MQTTProtocolVersion.MQTTv5:
                self._client.connect(
                    self._url.host,
                    self._url.port,
                    keepalive=KEEPALIVE_S,
                    clean_start=True,
                    properties=_connect_properties(),
                )
            else:
                self._client.connect(self._url.host, self._url.port, keepalive=KEEPALIVE_S)
        except (OSError, ValueError, ssl.SSLError) as err:
            raise FeedError(f"cannot reach the broker {self._url}: {_in_words(err)}") from err
        while not self._subscribed:
            self._turn(0.2)
            if self._refused is not None:
                raise self._refused
            if self._lost:
                raise HungUpError(self._url, self._alert)
            if time.monotonic() > deadline:
                raise FeedError(f"the broker {self._url} does not answer; is it an MQTT broker?")
        self._client.on_log = None

    def _turn(self, timeout_s: float) -> None:
        """Read and write once. The documented way to drive paho from a loop of one's own."""
        sock = self._client.socket()
        if sock is None:
            self._note_loss("the connection was closed")
            return
        wanted = [sock] if self._client.want_write() else []
        pending = _pending(sock)
        readable, writable, _ = select.select([sock, self._wake_out], wanted, [], 0 if pending else timeout_s)
        if self._wake_out in readable:
            self._wake_out.recv(4096)
        results = [
            self._read() if sock in readable or pending else MQTTErrorCode.MQTT_ERR_SUCCESS,
            self._client.loop_write() if writable else MQTTErrorCode.MQTT_ERR_SUCCESS,
            self._client.loop_misc(),
        ]
        for result in results:
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._note_loss(paho.error_string(result).rstrip("."))
        self._send_queued()

    def _read(self) -> MQTTErrorCode:
        try:
            return self._client.loop_read()
        except UnicodeDecodeError:  # MQTT 5, section 1.5.4: then the connection has to end
            self._note_loss("it sent text that is not UTF-8")
            return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _leave_if_unanswered(self) -> None:
        sock, silent_s = self._client.socket(), time.monotonic() - self._answered_at
        if self._under_way and silent_s > ANSWER_WITHIN_S and sock is not None and not self._lost:
            sock.close()
            self._note_loss("it no longer answers")

    def _send_queued(self) -> None:
        """Hand paho what the broker is ready to take; paho itself does not know of Receive Maximum."""
        while self._queued and len(self._under_way) < self._most_under_way and not self._lost:
            token, message = self._queued.popleft()
            sent = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            if not self._under_way:
                self._answered_at = time.monotonic()
            self._under_way[sent.mid] = token

    def _unsent(self) -> bool:
        return bool(self._queued or self._under_way) or self._client.want_write()

    def _more_to_read(self) -> bool:
        sock = self._client.socket()
        if sock is None or self._lost:
            return False
        return bool(_pending(sock) or select.select([sock], [], [], 0)[0])

    def _note_loss(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            self._happened.append(Lost(why))

    def _make_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self._greeting.client_id,
            clean_session=None if self._version == MQTTProtocolVersion.MQTTv5 else True,
            protocol=self._version,
        )
        client.connect_timeout = self._patience_s
        client.max_inflight_messages_set(0)  # ``_send_queued`` counts
        if self._url.user is not None:
            client.username_pw_set(self._url.user, self._url.password)
        if self._url.tls:
            client.tls_set_context(_tls_context(self._url))
        if self._greeting.will is not None:
            will = self._greeting.will
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        client.on_log = self._on_log
        return client

    def _on_log(self, _client: paho.Client, _data: object, _level: int, words: str) -> None:
        """While connecting: the log is the only place where paho tells why TLS failed."""
        alert = ALERT.search(words)
        if alert is not None:
            self._alert = alert[1]

    def _on_connect(
        self,
        client: paho.Client,
        _data: object,
        _flags: paho.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if code.is_failure:
            self._refused = RefusedError(self._url, code)
            return
        if self._version == MQTTProtocolVersion.MQTTv5:
            # MQTT 5, sections 3.2.2.3.3 and 3.2.2.3.6; absent means 65,535 and no limit.
            self._most_under_way = min(getattr(properties, "ReceiveMaximum", MOST_IN_FLIGHT), MOST_IN_FLIGHT)
            self._largest_packet = getattr(properties, "MaximumPacketSize", sys.maxsize)
        if self._greeting.topics:
            client.subscribe([(name, 1) for name in self._greeting.topics])
        else:
            self._subscribed = True

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: object,
        _mid: int,
        codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        for topic, code in zip(self._greeting.topics, codes, strict=False):
            if code.is_failure:
                self._refused = DeafError(self._url, topic, code)
        self._subscribed = True

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self._happened.append(Message(message.topic, bytes(message.payload), message.retain))

    def _on_publish(
        self, _client: paho.Client, _data: object, mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        token = self._under_way.pop(mid, None)
        if token is not None:
            self._answered_at = time.monotonic()
            delivered = code.value < FAILURE and code.value != NO_SUBSCRIBER
            is_final, is_denied = code.value in NEVER, code.value == DENIED
            self._happened.append(Receipt(token, delivered, str(code), is_final, is_denied))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: paho.DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._note_loss(str(code))


class RefusedError(FeedError):
    """The broker answered and said no."""

    def __init__(self, url: BrokerUrl, code: ReasonCode) -> None:
        words = _REFUSALS.get(str(code), f"it says: {code}")
        super().__init__(f"the broker {url} refuses the connection: {words}")
        self.code = code


class DeafError(FeedError):
    """The broker does not let this client hear what it is there for."""

    def __init__(self, url: BrokerUrl, topic: str, code: ReasonCode) -> None:
        super().__init__(
            f"the broker {url} does not let this client hear {topic} ({code}); does its access list name it? "
            "Copy the site's glancein.acl there and reload it"
        )


class HungUpError(FeedError):
    """The other side closed the connection without a word."""

    def __init__(self, url: BrokerUrl, alert: str = "") -> None:
        unsaid = _UNSAID if url.tls else "is it an MQTT broker?"
        words = _ALERTS.get(alert, f"TLS says {alert}" if alert else unsaid)
        super().__init__(f"the broker {url} closed the connection; {words}")


def open_link(url: BrokerUrl, greeting: Greeting, *, patience_s: float = CONNECT_TIMEOUT_S) -> Link:
    """A connected and subscribed link; raises FeedError in one sentence."""
    newest = Link(url, greeting, version=MQTTProtocolVersion.MQTTv5, patience_s=patience_s)
    try:
        newest.connect()
    except FeedError as err:
        newest.close()
        # Who only hangs up may know MQTT 5 very well, and 3.1.1 would hide what it does not deliver.
        if not (isinstance(err, RefusedError) and err.code.value == UNSUPPORTED_VERSION):
            raise
    else:
        return newest
    older = Link(url, greeting, version=MQTTProtocolVersion.MQTTv311, patience_s=patience_s)
    try:
        older.connect()
    except FeedError:
        older.close()
        raise
    return older


# What OpenSSL calls the alerts of RFC 8446, section 6.2. In TLS 1.3 a client learns only after the handshake
# that its certificate was refused.
_ALERTS = {
    "CERTIFICATE_REQUIRED": "it wants a certificate; name cert and key in the broker's address",
    "CERTIFICATE_EXPIRED": "this machine's certificate has expired; make a new one: glancein site rotate",
    "CERTIFICATE_REVOKED": "this machine's certificate was revoked",
    "UNKNOWN_CA": "it does not know who signed this machine's certificate",
}
_UNSAID = "it may not accept this machine's certificate: missing, expired, revoked, or signed by others"
_REFUSALS = {
    "Not authorized": "this user may not do that; check name, password and rights",
    "Bad user name or password": "wrong user name or password",
    "Client identifier not valid": "it does not accept this client's name",
    "Banned": "this client is banned",
    "Server unavailable": "it is not ready; try again later",
    "Server busy": "it is busy; try again later",
}


def _pending(sock: object) -> int:
    """Bytes that TLS has read and that select does not see."""
    return int(getattr(sock, "pending", lambda: 0)())


def _read_to_the_end(sock: socket.socket, deadline: float) -> None:
    """Nothing more will be written here; take what still comes, until the other side hangs up too."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while (left_s := deadline - time.monotonic()) > 0:
            if select.select([sock], [], [], left_s)[0] and not sock.recv(1 << 16):
                return


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's own gap
    properties.ReceiveMaximum = MOST_IN_FLIGHT
    properties.MaximumPacketSize = LARGEST_PACKET
    return properties


class _TidySocket(ssl.SSLSocket):
    """Closed when the handshake fails; paho leaves it open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # the library's signature
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _tls_context(url: BrokerUrl) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=url.ca)
        context.sslsocket_class = _TidySocket
        if url.cert is not None:
            context.load_cert_chain(url.cert, url.key)
    except (OSError, ssl.SSLError) as err:
        raise FeedError(f"the certificates for {url} cannot be used: {err}") from err
    return context


def _in_words(err: Exception) -> str:
    match err:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({err.verify_message})"
        case ssl.SSLError():
            return f"TLS does not work ({err.reason or err})"
        case ConnectionRefusedError():
            return "nothing listens there; is the broker running?"
        case socket.gaierror():
            return "no machine has that name"
        case TimeoutError():
            return "it does not answer; check address and network"
        case _:
            return str(err)
