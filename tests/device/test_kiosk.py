"""The kiosk's loop: one punch a visit, thanks only after the commit, and no fault that stops it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from glancein.domain.attendance import Ask, Policy
from glancein.domain.choice import Question
from glancein.domain.decide import decide
from glancein.domain.gallery import EMBEDDING_SIZE, Gallery
from glancein.domain.punches import Punch, last_standing
from glancein.domain.visit import VisitRules
from glancein.errors import CameraError, NotRecorded, StoreError
from glancein.kiosk import Heir, Kiosk, Parts, Rules
from glancein.pipeline import Sight
from glancein.punch_clock import CHOICE_S
from glancein.types import (
    Body,
    CheckIn,
    ClockTrust,
    Decision,
    Event,
    Face,
    Floats,
    Frame,
    Limits,
    Moment,
    Template,
)

MODEL = "ab" * 32
LIMITS = Limits(accept_cos=0.5, margin_cos=0.05)
NOBODY = 255
BREAK = -1


def axis(number: int) -> Floats:
    vector = np.zeros(EMBEDDING_SIZE, np.float32)
    vector[number] = 1.0
    return vector


@dataclass
class World:
    """Everything around the kiosk, scripted; ``log`` holds what happened, in order."""

    script: Sequence[int]  # one number a frame: whose face, NOBODY, or BREAK for a camera failure
    enrolled: dict[str, int] = field(default_factory=lambda: {"E1": 1, "E2": 2})
    broken_commits: int = 0
    log: list[str] = field(default_factory=list)
    mono_s: float = 100.0
    step_s: float = 0.2
    events: list[Event] = field(default_factory=list)
    roster_version: int = 1
    enrol_at_frame: tuple[int, str, int] | None = None
    frames: int = 0
    _pictures: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self._pictures = iter(self.script)

    # Camera

    def read(self, timeout_s: float) -> Frame | None:
        assert timeout_s > 0
        self.mono_s += self.step_s
        self.frames += 1
        if self.enrol_at_frame is not None and self.frames == self.enrol_at_frame[0]:
            self.enrolled[self.enrol_at_frame[1]] = self.enrol_at_frame[2]
            self.roster_version += 1
        who = next(self._pictures, None)
        if who == BREAK:
            raise CameraError("the camera was unplugged")
        if who is None:
            return None
        return Frame(np.full((2, 2, 3), who, np.uint8), self.mono_s)

    def close(self) -> None:
        self.log.append("camera closed")

    # Eye

    @property
    def model_sha256(self) -> str:
        return MODEL

    def look(self, frame: Frame, gallery: Gallery, limits: Limits) -> Sight:
        who = int(frame.pixels[0, 0, 0])
        decision = None if who == NOBODY else decide(gallery.rank(axis(who)), limits)
        return Sight(frame, None, None, decision)

    # People

    def version(self) -> int:
        return self.roster_version

    def templates(self, model_sha256: str) -> list[Template]:
        return [Template(person, axis(n), model_sha256) for person, n in self.enrolled.items()]

    def name_of(self, person_id: str) -> str | None:
        return f"name of {person_id}"

    # Ledger

    def record(self, body: Body) -> Event:
        assert isinstance(body, CheckIn)
        if self.broken_commits:
            self.broken_commits -= 1
            raise NotRecorded("the disk is full; free some space")
        event = Event("main", "k", "epoch", len(self.events) + 1, "0" * 64, body)
        self.events.append(event)
        self.log.append(f"committed {body.person_id} {body.direction}")
        return event

    def last_of(self, person_id: str) -> Punch | None:
        return last_standing(self.events, person_id)

    def pending(self, limit: int) -> list[Event]:
        return self.events[:0] if limit else []

    def acknowledge(self, epoch: str, up_to_seq: int) -> int:
        raise AssertionError((epoch, up_to_seq))

    # Publisher

    def start(self) -> None:
        self.log.append("publisher started")

    def wake(self) -> None:
        self.log.append("woken")

    def state(self) -> dict[str, object]:
        return {}

    def stop(self, timeout_s: float) -> None:
        assert timeout_s > 0
        self.log.append("publisher stopped")

    # Clock

    def now(self) -> Moment:
        return Moment(datetime(2026, 3, 2, 8, 0, tzinfo=UTC), self.mono_s, "boot", ClockTrust.SYNCHRONISED)

    # Screen

    def show_recorded(self, event: Event, name: str | None) -> None:
        self.log.append(f"thanks {event.check_in.person_id} {name}")

    def show_refusal(self, reason: str, advice: str) -> None:
        assert advice
        self.log.append(f"refused {reason}")

    def show_repeat(self, event: Event, name: str | None) -> None:
        assert name
        self.log.append(f"repeat {event.check_in.person_id}")

    def show_not_recorded(self, why: str) -> None:
        self.log.append(f"NOT RECORDED {why}")


def run(world: World, *, stop: threading.Event | None = None, heir: Heir | None = None) -> Kiosk:
    parts = Parts(
        camera=world, eye=world, people=world, ledger=world, publisher=world, clock=world, screen=world
    )
    rules = Rules(
        limits_for=lambda _: LIMITS,
        visit=VisitRules(agree_n=3, window_s=3.0, patience_s=1.0, gone_s=1.0),
        policy=Policy(quiet_s=60.0),
    )
    kiosk = Kiosk(parts, rules)
    if heir is not None:
        kiosk.hand_over(heir)
    kiosk.run(stop or threading.Event())
    return kiosk


def told(world: World) -> list[str]:
    """What the person saw."""
    return [line for line in world.log if line.split()[0] in {"thanks", "refused", "repeat", "NOT"}]


def test_run_when_one_person_stands_there() -> None:
    """Thirty frames of one person are one punch, and the thanks come after the commit."""
    world = World(script=[1] * 30)

    kiosk = run(world)

    assert world.log[:4] == ["publisher started", "committed E1 in", "thanks E1 name of E1", "woken"]
    assert (kiosk.health.recorded, kiosk.health.frames, kiosk.health.enrolled) == (1, 30, 2)


def test_run_when_a_stranger_stands_there() -> None:
    """A stranger is refused once with a reason, and nothing is recorded."""
    world = World(script=[9] * 30)

    run(world)

    assert told(world) == ["refused unknown"]
    assert world.events == []


def test_run_when_people_follow_each_other() -> None:
    """Two people in a row are two punches, the second look of the first is none."""
    world = World(script=[1] * 8 + [NOBODY] * 8 + [2] * 8 + [NOBODY] * 8 + [1] * 8)

    run(world)

    assert told(world) == ["thanks E1 name of E1", "thanks E2 name of E2", "repeat E1"]


def test_run_when_the_commit_fails() -> None:
    """A punch that was not committed is never thanked for, and is tried again."""
    world = World(script=[1] * 30, broken_commits=1)

    kiosk = run(world)

    assert told(world) == [
        "NOT RECORDED the disk is full; free some space",
        "thanks E1 name of E1",
    ]
    assert kiosk.health.not_recorded == 1


def test_run_when_somebody_is_enrolled_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person enrolled by another process is known without a restart."""
    monkeypatch.setattr("glancein.kiosk.ROSTER_LOOK_S", 0.0)
    monkeypatch.setattr("glancein.kiosk.RELOAD_REST", 0)
    world = World(script=[5] * 4 + [NOBODY] * 8 + [5] * 8, enrol_at_frame=(8, "E5", 5))

    run(world)

    assert told(world)[-1] == "thanks E5 name of E5"


