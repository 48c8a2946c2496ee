"""The connection to a broker that does not behave as one."""

from __future__ import annotations

from tests.device.brokers import odd_broker

from glancein.mqtt.broker_url import parse_broker_url
from glancein.mqtt.link import Greeting, Lost, open_link

LISTENING = Greeting("hr", topics=("a",))


def test_topic_that_is_no_text_ends_the_connection_in_words() -> None:
    """As MQTT 5 wants it (section 1.5.4), and without a traceback: whoever listens connects again."""
    with (
        odd_broker(b"\x30\x07\0\x04\xff\xfe\xff\xfe\0") as url,
        open_link(parse_broker_url(url), LISTENING) as link,
    ):
        assert link.wait(5.0) == [Lost("it sent text that is not UTF-8")]
