"""HR's end: in order, once each, chain checked, stored, then acknowledged."""

from __future__ import annotations

import codecs
import csv
import errno
import io
import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.fake_broker import URL, FakeBroker
from tests.device.brokers import Mosquitto, free_port, wait_until
from tests.device.punches import EPOCH, NOON, chain, check_in, correction_of, event

from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import COLUMNS, LinesFeedStore, SqliteFeedStore, csv_store, jsonl_store
from glancein.domain import wire
from glancein.domain.intake import LAST_ASK, Intake, read_arrival
from glancein.domain.sequence import Known, Missing, Ready, Sequence
from glancein.domain.tails import KEPT
from glancein.errors import FeedError, InputError, SettingsError, StoreError
from glancein.mqtt.broker_url import BrokerUrl, parse_broker_url
from glancein.mqtt.link import Connection, Greeting, Message, open_link
from glancein.ports import FeedStore
from glancein.storage.database import open_database
from glancein.storage.feed_schema import FEED
from glancein.storage.schema import Schema
from glancein.types import (
    Arrival,
    Becomes,
    Direction,
    Event,
    Head,
    OtherDirection,
    OtherPerson,
    OtherTime,
    StreamKey,
    StreamTrouble,
    TroubleKind,
    Voided,
)

KEY = StreamKey("door", EPOCH)
OTHER = "6f1c9d1e-0d5b-4d0e-9a52-1f0f3c1f7a10"
COLUMN_NAMES = codecs.BOM_UTF8 + ",".join(COLUMNS).encode() + b"\r\n"
ONCE = FeedRules(follow=False, idle_s=0.1, consumer="hr")


def arrival(sent: Event) -> Arrival:
    """As it comes over the feed."""
    return read_arrival(wire.encode_event(sent))


def send(broker: FakeBroker, *events: Event) -> None:
    """Publish as a kiosk would."""
    for sent in events:
        broker.route(Message(wire.topic(sent.site, sent.kiosk, "event"), wire.encode_event(sent)))


class Script:
    """A broker whose kiosk answers requests to send again from a list of events."""

    def __init__(self, history: list[Event]) -> None:
        self.broker = FakeBroker()
        self.history = history
        self.asked: list[wire.Resend] = []
        self.acknowledged: list[wire.Acknowledgement] = []
        self.refused: list[wire.Refusal] = []
        self._route = self.broker.route
        self.broker.route = self._answering  # type: ignore[method-assign]  # the kiosk listens in

    def feed(self, store: FeedStore | None, rules: FeedRules = ONCE) -> Feed:
        """A consumer of this broker."""
        return Feed(URL, store=store, rules=rules, connect=self.broker.connect)

    def _answering(self, message: Message) -> None:
        self._route(message)
        if message.topic.endswith("/resend"):
            wanted = wire.decode_resend(message.payload)
            self.asked.append(wanted)
            last = wanted.to_seq or len(self.history)
            send(self.broker, *(e for e in self.history if wanted.from_seq <= e.seq <= last))
        if message.topic.endswith("/ack"):
            self.acknowledged.append(wire.decode_acknowledgement(message.payload))
        if message.topic.endswith("/refuse"):
            self.refused.append(wire.decode_refusal(message.payload))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteFeedStore]:
    """HR's database."""
    opened = SqliteFeedStore(tmp_path / "feed.db")
    yield opened
    opened.close()


def after_connecting(feed: Feed, broker: FakeBroker, act: Callable[[], None]) -> None:
    """Whenever this feed has subscribed, do that."""

    def connect(url: BrokerUrl, greeting: Greeting) -> Connection:
        connection = broker.connect(url, greeting)
        act()
        return connection

    feed._connect = connect


def troubles(store: SqliteFeedStore) -> list[tuple[str, str, int]]:
    """What HR was told."""
    with store.open() as database:
        return database.execute("SELECT kind, kiosk, seq FROM troubles ORDER BY number").fetchall()


def listen(script: Script, store: FeedStore | None, *events: Event, rules: FeedRules = ONCE) -> list[Event]:
    """What a consumer gets to see when these events are published while it listens."""
    feed = script.feed(store, rules)
    after_connecting(feed, script.broker, lambda: send(script.broker, *events))
    return [received.event for received in feed]


def batch(broker: FakeBroker, *events: Event, mangle: Callable[[bytes], bytes] = lambda line: line) -> None:
    """Publish a backlog as a kiosk would."""
    lines = [mangle(wire.encode_event(sent)) for sent in events]
    broker.route(Message(wire.topic("hq", "door", "batch"), wire.join_batch(lines)))


def test_batch_is_taken_in_like_its_events_alone(store: SqliteFeedStore) -> None:
    """In order, once, with the bytes as they came; one answer for all of it."""
    events = chain(6)
    script = Script(events)
    feed = script.feed(store)

    def publish() -> None:
        batch(script.broker, *events[:4])
        batch(script.broker, *events[2:])

    after_connecting(feed, script.broker, publish)

    assert [received.event for received in feed] == events
    assert [parcel.payload for parcel in store.after(0, 9)] == [wire.encode_event(one) for one in events]
    assert script.acknowledged[-1].up_to == 6
    assert feed.counts.repeated == 2


def test_broken_line_of_a_batch_takes_none_of_the_others_with_it(store: SqliteFeedStore) -> None:
    """What came whole is kept; the rest is asked for again."""
    events = chain(5)
    script = Script(events)
    feed = script.feed(store)

    def mangle(line: bytes) -> bytes:
        return line[:-9] if b'"seq":3' in line else line

    after_connecting(feed, script.broker, lambda: batch(script.broker, *events, mangle=mangle))

    assert [received.event for received in feed] == events
    assert feed.counts.of[TroubleKind.UNREADABLE] == 1
    assert script.asked[0].from_seq == 3


def test_retained_batch_is_a_stale_one(store: SqliteFeedStore) -> None:
    """Ours never are retained."""
    script = Script([])
    payload = wire.join_batch([wire.encode_event(one) for one in chain(2)])
    script.broker.retained["batch"] = Message(wire.topic("hq", "door", "batch"), payload, retain=True)

    assert [received.event for received in script.feed(store)] == []


