"""The head office's database server killed in the middle of its work: nothing is lost, nothing doubled."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from tests.device.postgres_server import PostgresServer
from tests.device.punches import EPOCH, chain
from tests.faults.promises import Promises

from glancein.domain import wire
from glancein.domain.intake import read_arrival
from glancein.errors import StoreError
from glancein.types import Arrival, StreamKey

KEY = StreamKey("door", EPOCH)
AT_ONCE = 3


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of its own."""
    running = PostgresServer()
    try:
        running.start()
        yield running
    finally:
        running.remove()


class Consumer:
    """Commits a stream as a feed does: behind what the store says it has, and again after a failure."""

    def __init__(self, dsn: str, arrivals: list[Arrival]) -> None:
        from glancein.adapters.feed_postgres import PostgresFeedStore  # noqa: PLC0415  # an extra

        self.store = PostgresFeedStore(dsn)
        self.acknowledged = 0  # what a kiosk was told is safe
        self.lost = 0
        self.failures = 0
        self._arrivals = arrivals
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Stop between two commits."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set() and self.acknowledged < len(self._arrivals):
            try:
                head = self.store.heads().get(KEY)
                behind = head.seq if head is not None else 0
                self.lost += max(0, self.acknowledged - behind)
                while not self._stopping.is_set() and behind < len(self._arrivals):
                    self.store.commit(self._arrivals[behind : behind + AT_ONCE], [])
                    behind = min(behind + AT_ONCE, len(self._arrivals))
                    self.acknowledged = behind
            except StoreError:
                self.failures += 1
                self._stopping.wait(0.05)


def kill_at_random(server: PostgresServer, consumer: Consumer, *, kills: int, rng: random.Random) -> None:
    """Wait until it works, let it work a moment, kill the server, start it again."""
    for _ in range(kills):
        before = consumer.acknowledged
        deadline = time.monotonic() + 120
        while consumer.acknowledged <= before:
            assert time.monotonic() < deadline, "the consumer did not come back"
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        server.kill()
        server.start()


def check(server: PostgresServer, promises: Promises, *, kills: int) -> None:
    """Kill so often, then compare what is there with what was sent."""
    events = chain(6000)
    arrivals = [read_arrival(wire.encode_event(event)) for event in events]
    consumer = Consumer(server.empty(), arrivals)

    kill_at_random(server, consumer, kills=kills, rng=random.Random(7))
    consumer.end()
    there = [parcel.event.seq for parcel in consumer.store.after(0, len(events))]
    consumer.store.close()

    acknowledged = consumer.acknowledged
    lost = consumer.lost + len(set(range(1, acknowledged + 1)) - set(there))
    doubled = len(there) - len(set(there))
    print(f"\n{kills} kills, {acknowledged} acknowledged, {len(there)} there, lost {lost}, doubled {doubled}")
    promises.record(
        "PostgreSQL killed mid-commit: nothing lost or doubled", trials=kills, failures=lost + doubled
    )
    assert consumer.failures > 0
    assert (lost, doubled) == (0, 0)
    assert there == list(range(1, len(there) + 1))


@pytest.mark.faults
def test_killed_server_loses_and_doubles_nothing(server: PostgresServer, promises: Promises) -> None:
    """Three times."""
    check(server, promises, kills=3)


@pytest.mark.faults
@pytest.mark.heavy
def test_server_killed_often_loses_and_doubles_nothing(server: PostgresServer, promises: Promises) -> None:
    """Fifty times."""
    check(server, promises, kills=50)
