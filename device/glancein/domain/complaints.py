"""What the consumer says, to who runs it, of the troubles of a stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from glancein.types import StreamTrouble, TroubleKind

SAY_AGAIN_S = 3600.0
MOST_SAID = 200  # different sentences within that time


@dataclass(slots=True)
class Complaints:
    """Sentences about troubles, all of them but for those that strangers can cause as often as they like.

    Of these each sentence, which names a kind and a kiosk, is said once an hour.
    """

    _said_at: dict[str, float] = field(default_factory=dict)

    def of(self, troubles: Iterable[StreamTrouble], *, now_s: float) -> Iterator[str]:
        """What to say of these now."""
        for trouble in troubles:
            if not _is_strange(trouble):
                yield trouble_in_words(trouble)
            elif self._may_say(words := strange_in_words(trouble), now_s):
                yield words

    def _may_say(self, words: str, now_s: float) -> bool:
        self._said_at = {said: at for said, at in self._said_at.items() if now_s - at < SAY_AGAIN_S}
        if words in self._said_at or len(self._said_at) >= MOST_SAID:
            return False
        self._said_at[words] = now_s
        return True


def trouble_in_words(trouble: StreamTrouble) -> str:
    """A sentence for who runs the consumer, of what a kiosk caused."""
    where = f"kiosk {trouble.kiosk}, number {trouble.seq}"
    match trouble.kind:
        case TroubleKind.FORK:
            cause = "an old copy of its database or a cloned card is in use"
            return f"{where}: came again with other contents: {cause} (epoch {trouble.epoch})"
        case TroubleKind.BROKEN_CHAIN:
            return f"{where}: does not continue the event before it: its record was edited"
        case TroubleKind.LEFT_OUT:
            return f"{where}: its broker never takes it; it waits at the kiosk: {trouble.detail}"
        case TroubleKind.UNREADABLE:
            return f"{where}: refused, because it cannot be read: {trouble.detail}"
        case _:
            return f"{where}: {trouble.detail}"


def strange_in_words(trouble: StreamTrouble) -> str:
    """The same, of what a stranger may have caused: without the number, which he chooses."""
    match trouble.kind:
        case TroubleKind.FORGED:
            advice = "copy the site's trusted.keys here again, or see who else may publish as this kiosk"
            return f"kiosk {trouble.kiosk}: {trouble.detail} and is not stored: {advice}"
        case TroubleKind.FOREIGN:
            said = f"what {trouble.detail} as its events is not stored: see who may publish there"
            return f"kiosk {trouble.kiosk}: {_printable(said)}"
        case _:
            return (
                f"{_printable(trouble.kiosk)}: what comes there is no event, or of a version not known here"
            )


def _is_strange(trouble: StreamTrouble) -> bool:
    """True for what strangers can cause as often as they like."""
    match trouble.kind:
        case TroubleKind.FORGED | TroubleKind.FOREIGN:
            return True
        case kind:
            return kind is TroubleKind.UNREADABLE and trouble.passed is None


def _printable(text: str) -> str:
    """Names that nobody has checked, fit for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
