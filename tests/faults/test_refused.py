"""A broker that takes no event, or all but one: nothing leaves the outbox unseen, and it is said soon."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.device.brokers import Mosquitto, wait_until
from tests.device.punches import check_in, moment
from tests.faults.promises import Promises
from tests.faults.proxy import Faults, MqttProxy

from glancein.adapters.clock_system import SystemClock
from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.publisher_mqtt import Address, Delivery, MqttPublisher, PublisherRules
from glancein.domain import wire
from glancein.mqtt.broker_url import parse_broker_url
from glancein.types import TroubleKind

EVENTS = 40
WITHIN_S = 120.0
REPORTED_S = 10.0
# MQTT 5.0, section 3.4.2.1.
CODES = {
    0x10: "No matching subscribers",
    0x83: "Implementation specific error",
    0x87: "Not authorized",
    0x97: "Quota exceeded",
    0x99: "Payload format invalid",
}
STAYS = "denial, quota, no subscriber: stays in the outbox, reported within 10 s (events)"
LEFT_OUT = "one event refused for good: the others arrive, it is kept and told of (events)"
pytestmark = [pytest.mark.faults, pytest.mark.broker]


@pytest.fixture
def proxy(mosquitto: str, tmp_path: Path) -> Iterator[MqttProxy]:
    """Between a real broker and its clients."""
    broker = Mosquitto(mosquitto, tmp_path)
    broker.start()
    proxy = MqttProxy(broker.port)
    proxy.start()
    yield proxy
    proxy.stop()
    broker.kill()


def filled(folder: Path, count: int) -> SqliteLedger:
    """A kiosk's ledger with so many waiting check-ins."""
    ledger = SqliteLedger(folder / "door.db", site="hq", kiosk="door")
    for number in range(count):
        ledger.record(check_in(f"E{number:05}", at=moment(number)))
    return ledger


@pytest.mark.parametrize("delivery", list(Delivery))
@pytest.mark.parametrize("code", CODES, ids=hex)
def test_refused_events_stay_and_are_reported_soon(
    proxy: MqttProxy, tmp_path: Path, promises: Promises, code: int, delivery: Delivery
) -> None:
    """With the rules a kiosk has; the reason is in the broker's words."""
    proxy.faults = Faults(refuse_with=code)
    ledger = filled(tmp_path, EVENTS)
    address = Address(parse_broker_url(proxy.url), "hq", "door")
    publisher = MqttPublisher(address, ledger, clock=SystemClock(), rules=PublisherRules(delivery=delivery))
    publisher.start()
    assert wait_until(lambda: bool(publisher.state()["connected"]), within_s=WITHIN_S)
    began = time.monotonic()

    reported = wait_until(lambda: CODES[code] in str(publisher.state()["last_error"]), within_s=WITHIN_S)
    took_s = time.monotonic() - began

    waiting, aside = len(ledger.pending(2 * EVENTS)), ledger.laid_aside()
    publisher.stop(5)
    ledger.close()
    print(f"\n{CODES[code]}, {delivery}: reported after {took_s:.2f} s, {waiting} of {EVENTS} wait")
    late = " (too late)" if took_s > REPORTED_S else ""
    note = f"{CODES[code]} told after {took_s:.1f} s{late}"
    promises.record(STAYS, trials=EVENTS, failures=EVENTS - waiting, note=note)
    assert reported
    assert (waiting, aside) == (EVENTS, [])


