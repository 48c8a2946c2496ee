"""The screen as a web page: what the kiosk shows, fanned out to every page that looks.

Nothing here waits for a page. Each has a mailbox of bounded size; one that does not empty it is dropped.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from glancein.domain.choice import Question
from glancein.ports import Screen
from glancein.types import Accepted, ClockTrust, Decision, Event, EventId, Face, Frame, Rejected

MAILBOX_ROOM = 32  # answers a page may be behind before it is dropped
SIGHTS_PER_S = 20.0
REPEAT_HUSH_S = 4.0  # a punch just thanked for is not followed by "recorded already"
ANSWER_FRESH_S = 8.0  # a page that comes back shows an answer no older than this


@dataclass(frozen=True, slots=True)
class Message:
    """One thing for the pages. Of a ``passing`` kind only the newest counts."""

    kind: str
    data: bytes
    passing: bool = False


class Mailbox:
    """What one page has still to be sent. Made inside the event loop that will empty it."""

    def __init__(self, room: int = MAILBOX_ROOM) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._lasting: deque[Message] = deque()
        self._passing: dict[str, Message] = {}
        self._room = room
        self.is_closed = False

    def put(self, message: Message) -> None:
        """Called from any thread; never waits. A full mailbox closes itself."""
        with self._lock:
            if self.is_closed:
                return
            if message.passing:
                self._passing[message.kind] = message
            elif len(self._lasting) < self._room:
                self._lasting.append(message)
            else:
                self.is_closed = True
        self._ring()

    async def take(self) -> Message | None:
        """The next message, answers before what is only passing; None once closed."""
        while True:
            with self._lock:
                if self.is_closed:
                    return None
                if self._lasting:
                    return self._lasting.popleft()
                if self._passing:
                    return self._passing.pop(next(iter(self._passing)))
                self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """End ``take``; from any thread."""
        with self._lock:
            self.is_closed = True
        self._ring()

    def _ring(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the loop has ended, and with it the page's connection
            self.is_closed = True


class Fanout:
    """Mailboxes of everybody who looks; safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._boxes: list[Mailbox] = []

    def open(self) -> Mailbox:
        """A mailbox more; beyond ``most`` the oldest page has to go. Call it inside the event loop."""
        box = Mailbox()
        with self._lock:
            self._forget_closed()
            while len(self._boxes) >= self._most:
                self._boxes.pop(0).close()
            self._boxes.append(box)
        return box

    def send(self, message: Message) -> None:
        """To everybody; returns at once."""
        with self._lock:
            self._forget_closed()
            boxes = list(self._boxes)
        for box in boxes:
            box.put(message)

    def close(self) -> None:
        """Nobody looks any more."""
        with self._lock:
            boxes, self._boxes = self._boxes, []
        for box in boxes:
            box.close()

    def __len__(self) -> int:
        with self._lock:
            self._forget_closed()
            return len(self._boxes)

    def _forget_closed(self) -> None:
        self._boxes = [box for box in self._boxes if not box.is_closed]


