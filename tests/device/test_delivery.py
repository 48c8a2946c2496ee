"""From a punch to HR's database over real brokers: the embedded one, and mosquitto when it is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.device.brokers import Mosquitto, free_port, wait_until
from tests.device.punches import check_in, moment

from glancein.adapters.broker_embedded import EmbeddedBroker
from glancein.adapters.clock_system import SystemClock
from glancein.adapters.feed_mqtt import Feed, FeedRules
from glancein.adapters.feed_store import SqliteFeedStore
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.publisher_mqtt import Address, Delivery, MqttPublisher, PublisherRules
from glancein.domain import wire
from glancein.errors import FeedError
from glancein.mqtt.broker_url import parse_broker_url
from glancein.mqtt.link import Greeting, Message, open_link
from glancein.types import Event

FAST = PublisherRules(ack_timeout_s=2.0, backoff_s=0.05, longest_s=0.5)
WITHIN_S = 30.0


class Kiosk:
    """A ledger and its publisher."""

    def __init__(self, folder: Path, url: str, rules: PublisherRules = FAST) -> None:
        self.ledger = SqliteLedger(folder / "kiosk.db", site="hq", kiosk="door")
        address = Address(parse_broker_url(url), "hq", "door")
        self.publisher = MqttPublisher(address, self.ledger, clock=SystemClock(), rules=rules)
        self.publisher.start()

    def punch(self, count: int) -> list[Event]:
        """So many people check in."""
        events = [self.ledger.record(check_in(f"E{n}", at=moment(n))) for n in range(count)]
        self.publisher.wake()
        return events

    def end(self) -> None:
        """Stop both."""
        self.publisher.stop(5)
        self.ledger.close()


class Desk:
    """A consumer in a thread."""

    def __init__(self, folder: Path, url: str) -> None:
        self.seen: list[Event] = []
        self.words: list[str] = []
        self._store = SqliteFeedStore(folder / "feed.db")
        rules = FeedRules(consumer="hr")
        self._feed = Feed(parse_broker_url(url), store=self._store, rules=rules, on_error=self.words.append)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def end(self) -> None:
        """Stop listening."""
        self._feed.stop()
        self._thread.join()
        self._store.close()

    def _listen(self) -> None:
        self.seen.extend(received.event for received in self._feed)


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.broker)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Each broker in turn."""
    if request.param == "embedded":
        embedded = EmbeddedBroker()
        embedded.start()
        yield embedded.url
        embedded.stop()
        return
    broker = Mosquitto(request.getfixturevalue("mosquitto"), tmp_path)
    broker.start()
    yield broker.url
    broker.kill()


def test_punches_reach_the_desk_once_and_leave_the_outbox(url: str, tmp_path: Path) -> None:
    """Before and after the desk opened, all of them, in order."""
    kiosk = Kiosk(tmp_path, url)
    events = kiosk.punch(5)
    desk = Desk(tmp_path, url)

    assert wait_until(lambda: len(kiosk.ledger.pending(9)) == 0, within_s=WITHIN_S)
    events += kiosk.punch(5)
    assert wait_until(lambda: len(kiosk.ledger.pending(9)) == 0, within_s=WITHIN_S)
    kiosk.end()
    desk.end()
    assert desk.seen == events
    assert desk.words == []


def test_look_at_a_kiosk_shows_what_waits_and_leaves_it_there(url: str, tmp_path: Path) -> None:
    """The first `glancein feed`, without a store: all of the outbox, and the kiosk still has it."""
    kiosk = Kiosk(tmp_path, url, PublisherRules(ack_timeout_s=1e9))  # it sends nothing again by itself
    events = kiosk.punch(3)
    assert wait_until(lambda: kiosk.publisher.state()["in_flight"] == 3, within_s=WITHIN_S)

    look = Feed(parse_broker_url(url), rules=FeedRules(follow=False, idle_s=5.0))
    source = iter(look)
    seen = [next(source).event for _ in events]
    look.stop()

    assert seen == events
    assert list(source) == []
    assert len(kiosk.ledger.pending(9)) == 3
    kiosk.end()


def test_desk_that_was_away_gets_what_it_missed(url: str, tmp_path: Path) -> None:
    """A second desk with an empty database gets the history, also what was acknowledged."""
    kiosk = Kiosk(tmp_path, url)
    first = Desk(tmp_path, url)
    events = kiosk.punch(30)
    assert wait_until(lambda: len(kiosk.ledger.pending(99)) == 0, within_s=WITHIN_S)
    first.end()
    (tmp_path / "new").mkdir()

    second = Desk(tmp_path / "new", url)

    assert wait_until(lambda: len(second.seen) == 30, within_s=WITHIN_S)
    kiosk.end()
    second.end()
    assert second.seen == events


