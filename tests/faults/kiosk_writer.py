"""A kiosk without camera and screen, to be killed.

It records, says what a screen would show, and publishes.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable
from pathlib import Path

from glancein.adapters.clock_system import SystemClock
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.publisher_mqtt import Address, MqttPublisher, PublisherRules
from glancein.mqtt.broker_url import parse_broker_url
from glancein.types import CheckIn, Direction

# A small window: what gathers while somebody is dead comes in batches.
FAST = PublisherRules(window=20, ack_timeout_s=2.0, backoff_s=0.05, longest_s=0.5)
Say = Callable[[tuple[str, str, int]], None]


def work(say: Say, database: str, broker: str, pause_s: float) -> None:
    """Record without end; an event is said only after its commit, as the screen would show it."""
    ledger, publisher = _open(database, broker)
    say(("ready", "", 0))
    clock = SystemClock()
    for number in itertools.count():
        say(("attempt", "", number))
        event = ledger.record(CheckIn(f"E{number % 100}", Direction.IN, clock.now(), 0.6, 0.4, "ab" * 32))
        say(("shown", event.epoch, event.seq))
        publisher.wake()
        time.sleep(pause_s)


def deliver(say: Say, database: str, broker: str) -> None:
    """Nobody comes: only send what the outbox holds."""
    _open(database, broker)
    say(("ready", "", 0))
    signal.pause()


def _open(database: str, broker: str) -> tuple[SqliteLedger, MqttPublisher]:
    kiosk = Path(database).stem
    ledger = SqliteLedger(Path(database), site="hq", kiosk=kiosk)
    address = Address(parse_broker_url(broker), "hq", kiosk)
    publisher = MqttPublisher(address, ledger, clock=SystemClock(), rules=FAST)
    publisher.start()
    return ledger, publisher
