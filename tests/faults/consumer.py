"""HR's consumer, to be killed."""

from __future__ import annotations

from pathlib import Path

from tests.faults.kiosk_writer import Say

from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.mqtt.broker_url import parse_broker_url


def follow(say: Say, database: str, broker: str) -> None:
    """Follow the feed until killed; each new event is said after it was committed."""
    store = SqliteFeedStore(Path(database))
    say(("ready", "", 0))
    for received in Feed(parse_broker_url(broker), store=store, rules=FeedRules(consumer="hr")):
        say(("stored", received.event.epoch, received.event.seq))