def stand_in(event: Event, *, previous_hash: str | None = None) -> bytes:
    """What a kiosk publishes in place of an event that its broker never takes."""
    told = wire.LeftOut(
        event.site, event.id, previous_hash or event.previous_hash, wire.event_hash(event), "Packet too large"
    )
    return wire.encode_left_out(told)


@pytest.mark.parametrize("place", [0, 1, 3], ids=["first", "middle", "last"])
def test_event_left_out_at_the_kiosk_holds_up_nobody(store: SqliteFeedStore, place: int) -> None:
    """The others are committed in order with a whole chain, and HR is told which one waits at the kiosk."""
    events = chain(4)
    topic = wire.topic("hq", "door", "event")
    script = Script([])
    feed = script.feed(store)

    def publish() -> None:
        for number, one in enumerate(events):
            payload = stand_in(one) if number == place else wire.encode_event(one)
            script.broker.route(Message(topic, payload))

    after_connecting(feed, script.broker, publish)
    received = [one.event for one in feed]

    assert received == [event for number, event in enumerate(events) if number != place]
    assert script.acknowledged[-1].up_to == 4
    assert script.acknowledged[-1].head == wire.event_hash(events[-1])
    assert troubles(store) == [("left_out", "door", place + 1)]
    assert store.heads()[KEY].seq == 4


def test_event_left_out_that_comes_after_all_fills_its_place(store: SqliteFeedStore) -> None:
    """A kiosk whose broker was put right may be asked for it; what is told again changes nothing."""
    events = chain(3)
    topic = wire.topic("hq", "door", "event")
    script = Script([])
    feed = script.feed(store)

    def publish() -> None:
        for payload in (
            wire.encode_event(events[0]), stand_in(events[1]), wire.encode_event(events[2]),
            wire.encode_event(events[1]), stand_in(events[1]), stand_in(events[2]),
        ):  # fmt: skip
            script.broker.route(Message(topic, payload))

    after_connecting(feed, script.broker, publish)

    assert [one.event for one in feed] == [events[0], events[2], events[1]]
    assert troubles(store) == [("left_out", "door", 2)]


@pytest.mark.parametrize("wrong", ["too early", "other chain"])
def test_stand_in_that_does_not_continue_the_stream_is_asked_about(
    store: SqliteFeedStore, wrong: str
) -> None:
    """Nothing is passed over that nobody spoke of."""
    events = chain(4)
    script = Script([])
    feed = script.feed(store)
    payload = stand_in(events[3]) if wrong == "too early" else stand_in(events[1], previous_hash="ee" * 32)

    def publish() -> None:
        send(script.broker, events[0])
        script.broker.route(Message(wire.topic("hq", "door", "event"), payload))

    after_connecting(feed, script.broker, publish)

    assert [one.event for one in feed] == events[:1]
    assert script.asked[0].from_seq == 2
    assert script.acknowledged[-1].up_to == 1
    assert troubles(store) == []


def test_events_are_stored_then_acknowledged(store: SqliteFeedStore) -> None:
    """The acknowledgement names the last committed number and its hash."""
    events = chain(5)
    script = Script(events)

    assert listen(script, store, *events) == events
    assert script.acknowledged[-1] == wire.Acknowledgement(
        EPOCH, 5, wire.event_hash(events[-1]), "hr", wire.LARGEST_BATCH
    )
    assert store.heads() == {KEY: Head(5, wire.event_hash(events[-1]))}


def test_nothing_is_acknowledged_when_the_store_fails() -> None:
    """A full disk at HR keeps the events in the kiosk."""

    class FullStore:
        def heads(self) -> dict[StreamKey, Head]:
            return {}

        def hash_of(self, key: StreamKey, seq: int) -> str | None:
            del key, seq
            return None

        def commit(self, arrivals: Seq[Arrival], trouble: Seq[StreamTrouble]) -> None:
            del arrivals, trouble
            raise StoreError("the disk is full")

        def close(self) -> None:
            return

    script = Script(chain(2))
    with pytest.raises(StoreError):
        listen(script, FullStore(), *chain(2))
    assert script.acknowledged == []


def test_repeated_events_are_seen_once_and_acknowledged_again(store: SqliteFeedStore) -> None:
    """The kiosk repeats itself because an acknowledgement was lost."""
    events = chain(3)

    assert listen(Script(events), store, *events, *events, events[1]) == events
    script = Script(events)
    assert listen(script, store, *events) == []
    assert script.acknowledged[-1].up_to == 3


def test_events_out_of_order_are_put_in_order(store: SqliteFeedStore) -> None:
    """The sequence number decides, not the order of arrival."""
    events = chain(5)
    shuffled = [events[index] for index in (0, 2, 4, 3, 1)]

    assert listen(Script(events), store, *shuffled) == events


def test_gap_is_asked_for_and_filled(store: SqliteFeedStore) -> None:
    """What the broker lost comes from the kiosk."""
    events = chain(8)
    script = Script(events)

    assert listen(script, store, events[0], events[5]) == events[:6]
    assert script.asked[0] == wire.Resend(2, 5, EPOCH, wire.LARGEST_BATCH)


@pytest.mark.parametrize("kept", [True, False], ids=["with a store", "without"])
def test_event_that_came_before_the_line_was_cut_is_handed_out(store: SqliteFeedStore, *, kept: bool) -> None:
    """Even if both are noticed at once: an acknowledgement of a later event would let the kiosk forget it."""
    events = chain(4)
    script = Script(events)
    feed = script.feed(store if kept else None)
    seen: list[Event] = []

    def publish() -> None:
        if feed.counts.connections == 0:
            send(script.broker, *events[:3])
            script.broker.cut()
        else:
            send(script.broker, *events[2:])

    after_connecting(feed, script.broker, publish)
    with pytest.raises(FeedError, match="the cable was pulled"):
        seen.extend(received.event for received in feed)
    seen.extend(received.event for received in feed)

    assert seen == events


def test_commit_that_a_cut_line_took_with_it_is_told_again() -> None:
    """Or the kiosk would keep the last events of the day until the first of the next one."""
    events = chain(2)
    script = Script(events)
    feed = script.feed(None)

    def publish() -> None:
        if feed.counts.connections == 0:
            send(script.broker, *events)
            script.broker.cut()

    after_connecting(feed, script.broker, publish)
    received = iter(feed)
    next(received).commit()
    next(received).commit()
    with pytest.raises(FeedError, match="the cable was pulled"):
        next(received)

    assert list(feed) == []
    assert [said.up_to for said in script.acknowledged] == [2]