class WebScreen:
    """Implements the ports Screen and Panel by messages to the pages.

    ``hours_of(person_id, at)`` gives the hours worked on that day, None when they cannot be told. With
    ``names`` the page shows the person's name, else their id. ``beside`` is a second screen that shows the
    same, such as the lines in the journal.
    """

    def __init__(
        self,
        *,
        most_pages: int = 8,
        names: bool = True,
        hours_of: Callable[[str, datetime], float | None] = lambda _person, _at: None,
        beside: Screen | None = None,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pages = Fanout(most_pages)
        self._names = names
        self._hours_of = hours_of
        self._beside = beside
        self._mono_s = mono_s
        self._sight: dict[str, object] | None = None
        self._sight_s = float("-inf")
        self._answer: tuple[float, dict[str, object]] | None = None
        self._thanked: tuple[float, Event] | None = None
        self.unrecorded = 0  # punches in a row that could not be stored

    def see(self, frame: Frame, face: Face | None, decision: Decision | None) -> None:
        """Where the face is and what is wrong with it; only changes, at most ``SIGHTS_PER_S`` of them."""
        if not len(self.pages):
            return
        now_s = self._mono_s()
        seen = _sight(frame, face, decision)
        urgent = self._sight is None or seen["reason"] != self._sight["reason"]
        if seen == self._sight or (not urgent and now_s - self._sight_s < 1 / SIGHTS_PER_S):
            return
        self._sight, self._sight_s = seen, now_s
        self.pages.send(message("sight", seen, passing=True))

    def ask_direction(self, question: Question) -> None:
        """In or out? The page shows two buttons."""
        self._say(
            "choice",
            {
                "token": question.token,
                "who": self._who(question.person_id, question.name),
                "suggested": str(question.suggested),
                "patience_s": question.patience_s,
            },
        )

    def show_recorded(self, event: Event, name: str | None) -> None:
        """The thanks; only ever called after the event is committed."""
        self.unrecorded = 0
        self._thanked = self._mono_s(), event
        self._say("recorded", self._punch(event, name))
        if self._beside is not None:
            self._beside.show_recorded(event, name)

    def show_repeat(self, event: Event, name: str | None) -> None:
        """The punch that stands already; nothing while its own thanks is still to be read."""
        hushed = self._thanked is not None and self._thanked[1] == event
        if not (hushed and self._thanked is not None and self._mono_s() - self._thanked[0] < REPEAT_HUSH_S):
            self._say("repeat", self._punch(event, name))
        if self._beside is not None:
            self._beside.show_repeat(event, name)

    def show_refusal(self, reason: str, advice: str) -> None:
        """Why there was no punch; the page has its own words for each reason."""
        self._say("refused", {"reason": str(reason)})
        if self._beside is not None:
            self._beside.show_refusal(reason, advice)

    def show_not_recorded(self, why: str) -> None:
        """Red, loud, and it stays until a punch succeeds."""
        self.unrecorded += 1
        self._say("not_recorded", {})
        if self._beside is not None:
            self._beside.show_not_recorded(why)

    def show_withdrawn(self, event: EventId) -> None:
        """The person in front said "not me", and that is recorded."""
        self._say("withdrawn", {"event": _id_of(event)})

    def standing(self) -> list[Message]:
        """What a page that has just come must know: the answer that is up, and for how long it has been."""
        if self._answer is None:
            return []
        said_s, data = self._answer
        age_s = self._mono_s() - said_s
        return [message("answer", {**data, "age_s": round(age_s, 1)})] if age_s <= ANSWER_FRESH_S else []

    def _punch(self, event: Event, name: str | None) -> dict[str, object]:
        punch = event.check_in
        return {
            "event": _id_of(event),
            "who": self._who(punch.person_id, name),
            "direction": str(punch.direction),
            "method": str(punch.method),
            "time": punch.moment.wall.isoformat(timespec="seconds"),
            "clock_unset": punch.moment.trust is ClockTrust.UNSYNCHRONISED,
            "hours_today": self._hours_of(punch.person_id, punch.moment.wall),
        }

    def _who(self, person_id: str, name: str | None) -> str:
        return name if self._names and name else person_id

    def _say(self, kind: str, data: Mapping[str, object]) -> None:
        said = {"kind": kind, **data}
        self._answer = self._mono_s(), said
        self.pages.send(message("answer", said))


def message(kind: str, data: Mapping[str, object], *, passing: bool = False) -> Message:
    """A server-sent event, ready to go out."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))  # ASCII: no line break can stand in it
    return Message(kind, f"event: {kind}\ndata: {text}\n\n".encode(), passing)


def _sight(frame: Frame, face: Face | None, decision: Decision | None) -> dict[str, object]:
    """Box as shares of the mirrored picture, and the reason if something is wrong."""
    reason = str(decision.reason) if isinstance(decision, Rejected) else None
    if face is None:
        return {"face": None, "reason": reason, "known": False}
    height, width = frame.pixels.shape[:2]
    box = face.box
    left = width - box.left - box.width
    shares = (left / width, box.top / height, box.width / width, box.height / height)
    known = isinstance(decision, Accepted)
    return {"face": [round(share, 3) for share in shares], "reason": reason, "known": known}


def _id_of(event: Event | EventId) -> dict[str, object]:
    return {"kiosk": event.kiosk, "epoch": event.epoch, "seq": event.seq}
