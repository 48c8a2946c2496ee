"""Faults between kiosk, broker and consumer: whatever happens to single packets, every event arrives once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.device.brokers import Mosquitto, wait_until
from tests.device.punches import check_in, moment
from tests.faults.history import Verdict, check
from tests.faults.promises import Promises
from tests.faults.proxy import Faults, MqttProxy

from glancein.adapters.clock_system import SystemClock
from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.publisher_mqtt import Address, MqttPublisher, PublisherRules
from glancein.mqtt import link
from glancein.mqtt.broker_url import parse_broker_url

WITHIN_S = 900.0
RULES = PublisherRules(ack_timeout_s=1.0, backoff_s=0.05, longest_s=2.0)
PROMISE = "lost, repeated, reordered, delayed packets: nothing lost, nothing twice (events)"
pytestmark = [pytest.mark.faults, pytest.mark.broker]


class Line:
    """A kiosk and a consumer with a proxy between them and a lossy broker."""

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        self._broker = Mosquitto(program, folder)
        self._broker.start()
        self.proxy = MqttProxy(self._broker.port)
        self.proxy.start()
        address = Address(parse_broker_url(self.proxy.url), "hq", "door")
        self.ledger = SqliteLedger(folder / "door.db", site="hq", kiosk="door")
        self.publisher = MqttPublisher(address, self.ledger, clock=SystemClock(), rules=RULES)
        self._store = SqliteFeedStore(folder / "feed.db")
        self.feed = Feed(
            address.url, store=self._store, rules=FeedRules(consumer="hr"), on_error=lambda _: None
        )
        self._reader = threading.Thread(target=lambda: list(self.feed), name="hr")
        self._reader.start()
        self.publisher.start()

    def punch(self, count: int, *, pause_s: float = 0.0) -> None:
        """So many people check in."""
        for number in range(count):
            self.ledger.record(check_in(f"E{number}", at=moment(number)))
            self.publisher.wake()
            time.sleep(pause_s)

    def drained(self) -> bool:
        """True once the outbox is empty."""
        return wait_until(lambda: self.ledger.position().backlog == 0, within_s=WITHIN_S)

    def verdict(self) -> Verdict:
        """What arrived against what was recorded."""
        shown = [
            ("door", event.epoch, event.seq)
            for event in self.ledger.replay(self.ledger.position().epoch, 1, 100_000)
        ]
        return check(shown, [self._folder / "door.db"], self._folder / "feed.db")

    def end(self) -> None:
        """Stop everything."""
        self.proxy.heal()
        self.publisher.stop(5)
        self.feed.stop()
        self._reader.join()
        self._store.close()
        self.ledger.close()
        self.proxy.stop()
        self._broker.kill()


@pytest.fixture
def line(mosquitto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line that works, and clients that wait for the broker's answers two seconds instead of twenty."""
    monkeypatch.setattr(link, "ANSWER_WITHIN_S", 2.0)
    line = Line(mosquitto, tmp_path)
    yield line
    line.end()


@pytest.mark.parametrize(
    ("fault", "faults"),
    [
        ("swallowed", Faults(swallow=0.1)),
        ("lost PUBACK", Faults(lose_puback=0.3)),
        ("twice", Faults(twice=0.3)),
        ("overtaken", Faults(overtake=0.3)),
        ("cut", Faults(cut=0.02)),
        ("passed", Faults(delay_s=0.02)),
        ("passed", Faults(bytes_per_s=64_000)),
        ("twice", Faults(swallow=0.05, lose_puback=0.05, twice=0.1, overtake=0.1, cut=0.005)),
    ],
    ids=["swallow", "lose-puback", "twice", "overtake", "cut", "delay", "narrow", "everything"],
)
@pytest.mark.parametrize("events", [100, pytest.param(1000, marks=pytest.mark.heavy)], ids=["short", "long"])
def test_packets_mishandled_on_the_way(
    line: Line, promises: Promises, fault: str, faults: Faults, events: int
) -> None:
    """The faults go on while everything is delivered; no help comes at the end."""
    line.proxy.faults = faults
    line.punch(events)

    drained = line.drained()

    verdict = line.verdict()
    print(f"\n{dict(line.proxy.done)}\n{verdict}")
    promises.record(PROMISE, trials=verdict.recorded, failures=verdict.broken + (not drained))
    assert drained
    assert verdict.valid
    assert line.proxy.done[fault] > 0


def test_half_open_link_is_noticed_and_left(
    line: Line, promises: Promises, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is closed and nothing passes: the kiosk notices it by itself, and delivers after it."""
    monkeypatch.setattr(link, "ANSWER_WITHIN_S", 20.0)
    line.punch(20)
    assert line.drained()

    line.proxy.hush()
    line.punch(20)
    began = time.monotonic()
    noticed = wait_until(lambda: not line.publisher.state()["connected"], within_s=60)
    noticed_s = time.monotonic() - began
    line.proxy.heal()
    healed = time.monotonic()
    drained = line.drained()

    verdict = line.verdict()
    healed_s = time.monotonic() - healed
    print(f"\nnoticed after {noticed_s:.1f} s, drained {healed_s:.1f} s after healing\n{verdict}")
    promises.record(PROMISE, trials=verdict.recorded, failures=verdict.broken + (not drained))
    assert noticed
    assert drained
    assert verdict.valid
