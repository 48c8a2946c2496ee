"""From the outbox to HR: what leaves it, when, and what never does."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from tests.contract.fake_broker import URL, FakeBroker, FakeConnection
from tests.contract.fake_ledger import FakeLedger
from tests.device.brokers import wait_until
from tests.device.punches import check_in, correction_of, moment

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.publisher_mqtt import Address, Delivery, MqttPublisher, PublisherRules, Record
from glancein.domain import wire
from glancein.mqtt.dispatch import LOST, SUSPECT_AFTER
from glancein.mqtt.link import Greeting, Message
from glancein.types import Correction, Event, Moment

FAST = PublisherRules(ack_timeout_s=0.1, backoff_s=0.02, longest_s=0.2)
ADDRESS = Address(URL, "hq", "door")
PATIENT = replace(FAST, ack_timeout_s=30.0)


class StillClock:
    """Always noon."""

    def now(self) -> Moment:
        """The same moment every time."""
        return moment()


class Run(Protocol):
    """Starts a publisher that the fixture stops."""

    def __call__(self, ledger: Record, rules: PublisherRules = PATIENT) -> MqttPublisher:
        """A running publisher on the fake broker."""


@pytest.fixture
def broker() -> FakeBroker:
    """A broker in memory."""
    return FakeBroker()


@pytest.fixture
def run(broker: FakeBroker) -> Iterator[Run]:
    """Publishers on that broker, stopped at the end."""
    running: list[MqttPublisher] = []

    def start(ledger: Record, rules: PublisherRules = PATIENT) -> MqttPublisher:
        publisher = MqttPublisher(ADDRESS, ledger, clock=StillClock(), rules=rules, connect=broker.connect)
        publisher.start()
        running.append(publisher)
        return publisher

    yield start
    for publisher in running:
        publisher.stop(5)


def filled(count: int) -> FakeLedger:
    """A ledger with so many waiting events."""
    ledger = FakeLedger()
    for number in range(count):
        ledger.record(check_in(f"E{number}", at=moment(number)))
    return ledger


def events_at(broker: FakeBroker) -> list[Event]:
    """Everything the broker saw on the event topic."""
    return [wire.decode_event(m.payload) for m in list(broker.seen) if m.topic.endswith("/event")]


def batches_at(broker: FakeBroker) -> list[bytes]:
    """Everything the broker saw on the topic of batches."""
    return [m.payload for m in list(broker.seen) if m.topic.endswith("/batch")]


def carried(broker: FakeBroker) -> list[Event]:
    """Every event the broker saw, alone or in a batch."""
    messages = [m for m in list(broker.seen) if m.topic.endswith(("/event", "/batch"))]
    return [wire.decode_event(line) for m in messages for line in wire.split_batch(m.payload)]


def left_out(broker: FakeBroker) -> list[wire.LeftOut]:
    """What the broker saw in place of events."""
    messages = [m.payload for m in list(broker.seen) if m.topic.endswith("/event")]
    return [told for told in map(wire.decode_left_out, messages) if told is not None]


def acknowledge(
    broker: FakeBroker, epoch: str, up_to: int, head: str | None = None, *, batch: int = 0
) -> None:
    """As the consumer would."""
    ack = wire.Acknowledgement(epoch, up_to, head, batch=batch)
    broker.route(Message(wire.topic("hq", "door", "ack"), wire.encode_acknowledgement(ack)))


def refuse(broker: FakeBroker, event: Event, why: wire.RefusedFor) -> None:
    """As the consumer would."""
    refusal = wire.Refusal(event.epoch, event.seq, wire.event_hash(event), why, "why not")
    broker.route(Message(wire.topic("hq", "door", "refuse"), wire.encode_refusal(refusal)))


def ask(broker: FakeBroker, wanted: wire.Resend) -> None:
    """As the consumer would."""
    broker.route(Message(wire.topic("hq", "door", "resend"), wire.encode_resend(wanted)))


def test_waiting_events_are_published_in_order_and_never_retained(broker: FakeBroker, run: Run) -> None:
    """Oldest first, once, at the kiosk's topic."""
    ledger = filled(5)
    run(ledger)

    assert wait_until(lambda: len(events_at(broker)) == 5)
    assert events_at(broker) == ledger.pending(9)
    assert not any(m.retain for m in broker.seen if m.topic.endswith("/event"))


