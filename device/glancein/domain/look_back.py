"""What waits at the kiosks, for a consumer that keeps nothing: asked for once and left where it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from glancein.domain.sequence import Missing
from glancein.domain.wire import KioskState
from glancein.types import Head, StreamKey

ANSWER_WITHIN_S = 2.0  # so long a stream waits for its beginning, once that was asked for


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A kiosk that was asked for what waits there and sent nothing: it may want requests signed."""

    site: str
    kiosk: str
    count: int


@dataclass(frozen=True, slots=True)
class _Awaited:
    """The number that a stream should begin with."""

    first_seq: int
    until_s: float
    unanswered: Unanswered


@dataclass(slots=True)
class LookBack:
    """What was asked for, and which streams have yet to begin with it."""

    _asked_to: dict[StreamKey, int] = field(default_factory=dict)
    _awaited: dict[StreamKey, _Awaited] = field(default_factory=dict)

    @property
    def is_awaiting(self) -> bool:
        """True while a kiosk has time left to send what it was asked for."""
        return bool(self._awaited)

    def ask(self, key: StreamKey, state: KioskState, *, head: Head | None, now_s: float) -> Missing | None:
        """Which numbers to ask this kiosk for now; None if nothing new waits there."""
        waiting = waiting_numbers(state)
        if waiting is None or waiting.to_seq <= self._asked_to.get(key, 0):
            return None
        wanted = Missing(max(waiting.from_seq, head.seq + 1 if head else 1), waiting.to_seq)
        if wanted.from_seq > wanted.to_seq:
            return None
        self._asked_to[key] = wanted.to_seq
        if head is None:
            unanswered = Unanswered(state.site, state.kiosk, state.backlog or 0)
            self._awaited[key] = _Awaited(wanted.from_seq, now_s + ANSWER_WITHIN_S, unanswered)
        return wanted

    def may_begin(self, key: StreamKey, seq: int) -> bool:
        """True if a stream may begin with this number, or has to wait for an earlier one no longer."""
        awaited = self._awaited.get(key)
        if awaited is not None and seq > awaited.first_seq:
            return False
        self._awaited.pop(key, None)
        return True

    def give_up(self, *, now_s: float) -> dict[StreamKey, Unanswered]:
        """The streams whose beginning did not come in time."""
        late = {key: one.unanswered for key, one in self._awaited.items() if now_s >= one.until_s}
        for key in late:
            del self._awaited[key]
        return late


def waiting_numbers(state: KioskState) -> Missing | None:
    """The numbers of the kiosk's current epoch among which everything is that waits; None if nothing does.

    The waiting ones are the last of the stream. Those laid aside are not counted among them and may lie
    between, so as many more are taken in: rather one too many than one too few.
    """
    if not (state.online and state.backlog and state.seq):
        return None
    oldest = state.seq - state.backlog - (state.laid_aside or 0) + 1
    return Missing(max(oldest, state.history_from or 1), state.seq)