def test_missing_tail_is_noticed_by_the_state(store: SqliteFeedStore) -> None:
    """Nothing needs to follow a lost event for it to be missed."""
    events = chain(4)
    script = Script(events)
    state = wire.KioskState("hq", "door", online=True, epoch=EPOCH, seq=4, history_from=1, backlog=0)
    script.broker.route(Message(wire.topic("hq", "door", "state"), wire.encode_state(state), retain=True))

    assert [received.event for received in script.feed(store)] == events


@pytest.mark.parametrize("leaves_at", [1, 150, 1000])
def test_tail_of_an_epoch_that_a_kiosk_has_left_is_not_asked_for_for_ever(leaves_at: int) -> None:
    """A card put back from an older copy does not know its last numbers: a minute later HR is told so."""
    intake = Intake({}, consumer="hr", hash_of=lambda *_: None)
    asked, told = [], []
    for second in range(0, 300, 2):
        epoch, seq = (OTHER, 0) if second >= leaves_at else (EPOCH, 2)
        state = wire.KioskState("hq", "door", online=True, epoch=epoch, seq=seq, history_from=1, backlog=0)
        intake.take(wire.topic("hq", "door", "state"), wire.encode_state(state), now_s=float(second))
        turn = intake.finish(now_s=float(second))
        asked += [(second, wire.decode_resend(payload)) for _, payload in turn.answers]
        told += [(trouble.kind, trouble.epoch, trouble.seq) for trouble in turn.troubles]

    assert {(resend.epoch, resend.from_seq, resend.to_seq) for _, resend in asked} == {(EPOCH, 1, 2)}
    afterwards = [second for second, _ in asked if second >= leaves_at]
    if leaves_at < 300:
        assert len(afterwards) == LAST_ASK
        assert told == [(TroubleKind.HISTORY_GONE, EPOCH, 2)]
    else:
        assert len(asked) == 150
        assert told == []


def test_store_put_back_from_a_backup_asks_for_the_epochs_before(store: SqliteFeedStore) -> None:
    """The kiosk's state names its current epoch only; what it keeps of the others comes all the same."""
    events = chain(5)
    store.commit([arrival(sent) for sent in events[:2]], [])
    script = Script(events)
    state = wire.KioskState("hq", "door", online=True, epoch=OTHER, seq=0, history_from=1, backlog=0)
    script.broker.route(Message(wire.topic("hq", "door", "state"), wire.encode_state(state), retain=True))

    assert [received.event for received in script.feed(store)] == events[2:]
    assert script.asked == [wire.Resend(3, None, EPOCH, wire.LARGEST_BATCH)]
    assert script.acknowledged[-1].up_to == 5


def test_earlier_epochs_are_asked_for_once_each_time_a_kiosk_comes() -> None:
    """Of the kiosk of that name, and not for what it or another kiosk counts in now."""
    third = "0d7a3a3c-5f0e-4a57-8f0a-2f2f0f3b1c11"
    heads = {StreamKey("door", epoch): Head(4, "ab" * 32) for epoch in (EPOCH, OTHER, third)}
    intake = Intake(heads | {StreamKey("gate", EPOCH): Head(9, "")}, consumer="hr", hash_of=lambda *_: None)
    asked = []
    for second, online in enumerate([True, True, False, True, True]):
        for site, epoch in (("hq", OTHER), ("lab", third)):
            state = wire.KioskState(site, "door", online=online or site == "lab", epoch=epoch, seq=4)
            intake.take(wire.topic(site, "door", "state"), wire.encode_state(state), now_s=60.0 * second)
        answers = intake.finish(now_s=60.0 * second).answers
        asked += [(second, topic.split("/")[2], wire.decode_resend(payload)) for topic, payload in answers]

    wanted = wire.Resend(5, None, EPOCH, wire.LARGEST_BATCH)
    assert asked == [(0, "hq", wanted), (0, "lab", wanted), (3, "hq", wanted)]


def test_lost_events_hold_up_nobody_and_are_told(store: SqliteFeedStore) -> None:
    """Where two in a row are lost nothing says the hash between them; what follows comes all the same."""
    events = chain(6)
    lost = [
        wire.LeftOut("hq", events[2].id, events[2].previous_hash, wire.NO_HASH, "damaged", is_lost=True),
        wire.LeftOut("hq", events[3].id, wire.NO_HASH, events[4].previous_hash, "damaged", is_lost=True),
    ]
    script = Script(events)
    feed = script.feed(store)

    def publish() -> None:
        send(script.broker, *events[:2])
        for one in lost:
            script.broker.route(Message(wire.topic("hq", "door", "event"), wire.encode_left_out(one)))
        send(script.broker, *events[4:])

    after_connecting(feed, script.broker, publish)

    assert [received.event for received in feed] == events[:2] + events[4:]
    assert troubles(store) == [("history_gone", "door", 3), ("history_gone", "door", 4)]
    assert script.asked == []


def test_kiosk_that_names_ever_new_epochs_is_asked_for_its_last_ones_only() -> None:
    """Whoever may write its state can make neither memory nor requests grow."""
    intake, topic = Intake({}, consumer="hr", hash_of=lambda *_: None), wire.topic("hq", "door", "state")
    epochs = [str(uuid.UUID(int=number)) for number in range(1000)]
    for epoch in epochs:
        state = wire.KioskState("hq", "door", online=True, epoch=epoch, seq=5, history_from=1, backlog=1)
        intake.take(topic, wire.encode_state(state), now_s=0.0)

    answers = intake.finish(now_s=0.0).answers

    assert [wire.decode_resend(payload).epoch for _, payload in answers] == epochs[-KEPT:]
    assert intake._sequences == {}


def test_kiosk_of_another_site_with_the_same_name_has_left_nothing() -> None:
    """Every kiosk is called kiosk-1 until somebody names it: a slow line at one site is no lost history."""
    intake = Intake({}, consumer="hr", hash_of=lambda *_: None)
    for site, epoch, seq in (("seoul", EPOCH, 3), ("busan", OTHER, 0)):
        state = wire.KioskState(site, "kiosk-1", online=True, epoch=epoch, seq=seq, history_from=1, backlog=0)
        intake.take(wire.topic(site, "kiosk-1", "state"), wire.encode_state(state), now_s=0.0)

    turns = [intake.finish(now_s=float(second)) for second in range(0, 300, 2)]

    assert [trouble for turn in turns for trouble in turn.troubles] == []
    assert set(intake.states) == {("seoul", "kiosk-1"), ("busan", "kiosk-1")}


