"""What every ledger promises, the fake as well as the one on disk."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.fake_ledger import FakeLedger
from tests.device.punches import check_in, moment

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.domain import wire
from glancein.errors import NotRecorded
from glancein.ports import History, Ledger
from glancein.types import Event


class Record(Ledger, History, Protocol):
    """Both ports at once."""


@pytest.fixture(params=["fake", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    """Each ledger in turn, empty."""
    if request.param == "fake":
        yield FakeLedger()
        return
    on_disk = SqliteLedger(tmp_path / "kiosk.db", site="hq", kiosk="door")
    yield on_disk
    on_disk.close()


def record(ledger: Ledger, count: int) -> list[Event]:
    """So many punches of as many people."""
    return [ledger.record(check_in(f"E{number}", at=moment(number))) for number in range(count)]


def test_events_are_numbered_from_one_without_gaps(ledger: Record) -> None:
    """The sequence number is the order of recording."""
    assert [event.seq for event in record(ledger, 5)] == [1, 2, 3, 4, 5]


def test_each_event_carries_the_hash_of_the_one_before(ledger: Record) -> None:
    """The chain begins with zeros and never breaks."""
    events = record(ledger, 4)

    hashes = [wire.NO_HASH, *(wire.event_hash(event) for event in events)]
    assert [event.previous_hash for event in events] == hashes[:-1]
    assert ledger.position().head == hashes[-1]


def test_recorded_event_is_what_a_reader_gets(ledger: Record) -> None:
    """Numbers are rounded before they are recorded, so that both ends agree to the last digit."""
    event = ledger.record(check_in(score_cos=0.123456789))

    assert event.check_in.score_cos == 0.1235
    assert ledger.pending(1) == [event]
    assert wire.decode_event(wire.encode_event(event)) == event


def test_last_of_is_the_latest_event_of_that_person(ledger: Record) -> None:
    """Others' events do not matter; nobody has none."""
    first, *_ = record(ledger, 3)
    again = ledger.record(check_in("E0", at=moment(99)))

    assert ledger.last_of("E0") == again != first
    assert ledger.last_of("E9") is None


def test_pending_is_oldest_first_and_limited(ledger: Record) -> None:
    """The outbox is a queue."""
    events = record(ledger, 5)

    assert ledger.pending(3) == events[:3]
    assert ledger.pending(99) == events


def test_acknowledged_events_leave_the_outbox_and_stay_in_the_record(ledger: Record) -> None:
    """Acknowledging up to n takes n and all before it out, once."""
    events = record(ledger, 5)

    assert ledger.acknowledge(events[0].epoch, 3) == 3
    assert ledger.acknowledge(events[0].epoch, 3) == 0
    assert ledger.pending(99) == events[3:]
    assert ledger.replay(events[0].epoch, 2, 2) == events[1:3]


@pytest.mark.parametrize("up_to", [-1, 0, 6, 2**60])
def test_acknowledgement_of_numbers_never_given_out_changes_nothing(ledger: Record, up_to: int) -> None:
    """Too high is as wrong as too low: it is not about this stream."""
    events = record(ledger, 5)

    assert ledger.acknowledge(events[0].epoch, up_to) == 0
    assert ledger.pending(99) == events


def test_acknowledgement_of_a_foreign_epoch_changes_nothing(ledger: Record) -> None:
    """Numbers mean nothing without their epoch."""
    events = record(ledger, 2)

    assert ledger.acknowledge(str(uuid.uuid4()), 2) == 0
    assert ledger.pending(99) == events


def test_check_in_nobody_could_read_is_not_recorded(ledger: Record) -> None:
    """It uses up no number and leaves nothing behind."""
    with pytest.raises(NotRecorded, match="not recorded"):
        ledger.record(check_in("a/b"))
    assert ledger.pending(9) == []
    assert record(ledger, 1)[0].seq == 1


def test_new_epoch_takes_over_what_waits_and_never_repeats_a_number(ledger: Record) -> None:
    """After an old copy was restored, the waiting punches get new names and keep their contents."""
    events = record(ledger, 4)
    ledger.acknowledge(events[0].epoch, 2)

    moved = ledger.open_epoch("an old copy")

    waiting = ledger.pending(9)
    assert moved == 2
    assert [event.check_in for event in waiting] == [event.check_in for event in events[2:]]
    assert {event.epoch for event in waiting} == {ledger.position().epoch} != {events[0].epoch}
    assert [event.seq for event in waiting] == [1, 2]
    assert waiting[0].previous_hash == wire.NO_HASH


def test_position_tells_number_backlog_and_history(ledger: Record) -> None:
    """What the state topic needs."""
    empty = ledger.position()
    events = record(ledger, 3)
    ledger.acknowledge(events[0].epoch, 1)

    position = ledger.position()

    assert (empty.seq, empty.head, empty.backlog) == (0, wire.NO_HASH, 0)
    assert (position.epoch, position.seq, position.backlog, position.history_from) == (
        events[0].epoch,
        3,
        2,
        1,
    )
    assert ledger.hash_of(position.epoch, 3) == position.head
    assert ledger.hash_of(position.epoch, 4) is None


acts = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(0, 3)),
        st.tuples(st.just("acknowledge"), st.integers(-2, 12)),
        st.tuples(st.just("epoch"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=acts)
def test_disk_and_memory_agree_whatever_is_done(acts: list[tuple[str, int]], tmp_path: Path) -> None:
    """The two ledgers give the same answers to any sequence of calls."""
    disk = SqliteLedger(tmp_path / f"{uuid.uuid4()}.db", site="hq", kiosk="door")
    both: list[Record] = [FakeLedger(), disk]
    for act, number in acts:
        answers = [_answer(ledger, act, number) for ledger in both]
        assert answers[0] == answers[1]
    waiting = [[(event.seq, event.check_in) for event in ledger.pending(99)] for ledger in both]
    disk.close()

    assert waiting[0] == waiting[1]


def _answer(ledger: Record, act: str, number: int) -> object:
    match act:
        case "record":
            return ledger.record(check_in(f"E{number}")).seq
        case "acknowledge":
            return ledger.acknowledge(ledger.position().epoch, number)
        case _:
            return ledger.open_epoch("test")
