"""The loop: frames in, one punch a visit out. The screen thanks only after the ledger has committed."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from glancein.domain import visit as visits
from glancein.domain.advice import advise
from glancein.domain.attendance import Policy, Recognised
from glancein.domain.gallery import Gallery, gather
from glancein.errors import CameraError, StoreError
from glancein.pipeline import Eye, Sight
from glancein.ports import Camera, Clock, Ledger, Panel, People, Publisher, Screen
from glancein.punch_clock import Outcome, PunchClock, Record
from glancein.time_keeper import TimeKeeper
from glancein.types import Accepted, Limits, Reason, Rejected

_log = logging.getLogger(__name__)
READ_TIMEOUT_S = 1.0
ROSTER_LOOK_S = 0.5  # how often the kiosk asks whether somebody was enrolled: hot-added well within 2 s
RELOAD_REST = 4  # a reload begins at the earliest this many times as long as the last took after it began
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
    panel: Panel | None = None
    time_keeper: TimeKeeper | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How the kiosk decides. ``limits_for`` gives the limits for a gallery of so many people."""

    limits_for: Callable[[int], Limits]
    visit: visits.VisitRules = field(default_factory=visits.VisitRules)
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Heir:
    """A new embedder's eye and thresholds, to take over between two frames."""

    eye: Eye
    limits_for: Callable[[int], Limits]


@dataclass(slots=True)
class Health:
    """Counts since the start, for the health page and the tests."""

    frames: int = 0
    recorded: int = 0  # by face; the punch clock counts all
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
        self._roster_rest_s = 0.0
        self.punches = PunchClock(
            Record(parts.people, parts.ledger, parts.clock, parts.publisher.wake),
            screen=parts.screen,
            panel=parts.panel,
            policy=rules.policy,
        )
        self._other_ways = 0
        self._heir: Heir | None = None
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

    @property
    def eye(self) -> Eye:
        """What looks at the frames now."""
        return self._parts.eye

    def hand_over(self, heir: Heir) -> None:
        """Go on with another embedder from the next frame; any thread may call."""
        self._heir = heir

    def _take_over(self, heir: Heir) -> None:
        """Change eye, gallery and limits together; an unreadable database leaves it for the next frame."""
        try:
            self._gallery = gather(self._parts.people.templates(heir.eye.model_sha256))
        except StoreError as err:
            self._note_roster(str(err))
            return
        self._parts = replace(self._parts, eye=heir.eye)
        self._rules = replace(self._rules, limits_for=heir.limits_for)
        self._limits = heir.limits_for(len(set(self._gallery.person_ids)))
        self._visit, self._heir = visits.Visit(), None
        self._roster_version, self._roster_look_s = None, float("-inf")
        _log.info("the embedder is now %.12s", heir.eye.model_sha256)

    def _step(self) -> bool:
        """One frame; False when there will be no more."""
        if (heir := self._heir) is not None:
            self._take_over(heir)
        self._look_at_roster()
        if self._parts.time_keeper is not None:
            self._parts.time_keeper.look()
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
        if self._parts.panel is not None:
            self._parts.panel.see(frame, self.latest.face, self.latest.decision)
        self._take(self.latest, frame.taken_mono_s)
        return True

    def _drain(self, stop: threading.Event, patience_s: float) -> None:
        deadline_s = time.monotonic() + patience_s
        while self._parts.ledger.pending(1) and time.monotonic() < deadline_s and not stop.wait(DRAIN_LOOK_S):
            self._parts.publisher.wake()

    def _take(self, sight: Sight | None, mono_s: float) -> None:
        """Add one sight to the visit and act on a verdict."""
        decision = None if sight is None else sight.decision
        self._hush_after_other_way()
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
        match self.punches.punch(who):
            case Outcome.RECORDED:
                self.health.recorded += 1
            case Outcome.NOT_RECORDED:
                self.health.not_recorded += 1
                self._visit = visits.Visit()  # the next frames try again
            case Outcome.BUSY:
                self._visit = visits.Visit()  # as above, until the question is answered

    def _hush_after_other_way(self) -> None:
        """Who has just used PIN or pass is not told "not recognised" while still standing there."""
        if self.punches.other_ways != self._other_ways:
            self._other_ways = self.punches.other_ways
            if self._visit.seen_mono_s is not None:
                self._visit = replace(self._visit, refused=True)

    def feed_state(self) -> dict[str, object]:
        """What the publisher says of itself."""
        return self._parts.publisher.state()

    def sees_within(self, patience_s: float) -> bool:
        """True if the latest picture is no older than this."""
        return self.latest is not None and time.monotonic() - self.latest.frame.taken_mono_s <= patience_s

    def _look_at_roster(self) -> None:
        """Take over people whom another process enrolled or removed."""
        now_s = time.monotonic()
        if now_s - self._roster_look_s < max(ROSTER_LOOK_S, self._roster_rest_s):
            return
        self._roster_look_s, self._roster_rest_s = now_s, 0.0
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
        self._roster_rest_s = RELOAD_REST * (time.monotonic() - now_s)
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
