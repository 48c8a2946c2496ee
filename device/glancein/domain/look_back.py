"""What waits at the kiosks, for a consumer that keeps nothing: asked for once and left where it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from glancein.domain.sequence import Missing
from glancein.domain.wire import KioskState
from glancein.types import Head, StreamKey

ANSWER_WITHIN_S = 2.0  # so long a stream waits for its beginning, once that was asked for
ASK_AGAIN_WITHIN_S = 60.0  # from then on twice as long each time, at most so long


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A kiosk that was asked for what waits there and sent nothing: it may want requests signed."""

    site: str
    kiosk: str
    count: int


@dataclass(frozen=True, slots=True)
class _Awaited:
    """The numbers that a stream should begin with, and how long to wait for them before anything is done."""

    wanted: Missing
    until_s: float
    unanswered: Unanswered
    patience_s: float
    is_told: bool = False  # that they did not come in time


@dataclass(frozen=True, slots=True)
class Late:
    """What was asked for and did not come in time; ``is_first`` the first time that it did not."""

    wanted: Missing
    unanswered: Unanswered
    is_first: bool


@dataclass(slots=True)
class LookBack:
    """What was asked for, and which streams have yet to begin with it."""

    _asked_to: dict[StreamKey, int] = field(default_factory=dict)
    _awaited: dict[StreamKey, _Awaited] = field(default_factory=dict)

    @property
    def is_awaiting(self) -> bool:
        """True while a kiosk has time left to send what it was asked for."""
        return any(not one.is_told for one in self._awaited.values())

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
            self._awaited[key] = _Awaited(wanted, now_s + ANSWER_WITHIN_S, unanswered, ANSWER_WITHIN_S)
        return wanted

    def may_begin(self, key: StreamKey, seq: int) -> bool:
        """True if a stream may begin with this number, or has to wait for an earlier one no longer."""
        awaited = self._awaited.get(key)
        if awaited is not None and seq > awaited.wanted.from_seq:
            return False
        self._awaited.pop(key, None)
        return True

    def late(self, *, now_s: float) -> dict[StreamKey, Late]:
        """The streams whose beginning did not come in time, each with more time from now on."""
        late = {key: one for key, one in self._awaited.items() if now_s >= one.until_s}
        for key, one in late.items():
            patience_s = min(2 * one.patience_s, ASK_AGAIN_WITHIN_S)
            until_s = now_s + patience_s
            self._awaited[key] = replace(one, until_s=until_s, patience_s=patience_s, is_told=True)
        return {key: Late(one.wanted, one.unanswered, not one.is_told) for key, one in late.items()}

    def give_up(self, key: StreamKey) -> None:
        """Let this stream begin with whatever comes."""
        self._awaited.pop(key, None)


def waiting_numbers(state: KioskState) -> Missing | None:
    """The numbers of the kiosk's current epoch among which everything is that waits; None if nothing does.

    The waiting ones are the last of the stream. Those laid aside are not counted among them and may lie
    between, so as many more are taken in: rather one too many than one too few.
    """
    if not (state.online and state.backlog and state.seq):
        return None
    oldest = state.seq - state.backlog - (state.laid_aside or 0) + 1
    return Missing(max(oldest, state.history_from or 1), state.seq)