def test_new_event_is_published_when_woken(broker: FakeBroker, run: Run) -> None:
    """The kiosk does not wait for the next look."""
    ledger = filled(0)
    publisher = run(ledger)
    assert wait_until(lambda: publisher.state()["connected"])

    event = ledger.record(check_in())
    publisher.wake()

    assert wait_until(lambda: events_at(broker) == [event], within_s=2)


def test_row_stays_until_the_consumer_acknowledges(broker: FakeBroker, run: Run) -> None:
    """A broker's PUBACK is not delivery."""
    ledger = filled(3)
    publisher = run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 3)
    assert len(ledger.pending(9)) == 3

    acknowledge(broker, ledger.position().epoch, 2)

    assert wait_until(lambda: len(ledger.pending(9)) == 1)
    assert publisher.state()["delivered"] == 2
    assert publisher.state()["last_error"] is None


@pytest.mark.parametrize("up_to", [4, 2**50])
def test_acknowledgement_beyond_what_was_sent_is_ignored_and_counted(
    broker: FakeBroker, run: Run, up_to: int
) -> None:
    """Whoever acknowledges the future is not our consumer."""
    ledger = filled(3)
    publisher = run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 3)

    acknowledge(broker, ledger.position().epoch, up_to)

    assert wait_until(lambda: publisher.state()["ignored_acknowledgements"] == 1)
    assert len(ledger.pending(9)) == 3


def test_acknowledgement_of_recorded_but_unsent_events_is_ignored(broker: FakeBroker, run: Run) -> None:
    """Even a number that exists is not believed before it was sent."""
    ledger = filled(10)
    publisher = run(ledger, replace(PATIENT, window=4))
    assert wait_until(lambda: len(events_at(broker)) == 4)

    acknowledge(broker, ledger.position().epoch, 9)

    assert wait_until(lambda: publisher.state()["ignored_acknowledgements"] == 1)
    assert len(ledger.pending(99)) == 10


def test_foreign_and_unreadable_acknowledgements_are_ignored_and_counted(
    broker: FakeBroker, run: Run
) -> None:
    """Other epochs, other kiosks' words, nonsense: no row leaves."""
    ledger = filled(3)
    publisher = run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 3)

    acknowledge(broker, str(uuid.uuid4()), 3)
    for payload in (b"", b"{}", b"[1]", b'{"schema":"glancein/v1","epoch":"x","up_to":3}', b"\xff"):
        broker.route(Message(wire.topic("hq", "door", "ack"), payload))
        broker.route(Message(wire.topic("hq", "door", "resend"), payload))

    assert wait_until(lambda: publisher.state()["ignored_acknowledgements"] == 11)
    assert len(ledger.pending(9)) == 3


def test_window_limits_what_is_under_way_and_moves_on(broker: FakeBroker, run: Run) -> None:
    """A consumer that is slow gets no flood; one that answers gets everything."""
    ledger = filled(25)
    run(ledger, replace(PATIENT, window=10))
    assert wait_until(lambda: len(events_at(broker)) == 10)

    for up_to in (10, 20, 25):
        assert wait_until(lambda: len(events_at(broker)) >= up_to)  # noqa: B023  # called at once
        acknowledge(broker, ledger.position().epoch, up_to)

    assert wait_until(lambda: not ledger.pending(9))
    assert [event.seq for event in events_at(broker)] == list(range(1, 26))


def test_unacknowledged_events_are_sent_again_after_a_while(broker: FakeBroker, run: Run) -> None:
    """A lost message or acknowledgement costs time, not an event."""
    lost: list[Message] = []

    def lose_first(message: Message) -> bool:
        if message.topic.endswith("/event") and len(lost) < 3:
            lost.append(message)
            return True
        return False

    broker.drop = lose_first
    ledger = filled(3)
    publisher = run(ledger, FAST)

    assert wait_until(lambda: len(events_at(broker)) >= 6)
    assert (
        publisher.state()["last_error"] == "no acknowledgement from a consumer; the events stay in the outbox"
    )
    assert len(ledger.pending(9)) == 3


