"""What every ledger promises, the fake as well as the one on disk."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.fake_ledger import FakeLedger
from tests.device.punches import EPOCH, NOON, check_in, correction_of, moment

from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.domain import wire
from glancein.errors import NotRecorded
from glancein.ports import Archive, DeadLetters, History, Ledger
from glancein.types import (
    CheckIn,
    ClockTrust,
    Correction,
    Direction,
    Event,
    Method,
    OtherDirection,
    OtherPerson,
    OtherTime,
    TimeFix,
    Voided,
)

UNSYNCHRONISED = ClockTrust.UNSYNCHRONISED


class Record(Ledger, History, Archive, DeadLetters, Protocol):
    """All the ports at once."""


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


def last_of(ledger: Ledger, person_id: str) -> Event | None:
    """The event of the person's last punch."""
    last = ledger.last_of(person_id)
    return None if last is None else last.event


def test_last_of_is_the_latest_event_of_that_person(ledger: Record) -> None:
    """Others' events do not matter; nobody has none."""
    first, *_ = record(ledger, 3)
    again = ledger.record(check_in("E0", at=moment(99)))

    assert last_of(ledger, "E0") == again != first
    assert ledger.last_of("E9") is None


def test_last_of_passes_over_a_voided_check_in(ledger: Record) -> None:
    """What was taken back silences nobody and turns no direction round; other corrections do not."""
    stands = ledger.record(check_in())
    ledger.record(replace(correction_of(stands), becomes=OtherTime(moment(5).wall)))
    voided = ledger.record(check_in(at=moment(9)))

    ledger.record(replace(correction_of(voided), becomes=Voided()))

    assert last_of(ledger, "E1") == stands


def test_last_of_is_the_latest_by_the_times_that_stand(ledger: Record) -> None:
    """A punch noted for yesterday or sent again late is not the last one, whenever it was written down."""
    early = ledger.record(check_in(at=moment(-600)))
    ledger.lay_aside(early.id, "test")
    last = ledger.record(check_in(direction=Direction.OUT))
    noted = ledger.record(replace(check_in(at=moment(60)), method=Method.MANUAL))
    ledger.record(correction_of(noted, OtherTime(NOON - timedelta(days=1))))
    ledger.send_again()

    assert last_of(ledger, "E1") == last


def test_last_of_a_clock_that_stepped_back_is_the_latest_by_the_monotonic_clock(ledger: Record) -> None:
    """Synchronised before and after, whatever the walls say; one that was sent again stays the earlier."""
    ahead = ledger.record(check_in(at=moment(-600, wall=NOON + timedelta(minutes=50))))
    ledger.lay_aside(ahead.id, "test")
    right = ledger.record(check_in(direction=Direction.OUT))
    before = last_of(ledger, "E1")
    ledger.send_again()

    assert before == last_of(ledger, "E1") == right


def test_last_of_stands_as_it_was_corrected(ledger: Record) -> None:
    """With its other direction, and with whoever's punch it was."""
    punch = ledger.record(check_in("E1"))
    ledger.record(correction_of(punch, OtherDirection(Direction.OUT)))
    ledger.record(correction_of(punch, OtherPerson("E2")))

    last = ledger.last_of("E2")

    assert ledger.last_of("E1") is None
    assert last is not None
    assert (last.event, last.direction) == (punch, Direction.OUT)


@pytest.mark.parametrize("days", [40, 130], ids=["a month", "a quarter"])
def test_last_of_is_not_hidden_by_what_is_noted_at_once(ledger: Record, days: int) -> None:
    """However much is noted by hand in one morning, the next punch goes by what they did today."""
    last = ledger.record(check_in())
    for day in range(1, days):
        noted = ledger.record(replace(check_in(at=moment(60 + day)), method=Method.MANUAL))
        ledger.record(correction_of(noted, OtherTime(NOON - timedelta(days=day))))

    assert last_of(ledger, "E1") == last


