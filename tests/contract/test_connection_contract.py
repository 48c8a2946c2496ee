"""What every connection to a broker promises: the fake's, the embedded broker's, mosquitto's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.contract.fake_broker import URL, FakeBroker
from tests.device.brokers import Mosquitto

from glancein.adapters.broker_embedded import EmbeddedBroker
from glancein.mqtt.broker_url import parse_broker_url
from glancein.mqtt.link import Connection, Greeting, Happening, Message, Receipt, open_link

Opener = Callable[[Greeting], Connection]


@pytest.fixture(params=["fake", "embedded", pytest.param("mosquitto", marks=pytest.mark.broker)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """A way to connect to each broker in turn; whatever was opened is closed."""
    opened: list[Connection] = []
    match request.param:
        case "fake":
            fake = FakeBroker()
            end: Callable[[], object] = lambda: None  # noqa: E731  # nothing to end
            connect: Opener = lambda greeting: fake.connect(URL, greeting)  # noqa: E731
        case "embedded":
            embedded = EmbeddedBroker()
            embedded.start()
            end = embedded.stop
            connect = lambda greeting: open_link(parse_broker_url(embedded.url), greeting)  # noqa: E731
        case _:
            real = Mosquitto(request.getfixturevalue("mosquitto"), tmp_path)
            real.start()
            end = real.kill
            connect = lambda greeting: open_link(parse_broker_url(real.url), greeting)  # noqa: E731

    def open_and_remember(greeting: Greeting) -> Connection:
        opened.append(connect(greeting))
        return opened[-1]

    yield open_and_remember
    for connection in opened:
        connection.close()
    end()


def collect(connection: Connection, count: int, *, within_s: float = 10.0) -> list[Happening]:
    """What happens, until there are so many or time is over."""
    happened: list[Happening] = []
    deadline = time.monotonic() + within_s
    while len(happened) < count and time.monotonic() < deadline:
        happened += connection.wait(0.05)
    return happened


def test_message_reaches_the_subscriber_and_is_receipted(opener: Opener) -> None:
    """Published once, received once, and the token comes back."""
    listener = opener(Greeting("listener", topics=("a/+/event",)))
    sender = opener(Greeting("sender"))

    token = sender.publish(Message("a/b/event", b"hello"))

    assert collect(listener, 1) == [Message("a/b/event", b"hello")]
    assert collect(sender, 1) == [Receipt(token, delivered=True, words="Success")]


def test_messages_come_in_order(opener: Opener) -> None:
    """A burst larger than the window arrives complete and in order."""
    listener = opener(Greeting("listener", topics=("a/event",)))
    sender = opener(Greeting("sender"))

    tokens = {sender.publish(Message("a/event", b"%d" % number)) for number in range(150)}
    receipts: list[Happening] = []
    received: list[Happening] = []
    deadline = time.monotonic() + 20
    while (len(receipts) < 150 or len(received) < 150) and time.monotonic() < deadline:
        receipts += sender.wait(0.01)
        received += listener.wait(0.01)

    assert received == [Message("a/event", b"%d" % number) for number in range(150)]
    assert {receipt.token for receipt in receipts if isinstance(receipt, Receipt)} == tokens


def test_retained_message_waits_for_later_subscribers(opener: Opener) -> None:
    """State is there for whoever comes; an event is not."""
    sender = opener(Greeting("sender"))
    sender.publish(Message("a/state", b"on", retain=True))
    sender.publish(Message("a/event", b"gone"))
    collect(sender, 2)

    listener = opener(Greeting("listener", topics=("a/state", "a/event")))

    assert collect(listener, 2, within_s=0.5) == [Message("a/state", b"on", retain=True)]


def test_parting_in_peace_publishes_no_will(opener: Opener) -> None:
    """The will is for accidents."""
    listener = opener(Greeting("listener", topics=("a/state",)))
    opener(Greeting("sender", will=Message("a/state", b"off", retain=True))).close()

    assert collect(listener, 1, within_s=0.5) == []


def test_good_bye_is_heard_although_answers_are_on_their_way(opener: Opener) -> None:
    """Whoever parts right after publishing is heard, and no will overwrites the last words."""
    listener = opener(Greeting("listener", topics=("a/state",)))
    for number in range(30):
        leaver = opener(Greeting("leaver", will=Message("a/state", b"will", retain=True), topics=("b",)))
        leaver.publish(Message("b", b"comes back"))
        leaver.publish(Message("a/state", b"bye %d" % number, retain=True))
        leaver.close()

        assert collect(listener, 1) == [Message("a/state", b"bye %d" % number)]
    assert collect(listener, 1, within_s=0.1) == []


def test_wake_ends_the_wait(opener: Opener) -> None:
    """A thread that waits can be called."""
    connection = opener(Greeting("one"))
    connection.wait(0)
    connection.wake()
    before = time.monotonic()

    connection.wait(30.0)

    assert time.monotonic() - before < 5


def test_closed_connection_can_be_closed_again(opener: Opener) -> None:
    """Nothing happens, and waking it does nothing either."""
    connection = opener(Greeting("one"))

    connection.close()
    connection.close()
    connection.wake()