@dataclass
class Enrolling(World):
    """Somebody is enrolled before each frame, and reading everybody takes a while."""

    loads_s: list[float] = field(default_factory=list)

    def version(self) -> int:
        return self.frames

    def templates(self, model_sha256: str) -> list[Template]:
        self.loads_s.append(self.mono_s)
        self.mono_s += 1.0
        return super().templates(model_sha256)


def test_run_when_a_long_roster_is_enrolled_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading everybody again takes a part of the time only, the rest is for faces."""
    world = Enrolling(script=[NOBODY] * 51)
    monkeypatch.setattr("glancein.kiosk.time", SimpleNamespace(monotonic=lambda: world.mono_s))

    run(world)

    gaps_s = np.diff(world.loads_s)
    assert len(gaps_s) >= 2
    assert gaps_s == pytest.approx(4.0, abs=0.3)


def test_run_when_the_camera_fails_and_comes_back() -> None:
    """A lost camera is noted and the loop goes on."""
    world = World(script=[BREAK, BREAK, *[1] * 5])

    kiosk = run(world)

    assert told(world) == ["thanks E1 name of E1"]
    assert kiosk.health.camera_problem is None


def test_run_when_told_to_stop() -> None:
    """A set stop ends the loop in order: camera closed, publisher stopped."""
    world, stop = World(script=[1] * 1000), threading.Event()
    stop.set()

    run(world, stop=stop)

    assert world.log == ["publisher started", "camera closed", "publisher stopped"]


def test_run_when_a_recording_cannot_be_read() -> None:
    """A recording without a single picture is an error, not a quiet end."""
    world = World(script=[BREAK])

    with pytest.raises(CameraError, match="unplugged"):
        run(world)

    assert world.log[-2:] == ["camera closed", "publisher stopped"]


class OtherWorld(World):
    """The same eye with another embedder."""

    @property
    def model_sha256(self) -> str:
        return "cd" * 32


class Unreadable(World):
    """The templates of the new embedder cannot be read at first."""

    failures: int = 2

    def templates(self, model_sha256: str) -> list[Template]:
        if model_sha256 != MODEL and self.failures:
            self.failures -= 1
            raise StoreError("the people cannot be read")
        return super().templates(model_sha256)


def test_new_embedder_takes_over_between_two_frames() -> None:
    """Eye, gallery and threshold change together, and punches bear the new model's hash."""
    world = World(script=[1] * 30)
    strict = Limits(accept_cos=0.9, margin_cos=0.05)

    kiosk = run(world, heir=Heir(OtherWorld(script=[]), lambda _: strict))

    assert kiosk.eye.model_sha256 == "cd" * 32
    punch = world.events[0].check_in
    assert (punch.model_sha256, punch.threshold_cos) == ("cd" * 32, 0.9)