def test_last_of_a_clock_that_was_never_set_is_the_one_recorded_last(ledger: Record) -> None:
    """After a power cut without a network it may be 1970: still it is the next punch."""
    ledger.record(check_in())
    in_1970 = moment(0, boot="boot-2", wall=datetime(1970, 1, 1, tzinfo=UTC), trust=UNSYNCHRONISED)
    unset = ledger.record(check_in(at=in_1970, direction=Direction.OUT))

    assert last_of(ledger, "E1") == unset


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
    assert ledger.history(events[0].epoch, 2, 2) == events[1:3]


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


def test_new_epoch_is_for_what_comes_and_leaves_the_names_of_what_waits(ledger: Record) -> None:
    """After an old copy was restored, no number is given out twice, and HR knows what it has already."""
    events = record(ledger, 2)

    ledger.open_epoch("an old copy")
    following = ledger.record(check_in("E9"))

    assert ledger.pending(9) == [*events, following]
    assert (following.seq, following.previous_hash) == (1, wire.NO_HASH)
    assert following.epoch == ledger.position().epoch != events[0].epoch
    assert ledger.acknowledge(events[0].epoch, 2) == 2
    assert ledger.pending(9) == [following]


def test_event_whose_name_is_taken_is_recorded_anew(ledger: Record) -> None:
    """The punch gets a new name and keeps its contents; the old name no longer counts anywhere."""
    events = record(ledger, 4)
    ledger.acknowledge(events[0].epoch, 2)

    assert ledger.renew(events[0].epoch, 3, 3) == 1
    assert ledger.renew(events[0].epoch, 3, 3) == 0

    kept, renewed = ledger.pending(9)
    assert kept == events[3]
    assert renewed.body == events[2].body
    assert renewed.epoch == ledger.position().epoch != events[0].epoch
    assert (renewed.seq, renewed.previous_hash) == (1, wire.NO_HASH)
    found = ledger.between(NOON - timedelta(hours=1), NOON + timedelta(hours=1))
    assert found == [events[0], events[1], kept, renewed]


def test_event_laid_aside_no_longer_holds_up_the_others(ledger: Record) -> None:
    """It is kept with the reason until a person sends it again."""
    events = record(ledger, 3)

    assert ledger.lay_aside(events[0].id, "unreadable: no such person")
    assert not ledger.lay_aside(events[0].id, "again")

    assert ledger.pending(9) == events[1:]
    assert ledger.position().backlog == 2
    assert [(one.event, one.why) for one in ledger.laid_aside()] == [
        (events[0], "unreadable: no such person")
    ]
    assert ledger.acknowledge(events[0].epoch, 3) == 2
    assert ledger.send_again() == 1
    (again,) = ledger.pending(9)
    assert ledger.renewed(events[0].epoch, 1, 3) == {1: again.seq}
    assert (again.seq, again.body) == (4, events[0].body)
    assert ledger.laid_aside() == []


def test_acknowledged_event_cannot_be_laid_aside(ledger: Record) -> None:
    """The consumer has it."""
    events = record(ledger, 1)
    ledger.acknowledge(events[0].epoch, 1)

    assert not ledger.lay_aside(events[0].id, "too late")


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


def test_correction_and_time_fix_are_numbered_and_chained_like_check_ins(ledger: Record) -> None:
    """One stream, one outbox, whatever is said."""
    punch = ledger.record(check_in())
    correction = ledger.record(correction_of(punch))
    fix = ledger.record(TimeFix(moment(600), 12.5))

    assert [event.seq for event in (punch, correction, fix)] == [1, 2, 3]
    assert correction.previous_hash == wire.event_hash(punch)
    assert fix.previous_hash == wire.event_hash(correction)
    assert ledger.pending(9) == [punch, correction, fix]
    assert ledger.last_of("E1") is None  # the correction voids it