def test_consumer_that_lost_everything_gets_it_back(tmp_path: Path) -> None:
    """An empty database asks from the beginning."""
    events = chain(6)
    script = Script(events)
    fresh = SqliteFeedStore(tmp_path / "new.db")

    assert listen(script, fresh, events[5]) == events
    fresh.close()


def test_history_the_kiosk_no_longer_keeps_is_noted_and_skipped(store: SqliteFeedStore) -> None:
    """The stream goes on, and HR is told what it will never get."""
    events = chain(6)
    script = Script(events[3:])
    state = wire.KioskState("hq", "door", online=True, epoch=EPOCH, seq=6, history_from=4, backlog=0)
    script.broker.route(Message(wire.topic("hq", "door", "state"), wire.encode_state(state), retain=True))

    assert [received.event for received in script.feed(store)] == events[3:]
    assert troubles(store) == [("history_gone", "door", 3)]


def test_same_number_with_other_contents_is_quarantined(store: SqliteFeedStore) -> None:
    """An old copy of the database: HR keeps what it has, is told, and tells the kiosk what it has."""
    events = chain(3)
    listen(Script(events), store, *events)
    other = replace(events[1], body=check_in("E99"))
    script = Script(events)

    assert listen(script, store, other) == []
    assert troubles(store) == [("fork", "door", 2)]
    assert script.acknowledged[-1] == wire.Acknowledgement(
        EPOCH, 3, wire.event_hash(events[-1]), "hr", wire.LARGEST_BATCH
    )
    (refusal,) = script.refused
    assert (refusal.seq, refusal.hash, refusal.why) == (2, wire.event_hash(other), wire.RefusedFor.FORK)


def test_cloned_card_is_seen_at_its_first_event(store: SqliteFeedStore) -> None:
    """Two kiosks go on from one copy: whoever comes second with a number is the fork."""
    both = chain(2)
    theirs = event(3, wire.event_hash(both[1]), punch=check_in("E8"))
    ours = event(3, wire.event_hash(both[1]), punch=check_in("E9"))

    script, words = Script([]), list[str]()
    feed = Feed(URL, store=store, rules=ONCE, connect=script.broker.connect, on_error=words.append)
    after_connecting(feed, script.broker, lambda: send(script.broker, *both, theirs, ours))

    assert [received.event for received in feed] == [*both, theirs]
    assert troubles(store) == [("fork", "door", 3)]
    assert len(words) == 1
    assert "kiosk door, number 3: came again with other contents: an old copy of its database" in words[0]


def test_old_copy_that_only_says_how_far_it_is_hears_what_is_known(store: SqliteFeedStore) -> None:
    """A kiosk restored from a backup learns it when it connects, before it records anything."""
    events = chain(5)
    listen(Script(events), store, *events)
    script = Script(events)
    state = wire.KioskState("hq", "door", online=True, epoch=EPOCH, seq=2, history_from=1, backlog=0)
    script.broker.route(Message(wire.topic("hq", "door", "state"), wire.encode_state(state), retain=True))

    assert list(script.feed(store)) == []
    assert script.acknowledged[0] == wire.Acknowledgement(
        EPOCH, 5, wire.event_hash(events[-1]), "hr", wire.LARGEST_BATCH
    )


def poisoned(sent: Event) -> tuple[bytes, str]:
    """An event of a kind that does not exist yet, and its hash."""
    payload = wire.encode_event(sent).replace(b'"kind":"check_in"', b'"kind":"teleport"')
    return payload, wire.hash_of_core(wire.payload_core(payload)[0])


def test_event_that_cannot_be_read_is_refused_and_blocks_nobody(store: SqliteFeedStore) -> None:
    """Its number counts as taken, the kiosk is told, HR is told, and what follows comes through."""
    first, second = chain(2)
    payload, digest = poisoned(second)
    third = event(3, digest, punch=check_in("E3"))
    script = Script([])
    feed = script.feed(store)

    def publish() -> None:
        send(script.broker, first, third)
        for _ in range(2):
            script.broker.route(Message(wire.topic("hq", "door", "event"), payload))

    after_connecting(feed, script.broker, publish)
    assert [received.event for received in feed] == [first, third]
    assert [(r.seq, r.hash, r.why.value) for r in script.refused] == [(2, digest, "unreadable")]
    assert troubles(store) == [("unreadable", "door", 2)]
    assert script.acknowledged[-1].up_to == 3


def test_refused_event_is_taken_once_it_makes_sense(store: SqliteFeedStore) -> None:
    """After an update here, an administrator has the kiosk send it again."""
    events = chain(3)
    refused = StreamTrouble(
        TroubleKind.UNREADABLE, "door", EPOCH, 2, "no kind", passed=wire.event_hash(events[1])
    )
    store.commit([arrival(events[0]), arrival(events[2])], [refused])

    assert listen(Script([]), store, events[1], events[1]) == [events[1]]
    assert store.hash_of(KEY, 2) == wire.event_hash(events[1])
    assert troubles(store) == [("unreadable", "door", 2)]


def test_following_feed_outlasts_a_store_that_fails(store: SqliteFeedStore) -> None:
    """A full disk or a database server that restarts: it says so, and goes on where the store stands."""
    events = chain(3)
    script = Script(events)
    words: list[str] = []
    commit, failures = store.commit, iter([StoreError("the disk is full"), StoreError("still full")])

    def failing(arrivals: Seq[Arrival], troubles: Seq[StreamTrouble]) -> None:
        for failure in failures:
            raise failure
        commit(arrivals, troubles)

    store.commit = failing  # type: ignore[method-assign]  # a disk that fills
    rules = FeedRules(consumer="hr", idle_s=0.1)
    feed = Feed(URL, store=store, rules=rules, connect=script.broker.connect, on_error=words.append)
    after_connecting(feed, script.broker, lambda: send(script.broker, *events))
    seen: list[Event] = []
    for received in feed:
        seen.append(received.event)
        if len(seen) == 3:
            feed.stop()

    assert seen == events
    assert words == ["the disk is full", "still full"]


