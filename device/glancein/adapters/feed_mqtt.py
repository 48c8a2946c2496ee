"""The consumer's end of the feed: in order, once each, chain checked, committed, then acknowledged."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from glancein.domain import wire
from glancein.domain.sequence import Known, Missing, Ready, Sequence, Step
from glancein.errors import FeedError
from glancein.mqtt.broker_url import BrokerUrl
from glancein.mqtt.link import Connection, Greeting, Lost, Message, open_link
from glancein.ports import FeedStore
from glancein.types import Arrival, Event, Head, StreamKey, StreamTrouble, TroubleKind

log = logging.getLogger(__name__)

ASK_AGAIN_S = 2.0  # the same gap is asked for at most so often
BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
TURN_S = 0.5


@dataclass(frozen=True, slots=True)
class FeedRules:
    """What to listen to.

    ``+`` is every site or kiosk. Without ``follow`` the feed ends after ``idle_s`` of quiet.
    """

    site: str = "+"
    kiosk: str = "+"
    consumer: str = "feed"
    follow: bool = True
    idle_s: float = 3.0
    seal: wire.Seal = wire.UNSEALED


@dataclass(frozen=True, slots=True)
class Received:
    """An event that is new to this consumer.

    With a store it is committed and acknowledged already. Without one, ``commit`` tells the kiosk that this
    event and all before it are safe; events that are never committed stay in the kiosk's outbox.
    """

    arrival: Arrival
    commit: Callable[[], None]

    @property
    def event(self) -> Event:
        """The event itself."""
        return self.arrival.event


@dataclass(slots=True)
class FeedCounts:
    """What came in so far."""

    new: int = 0
    repeated: int = 0
    gaps: int = 0
    troubles: int = 0
    connections: int = 0


@dataclass(slots=True)
class _Batch:
    """What one turn brought: written and acknowledged together."""

    link: Connection
    arrivals: list[Arrival] = field(default_factory=list)
    troubles: list[StreamTrouble] = field(default_factory=list)
    acknowledge: dict[StreamKey, tuple[str, str]] = field(default_factory=dict)  # stream -> (site, kiosk)


class Feed:
    """The feed, to iterate over: ``for received in Feed(url, store=store)``; any thread may ``stop`` it.

    ``store`` None: nothing is kept and nothing acknowledged but what the caller commits; every stream then
    begins with the first event that happens to come. With a seal in the rules, events without the kiosk's
    signature are refused and acknowledgements are signed. Raises FeedError when the broker cannot be
    reached, unless following.
    """

    def __init__(
        self,
        url: BrokerUrl,
        *,
        store: FeedStore | None = None,
        rules: FeedRules | None = None,
        connect: Callable[[BrokerUrl, Greeting], Connection] = open_link,
        on_error: Callable[[str], None] | None = None,
    ) -> None:
        self._url = url
        self._store = store
        self._rules = rules or FeedRules()
        self._seal = self._rules.seal
        self._connect = connect
        self._on_error = on_error or (lambda words: log.warning("%s", words))
        self._heads = {} if store is None else store.heads()
        self._sequences = {key: Sequence(head) for key, head in self._heads.items()}
        self._history_from: dict[StreamKey, int] = {}
        self._asked_at: dict[tuple[StreamKey, int], float] = {}
        self._expected: dict[StreamKey, tuple[tuple[str, str], int]] = {}  # how far each stream is said to go
        self._arrived_at: dict[StreamKey, float] = {}
        self._uncommitted: dict[StreamKey, tuple[str, Head]] = {}
        self._stopping = threading.Event()
        self._link: Connection | None = None
        self.counts = FeedCounts()
        self.states: dict[str, wire.KioskState] = {}  # by kiosk: the latest word of each

    def __iter__(self) -> Iterator[Received]:
        """New events as they are committed, until stopped or, without ``follow``, until it is quiet."""
        failures = 0
        while not self._stopping.is_set():
            before = self.counts.connections
            try:
                yield from self._converse()
            except FeedError as err:
                if not self._rules.follow:
                    raise
                failures = 1 if self.counts.connections > before else failures + 1
                self._on_error(str(err))
                longest = min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** (failures - 1))
                self._stopping.wait(random.uniform(BACKOFF_S / 10, longest))
            else:
                return

    def stop(self) -> None:
        """End the iteration soon; may be called from any thread or a signal handler."""
        self._stopping.set()
        link = self._link
        if link is not None:
            link.wake()

    def _converse(self) -> Iterator[Received]:
        site, kiosk = self._rules.site, self._rules.kiosk
        topics = tuple(wire.topic(site, kiosk, leaf) for leaf in ("event", "state"))
        name = f"glancein-{self._rules.consumer}-{uuid.uuid4().hex[:8]}"
        link = self._connect(self._url, Greeting(name, topics=topics))
        self._link = link
        self.counts.connections += 1
        self._asked_at.clear()
        quiet_since = time.monotonic()
        try:
            while not self._stopping.is_set():
                new = self._turn(link)
                yield from new
                self._send_commits(link)
                if new:
                    quiet_since = time.monotonic()
                elif not self._rules.follow and time.monotonic() - quiet_since >= self._rules.idle_s:
                    return
        finally:
            self._link = None
            self._send_commits(link)
            link.close()

    def _turn(self, link: Connection) -> list[Received]:
        """Take in what came, commit it, acknowledge it."""
        batch = _Batch(link)
        lost: Lost | None = None
        for happening in link.wait(min(TURN_S, self._rules.idle_s / 2)):
            match happening:
                case Message():
                    self._take(batch, happening)
                case Lost():
                    lost = happening
        self._ask_for_tails(batch)
        self._settle(batch)
        if lost is not None:
            raise FeedError(f"lost the broker {self._url}: {lost.why}")
        return [Received(arrival, self._committer(arrival)) for arrival in batch.arrivals]

    def _settle(self, batch: _Batch) -> None:
        """First the store, then the acknowledgement: never the other way round."""
        self.counts.new += len(batch.arrivals)
        self.counts.troubles += len(batch.troubles)
        if self._store is None:
            return
        if batch.arrivals or batch.troubles:
            self._store.commit(batch.arrivals, batch.troubles)
        for key, (site, kiosk) in batch.acknowledge.items():
            head = self._sequences[key].head
            if head is not None:
                self._acknowledge(batch.link, wire.topic(site, kiosk, "ack"), key.epoch, head)

    def _take(self, batch: _Batch, message: Message) -> None:
        try:
            site, kiosk, leaf = wire.split_topic(message.topic)
            if leaf == "state":
                self._on_state(wire.decode_state(message.payload))
            elif not message.retain:  # a retained event is a stale one: ours never are
                self._on_event(batch, (site, kiosk), message.payload)
        except FeedError as err:
            batch.troubles.append(
                StreamTrouble(
                    TroubleKind.UNREADABLE, message.topic[-70:], "", 0, f"{err}: {message.payload[:200]!r}"
                )
            )

    def _on_event(self, batch: _Batch, sender: tuple[str, str], payload: bytes) -> None:
        arrival = read_arrival(payload)
        event, key = arrival.event, arrival.key
        if (event.site, event.kiosk) != sender:
            batch.troubles.append(
                StreamTrouble(
                    TroubleKind.FOREIGN, event.kiosk, event.epoch, event.seq, f"came from {'/'.join(sender)}"
                )
            )
            return
        if not self._seal.accepts(wire.kiosk_name(*sender), payload):
            batch.troubles.append(_forged(event))
            return
        sequence = self._sequences.setdefault(key, Sequence())
        if self._store is None and sequence.head is None:
            sequence.begin_at(Head(event.seq - 1, event.previous_hash))
        is_old = sequence.head is not None and event.seq <= sequence.head.seq
        known = self._known_hash(batch, key, event.seq) if is_old else None
        self._follow(batch, key, sender, sequence.take(arrival, known_hash=known))

    def _follow(self, batch: _Batch, key: StreamKey, sender: tuple[str, str], step: Step) -> None:
        match step:
            case Ready(arrivals):
                self._arrived_at[key] = time.monotonic()
                batch.arrivals.extend(arrivals)
                batch.acknowledge[key] = sender
                batch.troubles.extend(_broken_chain(late) for late in arrivals if not late.chained)
            case Known():
                self.counts.repeated += 1
                batch.acknowledge[key] = sender
            case Missing():
                self._ask(batch, key, sender, step)
            case StreamTrouble():
                batch.troubles.append(step)
                batch.acknowledge[key] = sender  # its head tells the kiosk that it runs on an old copy

    def _known_hash(self, batch: _Batch, key: StreamKey, seq: int) -> str | None:
        for arrival in batch.arrivals:
            if arrival.key == key and arrival.event.seq == seq:
                return arrival.hash
        return None if self._store is None else self._store.hash_of(key, seq)

    def _on_state(self, state: wire.KioskState) -> None:
        """The kiosk says how far its stream goes."""
        self.states[state.kiosk] = state
        if self._store is None or state.epoch is None or state.seq is None:
            return
        key = StreamKey(state.kiosk, state.epoch)
        self._sequences.setdefault(key, Sequence())
        if state.history_from is not None:
            self._history_from[key] = state.history_from
        if state.online:
            self._expected[key] = (state.site, state.kiosk), state.seq

    def _ask_for_tails(self, batch: _Batch) -> None:
        """Ask for the end of every stream that has come to a halt before it."""
        now = time.monotonic()
        for key, (sender, seq) in list(self._expected.items()):
            head = self._sequences[key].head
            last = head.seq if head is not None else 0
            if last >= seq:
                del self._expected[key]
            elif now - self._arrived_at.get(key, -ASK_AGAIN_S) >= ASK_AGAIN_S:
                self._ask(batch, key, sender, Missing(last + 1, seq))

    def _ask(self, batch: _Batch, key: StreamKey, sender: tuple[str, str], missing: Missing) -> None:
        """Ask for a gap to be sent again, not too often.

        One the kiosk no longer keeps is noted and skipped.
        """
        if self._store is None:
            return
        oldest = self._history_from.get(key, 1)
        if missing.from_seq < oldest and oldest in self._sequences[key].held:
            self._skip_to(batch, key, sender, oldest)
            return
        from_seq = max(missing.from_seq, oldest)
        now = time.monotonic()
        if from_seq > missing.to_seq or now - self._asked_at.get((key, from_seq), -ASK_AGAIN_S) < ASK_AGAIN_S:
            return
        self._asked_at = {(key, from_seq): now}
        self.counts.gaps += 1
        wanted = wire.Resend(from_seq, missing.to_seq, key.epoch)
        batch.link.publish(
            Message(wire.topic(*sender, "resend"), wire.encode_resend(wanted, signer=self._seal.sign))
        )

    def _skip_to(self, batch: _Batch, key: StreamKey, sender: tuple[str, str], oldest: int) -> None:
        """Go on with the oldest event there is; its own previous_hash says where the chain was."""
        sequence = self._sequences[key]
        first = (sequence.head.seq if sequence.head is not None else 0) + 1
        follower = sequence.held[oldest]
        sequence.begin_at(Head(oldest - 1, follower.event.previous_hash))
        lost = f"the kiosk no longer keeps numbers {first} to {oldest - 1}"
        batch.troubles.append(StreamTrouble(TroubleKind.HISTORY_GONE, key.kiosk, key.epoch, oldest - 1, lost))
        self._follow(batch, key, sender, sequence.take(follower, known_hash=None))

    def _committer(self, arrival: Arrival) -> Callable[[], None]:
        def commit() -> None:
            event = arrival.event
            head = Head(event.seq, arrival.hash)
            self._uncommitted[arrival.key] = wire.topic(event.site, event.kiosk, "ack"), head

        return commit

    def _send_commits(self, link: Connection) -> None:
        for key, (topic, head) in self._uncommitted.items():
            self._acknowledge(link, topic, key.epoch, head)
        self._uncommitted.clear()

    def _acknowledge(self, link: Connection, topic: str, epoch: str, head: Head) -> None:
        ack = wire.Acknowledgement(epoch, head.seq, head.hash, self._rules.consumer)
        link.publish(Message(topic, wire.encode_acknowledgement(ack, signer=self._seal.sign)))


def read_arrival(payload: bytes) -> Arrival:
    """An event and its hash; raises FeedError."""
    event = wire.decode_event(payload)
    core, _ = wire.payload_core(payload)
    return Arrival(event, wire.hash_of_core(core), payload)


def _forged(event: Event) -> StreamTrouble:
    return StreamTrouble(
        TroubleKind.FORGED, event.kiosk, event.epoch, event.seq, "does not carry the kiosk's signature"
    )


def _broken_chain(arrival: Arrival) -> StreamTrouble:
    event = arrival.event
    return StreamTrouble(
        TroubleKind.BROKEN_CHAIN, event.kiosk, event.epoch, event.seq, "does not continue the event before it"
    )