@pytest.mark.parametrize("seq", [2, 3, 99])
def test_correction_of_what_is_not_here_or_no_check_in_is_not_recorded(ledger: Record, seq: int) -> None:
    """HR would look for the punch in vain."""
    punch = ledger.record(check_in())
    ledger.record(correction_of(punch))

    with pytest.raises(NotRecorded, match="no check-in"):
        ledger.record(correction_of(replace(punch, seq=seq)))
    assert len(ledger.pending(9)) == 2


def test_event_is_found_by_its_name(ledger: Record) -> None:
    """By all three parts of it."""
    event = ledger.record(check_in())

    assert ledger.find(event.id) == event
    for other in (replace(event.id, seq=2), replace(event.id, kiosk="gate"), replace(event.id, epoch=EPOCH)):
        assert ledger.find(other) is None


def test_span_holds_check_ins_their_corrections_and_their_time_fixes(ledger: Record) -> None:
    """Whether they were recorded in it, fixed into it or corrected into it; and nothing else."""
    morning = NOON - timedelta(hours=3)
    early = ledger.record(check_in("E1", at=moment(wall=morning)))
    at_1970 = moment(-300, boot="boot-2", wall=datetime(1970, 1, 1, tzinfo=UTC), trust=UNSYNCHRONISED)
    unset = ledger.record(check_in("E2", at=at_1970))
    ledger.record(check_in("E3", at=replace(at_1970, boot_id="boot-3")))
    fix = ledger.record(TimeFix(moment(600, boot="boot-2"), 1e9))
    noon = ledger.record(check_in("E4", at=moment(0)))
    moved_in = ledger.record(correction_of(early, OtherTime(NOON)))
    moved_out = ledger.record(correction_of(noon, OtherTime(morning)))
    ledger.record(TimeFix(moment(700, boot="boot-3", wall=NOON + timedelta(days=9)), 1e9))

    found = ledger.between(NOON - timedelta(minutes=10), NOON + timedelta(minutes=10))

    assert found == [early, unset, fix, noon, moved_in, moved_out]


def test_span_of_one_person_holds_what_was_recorded_as_theirs_or_became_theirs(ledger: Record) -> None:
    """Moved out by person or time, moved in, fixed in; of others nothing."""
    morning = NOON - timedelta(hours=3)
    own = ledger.record(check_in("E1", at=moment(0)))
    ledger.record(check_in("E2", at=moment(10)))
    given_away = ledger.record(check_in("E1", at=moment(20)))
    became = ledger.record(check_in("E2", at=moment(30)))
    early = ledger.record(check_in("E1", at=moment(wall=morning)))
    ledger.record(check_in("E1", at=moment(wall=NOON - timedelta(days=3))))
    at_1970 = moment(-300, boot="boot-2", wall=datetime(1970, 1, 1, tzinfo=UTC), trust=UNSYNCHRONISED)
    unset = ledger.record(check_in("E1", at=at_1970))
    ledger.record(check_in("E2", at=at_1970))
    fix = ledger.record(TimeFix(moment(600, boot="boot-2"), 1e9))
    corrections = [
        ledger.record(correction_of(given_away, OtherPerson("E2"))),
        ledger.record(correction_of(became, OtherPerson("E1"))),
        ledger.record(correction_of(early, OtherTime(NOON))),
    ]

    found = ledger.between(NOON - timedelta(minutes=10), NOON + timedelta(minutes=10), "E1")

    assert found == [own, given_away, became, early, unset, fix, *corrections]


def test_boot_waits_for_a_time_fix_until_it_has_one(ledger: Record) -> None:
    """A check-in with a time nobody can believe, of this boot, after its last fix."""
    ledger.record(check_in("E1", at=moment(0)))
    assert ledger.unfixed("boot-1") is None
    first = ledger.record(check_in("E2", at=moment(10, trust=UNSYNCHRONISED)))
    last = ledger.record(check_in("E3", at=moment(20, trust=UNSYNCHRONISED)))
    ledger.record(correction_of(first))

    assert ledger.unfixed("boot-1") == last
    assert ledger.unfixed("boot-2") is None
    ledger.record(TimeFix(moment(30), 0.5))
    assert ledger.unfixed("boot-1") is None