def test_unacknowledged_events_are_sent_again_after_reconnecting(broker: FakeBroker, run: Run) -> None:
    """The broker may have forgotten everything."""
    ledger = filled(3)
    run(ledger, replace(FAST, ack_timeout_s=30.0))
    assert wait_until(lambda: len(events_at(broker)) == 3)

    broker.cut("glancein-hq-door")

    assert wait_until(lambda: len(events_at(broker)) == 6)
    acknowledge(broker, ledger.position().epoch, 3)
    assert wait_until(lambda: not ledger.pending(9))


def test_publisher_keeps_trying_while_the_broker_is_down(broker: FakeBroker, run: Run) -> None:
    """And says why in words."""
    broker.down = True
    ledger = filled(1)
    publisher = run(ledger, FAST)
    assert wait_until(lambda: broker.attempts >= 3)
    words = str(publisher.state()["last_error"])

    broker.down = False

    assert wait_until(lambda: len(events_at(broker)) >= 1)
    assert "is the broker running?" in words
    assert wait_until(lambda: publisher.state()["connected"])


def test_publisher_survives_an_error_nobody_thought_of(broker: FakeBroker, run: Run) -> None:
    """Delivering must go on, whatever a library does."""
    connect: Callable[..., FakeConnection] = broker.connect
    failures = iter([True, True])

    def fragile(url: object, greeting: Greeting) -> FakeConnection:
        if next(failures, False):
            raise RuntimeError("never seen before")
        return connect(url, greeting)

    broker.connect = fragile  # type: ignore[method-assign]  # the fault
    ledger = filled(1)
    run(ledger, FAST)

    assert wait_until(lambda: len(events_at(broker)) >= 1)


def test_state_topic_tells_online_figures_and_last_will(broker: FakeBroker, run: Run) -> None:
    """Retained, so that whoever comes later knows; offline by will or by goodbye."""
    ledger = filled(2)
    publisher = run(ledger)
    topic = wire.topic("hq", "door", "state")
    assert wait_until(lambda: topic in broker.retained)

    online = wire.decode_state(broker.retained[topic].payload)
    broker.down = True
    broker.cut()
    will = wire.decode_state(broker.retained[topic].payload)
    broker.down = False
    assert wait_until(lambda: wire.decode_state(broker.retained[topic].payload).online)
    publisher.stop(5)
    goodbye = wire.decode_state(broker.retained[topic].payload)

    assert (online.online, online.seq, online.backlog, online.history_from) == (True, 2, 2, 1)
    assert online.epoch == ledger.position().epoch
    assert will == wire.KioskState("hq", "door", online=False)
    assert (goodbye.online, goodbye.seq) == (False, 2)


def test_history_is_sent_again_when_asked_for(broker: FakeBroker, run: Run) -> None:
    """A consumer that lost its database gets everything that is kept, acknowledged or not."""
    ledger = filled(30)
    run(ledger, replace(PATIENT, window=10))
    for up_to in (10, 20, 30):
        assert wait_until(lambda: len(events_at(broker)) >= up_to)  # noqa: B023  # called at once
        acknowledge(broker, ledger.position().epoch, up_to)
    assert wait_until(lambda: not ledger.pending(9))
    broker.seen.clear()

    ask(broker, wire.Resend(3, 28))

    assert wait_until(lambda: len(events_at(broker)) == 26)
    assert [event.seq for event in events_at(broker)] == list(range(3, 29))


def test_history_of_several_epochs_is_sent_again_whichever_is_asked_for_last(
    broker: FakeBroker, run: Run
) -> None:
    """A consumer asks for all of them at once; what there is none of is no answer, and holds nothing up."""
    ledger = filled(3)
    ledger.open_epoch("the database was damaged")
    ledger.record(check_in("E9"))
    first, *_, last = ledger.pending(9)
    run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 4)
    for event in (first, last):
        acknowledge(broker, event.epoch, 3 if event is first else 1)
    assert wait_until(lambda: not ledger.pending(9))
    broker.seen.clear()

    with broker.lock:
        for epoch, from_seq in ((first.epoch, 2), (last.epoch, 2), (str(uuid.uuid4()), 1), (last.epoch, 1)):
            ask(broker, wire.Resend(from_seq, None, epoch))

    assert wait_until(lambda: len(events_at(broker)) == 3)
    assert sorted((event.epoch == last.epoch, event.seq) for event in events_at(broker)) == [
        (False, 2),
        (False, 3),
        (True, 1),
    ]


