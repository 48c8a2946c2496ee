"""What of the outbox is under way on one connection: sent, batched, answered, repeated, laid aside."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from glancein.domain import wire
from glancein.domain.strict_json import LARGEST_SEQ
from glancein.mqtt.broker_url import BrokerUrl
from glancein.mqtt.link import Connection, Message, Receipt
from glancein.ports import DeadLetters, History, Ledger
from glancein.types import Event, EventId, Hole, LaidAside

log = logging.getLogger(__name__)

NEVER_TAKEN = "the broker never takes it"
ENDS_CONNECTION = "the broker ends the connection"
LOST = "its record is damaged there, the event cannot be read any more"
LOOK_EVERY_S = 5.0  # how long a row written by another process may wait to be noticed
BATCH_WINDOWS = 5  # so many windows may be under way while batches are sent
MOST_REPLAYS = 100  # epochs of which history is asked for at a time; those asked for first are forgotten
BATCH_REST_S = 60.0  # events go one by one for so long after a batch that was refused, or ended a connection

# Some brokers end the connection for an event they will not take, and mosquitto answers one that exceeds its
# message_size_limit with a code (0x95) that MQTT forbids there, which ends it too. So an event that was the
# first without an answer so many times in a row is sent after all others, alone; and if the connection then
# still ends so many times in all, the event is what ends it.
SUSPECT_AFTER = 2
GUILTY_AFTER = 5

Key = tuple[str, int]  # epoch and number of an event


class Delivery(StrEnum):
    """Who says that an event arrived."""

    CONSUMER = "consumer"
    PUBACK = "puback"


@dataclass(frozen=True, slots=True)
class PublisherRules:
    """How hard to try.

    ``window`` events at most are under way, more only in batches, which begin when more than that wait;
    waits grow from ``backoff_s`` to ``longest_s``.
    """

    delivery: Delivery = Delivery.CONSUMER
    window: int = 200
    ack_timeout_s: float = 8.0  # with a turn of 2 s, silence is reported within 10 s
    backoff_s: float = 1.0
    longest_s: float = 60.0
    seal: wire.Seal = wire.UNSEALED


class Record(Ledger, History, DeadLetters, Protocol):
    """The ledger as the publisher needs it."""

    @property
    def tail_problem(self) -> str | None:
        """Why there is no second copy of what is recorded now, and what to do; None if there is one."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the events go and whose they are."""

    url: BrokerUrl
    site: str
    kiosk: str

    def topic(self, leaf: str) -> str:
        """This kiosk's topic of that kind."""
        return wire.topic(self.site, self.kiosk, leaf)


@dataclass(slots=True)
class Standing:
    """How delivery stands. Written by the publisher's thread, read by any; outlives a connection."""

    connected: bool = False
    backlog: int = 0
    in_flight: int = 0
    delivered: int = 0
    laid_aside: int = 0
    ignored_acknowledgements: int = 0
    last_error: str | None = None
    sent_up_to: dict[str, int] = field(default_factory=dict)  # by epoch: what is beyond it is not about us
    contradicted: set[str] = field(default_factory=set)  # epochs of which the consumer knows other events
    batches_from_s: float = 0.0  # on the monotonic clock: no batches before
    suspect: Key | None = None  # the first event without an answer when the last connection ended
    suspicions: int = 0  # connections in a row that ended so
    guilty: dict[Key, str] = field(default_factory=dict)  # what ends connections, and the words of it

    def complain(self, words: str) -> None:
        """Keep it for the state; the first of a row of complaints is a warning in the log."""
        log.log(logging.DEBUG if self.last_error is not None else logging.WARNING, "%s", words)
        self.last_error = words