def test_what_was_wrong_is_counted_by_kind(store: SqliteFeedStore) -> None:
    """Forged, foreign and unreadable messages, and repeated ones."""
    events = chain(2)
    script = Script(events)
    feed = script.feed(store)

    def disturb() -> None:
        send(script.broker, *events, *events)
        for topic, payload in (("back", wire.encode_event(events[0])), ("door", b"{")):
            script.broker.route(Message(wire.topic("hq", topic, "event"), payload))

    after_connecting(feed, script.broker, disturb)
    list(feed)

    assert (feed.counts.new, feed.counts.repeated, feed.counts.troubles) == (2, 2, 2)
    assert feed.counts.of == {TroubleKind.FOREIGN: 1, TroubleKind.UNREADABLE: 1}


def test_event_that_breaks_the_chain_is_asked_for_again(store: SqliteFeedStore) -> None:
    """A forged event does not get in if the kiosk can repeat the true one."""
    events = chain(3)
    forged = replace(events[1], previous_hash="ee" * 32)
    script = Script(events)

    assert listen(script, store, events[0], forged) == events[:2]
    assert script.asked == [wire.Resend(2, 2, EPOCH, wire.LARGEST_BATCH)]
    assert troubles(store) == []


def test_broken_chain_that_the_kiosk_insists_on_is_kept_and_flagged(store: SqliteFeedStore) -> None:
    """A punch is not thrown away because a record was edited by hand; HR sees it."""
    first = chain(1)[0]
    edited = event(2, "ee" * 32)
    script = Script([first, edited])

    assert listen(script, store, first, edited) == [first, edited]
    assert troubles(store) == [("broken_chain", "door", 2)]
    with store.open() as database:
        assert database.execute("SELECT chained FROM checkins ORDER BY seq").fetchall() == [(1,), (0,)]


def test_event_on_another_kiosks_topic_is_not_believed(store: SqliteFeedStore) -> None:
    """The broker's rights are by topic; a kiosk speaks for itself only."""
    script = Script([])
    feed = script.feed(store)
    message = Message(wire.topic("hq", "back", "event"), wire.encode_event(event()))
    after_connecting(feed, script.broker, lambda: script.broker.route(message))

    assert list(feed) == []
    assert troubles(store) == [("foreign", "door", 1)]


def test_nonsense_on_the_feed_is_noted_and_passed_over(store: SqliteFeedStore) -> None:
    """A hostile message stops nobody."""
    script = Script(chain(2))
    feed = script.feed(store)

    def disturb() -> None:
        for payload in (b"", b"{", b"[" * 5000, b"\xff\x00", b'{"schema":"glancein/v2"}'):
            script.broker.route(Message(wire.topic("hq", "door", "event"), payload))
            script.broker.route(Message(wire.topic("hq", "door", "state"), payload))
        send(script.broker, *chain(2))

    after_connecting(feed, script.broker, disturb)
    assert [received.event for received in feed] == chain(2)
    assert {kind for kind, _, _ in troubles(store)} == {"unreadable"}


def test_retained_event_is_ignored(store: SqliteFeedStore) -> None:
    """A stale event that some bridge retained is not a punch."""
    script = Script([])
    payload = wire.encode_event(event())
    script.broker.route(Message(wire.topic("hq", "door", "event"), payload, retain=True))

    assert list(script.feed(store)) == []


def test_without_a_store_nothing_is_acknowledged_but_what_is_committed() -> None:
    """A viewer keeps no promises; a program that stores events itself says when."""
    events = [replace(sent, seq=sent.seq + 10) for sent in chain(3)]
    script = Script(events)

    assert listen(script, None, *events[:1]) == events[:1]
    assert script.acknowledged == []
    assert script.asked == []

    feed = script.feed(None)
    after_connecting(feed, script.broker, lambda: send(script.broker, *events[:1]))
    for received in feed:
        received.commit()
    assert [(ack.epoch, ack.up_to) for ack in script.acknowledged] == [(EPOCH, 11)]


def test_feed_that_may_not_acknowledge_says_so_once_on_each_connection(store: SqliteFeedStore) -> None:
    """With the broker's words and what to do: the kiosks keep everything meanwhile, and see only silence."""
    events, script, words = chain(4), Script([]), list[str]()
    script.broker.answer = lambda message: (not message.topic.endswith("/ack"), "Not authorized")
    feed = Feed(URL, store=store, rules=ONCE, connect=script.broker.connect, on_error=words.append)
    after_connecting(feed, script.broker, lambda: send(script.broker, *events))

    list(feed)
    (told,) = words
    list(feed)

    assert told.startswith("the broker mqtt://fake:1883 does not let this feed acknowledge (Not authorized)")
    assert "glancein.acl" in told
    assert words == [told, told]


def test_feed_that_may_not_ask_says_so(store: SqliteFeedStore) -> None:
    """What is missing does not come then."""
    events, script, words = chain(4), Script([]), list[str]()
    script.broker.answer = lambda message: (not message.topic.endswith("/resend"), "Not authorized")
    feed = Feed(URL, store=store, rules=ONCE, connect=script.broker.connect, on_error=words.append)
    after_connecting(feed, script.broker, lambda: send(script.broker, events[0], events[3]))

    list(feed)

    assert ["does not let this feed ask kiosks for what waits" in told for told in words] == [True]


@pytest.mark.parametrize("name", ["x" * 65, "pay\troll", "HR\udcff"])
def test_name_that_no_kiosk_would_read_is_refused(name: str) -> None:
    """It would pass over every acknowledgement, send the first 200 for ever, and nobody would know why."""
    with pytest.raises(SettingsError, match="kiosks would pass over what it acknowledges; use up to 64"):
        FeedRules(consumer=name)


def test_longest_name_is_read_by_the_kiosk(store: SqliteFeedStore) -> None:
    """What it acknowledges is an acknowledgement."""
    script = Script([event(1)])

    listen(script, store, event(1), rules=replace(ONCE, consumer="급" * 64))

    assert [ack.up_to for ack in script.acknowledged] == [1]


def test_acknowledgement_that_nobody_hears_is_no_denial(store: SqliteFeedStore) -> None:
    """The kiosk has left meanwhile; it hears it when it is back."""
    script, words = Script([]), list[str]()
    script.broker.answer = lambda _: (False, "No matching subscribers")
    feed = Feed(URL, store=store, rules=ONCE, connect=script.broker.connect, on_error=words.append)
    after_connecting(feed, script.broker, lambda: send(script.broker, *chain(2)))

    assert len(list(feed)) == 2
    assert words == []