def test_asking_for_a_foreign_epoch_is_answered_with_nothing(broker: FakeBroker, run: Run) -> None:
    """And does not stop the stream."""
    ledger = filled(1)
    publisher = run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 1)

    ask(broker, wire.Resend(1, None, str(uuid.uuid4())))
    ledger.record(check_in("E9"))
    publisher.wake()

    assert wait_until(lambda: len(events_at(broker)) == 2)


@pytest.mark.parametrize("known", ["other contents", "higher number"])
def test_old_copy_of_the_database_gives_out_no_further_number(
    broker: FakeBroker, run: Run, known: str
) -> None:
    """The consumer knows our numbers otherwise: what comes now goes into a new epoch."""
    ledger = filled(3)
    publisher = run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 3)
    old = ledger.position().epoch

    acknowledge(broker, old, 3 if known == "other contents" else 40, head="ee" * 32)

    assert wait_until(lambda: ledger.position().epoch != old)
    following = ledger.record(check_in("E9"))
    publisher.wake()
    assert wait_until(lambda: following in events_at(broker))
    assert following.seq == 1
    assert len(ledger.pending(9)) == 4


def test_old_copy_sends_anew_only_what_the_consumer_has_otherwise(broker: FakeBroker, run: Run) -> None:
    """What was there before the copy is acknowledged by its own number, what came after it is refused."""
    ledger = filled(3)
    run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 3)
    first, second, forked = ledger.pending(9)
    acknowledge(broker, first.epoch, 40, head="ee" * 32)

    acknowledge(broker, first.epoch, 2, head=wire.event_hash(second))
    refuse(broker, forked, wire.RefusedFor.FORK)

    assert wait_until(lambda: len(events_at(broker)) >= 4)
    (again,) = ledger.pending(9)
    assert again.body == forked.body
    assert again.epoch == ledger.position().epoch != forked.epoch
    assert again in events_at(broker)


def test_correction_under_way_goes_with_the_check_in_that_is_refused(broker: FakeBroker, run: Run) -> None:
    """The consumer would take it for one of the other punch of that name; nobody waits for its answer."""
    ledger = filled(1)
    (forked,) = ledger.pending(9)
    correction = ledger.record(correction_of(forked))
    publisher = run(ledger)
    assert wait_until(lambda: correction in events_at(broker))

    refuse(broker, forked, wire.RefusedFor.FORK)

    assert wait_until(lambda: len(events_at(broker)) == 4)
    again, moved = ledger.pending(9)
    assert isinstance(moved.body, Correction)
    assert moved.body.of == again.id
    assert wait_until(lambda: publisher.state()["in_flight"] == 2)


def test_old_copy_sends_everything_anew_if_the_consumer_says_no_more(broker: FakeBroker, run: Run) -> None:
    """A consumer that knows nothing of refusing: rather twice than never."""
    ledger = filled(3)
    run(ledger, FAST)
    assert wait_until(lambda: len(events_at(broker)) >= 3)
    old = ledger.position().epoch
    punches = [event.check_in for event in ledger.pending(9)]

    acknowledge(broker, old, 40, head="ee" * 32)

    assert wait_until(lambda: old not in {event.epoch for event in ledger.pending(9)})
    assert [event.check_in for event in ledger.pending(9)] == punches


def test_refused_event_is_laid_aside_and_holds_up_nobody(broker: FakeBroker, run: Run) -> None:
    """It is kept with the consumer's words, and the others go on."""
    ledger = filled(3)
    publisher = run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 3)
    first, poison, last = ledger.pending(9)

    refuse(broker, poison, wire.RefusedFor.UNACCEPTABLE)
    acknowledge(broker, first.epoch, 1)

    assert wait_until(lambda: ledger.pending(9) == [last])
    assert [(one.event, one.why) for one in ledger.laid_aside()] == [(poison, "unacceptable: why not")]
    assert publisher.state()["laid_aside"] == 1
    acknowledge(broker, last.epoch, 3)
    assert wait_until(lambda: not ledger.pending(9))


