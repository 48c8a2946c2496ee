"""Kiosk and consumer on a network in memory, one step at a time.

The real publisher and the real feed run in threads of their own, but never at the same time: each stands
still in ``wait`` until it is handed what happened. What they publish lies on a table, where it can be
carried to its reader, in any order, or lost, or carried twice.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue

from tests.contract.fake_broker import matches

from glancein.mqtt.broker_url import BrokerUrl
from glancein.mqtt.link import Greeting, Happening, Lost, Message, Receipt

STILL_WITHIN_S = 60.0


class PowerCut(BaseException):
    """Nothing runs after this."""


class Actor:
    """A program in a thread that runs only while it is told to."""

    def __init__(self, work: Callable[[Actor], None]) -> None:
        self.link: StagedLink | None = None
        self.orders: SimpleQueue[list[Happening] | None] = SimpleQueue()
        self.publishes_left = -1  # the power is cut when this many more were published
        self._still: SimpleQueue[str] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self.is_dead = False
        self._thread.start()
        self._until_still()

    def hand(self, happenings: list[Happening]) -> None:
        """Let it go on with this, until it stands still again."""
        if not self.is_dead:
            self.orders.put(happenings)
            self._until_still()

    def kill(self) -> None:
        """It ends where it stands; nothing it would still do is done."""
        if not self.is_dead:
            self.orders.put(None)
            self._until_still()
        self._thread.join(STILL_WITHIN_S)

    def stand_still(self) -> list[Happening]:
        """Called by its own thread: wait for orders."""
        self._still.put("waiting")
        orders = self.orders.get()
        if orders is None:
            raise PowerCut
        return orders

    def count_publication(self) -> None:
        """Called by its own thread: die here if it is time."""
        if self.publishes_left == 0:
            raise PowerCut
        self.publishes_left -= 1

    def _until_still(self) -> None:
        self.is_dead = self._still.get(timeout=STILL_WITHIN_S) == "dead"

    def _run(self, work: Callable[[Actor], None]) -> None:
        try:
            with suppress(PowerCut):
                work(self)
        finally:
            if self.link is not None:
                self.link.is_up = False
            self._still.put("dead")


@dataclass(slots=True)
class Table:
    """The network: what is under way to whom, and the broker's retained messages."""

    under_way: list[tuple[StagedLink, Happening]] = field(default_factory=list)
    retained: dict[str, Message] = field(default_factory=dict)
    links: list[StagedLink] = field(default_factory=list)

    def connect(self, actor: Actor) -> Callable[[BrokerUrl, Greeting], StagedLink]:
        """What stands in for ``open_link`` in this actor."""

        def connect(_url: BrokerUrl, greeting: Greeting) -> StagedLink:
            link = StagedLink(self, actor, greeting)
            actor.link = link
            self.links.append(link)
            for message in list(self.retained.values()):
                self.offer(link, message)
            return link

        return connect

    def route(self, sender: StagedLink, token: int, message: Message) -> None:
        """As a broker without a memory: to whoever listens now, and an answer that it went well."""
        if message.retain:
            self.retained[message.topic] = message
        self.links = [link for link in self.links if link.is_up]
        for link in self.links:
            self.offer(link, Message(message.topic, message.payload))
        self.under_way.append((sender, Receipt(token, delivered=True, words="Success")))

    def offer(self, link: StagedLink, message: Message) -> None:
        """Put it on the way if that one listens to it."""
        if any(matches(pattern, message.topic) for pattern in link.greeting.topics):
            self.under_way.append((link, message))

    def carry(self, index: int, *, again: bool = False) -> None:
        """Hand over one thing that is under way."""
        link, happening = self.under_way[index] if again else self.under_way.pop(index)
        if link.is_up:
            link.actor.hand([happening])

    def cut(self, actor: Actor) -> None:
        """The connection is lost, and what was under way on it."""
        link = actor.link
        if link is None or not link.is_up:
            return
        link.is_up = False
        self.under_way = [(other, what) for other, what in self.under_way if other is not link]
        if link.greeting.will is not None:
            self.route(link, -1, link.greeting.will)
        actor.hand([Lost("the cable was pulled")])

    def forget(self) -> None:
        """The broker was killed: nothing is under way or retained any more."""
        self.under_way.clear()
        self.retained.clear()


class StagedLink:
    """Implements Connection."""

    def __init__(self, table: Table, actor: Actor, greeting: Greeting) -> None:
        self.actor = actor
        self.greeting = greeting
        self.is_up = True
        self._table = table
        self._tokens = itertools.count(1)

    def publish(self, message: Message) -> int:
        """Put a message on the table."""
        token = next(self._tokens)
        if self.is_up:
            self.actor.count_publication()
            self._table.route(self, token, message)
        return token

    def wait(self, timeout_s: float) -> list[Happening]:  # noqa: ARG002  # time stands still here
        """Stand still until something is handed over."""
        return self.actor.stand_still()

    def wake(self) -> None:
        """Who stands still looks by itself when it goes on."""

    def close(self) -> None:
        """Part."""
        self.is_up = False