def test_following_feed_that_hears_nothing_says_so_once(
    store: SqliteFeedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An access list that does not name it makes mosquitto silent; a subscription is taken all the same."""
    monkeypatch.setattr("glancein.adapters.feed_mqtt.SILENT_S", 0.0)
    script, words = Script([]), list[str]()
    rules = FeedRules(consumer="hr", idle_s=0.02)
    feed = Feed(URL, store=store, rules=rules, connect=script.broker.connect, on_error=words.append)
    reader = threading.Thread(target=lambda: list(feed), name="hr")
    reader.start()
    first = wait_until(lambda: words)
    again = wait_until(lambda: len(words) > 1, within_s=0.3)
    feed.stop()
    reader.join(10)

    assert (first, again) == (True, False)
    assert words[0].startswith("no kiosk has been heard at the broker mqtt://fake:1883: is one connected")


def test_following_feed_survives_the_broker(store: SqliteFeedStore) -> None:
    """It says what is wrong, tries again and goes on where it was."""
    events = chain(4)
    script = Script(events)
    words: list[str] = []
    feed = Feed(
        URL,
        store=store,
        rules=FeedRules(consumer="hr", idle_s=0.1),
        connect=script.broker.connect,
        on_error=words.append,
    )
    rounds = iter([events[:2], events[2:]])
    after_connecting(feed, script.broker, lambda: send(script.broker, *next(rounds)))
    seen: list[Event] = []
    for received in feed:
        seen.append(received.event)
        if len(seen) == 2:
            script.broker.cut("glancein-hr")
        if len(seen) == 4:
            feed.stop()
    assert seen == events
    assert words == ["lost the broker mqtt://fake:1883: the cable was pulled"]


def test_feed_that_does_not_follow_ends_with_one_line_when_the_broker_is_down() -> None:
    """The address and what to look at."""
    feed = Feed(parse_broker_url(f"mqtt://127.0.0.1:{free_port()}"), rules=ONCE)

    with pytest.raises(FeedError, match=r"cannot reach the broker mqtt://127\.0\.0\.1:\d+: nothing listens"):
        list(feed)


def test_jsonl_has_a_line_for_each_event_as_published(tmp_path: Path) -> None:
    """And going on adds to it."""
    events = chain(5)
    path = tmp_path / "feed.jsonl"
    for part in (events[:3], events):
        lines = jsonl_store(path)
        listen(Script(events), lines, *part)
        lines.close()

    assert path.read_bytes().splitlines() == [wire.encode_event(sent) for sent in events]


def test_csv_opens_in_a_spreadsheet_without_running_anything(tmp_path: Path) -> None:
    """A header, one row each, and no cell that is a formula."""
    sent = event(punch=check_in("=HYPERLINK(1)"))
    path = tmp_path / "feed.csv"
    store = csv_store(path)
    listen(Script([sent]), store, replace(sent, name='@Zoë, "the" 김'))
    store.close()

    (row,) = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
    assert row["person_id"] == "'=HYPERLINK(1)"
    assert row["name"] == '\'@Zoë, "the" 김'
    assert (row["seq"], row["direction"], row["time_utc"]) == ("1", "in", "2026-03-02T12:00:00+00:00")


@pytest.mark.parametrize(
    ("becomes", "column", "value"),
    [
        (Voided(), "void", ""),
        (OtherTime(NOON), "time", "2026-03-02T12:00:00+00:00"),
        (OtherDirection(Direction.OUT), "direction", "out"),
        (OtherPerson("E2"), "person_id", "E2"),
    ],
    ids=["void", "time", "direction", "person"],
)
def test_csv_says_what_a_correction_changes(
    tmp_path: Path, becomes: Becomes, column: str, value: str
) -> None:
    """Which check-in, which column, the new value, and who said so; a check-in leaves these empty."""
    punch, path = event(), tmp_path / "feed.csv"
    correction = event(2, wire.event_hash(punch), punch=correction_of(punch, becomes))
    with closing(csv_store(path)) as store:
        store.commit([arrival(punch), arrival(correction)], [])

    first, second = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
    told = ("corrects", "becomes", "value", "by")
    assert [first[name] for name in told] == [""] * 4
    assert [second[name] for name in told] == [f"door/{punch.epoch}/1", column, value, "hr.lee"]


@pytest.mark.parametrize("kept", [0.0, 0.3, 1.0])
def test_crash_between_state_and_text_is_repaired(tmp_path: Path, kept: float) -> None:
    """However much of the last lines reached the disk, opening completes them: none missing, none twice."""
    events = chain(4)
    path = tmp_path / "feed.jsonl"
    store = jsonl_store(path)
    store.commit([arrival(sent) for sent in events[:2]], [])
    before = path.stat().st_size
    with closing(sqlite3.connect(f"{path}.state")) as state:
        written = state.execute("SELECT number, size FROM written").fetchone()
    store.commit([arrival(sent) for sent in events[2:]], [])
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[: before + int(kept * (len(content) - before))])
    with sqlite3.connect(f"{path}.state") as state:
        state.execute("UPDATE written SET number = ?, size = ?", written)
    state.close()

    jsonl_store(path).close()

    assert path.read_bytes() == content
    assert [json.loads(line)["id"]["seq"] for line in content.splitlines()] == [1, 2, 3, 4]


@pytest.mark.parametrize("opened", [csv_store, jsonl_store])
@pytest.mark.parametrize("kept", [b"id,name\nE1,Ada", b'{"schema":"other/v1"}\n', COLUMN_NAMES, b"\n"])
def test_file_of_somebody_else_is_left_alone(
    tmp_path: Path, opened: Callable[[Path], LinesFeedStore], kept: bytes
) -> None:
    """HR's roster named by mistake: refused, with not a byte changed and nothing made beside it."""
    path = tmp_path / "roster"
    path.write_bytes(kept)

    with pytest.raises(
        InputError, match=r"roster is not empty, and roster\.state, .* is not there: name a new"
    ):
        opened(path)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("opened", [csv_store, jsonl_store])
@pytest.mark.parametrize("is_written", [False, True], ids=["never written", "written"])
def test_other_file_in_place_of_ours_is_left_alone(
    tmp_path: Path, opened: Callable[[Path], LinesFeedStore], *, is_written: bool
) -> None:
    """The state beside it is the feed's, the file is not."""
    path = tmp_path / "feed"
    with closing(opened(path)) as store:
        store.commit([arrival(sent) for sent in chain(2) if is_written], [])
    path.write_bytes(b"id,name\nE1,Ada\n")

    with pytest.raises(InputError, match="does not begin like a file of this feed"):
        opened(path)
    assert path.read_bytes() == b"id,name\nE1,Ada\n"


def test_csv_file_is_no_place_for_json_lines(tmp_path: Path) -> None:
    """Nor the other way round."""
    for first, second in ((csv_store, jsonl_store), (jsonl_store, csv_store)):
        path = tmp_path / first.__name__
        with closing(first(path)) as store:
            store.commit([arrival(chain(1)[0])], [])
        with pytest.raises(InputError, match="does not begin like a file of this feed"):
            second(path)


def test_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A misspelt path is no place for punches."""
    with pytest.raises(InputError, match=r"there is no folder .*nodir: make it, or name a file elsewhere"):
        csv_store(tmp_path / "nodir" / "a.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", [1, 40])
def test_last_line_that_lost_its_end_takes_no_event_with_it(tmp_path: Path, missing: int) -> None:
    """An editor left it out, or cut the line: what comes begins on a line of its own."""
    events, path = [arrival(sent) for sent in chain(3)], tmp_path / "feed.jsonl"
    with closing(jsonl_store(path)) as store:
        store.commit(events[:2], [])
    path.write_bytes(path.read_bytes()[:-missing])
    with closing(jsonl_store(path)) as store:
        store.commit(events[2:], [])

    lines = path.read_bytes().splitlines()
    assert len(lines) == 3
    assert (lines[0], lines[2]) == (events[0].payload, events[2].payload)


@pytest.mark.parametrize("kept", [0, 7, 300])
def test_file_that_was_moved_away_is_begun_anew(tmp_path: Path, kept: int) -> None:
    """With its header and what is new, even if the first write was torn."""
    events, path = [arrival(sent) for sent in chain(3)], tmp_path / "feed.csv"
    with closing(csv_store(path)) as store:
        store.commit(events[:2], [])
        written = store._state._database.execute("SELECT number, size FROM written").fetchone()
    path.rename(tmp_path / "last-month.csv")
    with closing(csv_store(path)) as store:
        store.commit(events[2:], [])
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    with sqlite3.connect(f"{path}.state") as state:
        state.execute("UPDATE written SET number = ?, size = ?", written)
    state.close()

    csv_store(path).close()

    assert path.read_bytes() == whole
    assert [row["seq"] for row in csv.DictReader(whole.decode("utf-8-sig").splitlines())] == ["3"]


@pytest.mark.parametrize("opened", [csv_store, jsonl_store])
@pytest.mark.parametrize("deleted", [False, True], ids=["moved", "deleted"])
def test_file_that_is_moved_away_while_the_feed_runs_takes_no_later_event_with_it(
    tmp_path: Path, opened: Callable[[Path], LinesFeedStore], *, deleted: bool
) -> None:
    """At any time: what comes then is in a file begun anew, as a restart would begin it."""
    events, path, taken = [arrival(sent) for sent in chain(3)], tmp_path / "feed", tmp_path / "last-month"
    with closing(opened(path)) as store:
        store.commit(events[:2], [])
        path.rename(taken)
        before = taken.read_bytes()
        if deleted:
            taken.unlink()
        store.commit(events[2:], [])
    with closing(opened(tmp_path / "other")) as other:
        other.commit(events[2:], [])

    assert path.read_bytes() == (tmp_path / "other").read_bytes()
    assert deleted or taken.read_bytes() == before


def test_other_file_put_in_place_while_the_feed_runs_is_left_alone(tmp_path: Path) -> None:
    """Said like a full disk, and nothing counts as taken until it is moved away."""
    events, path = [arrival(sent) for sent in chain(2)], tmp_path / "feed.jsonl"
    with closing(jsonl_store(path)) as store:
        store.commit(events[:1], [])
        path.rename(tmp_path / "last-month.jsonl")
        path.write_bytes(b"id,name\nE1,Ada\n")

        with pytest.raises(StoreError, match="does not begin like a file of this feed"):
            store.commit(events[1:], [])
        with pytest.raises(StoreError, match="does not begin like a file of this feed"):
            store.heads()
        assert path.read_bytes() == b"id,name\nE1,Ada\n"
        path.unlink()
        store.heads()

    assert path.read_bytes() == events[1].payload + b"\n"


def test_disk_that_is_full_for_a_moment_leaves_no_acknowledged_event_out_of_the_text(tmp_path: Path) -> None:
    """The kiosk sends again what the state has already: acknowledged once its lines are in the file."""
    events, path = chain(2), tmp_path / "feed.jsonl"

    class Full(io.FileIO):
        def write(self, _text: Any, /) -> int:  # Any: whatever typeshed calls a buffer
            raise OSError(errno.ENOSPC, "No space left on device")

    script = Script(events)
    with closing(jsonl_store(path)) as store:
        good, store._out = store._out, Full(path, "r+")
        for _ in range(2):
            with pytest.raises(StoreError, match="No space left"):
                listen(script, store, *events)
        assert script.acknowledged == []
        store._out.close()
        store._out = good
        listen(script, store, *events)

    assert script.acknowledged[-1].up_to == 2
    assert path.read_bytes().splitlines() == [wire.encode_event(sent) for sent in events]


def test_disk_that_takes_a_part_of_a_write_gets_the_rest(tmp_path: Path) -> None:
    """The operating system may take less than it was given without an error."""
    events, path = [arrival(sent) for sent in chain(2)], tmp_path / "feed.jsonl"

    class Slow(io.FileIO):
        def write(self, text: Any, /) -> int:  # Any: whatever typeshed calls a buffer
            return super().write(bytes(text)[:100])

    with closing(jsonl_store(path)) as store:
        store._out.close()
        store._out = Slow(path, "r+")
        store.commit(events, [])

    assert path.read_bytes().splitlines() == [one.payload for one in events]


def test_two_feeds_on_one_file_write_each_line_once(tmp_path: Path) -> None:
    """The second one comes while the first has looked where to write, and has not written."""
    events, path = [arrival(sent) for sent in chain(2)], tmp_path / "feed.jsonl"

    class Meeting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes | Any:  # Any: as typeshed has it
            there = super().read(size)
            with suppress(StoreError):  # locked
                second.commit(events, [])
            return there

    with closing(jsonl_store(path)) as first, closing(jsonl_store(path)) as second:
        with second._state.open() as database:
            database.execute("PRAGMA busy_timeout = 0")
        first._out.close()
        first._out = Meeting(path, "r+")
        first.commit(events, [])
        second.commit(events, [])

    assert path.read_bytes().splitlines() == [one.payload for one in events]


def test_hr_reads_the_table_while_the_feed_writes(store: SqliteFeedStore, tmp_path: Path) -> None:
    """Plain SQL on a plain table."""
    listen(Script(chain(3)), store, *chain(3))

    reader = sqlite3.connect(tmp_path / "feed.db")
    rows = reader.execute("SELECT seq, person_id, direction FROM checkins ORDER BY number").fetchall()
    reader.close()

    assert rows == [(1, "E1", "in"), (2, "E2", "in"), (3, "E3", "in")]


def test_committing_an_event_twice_changes_nothing(store: SqliteFeedStore) -> None:
    """The table's key is the event's identity."""
    arrivals = [arrival(sent) for sent in chain(2)]

    store.commit(arrivals, [])
    store.commit(arrivals, [])

    with store.open() as database:
        assert database.execute("SELECT count(*) FROM checkins").fetchone() == (2,)


def test_sequence_asks_for_what_is_missing_and_then_hands_all_out() -> None:
    """The pure core: hold, ask, release in order."""
    first, second, third = (arrival(sent) for sent in chain(3))
    sequence = Sequence()

    assert sequence.take(third, known_hash=None) == Missing(1, 2)
    assert sequence.take(first, known_hash=None) == Ready((first,))
    assert sequence.take(second, known_hash=None) == Ready((second, third))
    assert sequence.take(second, known_hash=second.hash) == Known()
    fork = sequence.take(second, known_hash="other")
    assert isinstance(fork, StreamTrouble)
    assert fork.kind is TroubleKind.FORK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "mqtt://"),
        ("broker", "does not begin with mqtt://"),
        ("http://broker", "does not begin with mqtt://"),
        ("mqtt://", "names no host"),
        ("mqtt://:1883", "names no host"),
        ("mqtt://b:99999", "wrong port"),
        ("mqtt://b:abc", "wrong port"),
        ("mqtt://b:0", "port 0"),
        ("mqtt://b/topic", "behind the port"),
        ("mqtt://[::1", "wrong port or host"),
        ("mqtt://b?ca=/x", "certificates need mqtts"),
        ("mqtts://b?ca=/nowhere.pem", "does not exist"),
        ("mqtts://b?verify=no", "none of ca, cert, key"),
        ("mqtts://b?cert=/x", "go together"),
    ],
)
def test_wrong_broker_address_is_refused_in_words(text: str, words: str) -> None:
    """Each says what is wrong and shows a right one."""
    with pytest.raises(SettingsError, match=words):
        parse_broker_url(text)


def test_certificate_in_somebody_elses_folder_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the service's own folder, looked at by another user."""

    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)

    with pytest.raises(SettingsError, match=r"the ca file /x/ca\.crt: Permission denied"):
        parse_broker_url("mqtts://b?ca=/x/ca.crt")