@pytest.mark.parametrize("wrong", ["hash", "number", "epoch"])
def test_refusal_of_what_was_not_sent_is_ignored_and_counted(
    broker: FakeBroker, run: Run, wrong: str
) -> None:
    """Nobody can make a kiosk lay aside what they have not seen."""
    ledger = filled(2)
    publisher = run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 2)
    event = ledger.pending(9)[0]
    match wrong:
        case "hash":
            refusal = wire.Refusal(event.epoch, 1, "ee" * 32, wire.RefusedFor.UNREADABLE)
        case "number":
            refusal = wire.Refusal(event.epoch, 9, wire.event_hash(event), wire.RefusedFor.UNREADABLE)
        case _:
            refusal = wire.Refusal(str(uuid.uuid4()), 1, wire.event_hash(event), wire.RefusedFor.FORK)

    broker.route(Message(wire.topic("hq", "door", "refuse"), wire.encode_refusal(refusal)))

    assert wait_until(lambda: publisher.state()["ignored_acknowledgements"] == 1)
    assert len(ledger.pending(9)) == 2
    assert ledger.laid_aside() == []


def test_event_the_broker_never_takes_is_laid_aside_where_only_the_broker_answers(
    broker: FakeBroker, run: Run
) -> None:
    """One packet that is too large does not stop the kiosk."""
    ledger = filled(3)
    poison = ledger.pending(9)[1]
    payload = wire.encode_event(poison)
    broker.is_final = lambda message: message.payload == payload
    run(ledger, replace(PATIENT, delivery=Delivery.PUBACK))

    assert wait_until(lambda: not ledger.pending(9))
    assert [one.event for one in ledger.laid_aside()] == [poison]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_event_the_broker_never_takes_is_left_out_and_the_consumer_told(
    broker: FakeBroker, run: Run, place: int
) -> None:
    """The others go on, and in its place comes what keeps the chain whole."""
    ledger = filled(3)
    poison = ledger.pending(9)[place]
    payload = wire.encode_event(poison)
    broker.is_final = lambda message: message.payload == payload
    broker.answer = lambda message: (True, "Packet too large" if message.payload == payload else "Success")
    publisher = run(ledger)

    assert wait_until(lambda: len(left_out(broker)) == 1)
    (told,) = left_out(broker)
    digest = wire.event_hash(poison)
    assert told == wire.LeftOut("hq", poison.id, poison.previous_hash, digest, "Packet too large")
    assert [one.event for one in ledger.laid_aside()] == [poison]
    assert "never takes it: Packet too large" in ledger.laid_aside()[0].why
    acknowledge(broker, poison.epoch, 3)
    assert wait_until(lambda: not ledger.pending(9))
    assert (publisher.state()["delivered"], publisher.state()["laid_aside"]) == (2, 1)


def test_consumer_that_asks_for_what_was_left_out_is_told_again(broker: FakeBroker, run: Run) -> None:
    """What was told may have been lost, like everything else."""
    ledger = filled(3)
    poison = ledger.pending(9)[1]
    payload = wire.encode_event(poison)
    broker.is_final = lambda message: message.payload == payload
    run(ledger)
    assert wait_until(lambda: len(left_out(broker)) == 1)

    ask(broker, wire.Resend(2, 2))

    assert wait_until(lambda: len(left_out(broker)) == 2)
    assert len(ledger.laid_aside()) == 1


