"""What most gateways do, to compare with: a durable outbox whose rows go when the broker's PUBACK comes.

It is as good as that can be: every row is synced to disk before it is sent, what is not acknowledged is sent
again after a restart, and the subscriber has a persistent session, commits before it acknowledges, and
ignores what it knows.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from queue import SimpleQueue

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
        self._answers: SimpleQueue[tuple[int, ReasonCode]] = SimpleQueue()
        self._rows: dict[int, int] = {}  # packet id -> row
        self._database = _open(database)
        self._client = _client("baseline-kiosk")
        # paho holds a lock of its own while it calls this: only note what it says.
        self._client.on_publish = lambda _client, _data, mid, code, _more: self._answers.put((mid, code))
        self._client.connect_async(*_address(broker))
        self._client.loop_start()
        for (row,) in self._database.execute("SELECT id FROM outbox ORDER BY id").fetchall():
            self._send(row)

    def record(self) -> int:
        """One more event, on disk when this returns, and on its way."""
        self._database.execute("BEGIN IMMEDIATE")
        row = self._database.execute("INSERT INTO events DEFAULT VALUES").lastrowid
        assert row is not None
        self._database.execute("INSERT INTO outbox (id) VALUES (?)", (row,))
        self._database.execute("COMMIT")
        self._send(row)
        return row

    def settle(self) -> None:
        """Delete what the broker has acknowledged."""
        while not self._answers.empty():
            mid, code = self._answers.get()
            row = self._rows.pop(mid, None)
            if row is not None and code.value < FAILURE:
                self._database.execute("DELETE FROM outbox WHERE id = ?", (row,))

    def _send(self, row: int) -> None:
        self._rows[self._client.publish(TOPIC, str(row), qos=1).mid] = row


def work(say: Say, database: str, broker: str, pause_s: float) -> None:
    """Record without end."""
    gateway = Gateway(database, broker)
    say(("ready", "", 0))
    while True:
        say(("shown", "", gateway.record()))
        gateway.settle()
        time.sleep(pause_s)


def deliver(say: Say, database: str, broker: str) -> None:
    """Only send what the outbox holds."""
    gateway = Gateway(database, broker)
    say(("ready", "", 0))
    while True:
        gateway.settle()
        time.sleep(0.05)


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
