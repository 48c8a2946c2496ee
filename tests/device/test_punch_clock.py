"""Every way to be recognised ends in one place: at most one committed event, and the truth on the screen."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import pytest
from tests.contract.fake_ledger import FakeLedger
from tests.device.punches import MODEL, correction_of, moment

from glancein.domain.attendance import Ask, DirectionRule, Fixed, Policy, Recognised
from glancein.domain.choice import Question
from glancein.errors import InputError, NotRecorded, StoreError
from glancein.punch_clock import CHOICE_S, DISOWN_S, Outcome, PunchClock, Record
from glancein.types import (
    CheckIn,
    Correction,
    Decision,
    Direction,
    Event,
    EventId,
    Face,
    Frame,
    Method,
    Moment,
    OtherTime,
    Template,
    Voided,
)

FACE = Recognised("E1", 0.6, 0.41, MODEL)
BY_PIN = Recognised("E1", 0.0, 0.0, "", Method.PIN, "pin")


@dataclass
class Surroundings:
    """People, clock, screen, panel and publisher, written down as they are used."""

    said: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    now_s: float = 0.0
    woken: int = 0

    def version(self) -> int:
        return 1

    def templates(self, model_sha256: str) -> list[Template]:
        assert model_sha256
        return []

    def name_of(self, person_id: str) -> str | None:
        return f"name of {person_id}"

    def now(self) -> Moment:
        return moment(self.now_s)

    def wake(self) -> None:
        self.woken += 1

    def see(self, frame: Frame, face: Face | None, decision: Decision | None) -> None:
        """Not looked at here."""

    def ask_direction(self, question: Question) -> None:
        self.questions.append(question)

    def show_recorded(self, event: Event, name: str | None) -> None:
        self.said.append(f"{event.check_in.direction} {name}")

    def show_refusal(self, reason: str, advice: str) -> None:
        self.said.append(f"refused {reason} {advice}")

    def show_repeat(self, event: Event, name: str | None) -> None:
        self.said.append(f"repeat {event.seq} {name}")

    def show_not_recorded(self, why: str) -> None:
        self.said.append(f"NOT RECORDED {why}")


def clock_of(
    around: Surroundings, ledger: FakeLedger, rule: DirectionRule | None = None, *, quiet_s: float = 60.0
) -> PunchClock:
    """A punch clock in these surroundings."""
    policy = replace(Policy(quiet_s=quiet_s), rule=rule) if rule is not None else Policy(quiet_s=quiet_s)
    record = Record(around, ledger, around, around.wake)
    return PunchClock(record, screen=around, panel=around, policy=policy)


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


def test_pin_goes_through_the_same_rules_as_a_face(around: Surroundings, ledger: FakeLedger) -> None:
    """In by face, a repeat by PIN inside the quiet period, out by PIN after it; the event says which way."""
    clock = clock_of(around, ledger)

    outcomes = [clock.punch(FACE), clock.punch(BY_PIN)]
    around.now_s = 3600
    outcomes.append(clock.punch(BY_PIN))

    assert outcomes == [Outcome.RECORDED, Outcome.REPEAT, Outcome.RECORDED]
    assert around.said == ["in name of E1", "repeat 1 name of E1", "out name of E1"]
    assert [event.check_in.method for event in ledger.pending(9)] == [Method.FACE, Method.PIN]
    assert around.woken == 2
    assert clock.other_ways == 2


def test_punch_noted_for_yesterday_touches_nobody_today(around: Surroundings, ledger: FakeLedger) -> None:
    """Neither silenced a minute later nor turned round: the next punch ends today's shift."""
    clock = clock_of(around, ledger)
    clock.punch(FACE)
    noted = ledger.record(CheckIn("E1", Direction.OUT, moment(7200), 0.0, 0.0, "", Method.MANUAL, "manual"))
    ledger.record(correction_of(noted, OtherTime(moment(-54_000).wall), at=moment(7200)))

    around.now_s = 7230

    assert clock.punch(FACE) is Outcome.RECORDED
    assert around.said[-1] == "out name of E1"


def test_pin_that_cannot_be_looked_up_is_not_recorded(around: Surroundings, ledger: FakeLedger) -> None:
    """A database that fails before the punch is as red, and counts as much, as one that fails at it."""
    clock = clock_of(around, ledger)

    assert clock.fail(StoreError("the disk is full")) is Outcome.NOT_RECORDED
    assert (clock.not_recorded, around.said) == (1, ["NOT RECORDED the disk is full"])


def test_failed_commit_is_never_thanked_for(around: Surroundings, ledger: FakeLedger) -> None:
    """Red for a PIN as well as for a face, and counted."""
    ledger.full = True
    clock = clock_of(around, ledger)

    assert clock.punch(BY_PIN) is Outcome.NOT_RECORDED

    assert around.said[0].startswith("NOT RECORDED")
    assert (clock.recorded, clock.not_recorded, around.woken) == (0, 1, 0)


