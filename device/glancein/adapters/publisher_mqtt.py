"""The way from the ledger's outbox to HR over MQTT, in a thread of its own.

A row leaves the outbox only when the consumer says "committed up to n" (``Delivery.CONSUMER``), or, where
no consumer acknowledges, when the broker's PUBACK says that somebody will get it (``Delivery.PUBACK``).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from glancein.domain import wire
from glancein.domain.strict_json import LARGEST_SEQ
from glancein.errors import FeedError, GlanceinError, StoreError
from glancein.mqtt.broker_url import BrokerUrl
from glancein.mqtt.link import Connection, Greeting, Lost, Message, Receipt, open_link
from glancein.ports import Clock, DeadLetters, History, Ledger
from glancein.types import Event, EventId

log = logging.getLogger(__name__)

STATE_EVERY_S = 2.0  # the state topic at most so often, and only when something changed
STEADY_S = 10.0  # a connection that held so long was no flapping one: the next attempt comes soon
LOOK_EVERY_S = 5.0  # how long a row written by another process may wait to be noticed


class Delivery(StrEnum):
    """Who says that an event arrived."""

    CONSUMER = "consumer"
    PUBACK = "puback"


@dataclass(frozen=True, slots=True)
class PublisherRules:
    """How hard to try.

    ``window`` events at most are under way; waits grow from ``backoff_s`` to ``longest_s``.
    """

    delivery: Delivery = Delivery.CONSUMER
    window: int = 200
    ack_timeout_s: float = 8.0  # with a turn of 2 s, silence is reported within 10 s
    backoff_s: float = 1.0
    longest_s: float = 60.0
    seal: wire.Seal = wire.UNSEALED


class Record(Ledger, History, DeadLetters, Protocol):
    """The ledger as the publisher needs it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the events go and whose they are."""

    url: BrokerUrl
    site: str
    kiosk: str


@dataclass(frozen=True, slots=True)
class Status:
    """What ``state`` shows."""

    connected: bool = False
    backlog: int = 0
    in_flight: int = 0
    delivered: int = 0
    laid_aside: int = 0
    ignored_acknowledgements: int = 0
    last_error: str | None = None


@dataclass(slots=True)
class _Session:
    """What belongs to one connection; forgotten with it, so that everything unacknowledged is sent again."""

    link: Connection
    in_flight: dict[tuple[str, int], int] = field(default_factory=dict)  # (epoch, seq) -> token, oldest first
    confirmed: set[int] = field(default_factory=set)  # tokens the broker has answered well
    unanswered: set[int] = field(default_factory=set)
    replay: wire.Resend | None = None
    full: bool = False  # the last look at the outbox filled the window
    look_at: float = 0.0
    progress_at: float = 0.0
    state_at: float = 0.0
    state_sent: wire.KioskState | None = None
    stalls: int = 0


class MqttPublisher:
    """Implements the port Publisher. ``connect`` can be passed in where there is no network.

    With a seal in the rules, events are signed and only acknowledgements with a trusted signature count.
    """

    def __init__(
        self,
        address: Address,
        record: Record,
        *,
        clock: Clock,
        rules: PublisherRules | None = None,
        connect: Callable[[BrokerUrl, Greeting], Connection] = open_link,
    ) -> None:
        self._address = address
        self._record = record
        self._clock = clock
        self._rules = rules or PublisherRules()
        self._seal = self._rules.seal
        self._connect = connect
        self._status = Status()
        self._sent_up_to: dict[str, int] = {}  # by epoch: acknowledgements beyond it are not about us
        self._contradicted: set[str] = set()  # epochs of which the consumer knows other events than we
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._link: Connection | None = None
        self._random = random.Random()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin delivering the ledger's outbox."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._news.set()
        link = self._link
        if link is not None:
            link.wake()

    def state(self) -> dict[str, object]:
        """Connected, backlog, counters and the last error in words."""
        status = self._status
        return {
            "broker": str(self._address.url),
            "delivery": self._rules.delivery.value,
            "connected": status.connected,
            "backlog": status.backlog,
            "in_flight": status.in_flight,
            "delivered": status.delivered,
            "laid_aside": status.laid_aside,
            "ignored_acknowledgements": status.ignored_acknowledgements,
            "last_error": status.last_error,
        }

    def stop(self, timeout_s: float) -> None:
        """Publish the offline state and end, within this time."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                self._converse()
                failures = 0
            except GlanceinError as err:
                is_steady = time.monotonic() - began_s >= STEADY_S
                failures = 1 if is_steady else failures + 1
                self._complain(str(err))
            except Exception:  # the loop's top: whatever it was, delivering must go on
                failures += 1
                log.exception("the publisher failed and goes on")
                self._status = replace(self._status, last_error="the publisher failed; see the log")
            self._status = replace(self._status, connected=False, in_flight=0)
            self._stopping.wait(self._jittered(failures))

    def _converse(self) -> None:
        """Connect and deliver until stopped; raises FeedError when the connection is lost."""
        site, kiosk, topic = self._address.site, self._address.kiosk, self._topic
        will = Message(
            topic("state"), wire.encode_state(wire.KioskState(site, kiosk, online=False)), retain=True
        )
        greeting = Greeting(
            f"glancein-{site}-{kiosk}", will, (topic("ack"), topic("refuse"), topic("resend"))
        )
        link = self._connect(self._address.url, greeting)
        session = _Session(link, progress_at=time.monotonic())
        self._link = link
        try:
            log.info("connected to %s", self._address.url)
            self._status = replace(self._status, connected=True, last_error=None)
            while not self._stopping.is_set():
                self._deliver(session)
            self._say_goodbye(session)
        finally:
            self._link = None
            link.close()

    def _deliver(self, session: _Session) -> None:
        """One turn: send what is due, then deal with whatever comes back."""
        if self._has_room(session):
            self._send_pending(session)
        self._send_replay(session)
        self._resend_if_stalled(session)
        self._tell_state(session)
        for happening in session.link.wait(self._patience(session)):
            match happening:
                case Message():
                    self._on_message(session, happening)
                case Receipt():
                    self._on_receipt(session, happening)
                case Lost(why):
                    raise FeedError(f"lost the broker {self._address.url}: {why}")

    def _has_room(self, session: _Session) -> bool:
        """True if there may be rows to send, and half the window is free for them."""
        if len(session.in_flight) > self._rules.window // 2:
            return False
        return self._news.is_set() or time.monotonic() >= session.look_at

    def _send_pending(self, session: _Session) -> None:
        self._news.clear()
        session.look_at = time.monotonic() + LOOK_EVERY_S
        events = self._record.pending(self._rules.window)
        session.full = len(events) == self._rules.window
        for event in events:
            if (event.epoch, event.seq) not in session.in_flight:
                if not session.in_flight:
                    session.progress_at = time.monotonic()
                session.in_flight[event.epoch, event.seq] = self._send(session, event)
        self._status = replace(self._status, in_flight=len(session.in_flight))

    def _send(self, session: _Session, event: Event) -> int:
        token = session.link.publish(
            Message(self._topic("event"), wire.encode_event(event, signer=self._seal.sign))
        )
        session.unanswered.add(token)
        self._sent_up_to[event.epoch] = max(event.seq, self._sent_up_to.get(event.epoch, 0))
        return token

    def _send_replay(self, session: _Session) -> None:
        """History somebody asked for, a window at a time, as fast as the broker takes it."""
        wanted = session.replay
        if wanted is None or wanted.epoch is None or len(session.unanswered) > self._rules.window // 2:
            return
        events = self._record.replay(wanted.epoch, wanted.from_seq, self._rules.window)
        due = [event for event in events if wanted.to_seq is None or event.seq <= wanted.to_seq]
        for event in due:
            self._send(session, event)
        done = not due or len(due) < len(events) or len(events) < self._rules.window
        session.replay = None if done else replace(wanted, from_seq=due[-1].seq + 1)

    def _resend_if_stalled(self, session: _Session) -> None:
        waited = time.monotonic() - session.progress_at
        patience = min(self._rules.ack_timeout_s * 2**session.stalls, self._rules.longest_s)
        if not session.in_flight or waited < patience:
            return
        if self._rules.delivery is Delivery.CONSUMER and self._status.last_error is None:
            self._complain("no acknowledgement from a consumer; the events stay in the outbox")
        session.stalls += 1
        for epoch in {epoch for epoch, _ in session.in_flight} & self._contradicted:
            # Neither acknowledged one by one nor refused: rather twice at the consumer than never.
            renewed = self._record.renew(epoch, 1, LARGEST_SEQ)
            log.warning("%d events of a contradicted epoch were recorded anew", renewed)
        self._send_again(session)

    def _send_again(self, session: _Session) -> None:
        session.in_flight.clear()
        session.progress_at = time.monotonic()
        self._news.set()

    def _on_message(self, session: _Session, message: Message) -> None:
        try:
            if not self._seal.accepts(wire.CONSUMER, message.payload):
                self._ignore("it does not carry a trusted consumer's signature")
                return
            match message.topic.rsplit("/", 1)[-1]:
                case "ack":
                    self._on_acknowledgement(session, wire.decode_acknowledgement(message.payload))
                case "refuse":
                    self._on_refusal(session, wire.decode_refusal(message.payload))
                case "resend":
                    self._on_resend(session, wire.decode_resend(message.payload))
        except StoreError:
            raise
        except FeedError as err:
            self._ignore(str(err))

    def _on_acknowledgement(self, session: _Session, ack: wire.Acknowledgement) -> None:
        if self._contradicts(ack):
            self._on_contradiction(session, ack)
        elif ack.up_to > self._sent_up_to.get(ack.epoch, 0):
            self._ignore(f"an acknowledgement up to {ack.up_to} is beyond what was sent")
        elif self._rules.delivery is Delivery.CONSUMER:
            self._take_out(session, ack.epoch, ack.up_to)

    def _contradicts(self, ack: wire.Acknowledgement) -> bool:
        """True if the consumer committed an event of an epoch of ours that is not the one recorded here."""
        if ack.head is None or ack.up_to == 0:
            return False
        position = self._record.position()
        if ack.epoch == position.epoch:
            is_ours = ack.up_to >= position.history_from
        else:
            is_ours = bool(self._record.replay(ack.epoch, 1, 1))
        return is_ours and self._record.hash_of(ack.epoch, ack.up_to) != ack.head

    def _on_contradiction(self, session: _Session, ack: wire.Acknowledgement) -> None:
        """This database is an old copy: no further number of that epoch is given out.

        What waits is sent under its old names. The consumer acknowledges one by one what it has as well,
        and refuses what it has otherwise.
        """
        if ack.epoch not in self._contradicted:
            self._contradicted.add(ack.epoch)
            session.progress_at = time.monotonic()
        if ack.epoch == self._record.position().epoch:
            self._record.open_epoch(f"the consumer knows number {ack.up_to} of {ack.epoch} otherwise")
            log.warning("this database is an old copy: a new epoch begins")
            self._news.set()

    def _on_refusal(self, session: _Session, refusal: wire.Refusal) -> None:
        """The consumer will never take this event: out of the way of the others, and kept."""
        name = EventId(self._address.kiosk, refusal.epoch, refusal.seq)
        key = refusal.epoch, refusal.seq
        if self._record.hash_of(*key) != refusal.hash or refusal.seq > self._sent_up_to.get(refusal.epoch, 0):
            self._ignore(f"a refusal of number {refusal.seq}, which was not sent like that")
            return
        if refusal.why is wire.RefusedFor.FORK:
            is_known = self._record.renew(refusal.epoch, refusal.seq, refusal.seq) > 0
        else:
            is_known = self._lay_aside(name, f"{refusal.why.value}: {refusal.words}")
        if not is_known:
            self._ignore(f"a refusal of number {refusal.seq}, which does not wait")
            return
        session.in_flight.pop(key, None)
        session.progress_at = time.monotonic()
        self._news.set()

    def _lay_aside(self, name: EventId, why: str) -> bool:
        was_waiting = self._record.lay_aside(name, why)
        if was_waiting:
            log.warning("event %d was laid aside: %s", name.seq, why)
            count = self._status.laid_aside + 1
            self._status = replace(self._status, laid_aside=count)
        return was_waiting

    def _on_resend(self, session: _Session, wanted: wire.Resend) -> None:
        """Send again: what waits goes through the window once more, the rest comes from history."""
        epoch = wanted.epoch or self._record.position().epoch
        session.stalls = 0
        last_seq = wanted.to_seq or LARGEST_SEQ
        waiting = [seq for of_epoch, seq in session.in_flight if of_epoch == epoch]
        for seq in waiting:
            if wanted.from_seq <= seq <= last_seq:
                del session.in_flight[epoch, seq]
                self._news.set()
        if waiting:
            last_seq = min(last_seq, waiting[0] - 1)
        session.replay = (
            replace(wanted, epoch=epoch, to_seq=last_seq) if wanted.from_seq <= last_seq else None
        )

    def _on_receipt(self, session: _Session, receipt: Receipt) -> None:
        if receipt.token not in session.unanswered:  # of the state topic: nobody need listen to it
            return
        session.unanswered.remove(receipt.token)
        if not receipt.delivered:
            self._on_undelivered(session, receipt)
            return
        if self._rules.delivery is Delivery.PUBACK and receipt.token in session.in_flight.values():
            session.confirmed.add(receipt.token)
            self._take_out_confirmed(session)

    def _on_undelivered(self, session: _Session, receipt: Receipt) -> None:
        self._complain(f"the broker {self._address.url} did not pass an event on: {receipt.words}")
        if self._rules.delivery is not Delivery.PUBACK:
            return
        session.progress_at = time.monotonic()
        key = next((key for key, token in session.in_flight.items() if token == receipt.token), None)
        if receipt.is_final and key is not None:
            del session.in_flight[key]
            self._lay_aside(EventId(self._address.kiosk, *key), receipt.words)
            self._take_out_confirmed(session)

    def _take_out_confirmed(self, session: _Session) -> None:
        """In PUBACK mode: the oldest events, as far as every one of them was confirmed."""
        up_to: dict[str, int] = {}
        for (epoch, seq), token in session.in_flight.items():
            if token not in session.confirmed:
                break
            session.confirmed.discard(token)
            up_to[epoch] = seq
        for epoch, seq in up_to.items():
            self._take_out(session, epoch, seq)

    def _take_out(self, session: _Session, epoch: str, up_to: int) -> None:
        gone = self._record.acknowledge(epoch, up_to)
        session.stalls = 0
        if not gone:
            return
        for key in [key for key in session.in_flight if key[0] == epoch and key[1] <= up_to]:
            del session.in_flight[key]
        session.progress_at = time.monotonic()
        self._status = replace(
            self._status,
            delivered=self._status.delivered + gone,
            backlog=max(0, self._status.backlog - gone),
            in_flight=len(session.in_flight),
            last_error=None,
        )
        if session.full:
            self._news.set()

    def _tell_state(self, session: _Session, *, online: bool = True) -> None:
        now = time.monotonic()
        if online and now < session.state_at:
            return
        session.state_at = now + STATE_EVERY_S
        position = self._record.position()
        self._status = replace(self._status, backlog=position.backlog)
        state = wire.KioskState(
            site=self._address.site,
            kiosk=self._address.kiosk,
            online=online,
            epoch=position.epoch,
            seq=position.seq,
            history_from=position.history_from,
            backlog=position.backlog,
            last_error=self._status.last_error,
        )
        if state != session.state_sent:
            at = self._clock.now().wall.isoformat()
            payload = wire.encode_state(replace(state, at=at))
            session.link.publish(Message(self._topic("state"), payload, retain=True))
            session.state_sent = state

    def _say_goodbye(self, session: _Session) -> None:
        self._tell_state(session, online=False)

    def _patience(self, session: _Session) -> float:
        """How long the turn may wait for something to happen."""
        if (self._news.is_set() and self._has_room(session)) or (
            session.replay and len(session.unanswered) <= self._rules.window // 2
        ):
            return 0.0
        return min(STATE_EVERY_S, self._rules.ack_timeout_s / 4)

    def _jittered(self, failures: int) -> float:
        """Exponential back-off with full jitter (Brooker 2015): kiosks do not come back in step."""
        if failures == 0:
            return 0.0
        longest = min(self._rules.longest_s, self._rules.backoff_s * 2 ** (failures - 1))
        return self._random.uniform(self._rules.backoff_s / 10, longest)

    def _ignore(self, why: str) -> None:
        self._status = replace(
            self._status, ignored_acknowledgements=self._status.ignored_acknowledgements + 1
        )
        log.debug("ignored a message from a consumer: %s", why)

    def _complain(self, words: str) -> None:
        level = logging.DEBUG if self._status.last_error is not None else logging.WARNING
        log.log(level, "%s", words)
        self._status = replace(self._status, last_error=words)

    def _topic(self, leaf: str) -> str:
        return wire.topic(self._address.site, self._address.kiosk, leaf)