@dataclass(slots=True)
class Dispatch:
    """The outbox on one connection; forgotten with it, so that everything unacknowledged is sent again."""

    link: Connection
    record: Record
    address: Address
    rules: PublisherRules
    standing: Standing
    news: threading.Event  # there may be rows to send
    batch_bytes: int = 0  # the largest batch the consumer takes; 0: it has not said that it takes any
    _in_flight: dict[Key, int] = field(default_factory=dict)  # -> token, oldest first
    _unanswered: dict[int, tuple[Key, ...]] = field(default_factory=dict)  # token -> the events in it
    _confirmed: set[int] = field(default_factory=set)  # tokens the broker has answered well
    _hopeless: dict[Key, str] = field(default_factory=dict)  # what the broker will never take, in its words
    _has_passed: bool = False  # the broker has taken some event on this connection
    _replays: dict[str, wire.Resend] = field(default_factory=dict)  # by epoch, the one asked for last is next
    _is_full: bool = False  # the last look at the outbox filled the window
    _look_at: float = 0.0
    _progress_at: float = field(default_factory=time.monotonic)
    _stalls: int = 0

    def send_due(self) -> None:
        """Send what waits, what was asked for, and what was not answered for too long."""
        if self._has_room():
            self._send_pending()
        self._send_replay()
        self._repeat_if_stalled()

    @property
    def is_busy(self) -> bool:
        """True if there is more to send at once."""
        more_history = bool(self._replays) and len(self._unanswered) <= self.rules.window // 2
        return more_history or (self.news.is_set() and self._has_room())

    def on_receipt(self, receipt: Receipt) -> None:
        """The broker's answer to something that was sent."""
        keys = self._unanswered.pop(receipt.token, None)
        if keys is None:  # of the state topic: nobody need listen to it
            return
        if self.standing.suspect in keys:
            self.standing.suspect = None
        if receipt.delivered:
            self._on_delivered(keys, receipt.token)
        else:
            self._on_undelivered(keys, receipt)
        self._send_suspect()

    def take_out(self, epoch: str, up_to: int) -> None:
        """Everything of the epoch up to this number has arrived."""
        if epoch in (held := self._held_back):
            up_to = min(up_to, held[epoch] - 1)  # who begins with what happens to come may pass over it
        gone = self.record.acknowledge(epoch, up_to)
        self._stalls = 0
        if not gone:
            return
        for key in [key for key in self._in_flight if key[0] == epoch and key[1] <= up_to]:
            del self._in_flight[key]
        self._progress_at = time.monotonic()
        self.standing.delivered += gone
        self.standing.backlog = max(0, self.standing.backlog - gone)
        self.standing.in_flight = len(self._in_flight)
        self.standing.last_error = None
        if self._is_full:
            self.news.set()

    def lay_aside(self, key: Key, why: str) -> bool:
        """Take a waiting event out of the way of the others; False if it does not wait."""
        was_waiting = self.record.lay_aside(EventId(self.address.kiosk, *key), why)
        if was_waiting:
            log.warning("event %d was laid aside: %s", key[1], why)
            self.standing.laid_aside += 1
        return was_waiting

    def renew(self, key: Key) -> bool:
        """Have a waiting event recorded anew, with its corrections; False if it does not wait."""
        epoch, seq = key
        if not self.record.renew(epoch, seq, seq):
            return False
        for gone in self.record.renewed(epoch, seq, LARGEST_SEQ):
            self.settled((epoch, gone))
        return True

    def settled(self, key: Key) -> None:
        """This event no longer waits under this name."""
        self._in_flight.pop(key, None)
        self._progress_at = time.monotonic()
        self.news.set()

    def send_again(self, wanted: wire.Resend, epoch: str) -> None:
        """What waits goes through the window once more, the rest comes from history."""
        self._stalls = 0
        last_seq = wanted.to_seq or LARGEST_SEQ
        waiting = [seq for of_epoch, seq in self._in_flight if of_epoch == epoch]
        for seq in waiting:
            if wanted.from_seq <= seq <= last_seq:
                del self._in_flight[epoch, seq]
                self.news.set()
        if waiting:
            self._send_aside(epoch, max(wanted.from_seq, waiting[0]), last_seq)
            last_seq = min(last_seq, waiting[0] - 1)
        self._replays.pop(epoch, None)
        if wanted.from_seq <= last_seq:
            self._replays[epoch] = replace(wanted, to_seq=last_seq)
        if len(self._replays) > MOST_REPLAYS:
            del self._replays[next(iter(self._replays))]

    def be_patient(self) -> None:
        """Something happened that is worth waiting for before anything is repeated."""
        self._progress_at = time.monotonic()

    def end(self, why: str) -> None:
        """The connection is lost. Some brokers end it for what they do not allow."""
        if any(len(keys) > 1 for keys in self._unanswered.values()):
            self._rest_from_batches()
        first = next((keys for keys in self._unanswered.values() if keys), ())
        if len(first) != 1:
            return
        standing, key = self.standing, first[0]
        standing.suspicions = standing.suspicions + 1 if key == standing.suspect else 1
        standing.suspect = key
        if standing.suspicions >= GUILTY_AFTER and self._has_passed:
            standing.suspect = None
            standing.guilty[key] = f"{ENDS_CONNECTION}: {why}"
            self.lay_aside(key, standing.guilty[key])

    def _has_room(self) -> bool:
        """True if there may be rows to send, and half the window is free for them."""
        if len(self._in_flight) > self._window() // 2:
            return False
        return self.news.is_set() or time.monotonic() >= self._look_at

    def _window(self) -> int:
        return self.rules.window * (BATCH_WINDOWS if self._batch_limit(self.batch_bytes) else 1)

    def _batch_limit(self, wanted: int) -> int:
        """Bytes of a batch now; 0 while there may be none. The broker alone never asks for batches."""
        if self.rules.delivery is Delivery.PUBACK or time.monotonic() < self.standing.batches_from_s:
            return 0
        return min(wanted, wire.LARGEST_BATCH)

    def _send_pending(self) -> None:
        self.news.clear()
        self._look_at = time.monotonic() + LOOK_EVERY_S
        window = self._window()
        events = self.record.pending(window)
        self._is_full = len(events) == window
        taken = self._in_flight.keys() | self._held_back.items()
        due = [event for event in events if (event.epoch, event.seq) not in taken]
        if due and not self._in_flight:
            self._progress_at = time.monotonic()
        is_backlog = len(events) > self.rules.window
        for token in self._send(due, self._batch_limit(self.batch_bytes) if is_backlog else 0):
            self._in_flight |= dict.fromkeys(self._unanswered[token], token)
        self.standing.in_flight = len(self._in_flight)

    @property
    def _held_back(self) -> dict[str, int]:
        """The event, if there is one, that goes after all others because it may end the connection."""
        key = self.standing.suspect
        return {key[0]: key[1]} if key is not None and self.standing.suspicions >= SUSPECT_AFTER else {}

    def _send_suspect(self) -> None:
        """What may end the connection, once everything else has its answer."""
        if not self._has_passed or any(self._unanswered.values()):
            return
        for key in self._held_back.items():
            event = self._recorded(key)
            if isinstance(event, Event):
                for token in self._send([event], 0):
                    self._in_flight[key] = token

    def _send_replay(self) -> None:
        """History somebody asked for, a window at a time, as fast as the broker takes it."""
        if not self._replays or len(self._unanswered) > self.rules.window // 2:
            return
        epoch, wanted = self._replays.popitem()
        found = self.record.history(epoch, wanted.from_seq, self.rules.window)
        due = [one for one in found if wanted.to_seq is None or one.seq <= wanted.to_seq]
        renewed = self.record.renewed(epoch, due[0].seq, due[-1].seq) if due else {}
        absent = {seq: f"recorded anew as number {became}" for seq, became in renewed.items()}
        aside = self.record.laid_aside()
        absent |= {one.event.seq: one.why for one in aside if one.event.epoch == epoch and _is_left_out(one)}
        events = [one for one in due if isinstance(one, Event) and one.seq not in absent]
        list(self._send(events, self._batch_limit(wanted.batch)))
        for one in due:
            if isinstance(one, Hole):
                self._tell_lost(one)
            elif one.seq in absent:
                self._tell_left_out((one.epoch, one.seq), absent[one.seq])
        done = not due or len(due) < len(found) or len(found) < self.rules.window
        if not done:
            self._replays[epoch] = replace(wanted, from_seq=due[-1].seq + 1)

    def _send_aside(self, epoch: str, first: int, last: int) -> None:
        """What was laid aside among those that wait: as it is, or what stands in for it."""
        for one in self.record.laid_aside():
            event = one.event
            if event.epoch != epoch or not first <= event.seq <= last:
                continue
            if _is_left_out(one):
                self._tell_left_out((event.epoch, event.seq), one.why)
            else:
                list(self._send([event], 0))

    def _send(self, events: Iterable[Event], limit: int) -> Iterator[int]:
        """Each event alone or, with a limit in bytes, as many in a packet as fit; the tokens."""
        together: list[tuple[Event, bytes]] = []
        for event in events:
            if words := self.standing.guilty.get((event.epoch, event.seq)):
                self._tell_left_out((event.epoch, event.seq), words)
                continue
            payload = wire.encode_event(event, signer=self.rules.seal.sign)
            if together and sum(len(line) + 1 for _, line in together) + len(payload) > limit:
                yield self._publish(together)
                together = []
            together.append((event, payload))
        if together:
            yield self._publish(together)

    def _publish(self, together: list[tuple[Event, bytes]]) -> int:
        topic = self.address.topic("event" if len(together) == 1 else "batch")
        token = self.link.publish(Message(topic, wire.join_batch([payload for _, payload in together])))
        self._unanswered[token] = tuple((event.epoch, event.seq) for event, _ in together)
        for epoch, seq in self._unanswered[token]:
            self.standing.sent_up_to[epoch] = max(seq, self.standing.sent_up_to.get(epoch, 0))
            self._hopeless.pop((epoch, seq), None)  # it is being asked once more
        return token

    def _repeat_if_stalled(self) -> None:
        waited = time.monotonic() - self._progress_at
        patience = min(self.rules.ack_timeout_s * 2**self._stalls, self.rules.longest_s)
        if not self._in_flight or waited < patience:
            return
        if self.rules.delivery is Delivery.CONSUMER and self.standing.last_error is None:
            self.standing.complain("no acknowledgement from a consumer; the events stay in the outbox")
        self._stalls += 1
        self.batch_bytes = 0
        for epoch in {epoch for epoch, _ in self._in_flight} & self.standing.contradicted:
            # Neither acknowledged one by one nor refused: rather twice at the consumer than never.
            renewed = self.record.renew(epoch, 1, LARGEST_SEQ)
            log.warning("%d events of a contradicted epoch were recorded anew", renewed)
        self._in_flight.clear()
        self._progress_at = time.monotonic()
        self.news.set()

    def _on_delivered(self, keys: tuple[Key, ...], token: int) -> None:
        self._has_passed = self._has_passed or bool(keys)
        if self.rules.delivery is Delivery.PUBACK and token in self._in_flight.values():
            self._confirmed.add(token)
            self._take_out_confirmed()
        self._leave_out()

    def _on_undelivered(self, keys: tuple[Key, ...], receipt: Receipt) -> None:
        if len(keys) > 1:
            log.info("a batch was not passed on, events go one by one: %s", receipt.words)
            self._rest_from_batches()
            for key in keys:
                if self._in_flight.get(key) == receipt.token:
                    self.settled(key)
            return
        self.standing.complain(f"the broker {self.address.url} did not pass an event on: {receipt.words}")
        if self.rules.delivery is Delivery.PUBACK:
            self._progress_at = time.monotonic()
        if receipt.is_final and keys:
            self._hopeless[keys[0]] = receipt.words
            self._leave_out()

    def _rest_from_batches(self) -> None:
        self.batch_bytes = 0
        self.standing.batches_from_s = time.monotonic() + BATCH_REST_S

    def _leave_out(self) -> None:
        """Events the broker will never take, while it takes others: out of the way, and the consumer told.

        A broker that takes none at all is set up wrongly: then everything stays where it is. Laid aside
        first, told then: the consumer passes over what it is told, and its acknowledgement means it too.
        """
        if not (self._has_passed and self._hopeless):
            return
        hopeless, self._hopeless = self._hopeless, {}
        for key, words in hopeless.items():
            self.lay_aside(key, f"{NEVER_TAKEN}: {words}")
            self.settled(key)
            if self.rules.delivery is Delivery.CONSUMER:
                self._tell_left_out(key, words)
        if self.rules.delivery is Delivery.PUBACK:
            self._take_out_confirmed()

    def _tell_left_out(self, key: Key, words: str) -> None:
        """In place of the event: what keeps the chain whole, and why it does not come."""
        match self._recorded(key):
            case Event() as event:
                digest = wire.event_hash(event)
                self._publish_left_out(wire.LeftOut(event.site, event.id, event.previous_hash, digest, words))
            case Hole() as hole:
                self._tell_lost(hole)

    def _tell_lost(self, hole: Hole) -> None:
        """In place of an event that cannot be read any more."""
        before, digest = hole.previous_hash or wire.NO_HASH, hole.hash or wire.NO_HASH
        self._publish_left_out(wire.LeftOut(hole.site, hole.id, before, digest, LOST, is_lost=True))
        self.standing.sent_up_to[hole.epoch] = max(hole.seq, self.standing.sent_up_to.get(hole.epoch, 0))

    def _publish_left_out(self, left_out: wire.LeftOut) -> None:
        payload = wire.encode_left_out(left_out, signer=self.rules.seal.sign)
        self._unanswered[self.link.publish(Message(self.address.topic("event"), payload))] = ()

    def _recorded(self, key: Key) -> Event | Hole | None:
        found = self.record.history(*key, 1)
        return found[0] if found and found[0].seq == key[1] else None

    def _take_out_confirmed(self) -> None:
        """In PUBACK mode: the oldest events of each epoch, as far as every one of them was confirmed."""
        up_to: dict[str, int] = {}
        unconfirmed: set[str] = set()
        for key in sorted(self._in_flight.keys() | self._held_back.items()):
            epoch, seq = key
            if self._in_flight.get(key) not in self._confirmed:
                unconfirmed.add(epoch)
            elif epoch not in unconfirmed:
                up_to[epoch] = seq
        for epoch, seq in up_to.items():
            self.take_out(epoch, seq)


def _is_left_out(one: LaidAside) -> bool:
    """True for what the broker does not take, false for what the consumer refused.

    It only comes under a new name, when somebody says so: under both names it would be two punches.
    """
    return one.why.startswith((NEVER_TAKEN, ENDS_CONNECTION))
