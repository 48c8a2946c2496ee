"""The consumer is away while the kiosk records more than the broker queues: all of it comes on its return."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.device.brokers import Mosquitto, wait_until
from tests.device.postgres_server import PostgresServer
from tests.device.punches import check_in, moment
from tests.faults.promises import Promises
from tests.faults.test_backlog import fill

from glancein.adapters.clock_system import SystemClock
from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.publisher_mqtt import Address, MqttPublisher
from glancein.domain import wire
from glancein.mqtt.broker_url import parse_broker_url

if TYPE_CHECKING:
    from glancein.storage.feed_tables import FeedTables

QUEUE = "allow_anonymous true\nmax_queued_messages 1000"
PATIENCE_S = 600.0


def drain(folder: Path, broker: str, store: FeedTables, count: int) -> tuple[int, int, float]:
    """Lost, doubled, and the seconds from the consumer's return until it had so many events."""
    ledger = SqliteLedger(folder / "kiosk.db", site="hq", kiosk="door")
    publisher = MqttPublisher(Address(parse_broker_url(broker), "hq", "door"), ledger, clock=SystemClock())
    publisher.start()
    for number in range(count):
        ledger.record(check_in(f"E{number % 97}", at=moment(number)))
        publisher.wake()
    feed = Feed(parse_broker_url(broker), store=store, rules=FeedRules(consumer="hr"))
    seen: list[int] = []
    began = time.monotonic()
    thread = threading.Thread(target=lambda: seen.extend(received.event.seq for received in feed))
    thread.start()
    there = wait_until(lambda: feed.counts.new >= count, within_s=PATIENCE_S)
    took_s = time.monotonic() - began
    emptied = wait_until(lambda: not ledger.pending(1), within_s=PATIENCE_S)
    feed.stop()
    thread.join()
    publisher.stop(10)
    ledger.close()
    assert there
    assert emptied
    stored = [parcel.event.seq for parcel in store.after(0, 2 * count)]
    return count - len(set(stored)), len(stored) - len(set(stored)), took_s


def away(count: int, request: pytest.FixtureRequest, folder: Path, kind: str) -> tuple[int, int, float]:
    """Run it with that store over a broker that queues 1,000."""
    broker = Mosquitto(request.getfixturevalue("mosquitto"), folder, settings=QUEUE)
    server: PostgresServer | None = None
    if kind == "postgres":
        server = PostgresServer()
    try:
        broker.start()
        if server is None:
            store: FeedTables = SqliteFeedStore(folder / "feed.db")
        else:
            from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

            server.start()
            store = PostgresFeedStore(server.dsn())
        outcome = drain(folder, broker.url, store, count)
        store.close()
    finally:
        broker.kill()
        if server is not None:
            server.remove()
    return outcome


@pytest.mark.broker
@pytest.mark.faults
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_was_recorded_while_the_consumer_was_away_comes_when_it_is_back(
    request: pytest.FixtureRequest, tmp_path: Path, promises: Promises, kind: str
) -> None:
    """More than the broker would have queued."""
    lost, doubled, _ = away(1200, request, tmp_path, kind)

    promises.record("consumer away: nothing lost or doubled", trials=1200, failures=lost + doubled)
    assert (lost, doubled) == (0, 0)


@pytest.mark.broker
@pytest.mark.faults
@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_ten_thousand_events_are_drained_within_a_minute(
    request: pytest.FixtureRequest, tmp_path: Path, promises: Promises, kind: str
) -> None:
    """The consumer was away for all of them."""
    lost, doubled, took_s = away(10_000, request, tmp_path, kind)

    note = f"10,000 to {kind} drained in {took_s:.1f} s"
    print(f"\n{note}, lost {lost}, doubled {doubled}")
    promises.record(
        "consumer away: nothing lost or doubled", trials=10_000, failures=lost + doubled, note=note
    )
    assert (lost, doubled) == (0, 0)
    assert took_s <= 60


@pytest.mark.broker
@pytest.mark.faults
@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.heavy)], ids=["short", "long"])
def test_backlog_drains_alike_one_by_one_and_in_batches(
    mosquitto: str, tmp_path: Path, promises: Promises, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The same events to the same consumer; it asks for batches the second time. Both rates are printed."""
    broker = Mosquitto(mosquitto, tmp_path)
    broker.start()
    told = []
    for how, largest in (("one by one", 0), ("in batches", wire.LARGEST_BATCH)):
        monkeypatch.setattr(wire, "LARGEST_BATCH", largest)
        folder = tmp_path / how
        folder.mkdir()
        lost, doubled, took_s = waiting_drained(folder, broker.url, count)
        promises.record("consumer away: nothing lost or doubled", trials=count, failures=lost + doubled)
        told.append(f"{how} {count / took_s:.0f} a second")
        assert (lost, doubled) == (0, 0)
    broker.kill()

    note = f"{count} events {', '.join(told)}"
    print(f"\n{note}")
    promises.record("consumer away: nothing lost or doubled", trials=0, failures=0, note=note)


def waiting_drained(folder: Path, broker: str, count: int) -> tuple[int, int, float]:
    """So many wait already when consumer and kiosk connect: lost, doubled, and the seconds it took."""
    url = parse_broker_url(broker)
    ledger = SqliteLedger(folder / "kiosk.db", site="hq", kiosk="door")
    fill(ledger, count)
    store = SqliteFeedStore(folder / "feed.db")
    feed = Feed(url, store=store, rules=FeedRules(consumer="hr"))
    thread = threading.Thread(target=lambda: list(feed))
    thread.start()
    assert wait_until(lambda: feed.counts.connections == 1, within_s=PATIENCE_S)
    address = Address(url, "hq", "door")
    publisher = MqttPublisher(address, ledger, clock=SystemClock())
    began = time.monotonic()
    publisher.start()
    emptied = wait_until(lambda: not ledger.pending(1), within_s=PATIENCE_S)
    took_s = time.monotonic() - began
    feed.stop()
    thread.join()
    publisher.stop(10)
    ledger.close()
    stored = [parcel.event.seq for parcel in store.after(0, 2 * count)]
    store.close()
    assert emptied
    return count - len(set(stored)), len(stored) - len(set(stored)), took_s
