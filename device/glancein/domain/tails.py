"""How far the kiosks say that their streams go, for a consumer that wants all of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from glancein.types import StreamKey

Sender = tuple[str, str]  # site and kiosk of the topic that a message came on

KEPT = 2  # epochs of a kiosk: the current one, and the one that it left last


@dataclass(slots=True)
class Tail:
    """How far a stream is said to go, from where on it is kept, and how often its end was asked for in vain.

    ``asked`` counts from when the kiosk has left the epoch; ``is_over``: there is nothing to ask for.
    """

    seq: int = 0
    history_from: int = 1
    asked: int = 0
    is_over: bool = False

    def expect(self, seq: int) -> None:
        """The kiosk says that the stream goes as far as this number."""
        if self.seq != seq or self.is_over:
            self.seq, self.asked, self.is_over = seq, 0, False


@dataclass(slots=True)
class Tails:
    """The kiosks' words, a few for each kiosk whatever they say."""

    _of: dict[Sender, dict[StreamKey, Tail]] = field(default_factory=dict)

    def note(self, sender: Sender, key: StreamKey, *, history_from: int | None) -> Tail:
        """Count this epoch as the kiosk's current one; what is known of it."""
        own = self._of.setdefault(sender, {})
        tail = own.pop(key, None) or Tail()
        if history_from is not None:
            tail.history_from = history_from
        own[key] = tail
        if len(own) > KEPT:
            del own[next(iter(own))]
        return tail

    def history_from(self, sender: Sender, key: StreamKey) -> int:
        """The oldest number that the kiosk keeps of this epoch; 1 unless it said otherwise."""
        tail = self._of.get(sender, {}).get(key)
        return 1 if tail is None else tail.history_from

    def open(self) -> Iterator[tuple[Sender, StreamKey, Tail]]:
        """Those that are not over."""
        for sender, own in self._of.items():
            for key, tail in own.items():
                if not tail.is_over:
                    yield sender, key, tail