def test_state_topic_shows_when_a_kiosk_is_gone(url: str, tmp_path: Path) -> None:
    """Online while it runs; offline, with its figures, after a good-bye."""
    kiosk = Kiosk(tmp_path, url)
    kiosk.punch(2)
    with open_link(
        parse_broker_url(url), Greeting("looker", topics=(wire.topic("+", "+", "state"),))
    ) as looker:
        states: list[wire.KioskState] = []

        def newest_is(*, online: bool) -> bool:
            states.extend(wire.decode_state(m.payload) for m in looker.wait(0.05) if isinstance(m, Message))
            return bool(states) and states[-1].online is online and states[-1].seq == 2

        assert wait_until(lambda: newest_is(online=True), within_s=WITHIN_S)
        kiosk.end()
        assert wait_until(lambda: newest_is(online=False), within_s=WITHIN_S)


@pytest.mark.broker
def test_event_nobody_hears_stays_although_the_broker_took_it(mosquitto: str, tmp_path: Path) -> None:
    """MQTT 5 says that nobody subscribes (0x10).

    With delivery by PUBACK the row stays until somebody does.
    """
    broker = Mosquitto(mosquitto, tmp_path)
    broker.start()
    kiosk = Kiosk(tmp_path, broker.url, replace(FAST, delivery=Delivery.PUBACK, ack_timeout_s=0.3))
    kiosk.punch(3)
    assert wait_until(lambda: "subscribers" in str(kiosk.publisher.state()["last_error"]), within_s=10)
    assert len(kiosk.ledger.pending(9)) == 3

    with open_link(parse_broker_url(broker.url), Greeting("hr", topics=(wire.topic("+", "+", "event"),))):
        gone = wait_until(lambda: not kiosk.ledger.pending(9), within_s=WITHIN_S)

    assert gone
    kiosk.end()
    broker.kill()


@pytest.mark.broker
@pytest.mark.parametrize("delivery", list(Delivery))
def test_event_the_broker_forbids_stays_and_is_reported(
    mosquitto: str, tmp_path: Path, delivery: Delivery
) -> None:
    """A denial by access rights is no success (0x87), and the reason is shown within 10 s."""
    (tmp_path / "acl").write_text("topic read glancein/#\ntopic write glancein/v1/+/+/state\n")
    broker = Mosquitto(mosquitto, tmp_path, settings=f"allow_anonymous true\nacl_file {tmp_path / 'acl'}")
    broker.start()
    kiosk = Kiosk(tmp_path, broker.url, replace(FAST, delivery=delivery))
    kiosk.punch(2)

    reported = wait_until(lambda: "authorized" in str(kiosk.publisher.state()["last_error"]), within_s=10)

    assert reported
    assert len(kiosk.ledger.pending(9)) == 2
    kiosk.end()
    broker.kill()


@pytest.mark.broker
def test_publisher_and_feed_come_back_after_the_broker(mosquitto: str, tmp_path: Path) -> None:
    """Killed without saving, started again: nothing is lost and nobody has to do anything."""
    broker = Mosquitto(mosquitto, tmp_path)
    broker.start()
    kiosk, desk = Kiosk(tmp_path, broker.url), Desk(tmp_path, broker.url)
    events = kiosk.punch(5)
    assert wait_until(lambda: len(desk.seen) == 5, within_s=WITHIN_S)

    broker.kill()
    events += kiosk.punch(5)
    broker.start()

    assert wait_until(lambda: not kiosk.ledger.pending(99), within_s=WITHIN_S)
    kiosk.end()
    desk.end()
    broker.kill()
    assert desk.seen == events
    assert any("lost the broker" in words for words in desk.words)


def test_something_else_than_a_broker_is_told_apart() -> None:
    """A port where nothing listens, and one that hangs up, are each one sentence."""
    with pytest.raises(FeedError, match="nothing listens there"):
        open_link(parse_broker_url(f"mqtt://127.0.0.1:{free_port()}"), Greeting("x"))
    with pytest.raises(FeedError, match="no machine has that name"):
        open_link(parse_broker_url("mqtt://no-such-machine.invalid"), Greeting("x"))


