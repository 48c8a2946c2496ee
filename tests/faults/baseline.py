"""What most gateways do, to compare with: a durable outbox whose rows go when the broker's PUBACK comes.

It is as good as that can be: every row is synced to disk before it is sent, what is not acknowledged is sent
again after a restart, and the subscriber has a persistent session, commits before it acknowledges, and
ignores what it knows.
"""

from __future__ import annotations

import itertools
import signal
import sqlite3
import threading
import time
from pathlib import Path

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from tests.faults.kiosk_writer import Say

from glancein.mqtt.broker_url import parse_broker_url

TOPIC = "baseline/event"
FAILURE = 0x80
SESSION_S = 3600


class Gateway:
    """An outbox in SQLite and a client that empties it."""

    def __init__(self, database: str, broker: str) -> None:
        self._lock = threading.Lock()
        self._rows: dict[int, int] = {}  # packet id -> row
        self._database = _open(database)
        self._client = _client("baseline-kiosk")
        self._client.on_publish = self._on_publish
        self._client.connect_async(*_address(broker))
        self._client.loop_start()
        with self._lock:
            for (row,) in self._database.execute("SELECT id FROM outbox ORDER BY id").fetchall():
                self._send(row)

    def record(self) -> int:
        """One more event, on disk when this returns, and on its way."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            row = self._database.execute("INSERT INTO events DEFAULT VALUES").lastrowid
            assert row is not None
            self._database.execute("INSERT INTO outbox (id) VALUES (?)", (row,))
            self._database.execute("COMMIT")
            self._send(row)
            return row

    def _send(self, row: int) -> None:
        self._rows[self._client.publish(TOPIC, str(row), qos=1).mid] = row

    def _on_publish(self, _client: Client, _data: object, mid: int, code: ReasonCode, _more: object) -> None:
        with self._lock:
            row = self._rows.pop(mid, None)
            if row is not None and code.value < FAILURE:
                self._database.execute("DELETE FROM outbox WHERE id = ?", (row,))


def work(say: Say, database: str, broker: str, pause_s: float) -> None:
    """Record without end."""
    gateway = Gateway(database, broker)
    say(("ready", "", 0))
    for _ in itertools.count():
        say(("shown", "", gateway.record()))
        time.sleep(pause_s)


def deliver(say: Say, database: str, broker: str) -> None:
    """Only send what the outbox holds."""
    gateway = Gateway(database, broker)
    say(("ready", "", 0))
    signal.pause()
    del gateway


def follow(say: Say, database: str, broker: str) -> None:
    """The subscriber: commits each event before its PUBACK goes out."""
    store = _open(database)
    client = _client("baseline-hr")

    def take(_client: Client, _data: object, message: MQTTMessage) -> None:
        store.execute("INSERT OR IGNORE INTO events (id) VALUES (?)", (int(message.payload),))

    def listen(
        client: Client, _data: object, _flags: ConnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        if not code.is_failure:
            client.subscribe(TOPIC, qos=1)

    client.on_message = take
    client.on_connect = listen
    lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's own gap
    lasting.SessionExpiryInterval = SESSION_S
    client.connect_async(*_address(broker), clean_start=False, properties=lasting)
    say(("ready", "", 0))
    client.loop_forever(retry_first_connection=True)


def events_in(database: Path) -> set[int]:
    """What was recorded, or what arrived."""
    return _ids(database, "SELECT id FROM events")


def waiting_in(database: Path) -> set[int]:
    """What no PUBACK came for."""
    return _ids(database, "SELECT id FROM outbox")


def _ids(database: Path, sql: str) -> set[int]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return {row[0] for row in connection.execute(sql)}
    finally:
        connection.close()


def _open(database: str) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=30)
    connection.executescript(
        """
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY);
        CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY);
        """
    )
    return connection


def _client(name: str) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
    client.reconnect_delay_set(1, 1)
    return client


def _address(broker: str) -> tuple[str, int]:
    url = parse_broker_url(broker)
    return url.host, url.port