def test_lost_event_holds_up_no_history_and_the_consumer_is_told(
    broker: FakeBroker, run: Run, tmp_path: Path
) -> None:
    """Signed like every other; and who acknowledges its number does not seem to know another copy."""
    ledger = SqliteLedger(tmp_path / "kiosk.db", site="hq", kiosk="door")
    events = [ledger.record(check_in(f"E{seq}", at=moment(seq))) for seq in range(1, 5)]
    epoch = events[0].epoch
    ledger.acknowledge(epoch, 4)
    with closing(sqlite3.connect(tmp_path / "kiosk.db")) as other, other:
        other.execute("DELETE FROM events WHERE seq IN (2, 3)")
    run(ledger, replace(PATIENT, seal=wire.Seal(sign=lambda _: "signed by the kiosk")))

    ask(broker, wire.Resend(1, None, epoch))

    assert wait_until(lambda: len(left_out(broker)) == 2)
    assert left_out(broker) == [
        wire.LeftOut("hq", events[1].id, events[1].previous_hash, wire.NO_HASH, LOST, is_lost=True),
        wire.LeftOut("hq", events[2].id, wire.NO_HASH, events[3].previous_hash, LOST, is_lost=True),
    ]
    assert all(b"signed by the kiosk" in m.payload for m in broker.seen if m.topic.endswith("/event"))
    for seq, head in ((2, wire.NO_HASH), (2, "ab" * 32), (3, events[3].previous_hash)):
        acknowledge(broker, epoch, seq, head)
    ask(broker, wire.Resend(4, None, epoch))
    assert wait_until(lambda: broker.seen[-1].payload.find(b'"seq":4}') > 0)
    assert ledger.position().epoch == epoch
    ledger.close()


def test_broker_that_takes_no_event_at_all_makes_none_a_dead_letter(broker: FakeBroker, run: Run) -> None:
    """It is set up wrongly: everything waits, and the reason is shown."""
    broker.is_final = lambda message: message.topic.endswith("/event")
    ledger = filled(3)
    publisher = run(ledger, FAST)
    assert wait_until(lambda: "Success" in str(publisher.state()["last_error"]))
    assert wait_until(lambda: broker_tries(broker) >= 1)

    assert len(ledger.pending(9)) == 3
    assert ledger.laid_aside() == []
    broker.is_final = lambda _: False
    assert wait_until(lambda: len(events_at(broker)) >= 3)


@pytest.mark.parametrize("delivery", list(Delivery))
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_event_that_ends_every_connection_is_found_and_left_out(
    broker: FakeBroker, run: Run, place: int, delivery: Delivery
) -> None:
    """A broker that hangs up instead of saying no: nobody else waits for it, and it is not lost."""
    ledger = filled(3)
    poison = ledger.pending(9)[place]
    payload = wire.encode_event(poison)

    def hang_up(message: Message) -> tuple[bool, str]:
        if message.payload == payload:
            broker.cut("glancein-hq-door")
            return False, "too late"
        return True, "Success"

    broker.answer = hang_up
    publisher = run(ledger, replace(FAST, delivery=delivery))

    if delivery is Delivery.PUBACK:  # here the others leave at once: it is found out beside later ones
        for number in range(4, 12):
            ledger.record(check_in(f"E{number}"))
            publisher.wake()
            assert wait_until(lambda: ledger.pending(9) in ([], [poison]), within_s=60)
    if delivery is Delivery.CONSUMER:
        assert wait_until(lambda: bool(ledger.laid_aside()), within_s=60)

        def is_told() -> bool:
            ask(broker, wire.Resend(poison.seq, poison.seq))  # as often as it takes: it was just cut off
            return bool(left_out(broker))

        assert wait_until(is_told, within_s=60)
        acknowledge(broker, poison.epoch, 3)
    assert wait_until(lambda: not ledger.pending(9), within_s=60)
    assert [one.event for one in ledger.laid_aside()] == [poison]
    assert "ends the connection" in ledger.laid_aside()[0].why
    last = 3 if delivery is Delivery.CONSUMER else 11
    assert {event.seq for event in events_but(broker, poison)} == set(range(1, last + 1)) - {poison.seq}


def test_acknowledgement_does_not_take_out_an_event_that_is_held_back(broker: FakeBroker, run: Run) -> None:
    """A consumer that begins with what happens to come may pass over the one that goes last."""
    ledger = filled(3)
    first = ledger.pending(9)[0]
    payload = wire.encode_event(first)

    def hang_up(message: Message) -> tuple[bool, str]:
        if message.payload == payload:
            broker.cut("glancein-hq-door")
        return message.payload != payload, "Success"

    broker.answer = hang_up
    publisher = run(ledger, FAST)
    assert wait_until(lambda: publisher._standing.suspicions >= SUSPECT_AFTER, within_s=60)
    assert wait_until(lambda: len(events_but(broker, first)) >= 2, within_s=60)

    acknowledge(broker, first.epoch, 3)
    assert wait_until(lambda: bool(ledger.laid_aside()), within_s=60)

    assert [one.event for one in ledger.laid_aside()] == [first]


