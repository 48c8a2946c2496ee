"""What a consumer does with the events of one stream.

In order, once each, chain checked, gaps asked for. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from glancein.domain.wire import NO_HASH
from glancein.types import Arrival, Head, StreamTrouble, TroubleKind

MOST_HELD = 1000


@dataclass(frozen=True, slots=True)
class Ready:
    """These events are next, in order; the first one just arrived, the others waited for it."""

    arrivals: tuple[Arrival, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """This event was committed before: acknowledge it again."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Events before this one have not come: ask for them."""

    from_seq: int
    to_seq: int


Step = Ready | Known | Missing | StreamTrouble


@dataclass(slots=True)
class Sequence:
    """The consumer's place in one stream. ``head`` is what it took last, None before the first event."""

    head: Head | None = None
    held: dict[int, Arrival] = field(default_factory=dict)
    suspect: str | None = None  # hash of an event that did not continue the chain, until it comes again

    def take(self, arrival: Arrival, *, known_hash: str | None) -> Step:
        """Take an event in.

        ``known_hash`` is that of the committed event with this number, if there is one.
        """
        seq, last = arrival.event.seq, self._last()
        if seq <= last.seq:
            return self._again(arrival, known_hash)
        if seq > last.seq + 1:
            if len(self.held) < MOST_HELD:
                self.held[seq] = arrival
            return Missing(last.seq + 1, seq - 1)
        if arrival.event.previous_hash != last.hash and self.suspect != arrival.hash:
            # Once may be a forgery or a mix-up: ask again. The kiosk that repeats it means it.
            self.suspect = arrival.hash
            return Missing(seq, seq)
        return Ready(self._advance(arrival, last))

    def begin_at(self, head: Head) -> None:
        """Start behind this event: what came before is gone or was not asked for."""
        self.head = head
        self.held = {seq: arrival for seq, arrival in self.held.items() if seq > head.seq}

    def _last(self) -> Head:
        return self.head or Head(0, NO_HASH)

    def _again(self, arrival: Arrival, known_hash: str | None) -> Step:
        if known_hash is None or known_hash == arrival.hash:
            return Known()
        event = arrival.event
        return StreamTrouble(
            TroubleKind.FORK,
            event.kiosk,
            event.epoch,
            event.seq,
            f"number {event.seq} came before with other contents: {arrival.payload.decode(errors='replace')}",
        )

    def _advance(self, arrival: Arrival, last: Head) -> tuple[Arrival, ...]:
        """This event and all held ones that follow without a gap."""
        ready: list[Arrival] = []
        following: Arrival | None = arrival
        while following is not None:
            chained = following.event.previous_hash == last.hash
            if not chained and ready:
                self.held.pop(following.event.seq, None)
                break
            ready.append(replace(following, chained=chained))
            last = Head(following.event.seq, following.hash)
            self.held.pop(last.seq, None)
            following = self.held.get(last.seq + 1)
        self.head, self.suspect = last, None
        return tuple(ready)
