"""The feed for programs of somebody's own: nothing is missed, whatever happens to the program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.fake_broker import URL, FakeBroker
from tests.device.punches import EPOCH, chain, moment

from glancein.domain import wire
from glancein.domain.intake import read_arrival
from glancein.errors import InputError, SettingsError
from glancein.feed import Feed, FeedRules, open_store
from glancein.mqtt.broker_url import BrokerUrl
from glancein.mqtt.link import Connection, Greeting, Message
from glancein.types import Correction, Event, Voided

ONCE = FeedRules(follow=False, idle_s=0.1, consumer="hr")


class Sender:
    """A broker that sends these events to whoever subscribes."""

    def __init__(self, *events: Event) -> None:
        self.broker = FakeBroker()
        self.events = events

    def connect(self, url: BrokerUrl, greeting: Greeting) -> Connection:
        """Subscribe, and get them all."""
        assert url.host == URL.host
        made = self.broker.connect(url, greeting)
        for event in self.events:
            self.broker.route(Message(wire.topic("hq", "door", "event"), wire.encode_event(event)))
        return made

    def feed(self, store: Path | None, consumer: str = "payroll") -> Feed:
        """Listen to it."""
        rules = replace(ONCE, consumer=consumer)
        return Feed(f"mqtt://{URL.host}", store=store, rules=rules, connect=self.connect)

    def acknowledged(self) -> list[int]:
        """The numbers up to which the kiosk may forget."""
        acks = [message for message in self.broker.seen if message.topic.endswith("/ack")]
        return [wire.decode_acknowledgement(message.payload).up_to for message in acks]


def test_event_that_was_not_committed_comes_again(tmp_path: Path) -> None:
    """The program died at the third event; its next start begins there, another program at the beginning."""
    sender = Sender(*chain(4))
    with sender.feed(tmp_path / "feed.db") as feed:
        for event in feed:
            if event.event.seq == 3:
                break
            event.commit()

    with sender.feed(tmp_path / "feed.db") as again:
        rest = [event.id for event in again]
    with sender.feed(tmp_path / "feed.db", consumer="door-sign") as other:
        everything = [event.event.seq for event in other]

    assert rest == [f"door/{EPOCH}/3", f"door/{EPOCH}/4"]
    assert everything == [1, 2, 3, 4]
    assert sender.acknowledged()[0] == 4  # safe in the store, so the kiosk need not wait for the program


def test_without_a_store_the_program_itself_is_the_store() -> None:
    """Nothing is acknowledged but what it commits."""
    sender = Sender(*chain(3))
    for event in sender.feed(None):
        if event.event.seq <= 2:
            event.commit()

    assert sender.acknowledged() == [2]


def test_store_alone_can_be_read(tmp_path: Path) -> None:
    """The service fills it, the program reads; what was voided is no punch."""
    events = chain(2)
    body = Correction(events[0].id, Voided(), "test", "hr-1", moment(9))
    undone = Event("hq", "door", EPOCH, 3, wire.event_hash(events[1]), body)
    store = open_store(tmp_path / "feed.db")
    store.commit([read_arrival(wire.encode_event(event)) for event in (*events, undone)], [])

    with Feed(None, store=store, rules=ONCE) as feed:
        seen = [(event.event.seq, event.punch and event.punch.person_id) for event in feed]

    assert seen == [(1, None), (2, "E2"), (3, None)]
    store.close()


def test_feed_without_anything_to_read_is_refused() -> None:
    """In words."""
    with pytest.raises(InputError, match="a broker to listen to, a store to read, or both"):
        Feed(None)
    with pytest.raises(SettingsError, match="mqtt://"):
        Feed("broker.example")


def test_address_that_is_none_is_refused_without_repeating_it() -> None:
    """It may hold a password."""
    pytest.importorskip("psycopg", reason="needs pip install glancein[postgres]")

    with pytest.raises(SettingsError, match="no PostgreSQL address") as refused:
        open_store("postgresql://hr:secret@/x?nonsense=1")
    assert "secret" not in str(refused.value)