def events_but(broker: FakeBroker, poison: Event) -> list[Event]:
    """What the broker passed on, without the one, and without what stands in for it."""
    payloads = [m.payload for m in list(broker.seen) if m.topic.endswith("/event")]
    events = [wire.decode_event(payload) for payload in payloads if wire.decode_left_out(payload) is None]
    return [event for event in events if event != poison]


def broker_tries(broker: FakeBroker) -> int:
    """How often the state came through, which it does whatever becomes of events."""
    return sum(message.topic.endswith("/state") for message in broker.seen)


@pytest.mark.parametrize("first", ["refusal", "acknowledgement"])
def test_fork_opens_one_epoch_and_records_once_whichever_word_comes_first(
    broker: FakeBroker, run: Run, first: str
) -> None:
    """The consumer refuses the event and says by its head that it knows others: both go out at once."""
    ledger = filled(3)
    publisher = run(ledger)
    assert wait_until(lambda: len(events_at(broker)) == 3)
    one, two, forked = ledger.pending(9)
    opened: list[str] = []
    open_epoch = ledger.open_epoch

    def counted(why: str) -> None:
        opened.append(why)
        open_epoch(why)

    ledger.open_epoch = counted  # type: ignore[method-assign]  # looked at, not changed

    words: list[Callable[[], None]] = [
        lambda: refuse(broker, forked, wire.RefusedFor.FORK),
        lambda: acknowledge(broker, forked.epoch, 40, head="ee" * 32),
    ]
    for say in words if first == "refusal" else reversed(words):
        say()
    for say in words:  # and QoS 1 delivers twice
        say()
    acknowledge(broker, two.epoch, 2, head=wire.event_hash(two))

    assert wait_until(lambda: publisher.state()["ignored_acknowledgements"] == 1)
    assert wait_until(lambda: len(ledger.pending(9)) == 1)
    assert len(opened) == 1
    (again,) = ledger.pending(9)
    assert (again.body, again.seq, again.epoch) == (forked.body, 1, ledger.position().epoch)
    assert one.epoch != again.epoch


def test_backlog_comes_in_batches_once_the_consumer_asks_for_them(broker: FakeBroker, run: Run) -> None:
    """The first window one by one, the rest many in a packet, the last ones alone again; in order, once."""
    ledger = filled(60)
    publisher = run(ledger, replace(PATIENT, window=10))
    assert wait_until(lambda: len(carried(broker)) == 10)
    assert batches_at(broker) == []

    for up_to in (10, 60):
        assert wait_until(lambda: len(carried(broker)) >= up_to)  # noqa: B023  # called at once
        acknowledge(broker, ledger.position().epoch, up_to, batch=4096)

    assert wait_until(lambda: not ledger.pending(9))
    assert [event.seq for event in carried(broker)] == list(range(1, 61))
    assert len(batches_at(broker)) >= 2
    assert all(len(payload) <= 4096 for payload in batches_at(broker))
    ledger.record(check_in("E99"))
    publisher.wake()
    assert wait_until(lambda: len(carried(broker)) == 61)
    assert events_at(broker)[-1].seq == 61


def test_no_batch_is_sent_to_a_consumer_that_does_not_ask(broker: FakeBroker, run: Run) -> None:
    """Who reads events one by one goes on doing so."""
    ledger = filled(60)
    run(ledger, replace(PATIENT, window=10))
    for up_to in range(10, 61, 10):
        assert wait_until(lambda: len(carried(broker)) >= up_to)  # noqa: B023  # called at once
        acknowledge(broker, ledger.position().epoch, up_to)

    assert wait_until(lambda: not ledger.pending(9))
    assert batches_at(broker) == []


@pytest.mark.parametrize("how", ["forbidden", "too large"])
def test_batch_that_does_not_pass_comes_one_by_one(broker: FakeBroker, run: Run, how: str) -> None:
    """An access list from before, or a lower limit: slower, and nobody has to do anything."""
    broker.answer = lambda message: (not message.topic.endswith("/batch"), "Not authorized")
    broker.is_final = lambda message: how == "too large" and message.topic.endswith("/batch")
    ledger = filled(60)
    publisher = run(ledger, replace(PATIENT, window=10))
    for up_to in range(10, 61, 10):
        assert wait_until(lambda: len(events_at(broker)) >= up_to)  # noqa: B023  # called at once
        acknowledge(broker, ledger.position().epoch, up_to, batch=4096)

    assert wait_until(lambda: not ledger.pending(9))
    assert batches_at(broker) == []
    assert ledger.laid_aside() == []
    assert publisher.state()["last_error"] is None


