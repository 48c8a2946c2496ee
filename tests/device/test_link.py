"""The connection to a broker that does not behave as one."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing

import pytest
from tests.device.brokers import odd_broker

from glancein.errors import FeedError
from glancein.mqtt import link as mqtt_link
from glancein.mqtt.broker_url import parse_broker_url
from glancein.mqtt.link import Greeting, Happening, Link, Lost, Message, open_link

LISTENING = Greeting("hr", topics=("a",))


def until_lost(link: Link, *, within_s: float = 10.0) -> list[Happening]:
    """What happens, up to the loss of the connection or until time is over."""
    happened: list[Happening] = []
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and not any(isinstance(one, Lost) for one in happened):
        happened += link.wait(0.1)
    return happened


def test_topic_that_is_no_text_ends_the_connection_in_words() -> None:
    """As MQTT 5 wants it (section 1.5.4), and without a traceback: whoever listens connects again."""
    with (
        odd_broker(b"\x30\x07\0\x04\xff\xfe\xff\xfe\0") as url,
        open_link(parse_broker_url(url), LISTENING) as link,
    ):
        assert link.wait(5.0) == [Lost("it sent text that is not UTF-8")]


def test_topic_that_may_not_be_heard_is_named_when_the_broker_says_so() -> None:
    """Whoever would wait for ever for what never comes learns what to do."""
    with (
        odd_broker(b"", granted=b"\x87") as url,
        pytest.raises(FeedError, match=r"does not let this client hear a \(Not authorized\).*glancein\.acl"),
    ):
        open_link(parse_broker_url(url), LISTENING)


def test_broker_that_sends_but_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sends is heard meanwhile, and is no sign that what was sent to it arrived."""
    monkeypatch.setattr(mqtt_link, "ANSWER_WITHIN_S", 0.5)
    with (
        odd_broker(b"\x30\x04\0\x01a\0", every_s=0.01) as url,
        open_link(parse_broker_url(url), LISTENING) as link,
    ):
        link.publish(Message("b", b""))

        *heard, last = until_lost(link)

    assert last == Lost("it no longer answers")
    assert set(heard) == {Message("a", b"")}


def test_broker_that_hangs_up_is_not_spoken_to_in_an_older_version() -> None:
    """It may be restarting; under MQTT 3.1.1 it would seem to deliver what nobody gets."""
    greetings: list[bytes] = []

    def hang_up(listener: socket.socket) -> None:
        for _ in range(2):
            client, _ = listener.accept()
            with client:
                greetings.append(client.recv(4096))

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        url = parse_broker_url(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(2):
            with pytest.raises(FeedError, match="closed the connection"):
                open_link(url, LISTENING)
        thread.join()

    assert [greeting.partition(b"MQTT")[2][0] for greeting in greetings] == [5, 5]
