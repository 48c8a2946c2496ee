"""The way from the ledger's outbox to HR over MQTT, in a thread of its own.

A row leaves the outbox only when the consumer says "committed up to n" (``Delivery.CONSUMER``), or, where
no consumer acknowledges, when the broker's PUBACK says that somebody will get it (``Delivery.PUBACK``).
What is under way on a connection is in ``mqtt.dispatch``; here are the connections and the consumer's word.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from glancein.domain import wire
from glancein.errors import FeedError, GlanceinError, StoreError
from glancein.mqtt.broker_url import BrokerUrl
from glancein.mqtt.dispatch import Address, Delivery, Dispatch, PublisherRules, Record, Standing
from glancein.mqtt.link import Connection, Greeting, Lost, Message, Receipt, open_link
from glancein.ports import Clock
from glancein.types import Hole

__all__ = ["Address", "Delivery", "MqttPublisher", "PublisherRules", "Record"]

log = logging.getLogger(__name__)

STATE_EVERY_S = 2.0  # the state topic at most so often, and only when something changed
STEADY_S = 10.0  # a connection that held so long was no flapping one: the next attempt comes soon


@dataclass(slots=True)
class _Session:
    """What belongs to one connection; forgotten with it."""

    link: Connection
    dispatch: Dispatch
    state_at: float = 0.0
    state_sent: wire.KioskState | None = None


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
        self._connect = connect
        self._standing = Standing()
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
        """Connected, backlog, counters, the last error and what the record needs, in words."""
        standing = self._standing
        return {
            "broker": str(self._address.url),
            "delivery": self._rules.delivery.value,
            "connected": standing.connected,
            "backlog": standing.backlog,
            "in_flight": standing.in_flight,
            "delivered": standing.delivered,
            "laid_aside": standing.laid_aside,
            "ignored_acknowledgements": standing.ignored_acknowledgements,
            "last_error": standing.last_error,
            "second_copy": self._record.tail_problem,
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
                self._standing.complain(str(err))
            except Exception:  # the loop's top: whatever it was, delivering must go on
                failures += 1
                log.exception("the publisher failed and goes on")
                self._standing.last_error = "the publisher failed; see the log"
            self._standing.connected = False
            self._standing.in_flight = 0
            self._stopping.wait(self._jittered(failures))

    def _converse(self) -> None:
        """Connect and deliver until stopped; raises FeedError when the connection is lost."""
        site, kiosk, topic = self._address.site, self._address.kiosk, self._address.topic
        offline = wire.encode_state(wire.KioskState(site, kiosk, online=False))
        greeting = Greeting(
            f"glancein-{site}-{kiosk}",
            Message(topic("state"), offline, retain=True),
            (topic("ack"), topic("refuse"), topic("resend")),
        )
        link = self._connect(self._address.url, greeting)
        session = _Session(
            link, Dispatch(link, self._record, self._address, self._rules, self._standing, self._news)
        )
        self._link = link
        try:
            log.info("connected to %s", self._address.url)
            self._standing.connected = True
            self._standing.last_error = None
            while not self._stopping.is_set():
                self._take_turn(session)
            self._tell_state(session, online=False)
        finally:
            self._link = None
            link.close()

    def _take_turn(self, session: _Session) -> None:
        """Send what is due, then deal with whatever comes back."""
        session.dispatch.send_due()
        self._tell_state(session)
        for happening in session.link.wait(self._patience(session)):
            match happening:
                case Message():
                    self._on_message(session.dispatch, happening)
                case Receipt():
                    session.dispatch.on_receipt(happening)
                case Lost(why):
                    session.dispatch.end(why)
                    raise FeedError(f"lost the broker {self._address.url}: {why}")

    def _on_message(self, dispatch: Dispatch, message: Message) -> None:
        try:
            if not self._rules.seal.accepts(wire.CONSUMER, message.payload):
                self._ignore("it does not carry a trusted consumer's signature")
                return
            match message.topic.rsplit("/", 1)[-1]:
                case "ack":
                    self._on_acknowledgement(dispatch, wire.decode_acknowledgement(message.payload))
                case "refuse":
                    self._on_refusal(dispatch, wire.decode_refusal(message.payload))
                case "resend":
                    wanted = wire.decode_resend(message.payload)
                    dispatch.send_again(wanted, wanted.epoch or self._record.position().epoch)
        except StoreError:
            raise
        except FeedError as err:
            self._ignore(str(err))

    def _on_acknowledgement(self, dispatch: Dispatch, ack: wire.Acknowledgement) -> None:
        if self._contradicts(ack):
            self._on_contradiction(dispatch, ack)
        elif ack.up_to > self._standing.sent_up_to.get(ack.epoch, 0):
            self._ignore(f"an acknowledgement up to {ack.up_to} is beyond what was sent")
        elif self._rules.delivery is Delivery.CONSUMER:
            dispatch.batch_bytes = ack.batch
            dispatch.take_out(ack.epoch, ack.up_to)

    def _contradicts(self, ack: wire.Acknowledgement) -> bool:
        """True if the consumer committed an event of an epoch of ours that is not the one recorded here."""
        if ack.head is None or ack.up_to == 0:
            return False
        position = self._record.position()
        if ack.epoch == position.epoch:
            is_ours = ack.up_to >= position.history_from
        else:
            is_ours = bool(self._record.history(ack.epoch, 1, 1))
        return is_ours and not self._may_be(ack.epoch, ack.up_to, ack.head)

    def _may_be(self, epoch: str, seq: int, digest: str) -> bool:
        """True if the recorded event of that number has this hash, or nothing says any more which it has."""
        match self._record.history(epoch, seq, 1):
            case [Hole(hash=known), *_] as found if found[0].seq == seq:
                return known is None or digest in {known, wire.NO_HASH}
            case _:
                return self._record.hash_of(epoch, seq) == digest

    def _on_contradiction(self, dispatch: Dispatch, ack: wire.Acknowledgement) -> None:
        """This database is an old copy: no further number of that epoch is given out.

        What waits is sent under its old names. The consumer acknowledges one by one what it has as well,
        and refuses what it has otherwise.
        """
        if ack.epoch not in self._standing.contradicted:
            self._standing.contradicted.add(ack.epoch)
            dispatch.be_patient()
        if ack.epoch == self._record.position().epoch:
            self._record.open_epoch(f"the consumer knows number {ack.up_to} of {ack.epoch} otherwise")
            log.warning("this database is an old copy: a new epoch begins")
            self._news.set()

    def _on_refusal(self, dispatch: Dispatch, refusal: wire.Refusal) -> None:
        """The consumer will never take this event: out of the way of the others, and kept."""
        key = refusal.epoch, refusal.seq
        is_sent = refusal.seq <= self._standing.sent_up_to.get(refusal.epoch, 0)
        if not is_sent or self._record.hash_of(*key) != refusal.hash:
            self._ignore(f"a refusal of number {refusal.seq}, which was not sent like that")
            return
        if refusal.why is wire.RefusedFor.FORK:
            is_known = dispatch.renew(key)
        else:
            is_known = dispatch.lay_aside(key, f"{refusal.why.value}: {refusal.words}")
        if is_known:
            dispatch.settled(key)
        else:
            self._ignore(f"a refusal of number {refusal.seq}, which does not wait")

    def _tell_state(self, session: _Session, *, online: bool = True) -> None:
        now = time.monotonic()
        if online and now < session.state_at:
            return
        session.state_at = now + STATE_EVERY_S
        position = self._record.position()
        self._standing.backlog = position.backlog
        state = wire.KioskState(
            site=self._address.site,
            kiosk=self._address.kiosk,
            online=online,
            epoch=position.epoch,
            seq=position.seq,
            history_from=position.history_from,
            backlog=position.backlog,
            laid_aside=position.laid_aside,
            last_error=self._standing.last_error,
            second_copy=self._record.tail_problem,
        )
        if state != session.state_sent:
            at = self._clock.now().wall.isoformat()
            payload = wire.encode_state(replace(state, at=at), signer=self._rules.seal.sign)
            session.link.publish(Message(self._address.topic("state"), payload, retain=True))
            session.state_sent = state

    def _patience(self, session: _Session) -> float:
        """How long the turn may wait for something to happen."""
        return 0.0 if session.dispatch.is_busy else min(STATE_EVERY_S, self._rules.ack_timeout_s / 4)

    def _jittered(self, failures: int) -> float:
        """Exponential back-off with full jitter (Brooker 2015): kiosks do not come back in step."""
        if failures == 0:
            return 0.0
        longest = min(self._rules.longest_s, self._rules.backoff_s * 2 ** (failures - 1))
        return self._random.uniform(self._rules.backoff_s / 10, longest)

    def _ignore(self, why: str) -> None:
        self._standing.ignored_acknowledgements += 1
        log.debug("ignored a message from a consumer: %s", why)
