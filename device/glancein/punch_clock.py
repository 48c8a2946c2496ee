"""Somebody recognised, by face, PIN or pass -> at most one committed event, and what the screen says of it.

The one place where punches are made, whichever thread they come from: the camera's loop or the page's server.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from glancein.domain.attendance import Policy, Recognised, asks, next_event
from glancein.domain.choice import Question
from glancein.errors import InputError, StoreError
from glancein.ports import Clock, Ledger, Panel, People, Screen
from glancein.types import Correction, Direction, Event, EventId, Method, Voided

_log = logging.getLogger(__name__)
CHOICE_S = 12.0  # how long the question for the direction stands
DISOWN_S = 20.0  # how long "Not you?" is taken; the page shows it for less
DISOWN_REASON = "not me, said at the kiosk"
DISOWNED_BY = "kiosk screen"


class Outcome(StrEnum):
    """What became of a recognition."""

    RECORDED = "recorded"
    REPEAT = "repeat"
    ASKED = "asked"
    BUSY = "busy"  # somebody else is being asked: try again
    NOT_RECORDED = "not_recorded"


@dataclass(frozen=True, slots=True)
class _Asked:
    """Somebody who has still to say which way they go."""

    question: Question
    who: Recognised
    until_mono_s: float


@dataclass(frozen=True, slots=True)
class Record:
    """Where punches go and what they are made from; ``wake`` tells the publisher of a new event."""

    people: People
    ledger: Ledger
    clock: Clock
    wake: Callable[[], None]


class PunchClock:
    """Safe to use from several threads; one punch at a time.

    Without a ``panel`` nobody can be asked: a policy that asks is for screens that can be touched.
    """

    def __init__(self, record: Record, *, screen: Screen, panel: Panel | None, policy: Policy) -> None:
        self._record = record
        self._screen = screen
        self._panel = panel
        self._policy = policy
        self._lock = threading.RLock()
        self._asked: _Asked | None = None
        self._recent: deque[tuple[float, Event]] = deque(maxlen=16)
        self.recorded = 0
        self.not_recorded = 0
        self.other_ways = 0  # times somebody came by PIN or pass, whatever became of it

    def punch(self, who: Recognised, *, direction: Direction | None = None) -> Outcome:
        """Record what the rules make of a recognition; only a committed event is shown as done.

        While somebody else is asked nothing is recorded, shown or asked.
        """
        with self._lock:
            self.other_ways += who.method is not Method.FACE
            try:
                return self._punch(who, direction)
            except StoreError as err:
                return self.fail(err)

    def fail(self, err: StoreError) -> Outcome:
        """A check-in that the database did not let happen: counted, said on the screen and in the log."""
        with self._lock:
            self.not_recorded += 1
            _log.error("a check-in was not recorded: %s", err)  # the sentence says it all
            self._screen.show_not_recorded(str(err))
        return Outcome.NOT_RECORDED

    def choose(self, token: str, direction: Direction) -> Outcome:
        """The answer to a question. Raises InputError when it no longer stands."""
        with self._lock:
            asked = self._standing_question(self._record.clock.now().mono_s)
            if asked is None or not _is_same(asked.question.token, token):
                raise InputError("the question is no longer open; look at the camera again")
            self._asked = None
            return self.punch(asked.who, direction=direction)

    def disown(self, name: EventId) -> Event:
        """Void a punch made here a moment ago because the person in front says it is not theirs.

        The punch stays in the record; a correction is recorded after it. Raises InputError when it is too
        late or was said before, NotRecorded when the correction could not be committed.
        """
        with self._lock:
            now = self._record.clock.now()
            for entry in self._recent:
                mono_s, event = entry
                if event.id == name and now.mono_s - mono_s <= DISOWN_S:
                    made = self._record.ledger.record(
                        Correction(name, Voided(), DISOWN_REASON, DISOWNED_BY, now, Method.MANUAL)
                    )
                    self._recent.remove(entry)
                    self._record.wake()
                    return made
        raise InputError("this punch can no longer be taken back here; please tell HR")

    def _punch(self, who: Recognised, direction: Direction | None) -> Outcome:
        asked = self._standing_question(self._record.clock.now().mono_s)
        if asked is not None and asked.who.person_id != who.person_id:
            return Outcome.BUSY
        last = self._record.ledger.last_of(who.person_id)
        name = self._record.people.name_of(who.person_id)
        now = self._record.clock.now()
        check_in = next_event(who, now, last=last, policy=self._policy)
        if check_in is None:
            if last is not None:
                self._screen.show_repeat(last.event, name)
            return Outcome.REPEAT
        if direction is not None:
            check_in = replace(check_in, direction=direction)
        elif self._panel is not None and asks(now, policy=self._policy):
            self._ask(self._panel, who, name, check_in.direction)
            return Outcome.ASKED
        event = self._record.ledger.record(check_in)
        self.recorded += 1
        self._recent.append((now.mono_s, event))
        self._screen.show_recorded(event, name)
        self._record.wake()
        return Outcome.RECORDED

    def _standing_question(self, mono_s: float) -> _Asked | None:
        """The question that may still be answered."""
        if self._asked is not None and mono_s > self._asked.until_mono_s:
            self._asked = None
        return self._asked

    def _ask(self, panel: Panel, who: Recognised, name: str | None, suggested: Direction) -> None:
        question = Question(secrets.token_urlsafe(12), who.person_id, name, suggested, CHOICE_S)
        self._asked = _Asked(question, who, self._record.clock.now().mono_s + CHOICE_S)
        panel.ask_direction(question)


def _is_same(secret: str, said: str) -> bool:
    return secrets.compare_digest(secret.encode(), said.encode(errors="replace"))
