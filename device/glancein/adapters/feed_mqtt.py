"""The consumer's end of the feed: in order, once each, chain checked, committed, then acknowledged."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from glancein.domain import wire
from glancein.domain.complaints import Complaints
from glancein.domain.intake import Counts, Intake, Turn
from glancein.domain.strict_json import WORD_LIMIT
from glancein.domain.tails import Sender
from glancein.errors import FeedError, SettingsError, StoreError
from glancein.mqtt.broker_url import BrokerUrl
from glancein.mqtt.link import Connection, Greeting, Lost, Message, Receipt, open_link
from glancein.ports import FeedStore
from glancein.types import Arrival, Event, Head, StreamKey

log = logging.getLogger(__name__)

BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
TURN_S = 0.5
SILENT_S = 10.0  # a broker hands out the kiosks' states at once, if this feed may hear them
EVERY = "+"  # MQTT 5, 4.7.1.3: any one level of a topic


@dataclass(frozen=True, slots=True)
class FeedRules:
    """What to listen to.

    ``+`` is every site or kiosk. Without ``follow`` the feed ends after ``idle_s`` of quiet. Without a store,
    who ``only_looks`` sees what comes even if a kiosk does not send what waits there; ``commit`` then tells
    the kiosk nothing.
    Raises SettingsError for a site or kiosk that cannot be part of a topic, and for a consumer's name that no
    kiosk would read.
    """

    site: str = EVERY
    kiosk: str = EVERY
    consumer: str = "feed"
    follow: bool = True
    idle_s: float = 3.0
    seal: wire.Seal = wire.UNSEALED
    only_looks: bool = False

    def __post_init__(self) -> None:
        for what, name in (("site", self.site), ("kiosk", self.kiosk)):
            if name != EVERY:
                wire.check_segment(what, name)
        if len(self.consumer) > WORD_LIMIT or not self.consumer.isprintable():
            raise SettingsError(
                f"consumer {self.consumer[:70]!r}: kiosks would pass over what it acknowledges; use up to "
                f"{WORD_LIMIT} letters, without control characters"
            )


@dataclass(frozen=True, slots=True)
class Received:
    """An event that is new to this consumer.

    With a store it is committed and acknowledged already. Without one, ``commit`` tells the kiosk that this
    event and all before it are safe; events that are never committed or handed out stay in the kiosk's
    outbox.
    """

    arrival: Arrival
    commit: Callable[[], None]

    @property
    def event(self) -> Event:
        """The event itself."""
        return self.arrival.event


class Feed:
    """The feed, to iterate over: ``for received in Feed(url, store=store)``; any thread may ``stop`` it.

    ``store`` None: nothing is kept and nothing acknowledged but what the caller commits; every stream then
    begins with what waits at its kiosk, which is asked for it on each connection, and goes on behind the last
    event that was handed out. With a seal in the rules, events without the kiosk's signature are refused and
    acknowledgements are signed. Raises FeedError when the broker cannot be reached and StoreError when the
    store does not take an event, unless following: then it says so by ``on_error`` and tries again; until the
    store has an event the kiosk keeps it.
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
        self._connect = connect
        self._on_error = on_error or (lambda words: log.warning("%s", words))
        self._intake = Intake(
            {} if store is None else store.heads(),
            consumer=self._rules.consumer,
            seal=self._rules.seal,
            hash_of=None if store is None else store.hash_of,
            only_looks=self._rules.only_looks,
        )
        self._complaints = Complaints()
        self._handed: dict[StreamKey, Head] = {}  # the last event of each stream that the caller has got
        self._committed: dict[StreamKey, tuple[Sender, Head]] = {}  # by the caller
        self._untold: set[StreamKey] = set()  # commits that were not sent on this connection
        self._sent: dict[int, str] = {}  # on this connection: token and last part of the topic
        self._denials: set[str] = set()  # said on this connection
        self._is_silent = True  # nothing has come yet, and that was not said
        self._stopping = threading.Event()
        self._link: Connection | None = None

    def __iter__(self) -> Iterator[Received]:
        """New events as they are committed, until stopped or, without ``follow``, until it is quiet."""
        failures = 0
        while not self._stopping.is_set():
            before = self.counts.new
            try:
                yield from self._converse()
            except (FeedError, StoreError) as err:
                if not self._rules.follow:
                    raise
                failures = 1 if self.counts.new > before else failures + 1
                self._on_error(str(err))
                longest = min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** min(failures - 1, 10))
                self._stopping.wait(random.uniform(BACKOFF_S / 10, longest))
            else:
                return

    @property
    def counts(self) -> Counts:
        """What came in so far."""
        return self._intake.counts

    @property
    def states(self) -> dict[Sender, wire.KioskState]:
        """By site and kiosk: the latest word of each."""
        return self._intake.states

    def stop(self) -> None:
        """End the iteration soon; may be called from any thread or a signal handler."""
        self._stopping.set()
        link = self._link
        if link is not None:
            link.wake()

    def _converse(self) -> Iterator[Received]:
        # Whatever a turn made us believe that failed, or whose events were not all handed out.
        self._intake.begin(self._handed if self._store is None else self._store.heads())
        self._untold.update(self._committed)  # a line that is cut may take acknowledgements with it
        site, kiosk = self._rules.site, self._rules.kiosk
        topics = tuple(wire.topic(site, kiosk, leaf) for leaf in ("event", "batch", "state"))
        name = f"glancein-{self._rules.consumer}-{uuid.uuid4().hex[:8]}"
        link = self._connect(self._url, Greeting(name, topics=topics))
        self._link = link
        self._sent.clear()
        self._denials.clear()
        self.counts.connections += 1
        quiet_since = time.monotonic()
        try:
            while not self._stopping.is_set():
                before = self.counts.new
                yield from self._turn(link)
                self._send_commits(link)
                if self.counts.new > before:
                    quiet_since = time.monotonic()
                elif self._is_over(quiet_since):
                    return
                elif self._is_silent and time.monotonic() - quiet_since >= SILENT_S:
                    self._say_silence()
        finally:
            self._link = None
            self._send_commits(link)
            link.close()

    def _is_over(self, quiet_since: float) -> bool:
        """True if it has been quiet for long enough, and nobody still owes an answer."""
        if self._rules.follow or self._intake.is_awaiting:
            return False
        return time.monotonic() - quiet_since >= self._rules.idle_s

    def _turn(self, link: Connection) -> Iterator[Received]:
        """Take in what came, commit it, answer it, hand it out. Then raises FeedError if the line was cut."""
        lost: Lost | None = None
        for happening in link.wait(min(TURN_S, self._rules.idle_s / 2)):
            match happening:
                case Receipt():
                    self._on_receipt(happening)
                case Message(topic, payload, retain):
                    self._is_silent = False
                    # A retained event is a stale one: ours never are.
                    if not (retain and topic.endswith(("/event", "/batch"))):
                        self._intake.take(topic, payload, now_s=time.monotonic())
                case Lost():
                    lost = happening
        turn = self._intake.finish(now_s=time.monotonic())
        self._settle(link, turn)
        for arrival in turn.arrivals:
            self._handed[arrival.key] = Head(arrival.event.seq, arrival.hash)
            yield Received(arrival, self._committer(arrival))
        if lost is not None:
            raise FeedError(f"lost the broker {self._url}: {lost.why}")

    def _settle(self, link: Connection, turn: Turn) -> None:
        """First the store, then the answers: never the other way round."""
        if self._store is not None and (turn.arrivals or turn.troubles):
            self._store.commit(turn.arrivals, turn.troubles)
        self.counts.new += len(turn.arrivals)
        for words in self._complaints.of(turn.troubles, now_s=time.monotonic()):
            self._on_error(words)
        if self._rules.follow:  # else whoever ends soon looks at ``states``
            for one in turn.unanswered:
                self._on_error(
                    f"kiosk {one.site}/{one.kiosk}: {one.count} events wait there, and did not come "
                    "when asked for; a reader whose signing key it trusts gets them"
                )
        for topic, payload in turn.answers:
            self._publish(link, topic, payload)

    def _publish(self, link: Connection, topic: str, payload: bytes) -> None:
        token = link.publish(Message(topic, payload))
        self._sent[token] = topic.rsplit("/", 1)[-1]

    def _on_receipt(self, receipt: Receipt) -> None:
        """Say once on each connection what this feed may not do: the kiosks only see that nobody answers."""
        leaf = self._sent.pop(receipt.token, "")
        if not receipt.is_denied:
            return
        may_not = "ask kiosks for what waits or is missing" if leaf == "resend" else "acknowledge"
        if may_not not in self._denials:
            self._denials.add(may_not)
            self._on_error(
                f"the broker {self._url} does not let this feed {may_not} ({receipt.words}): copy the site's "
                "glancein.acl there and reload it, or give this feed a bundle made without --listen-only"
            )

    def _say_silence(self) -> None:
        """Mosquitto takes the subscription of somebody who may not hear a topic, and is silent."""
        self._is_silent = False
        self._on_error(
            f"no kiosk has been heard at the broker {self._url}: is one connected, are --site and --kiosk "
            "right, does the broker's glancein.acl name this feed?"
        )

    def _committer(self, arrival: Arrival) -> Callable[[], None]:
        def commit() -> None:
            event = arrival.event
            if self._store is None and self._rules.only_looks:
                return  # its stream may have begun behind what waits
            self._committed[arrival.key] = (event.site, event.kiosk), Head(event.seq, arrival.hash)
            self._untold.add(arrival.key)

        return commit

    def _send_commits(self, link: Connection) -> None:
        for key in self._untold:
            sender, head = self._committed[key]
            self._publish(link, *self._intake.acknowledgement(sender, key.epoch, head))
        self._untold.clear()