def test_question_is_answered_once_and_in_time(around: Surroundings, ledger: FakeLedger) -> None:
    """Nothing is recorded before the answer; the answer decides, whatever was suggested."""
    clock = clock_of(around, ledger, Ask())
    assert clock.punch(FACE) is Outcome.ASKED
    assert ledger.pending(9) == []
    (question,) = around.questions
    assert question.suggested is Direction.IN

    assert clock.choose(question.token, Direction.OUT) is Outcome.RECORDED

    assert around.said == ["out name of E1"]
    with pytest.raises(InputError, match="no longer open"):
        clock.choose(question.token, Direction.IN)


def test_late_or_foreign_answer_records_nothing(around: Surroundings, ledger: FakeLedger) -> None:
    """Somebody else's press minutes later does not punch."""
    clock = clock_of(around, ledger, Ask())
    clock.punch(FACE)
    with pytest.raises(InputError):
        clock.choose("a guess", Direction.IN)
    clock.punch(FACE)
    around.now_s = CHOICE_S + 1

    with pytest.raises(InputError):
        clock.choose(around.questions[-1].token, Direction.IN)

    assert ledger.pending(9) == []


@pytest.mark.parametrize("guess", ["a guess", "é", "\ud800"])
def test_wrong_answer_leaves_the_question_open(around: Surroundings, ledger: FakeLedger, guess: str) -> None:
    """A page that is a question behind, or a stranger's letters, take nothing away."""
    clock = clock_of(around, ledger, Ask())
    clock.punch(FACE)

    with pytest.raises(InputError, match="no longer open"):
        clock.choose(guess, Direction.IN)

    assert clock.choose(around.questions[-1].token, Direction.OUT) is Outcome.RECORDED


def test_everybody_else_waits_while_one_person_is_asked(around: Surroundings, ledger: FakeLedger) -> None:
    """Neither asked nor told anything; after the answer, or without one in time, it is their turn."""
    clock = clock_of(around, ledger, Ask())
    second, third = replace(FACE, person_id="E2"), replace(BY_PIN, person_id="E3")
    clock.punch(FACE)

    waits = [clock.punch(second), clock.punch(third)]
    clock.choose(around.questions[-1].token, Direction.IN)
    after_answer = clock.punch(second)
    around.now_s = CHOICE_S + 1

    assert waits == [Outcome.BUSY, Outcome.BUSY]
    assert after_answer is clock.punch(third) is Outcome.ASKED
    assert [question.person_id for question in around.questions] == ["E1", "E2", "E3"]
    assert around.said == ["in name of E1"]


def test_fixed_kiosk_asks_nobody(around: Surroundings, ledger: FakeLedger) -> None:
    """A panel alone is no reason to ask."""
    clock_of(around, ledger, Fixed(Direction.OUT)).punch(FACE)

    assert around.questions == []
    assert around.said == ["out name of E1"]


def last_id(ledger: FakeLedger) -> EventId:
    """The name of the latest event."""
    return ledger.pending(99)[-1].id


def test_not_you_voids_the_punch_by_a_new_event(around: Surroundings, ledger: FakeLedger) -> None:
    """The right person may punch at once: what was voided silences nobody."""
    clock = clock_of(around, ledger)
    clock.punch(FACE)

    said = clock.disown(last_id(ledger)).body

    assert isinstance(said, Correction)
    assert said.becomes == Voided()
    assert clock.punch(FACE) is Outcome.RECORDED
    assert around.said == ["in name of E1", "in name of E1"]


def test_not_you_counts_once_soon_and_for_punches_made_here(around: Surroundings, ledger: FakeLedger) -> None:
    """A second press, a late one and a made-up name change nothing."""
    clock = clock_of(around, ledger, quiet_s=0.0)
    clock.punch(FACE)
    first = last_id(ledger)
    clock.disown(first)
    clock.punch(FACE)
    second = last_id(ledger)
    around.now_s = DISOWN_S + 1

    for name in (first, second, EventId("other", first.epoch, 1)):
        with pytest.raises(InputError, match="tell HR"):
            clock.disown(name)

    assert ledger.position().seq == 3


def test_not_you_that_cannot_be_stored_is_not_promised(around: Surroundings, ledger: FakeLedger) -> None:
    """The error goes to the page; the punch can still be taken back when the disk has room."""
    clock = clock_of(around, ledger)
    clock.punch(FACE)
    name = last_id(ledger)
    ledger.full = True
    with pytest.raises(NotRecorded):
        clock.disown(name)

    ledger.full = False

    assert isinstance(clock.disown(name).body, Correction)


def test_face_and_pin_at_the_same_moment_are_one_punch(around: Surroundings, ledger: FakeLedger) -> None:
    """The loop and the page's server come from different threads; the quiet period holds between them."""
    clock = clock_of(around, ledger)
    ready = threading.Barrier(8)

    def punch() -> None:
        ready.wait(20)
        clock.punch(BY_PIN)

    threads = [threading.Thread(target=punch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert ledger.position().seq == 1
    assert sorted(around.said) == ["in name of E1", *["repeat 1 name of E1"] * 7]
