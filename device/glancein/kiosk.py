"""The loop: frames in, one punch a visit out. The screen thanks only after the ledger has committed."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from glancein.domain import visit as visits
from glancein.domain.advice import advise
from glancein.domain.attendance import Policy, Recognised, next_event
from glancein.domain.gallery import Gallery, gather
from glancein.errors import CameraError, NotRecorded, StoreError
from glancein.pipeline import Eye, Sight
from glancein.ports import Camera, Clock, Ledger, People, Publisher, Screen
from glancein.types import Accepted, Limits, Reason, Rejected

_log = logging.getLogger(__name__)
READ_TIMEOUT_S = 1.0
ROSTER_LOOK_S = 0.5  # how often the kiosk asks whether somebody was enrolled: hot-added well within 2 s
STOP_TIMEOUT_S = 5.0
DRAIN_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a kiosk is made of."""

    camera: Camera
    eye: Eye
    people: People
    ledger: Ledger
    publisher: Publisher
    clock: Clock
    screen: Screen


@dataclass(frozen=True, slots=True)
class Rules:
    """How the kiosk decides. ``limits_for`` gives the limits for a gallery of so many people."""

    limits_for: Callable[[int], Limits]
    visit: visits.VisitRules = field(default_factory=visits.VisitRules)
    policy: Policy = field(default_factory=Policy)


@dataclass(slots=True)
class Health:
    """Counts since the start, for the health page and the tests."""

    frames: int = 0
    recorded: int = 0
    not_recorded: int = 0
    refusals: Counter[Reason] = field(default_factory=Counter)
    enrolled: int = 0
    camera_problem: str | None = None
    roster_problem: str | None = None


class Kiosk:
    """One camera, one loop. ``run`` returns when told to stop or when a recording has ended."""

    def __init__(self, parts: Parts, rules: Rules) -> None:
        self._parts = parts
        self._rules = rules
        self._visit = visits.Visit()
        self._gallery: Gallery = gather([])
        self._limits = rules.limits_for(0)
        self._roster_version: int | None = None
        self._roster_look_s = float("-inf")
        self.health = Health()
        self.latest: Sight | None = None

    def run(self, stop: threading.Event, *, drain_s: float = 0.0) -> None:
        """Watch until ``stop`` is set or the pictures end, then let everything go.

        ``drain_s``: how long to wait at the end for the feed to acknowledge what it has not yet. Raises
        CameraError if a recording ended without a single picture.
        """
        self._parts.publisher.start()
        try:
            while not stop.is_set() and self._step():
                pass
            self._drain(stop, drain_s)
            if not stop.is_set() and not self.health.frames:
                raise CameraError(self.health.camera_problem or "the recording holds no picture")
        finally:
            self._parts.camera.close()
            self._parts.publisher.stop(STOP_TIMEOUT_S)

    def _step(self) -> bool:
        """One frame; False when there will be no more."""
        self._look_at_roster()
        try:
            frame = self._parts.camera.read(READ_TIMEOUT_S)
        except CameraError as err:
            self._note_camera(str(err))
            return True
        if frame is None:
            self._take(None, time.monotonic() + self._rules.visit.gone_s)
            return False
        self._note_camera(None)
        self.health.frames += 1
        self.latest = self._parts.eye.look(frame, self._gallery, self._limits)
        self._take(self.latest, frame.taken_mono_s)
        return True

    def _drain(self, stop: threading.Event, patience_s: float) -> None:
        deadline_s = time.monotonic() + patience_s
        while self._parts.ledger.pending(1) and time.monotonic() < deadline_s and not stop.wait(DRAIN_LOOK_S):
            self._parts.publisher.wake()

    def _take(self, sight: Sight | None, mono_s: float) -> None:
        """Add one sight to the visit and act on a verdict."""
        decision = None if sight is None else sight.decision
        self._visit, verdict = visits.add(self._visit, decision, mono_s, self._rules.visit)
        match verdict:
            case Accepted():
                self._punch(verdict)
            case Rejected():
                self.health.refusals[verdict.reason] += 1
                _log.info("refused: %s", verdict.reason)
                self._parts.screen.show_refusal(verdict.reason, advise(verdict))

    def _punch(self, accepted: Accepted) -> None:
        """Record what the rules make of a recognition; only a committed event is shown as done."""
        model = self._parts.eye.model_sha256
        who = Recognised(accepted.person_id, accepted.score_cos, self._limits.accept_cos, model)
        try:
            last = self._parts.ledger.last_of(accepted.person_id)
            name = self._parts.people.name_of(accepted.person_id)
            check_in = next_event(who, self._parts.clock.now(), last=last, policy=self._rules.policy)
            if check_in is None:
                if last is not None:
                    self._parts.screen.show_repeat(last, name)
                return
            event = self._parts.ledger.record(check_in)
        except (NotRecorded, StoreError) as err:
            self.health.not_recorded += 1
            _log.error("a check-in was not recorded: %s", err)  # the sentence says it all
            self._visit = visits.Visit()  # the next frames try again
            self._parts.screen.show_not_recorded(str(err))
            return
        self.health.recorded += 1
        self._parts.screen.show_recorded(event, name)
        self._parts.publisher.wake()

    def _look_at_roster(self) -> None:
        """Take over people whom another process enrolled or removed."""
        now_s = time.monotonic()
        if now_s - self._roster_look_s < ROSTER_LOOK_S:
            return
        self._roster_look_s = now_s
        try:
            version = self._parts.people.version()
            if version == self._roster_version:
                return
            self._gallery = gather(self._parts.people.templates(self._parts.eye.model_sha256))
        except StoreError as err:
            # The people already in memory go on being recognised.
            self._note_roster(str(err))
            return
        self._note_roster(None)
        self._roster_version = version
        people = len(set(self._gallery.person_ids))
        self._limits = self._rules.limits_for(people)
        self.health.enrolled = people
        _log.info("%d people enrolled; threshold %.3f", people, self._limits.accept_cos)

    def _note_camera(self, problem: str | None) -> None:
        if problem is not None and self.health.camera_problem is None:
            _log.warning("%s", problem)
        elif problem is None and self.health.camera_problem is not None:
            _log.info("the camera is back")
        self.health.camera_problem = problem

    def _note_roster(self, problem: str | None) -> None:
        if problem is not None and self.health.roster_problem is None:
            _log.warning("enrolled people cannot be read: %s", problem)
        self.health.roster_problem = problem