def test_history_comes_in_batches_when_asked_for_so(broker: FakeBroker, run: Run) -> None:
    """A consumer that lost its database does not wait for every single packet."""
    ledger = filled(30)
    run(ledger)
    assert wait_until(lambda: len(carried(broker)) == 30)
    acknowledge(broker, ledger.position().epoch, 30)
    assert wait_until(lambda: not ledger.pending(9))
    broker.seen.clear()

    ask(broker, wire.Resend(1, 30, batch=8192))

    assert wait_until(lambda: len(carried(broker)) == 30)
    assert [event.seq for event in carried(broker)] == list(range(1, 31))
    assert len(batches_at(broker)) >= 2


def test_state_says_what_the_record_needs(broker: FakeBroker, run: Run) -> None:
    """A missing second copy and dead letters are shown to whoever looks, on the wire and at the kiosk."""
    ledger = filled(2)
    ledger.tail_problem = "there is no second copy of what is recorded now: No space left on device"
    ledger.lay_aside(ledger.pending(1)[0].id, "test")
    publisher = run(ledger)
    topic = wire.topic("hq", "door", "state")

    assert wait_until(lambda: topic in broker.retained)
    told = wire.decode_state(broker.retained[topic].payload)
    assert (told.second_copy, told.laid_aside) == (ledger.tail_problem, 1)
    assert publisher.state()["second_copy"] == ledger.tail_problem


def test_puback_mode_lets_go_when_the_broker_says_success(run: Run) -> None:
    """Without an acknowledging consumer the broker's word has to do."""
    ledger = filled(5)
    publisher = run(ledger, replace(PATIENT, delivery=Delivery.PUBACK))

    assert wait_until(lambda: not ledger.pending(9))
    assert publisher.state()["delivered"] == 5


@pytest.mark.parametrize("words", ["No matching subscribers", "Not authorized", "Quota exceeded"])
@pytest.mark.parametrize("delivery", list(Delivery))
def test_refused_event_stays_and_is_reported(
    broker: FakeBroker, run: Run, words: str, delivery: Delivery
) -> None:
    """In either mode the reason is shown, and the event goes out once the broker takes it."""
    broker.answer = lambda message: (not message.topic.endswith("/event"), words)
    ledger = filled(2)
    publisher = run(ledger, replace(FAST, delivery=delivery))

    assert wait_until(lambda: words in str(publisher.state()["last_error"]))
    assert len(ledger.pending(9)) == 2
    broker.answer = lambda _: (True, "Success")
    if delivery is Delivery.PUBACK:
        assert wait_until(lambda: not ledger.pending(9))
    else:
        assert wait_until(lambda: len(events_at(broker)) >= 2)


def test_puback_mode_ignores_acknowledgements(broker: FakeBroker, run: Run) -> None:
    """Nobody can delete rows by a message when none is expected."""
    broker.answer = lambda message: (not message.topic.endswith("/event"), "Not authorized")
    ledger = filled(2)
    publisher = run(ledger, replace(FAST, delivery=Delivery.PUBACK))
    assert wait_until(lambda: publisher.state()["last_error"] is not None)

    acknowledge(broker, ledger.position().epoch, 2)
    acknowledge(broker, ledger.position().epoch, 2**40)

    assert wait_until(lambda: publisher.state()["ignored_acknowledgements"] == 1)
    assert len(ledger.pending(9)) == 2


def test_stop_is_quick_even_when_the_broker_is_down(broker: FakeBroker, run: Run) -> None:
    """A kiosk can always be switched off."""
    broker.down = True
    publisher = run(filled(1), replace(FAST, backoff_s=60.0, longest_s=600.0))
    assert wait_until(lambda: broker.attempts >= 1)

    publisher.stop(5)

    assert not publisher._thread.is_alive()