def test_embedded_broker_names_the_port_that_is_taken() -> None:
    """And what to do about it."""
    first = EmbeddedBroker()
    first.start()

    with pytest.raises(FeedError, match=f"cannot listen on 127.0.0.1:{first.port}"):
        EmbeddedBroker(first.port).start()

    first.stop()
    again = EmbeddedBroker(first.port)
    again.start()
    again.stop()
    again.stop()


@pytest.mark.broker
@pytest.mark.parametrize("delivery", list(Delivery))
@pytest.mark.parametrize(
    ("why", "words"),
    [("denied", "Not authorized"), ("nobody subscribed", "No matching subscribers")],
    ids=["denied", "nobody"],
)
def test_event_that_nobody_gets_stays_and_is_reported(
    mosquitto: str, tmp_path: Path, why: str, words: str, delivery: Delivery
) -> None:
    """MQTT 5 says what 3.1.1 hides: the row stays in the outbox, with the reason, within 10 s."""
    rights = "topic readwrite other/#\ntopic read glancein/#\n" if why == "denied" else "topic readwrite #\n"
    (tmp_path / "acl").write_text(rights)
    broker = Mosquitto(mosquitto, tmp_path, settings=f"allow_anonymous true\nacl_file {tmp_path / 'acl'}")
    broker.start()
    kiosk = Kiosk(tmp_path, broker.url, PublisherRules(delivery=delivery))
    kiosk.punch(3)

    reported = wait_until(lambda: words in str(kiosk.publisher.state()["last_error"]), within_s=WITHIN_S)
    waiting = len(kiosk.ledger.pending(9))
    kiosk.end()
    broker.kill()

    assert reported
    assert waiting == 3


@pytest.mark.broker
def test_broker_that_drops_what_exceeds_its_queue_is_seen_through(mosquitto: str, tmp_path: Path) -> None:
    """A full queue is silent: nothing acknowledges, so the rows stay and the silence is reported."""
    broker = Mosquitto(
        mosquitto, tmp_path, settings="allow_anonymous true\nmax_queued_messages 1\nmax_inflight_messages 1"
    )
    broker.start()
    sleeper = open_link(parse_broker_url(broker.url), Greeting("sleeper", topics=("glancein/v1/+/+/event",)))
    kiosk = Kiosk(tmp_path, broker.url, PublisherRules(ack_timeout_s=1.0))
    kiosk.punch(20)

    reported = wait_until(
        lambda: "no acknowledgement" in str(kiosk.publisher.state()["last_error"]), within_s=WITHIN_S
    )
    waiting = len(kiosk.ledger.pending(99))
    kiosk.end()
    sleeper.close()
    broker.kill()

    assert reported
    assert waiting == 20


def test_restored_backup_is_told_apart_event_by_event(url: str, tmp_path: Path) -> None:
    """An old copy without its second copy, as on a cloned card: nothing lost, nothing there twice."""
    kiosk = Kiosk(tmp_path, url)
    desk = Desk(tmp_path, url)
    kiosk.punch(3)
    assert wait_until(lambda: len(desk.seen) == 3, within_s=WITHIN_S)
    assert wait_until(lambda: not kiosk.ledger.pending(1), within_s=WITHIN_S)
    kiosk.publisher.stop(5)
    unsent = [kiosk.ledger.record(check_in(f"A{n}", at=moment(10 + n))) for n in range(2)]
    kiosk.ledger.close()
    backup = (tmp_path / "kiosk.db").read_bytes()
    first = Kiosk(tmp_path, url)
    first.punch(4)
    assert wait_until(lambda: len(desk.seen) == 9, within_s=WITHIN_S)
    first.end()
    for file in tmp_path.glob("kiosk.db*"):
        file.unlink()
    (tmp_path / "kiosk.db").write_bytes(backup)

    clone = SqliteLedger(tmp_path / "kiosk.db", site="hq", kiosk="door")
    forked = [clone.record(check_in(f"B{n}", at=moment(20 + n))) for n in range(3)]
    clone.close()
    restored = Kiosk(tmp_path, url)

    assert wait_until(lambda: not restored.ledger.pending(1), within_s=WITHIN_S)
    restored.end()
    desk.end()
    people = [event.check_in.person_id for event in desk.seen]
    assert sorted(people[9:]) == ["B0", "B1", "B2"]
    assert len(set(people)) == 4 + len(unsent) + len(forked)
    assert len({event.epoch for event in desk.seen}) == 2