class Unversioned(World):
    """Whether somebody was enrolled cannot be asked."""

    def version(self) -> int:
        raise StoreError("the people cannot be read")


def test_new_embedder_has_its_own_limits_even_if_the_roster_cannot_be_read_then() -> None:
    """Its scores are never held against the limits of the old one."""
    world = Unversioned(script=[1] * 30)

    kiosk = run(world, heir=Heir(OtherWorld(script=[]), lambda people: Limits(0.9 + 0.01 * people, 0.05)))

    assert kiosk.eye.model_sha256 == "cd" * 32
    assert world.events[0].check_in.threshold_cos == pytest.approx(0.92)


@dataclass
class AskingWorld(World):
    """With a screen that asks for the direction; nobody answers."""

    asked: list[tuple[str, float]] = field(default_factory=list)

    def see(self, frame: Frame, face: Face | None, decision: Decision | None) -> None:
        """Not looked at here."""

    def ask_direction(self, question: Question) -> None:
        self.asked.append((question.person_id, self.mono_s))


def test_second_person_is_asked_when_the_question_of_the_first_has_ended() -> None:
    """They stand there without a gap, and were not to be lost."""
    world = AskingWorld(script=[1] * 8 + [NOBODY] * 8 + [2] * 80)
    parts = Parts(world, world, world, world, world, world, world, panel=world)

    Kiosk(parts, Rules(limits_for=lambda _: LIMITS, policy=Policy(rule=Ask()))).run(threading.Event())

    (first, first_s), (second, second_s) = world.asked
    assert (first, second) == ("E1", "E2")
    assert second_s - first_s > CHOICE_S


def test_old_embedder_serves_while_the_new_ones_templates_cannot_be_read() -> None:
    """No frame is compared with templates of another model."""
    world = Unreadable(script=[NOBODY, 1, 1, 1, 1, 1])

    kiosk = run(world, heir=Heir(OtherWorld(script=[]), lambda _: LIMITS))

    assert told(world) == ["thanks E1 name of E1"]
    assert kiosk.eye.model_sha256 == "cd" * 32