def test_correction_that_moves_with_its_check_in_keeps_pointing_to_it(ledger: Record) -> None:
    """In a new epoch both have new names."""
    old = ledger.record(check_in())
    ledger.record(correction_of(old))
    ledger.renew(old.epoch, 1, 2)

    punch, correction = ledger.pending(9)

    assert isinstance(correction.body, Correction)
    assert correction.body.of == punch.id != old.id
    later = ledger.record(correction_of(old))
    assert isinstance(later.body, Correction)
    assert later.body.of == punch.id


def test_corrections_go_with_the_check_in_that_is_sent_again(ledger: Record) -> None:
    """Also the ones that were delivered: a punch that was taken back does not count under its new name."""
    punch = ledger.record(check_in())
    ledger.lay_aside(punch.id, "unreadable")
    ledger.record(correction_of(punch))
    ledger.record(correction_of(punch, OtherTime(NOON)))
    ledger.acknowledge(punch.epoch, 2)

    assert ledger.send_again() == 3
    again, voided, moved = ledger.pending(9)
    found = ledger.between(NOON - timedelta(hours=1), NOON + timedelta(hours=1))

    assert found == [again, voided, moved]
    assert ledger.last_of("E1") is None
    assert ledger.renewed(punch.epoch, 1, 3) == {1: again.seq, 2: voided.seq, 3: moved.seq}


def test_correction_goes_with_the_check_in_whose_name_is_taken(ledger: Record) -> None:
    """Under its old name it would be about somebody else's punch."""
    punch = ledger.record(check_in())
    ledger.record(correction_of(punch))

    assert ledger.renew(punch.epoch, 1, 1) == 2
    again, correction = ledger.pending(9)

    assert isinstance(correction.body, Correction)
    assert correction.body.of == again.id
    assert again.epoch == correction.epoch != punch.epoch


def test_correction_by_any_earlier_name_is_of_the_check_in_as_it_is_called_now(ledger: Record) -> None:
    """Somebody had the page open while the punch was recorded anew, twice."""
    punch = ledger.record(check_in())
    ledger.renew(punch.epoch, 1, 1)
    second = ledger.pending(1)[0]
    ledger.renew(second.epoch, 1, 1)
    third = ledger.pending(1)[0]

    correction = ledger.record(correction_of(punch))

    assert isinstance(correction.body, Correction)
    assert correction.body.of == third.id


acts = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(0, 3)),
        st.tuples(st.just("acknowledge"), st.integers(-2, 12)),
        st.tuples(st.sampled_from(["epoch", "aside", "again"]), st.just(0)),
        st.tuples(st.sampled_from(["renew", "void"]), st.integers(0, 5)),
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
    waiting = [[(event.seq, _said(event)) for event in ledger.pending(99)] for ledger in both]
    disk.close()

    assert waiting[0] == waiting[1]


def _said(event: Event) -> object:
    """All that the two ledgers do not name each in its own way."""
    return event.body.of.seq if isinstance(event.body, Correction) else event.body


def _answer(ledger: Record, act: str, number: int) -> object:
    waiting = ledger.pending(99)
    punches = [event for event in waiting if isinstance(event.body, CheckIn)]
    epoch = ledger.position().epoch
    acts: dict[str, Callable[[], object]] = {
        "record": lambda: ledger.record(check_in(f"E{number}")).seq,
        "void": lambda: [ledger.record(correction_of(one)).seq for one in punches[number : number + 1]],
        "acknowledge": lambda: ledger.acknowledge(epoch, number),
        "renew": lambda: ledger.renew(epoch, 1, number),
        "aside": lambda: waiting and ledger.lay_aside(waiting[0].id, "test"),
        "again": ledger.send_again,
        "epoch": lambda: ledger.open_epoch("test"),
    }
    return acts[act]()