@pytest.mark.parametrize("waiting", [EVENTS, pytest.param(2_000, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("code", [0x99, 0x90], ids=hex)
def test_one_event_that_is_refused_for_good_holds_up_nobody(
    proxy: MqttProxy, tmp_path: Path, promises: Promises, code: int, waiting: int
) -> None:
    """All others arrive once and whole; the one is kept at the kiosk, known at HR, and can be sent again.

    Who comes later with an empty database gets it once too.
    """
    poison = waiting // 2
    proxy.faults = Faults(refuse_with=code, refuse_what=f"E{poison:05}".encode())
    ledger = filled(tmp_path, waiting)
    store = SqliteFeedStore(tmp_path / "feed.db")
    url = parse_broker_url(proxy.url)
    feed = Feed(url, store=store, rules=FeedRules(consumer="hr"), on_error=lambda _: None)
    reader = threading.Thread(target=lambda: list(feed), name="hr")
    reader.start()
    publisher = MqttPublisher(Address(url, "hq", "door"), ledger, clock=SystemClock())
    publisher.start()

    emptied = wait_until(lambda: not ledger.pending(1), within_s=WITHIN_S)
    aside = [one.event.seq for one in ledger.laid_aside()]
    told = [(trouble.kind, trouble.seq) for trouble in store.troubles(9)]
    arrived = {parcel.event.seq for parcel in store.after(0, 2 * waiting)}
    proxy.heal()
    ledger.send_again()
    publisher.wake()
    sent_again = wait_until(lambda: not ledger.pending(1), within_s=WITHIN_S)
    later = SqliteFeedStore(tmp_path / "later.db")
    latecomer = Feed(url, store=later, rules=FeedRules(consumer="archive"), on_error=lambda _: None)
    catching_up = threading.Thread(target=lambda: list(latecomer), name="archive")
    catching_up.start()
    caught_up = wait_until(lambda: len(later.after(0, 2 * waiting)) >= waiting, within_s=WITHIN_S)
    history = Counter(parcel.event.check_in.person_id for parcel in later.after(0, 2 * waiting))
    for one, thread in ((feed, reader), (latecomer, catching_up)):
        one.stop()
        thread.join()
    later.close()
    publisher.stop(5)
    people = Counter(parcel.event.check_in.person_id for parcel in store.after(0, 2 * waiting))
    store.close()
    ledger.close()

    print(
        f"\n{CODES.get(code, hex(code))}: {len(arrived)} arrived, aside {aside}; in the end {people.total()}"
    )
    lost = waiting - 1 - len(arrived)
    promises.record(LEFT_OUT, trials=waiting, failures=lost + (aside != [poison + 1]))
    assert emptied
    assert arrived == set(range(1, waiting + 1)) - {poison + 1}
    assert (aside, told) == ([poison + 1], [(TroubleKind.LEFT_OUT, poison + 1)])
    assert sent_again
    assert people == Counter(f"E{number:05}" for number in range(waiting))
    assert caught_up
    assert history == people


def test_event_that_ends_every_connection_holds_up_nobody(
    mosquitto: str, tmp_path: Path, promises: Promises
) -> None:
    """A real mosquitto with a limit for messages: its answer to a larger one ends the connection."""
    broker = Mosquitto(mosquitto, tmp_path, settings="allow_anonymous true\nmessage_size_limit 520")
    broker.start()
    ledger = SqliteLedger(tmp_path / "door.db", site="hq", kiosk="door")
    long = replace(check_in("L" * 64, at=moment()), reason="r" * 64)
    sizes = [len(wire.encode_event(ledger.record(body))) for body in (long, check_in("E1"), check_in("E2"))]
    assert max(sizes[1:]) < 520 < sizes[0]
    store = SqliteFeedStore(tmp_path / "feed.db")
    url = parse_broker_url(broker.url)
    feed = Feed(url, store=store, rules=FeedRules(consumer="hr"), on_error=lambda _: None)
    reader = threading.Thread(target=lambda: list(feed), name="hr")
    reader.start()
    rules = PublisherRules(ack_timeout_s=1.0, backoff_s=0.05, longest_s=0.5)
    publisher = MqttPublisher(Address(url, "hq", "door"), ledger, clock=SystemClock(), rules=rules)
    publisher.start()

    emptied = wait_until(lambda: not ledger.pending(1), within_s=WITHIN_S)
    aside = [one.event.seq for one in ledger.laid_aside()]
    told = wait_until(lambda: [trouble.seq for trouble in store.troubles(9)] == [1], within_s=WITHIN_S)
    arrived = [parcel.event.seq for parcel in store.after(0, 9)]
    feed.stop()
    reader.join()
    publisher.stop(5)
    store.close()
    ledger.close()
    broker.kill()

    print(f"\nconnections made {feed.counts.connections}, arrived {arrived}, aside {aside}")
    promises.record(LEFT_OUT, trials=3, failures=2 - len(arrived) + (aside != [1]))
    assert emptied
    assert told
    assert (arrived, aside) == ([2, 3], [1])
