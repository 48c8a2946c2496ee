"""A broker in memory that keeps the promises of MQTT at QoS 1, and breaks them on request."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable

from glancein.errors import FeedError
from glancein.mqtt.broker_url import BrokerUrl
from glancein.mqtt.link import Greeting, Happening, Lost, Message, Receipt

URL = BrokerUrl("fake", 1883)


class FakeBroker:
    """Routes messages between its connections.

    ``drop`` decides which ones vanish although they were acknowledged.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.connections: list[FakeConnection] = []
        self.retained: dict[str, Message] = {}
        self.seen: list[Message] = []
        self.drop: Callable[[Message], bool] = lambda _: False
        self.answer: Callable[[Message], tuple[bool, str]] = lambda _: (True, "Success")
        self.is_final: Callable[[Message], bool] = lambda _: False  # what it will never take
        self.down = False
        self.attempts = 0

    def connect(self, url: BrokerUrl, greeting: Greeting) -> FakeConnection:
        """Stands in for ``open_link``."""
        with self.lock:
            self.attempts += 1
            if self.down:
                raise FeedError(
                    f"cannot reach the broker {url}: nothing listens there; is the broker running?"
                )
            connection = FakeConnection(self, greeting)
            self.connections.append(connection)
            for message in self.retained.values():
                connection.offer(message)
            return connection

    def route(self, message: Message) -> None:
        """Hand a message to whoever listens."""
        with self.lock:
            self.seen.append(message)
            if message.retain:
                self.retained[message.topic] = message
            if self.drop(message):
                return
            for connection in self.connections:
                connection.offer(Message(message.topic, message.payload))

    def cut(self, name: str = "") -> None:
        """Lose every connection whose client's name contains this; their last wills are published."""
        with self.lock:
            lost = [c for c in self.connections if name in c.greeting.client_id]
            for connection in lost:
                connection.lose()
        for connection in lost:
            if connection.greeting.will is not None:
                self.route(connection.greeting.will)


class FakeConnection:
    """Implements Connection."""

    def __init__(self, broker: FakeBroker, greeting: Greeting) -> None:
        self.greeting = greeting
        self._broker = broker
        self._waiting: deque[Happening] = deque()
        self._news = threading.Condition()
        self._woken = False
        self._tokens = itertools.count(1)

    def publish(self, message: Message) -> int:
        """Queue a message at QoS 1; the token comes back in its receipt."""
        token = next(self._tokens)
        if self in self._broker.connections:
            delivered, words = self._broker.answer(message)
            is_final = self._broker.is_final(message)
            if delivered and not is_final:
                self._broker.route(message)
            is_denied = not delivered and words == "Not authorized"
            self._put(Receipt(token, delivered and not is_final, words, is_final, is_denied))
        return token

    def wait(self, timeout_s: float) -> list[Happening]:
        """Whatever happened, waiting at most so long for something to happen."""
        with self._news:
            if not self._waiting and not self._woken:
                self._news.wait(timeout_s)
            self._woken = False
            happened = list(self._waiting)
            self._waiting.clear()
            return happened

    def wake(self) -> None:
        """End the wait now."""
        with self._news:
            self._woken = True
            self._news.notify()

    def close(self) -> None:
        """Part without a last will."""
        with self._broker.lock:
            if self in self._broker.connections:
                self._broker.connections.remove(self)

    def offer(self, message: Message) -> None:
        """Take a message in if it was subscribed to."""
        if any(matches(pattern, message.topic) for pattern in self.greeting.topics):
            self._put(message)

    def lose(self) -> None:
        """The network is gone."""
        self._broker.connections.remove(self)
        self._put(Lost("the cable was pulled"))

    def _put(self, happening: Happening) -> None:
        with self._news:
            self._waiting.append(happening)
            self._news.notify()


def matches(pattern: str, topic: str) -> bool:
    """MQTT 3.1.1, section 4.7, for filters without ``#``."""
    wanted, given = pattern.split("/"), topic.split("/")
    return len(wanted) == len(given) and all(w in {"+", g} for w, g in zip(wanted, given, strict=True))