def test_broker_address_is_read_and_never_shows_the_password() -> None:
    """Percent signs are decoded; what goes to logs has no secrets."""
    url = parse_broker_url("mqtts://hr%40corp:p%3Aw@broker.example")

    assert (url.host, url.port, url.tls, url.user, url.password) == (
        "broker.example",
        8883,
        True,
        "hr@corp",
        "p:w",
    )
    assert "p:w" not in repr(url)
    assert str(url) == "mqtts://broker.example:8883"
    assert parse_broker_url("mqtt://[::1]:1884").host == "::1"


@pytest.mark.broker
def test_wrong_password_is_told_apart(mosquitto: str, tmp_path: Path) -> None:
    """Not "connection lost": the broker said no, and why."""
    (tmp_path / "passwords").write_text("")
    broker = Mosquitto(
        mosquitto, tmp_path, settings=f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}"
    )
    broker.start()
    url = replace(parse_broker_url(broker.url), user="hr", password="wrong")  # noqa: S106  # it is wrong

    with pytest.raises(FeedError, match=r"refuses the connection: .*(password|rights)"):
        open_link(url, Greeting("hr"))
    broker.kill()


def test_database_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    """Every event, its place in the chain and what HR reads are there after the migration, once and twice."""
    events = chain(3)
    path = tmp_path / "feed.db"
    old = open_database(path, schema=Schema(FEED.application_id, FEED.migrations[:1]))
    for sent in events:
        values = {
            "kiosk": sent.kiosk, "epoch": sent.epoch, "seq": sent.seq, "hash": wire.event_hash(sent),
            "person_id": sent.check_in.person_id, "time": sent.check_in.moment.wall.isoformat(),
            "payload": wire.encode_event(sent).decode(),
        }  # fmt: skip
        old.conn.execute(
            """
            INSERT INTO checkins (kiosk, epoch, seq, site, person_id, direction, time, time_utc, clock, score,
                threshold, model_sha256, method, reason, chained, hash, payload)
            VALUES (:kiosk, :epoch, :seq, 'hq', :person_id, 'in', :time, :time, 'synchronised', 0.6, 0.4,
                'ab', 'face', 'recognised', 1, :hash, :payload)
            """,
            values,
        )
    old.conn.execute("INSERT INTO streams VALUES ('door', ?, 3, ?)", (EPOCH, wire.event_hash(events[2])))
    old.conn.close()

    SqliteFeedStore(path).close()
    store = SqliteFeedStore(path)

    assert [parcel.event for parcel in store.after(0, 9)] == events
    assert store.heads() == {KEY: Head(3, wire.event_hash(events[2]))}
    with store.open() as database:
        joined = "SELECT c.seq, c.person_id, e.boot_id FROM checkins c JOIN events e USING (seq)"
        rows = database.execute(joined).fetchall()
    store.close()
    assert rows == [(1, "E1", "boot-1"), (2, "E2", "boot-1"), (3, "E3", "boot-1")]
