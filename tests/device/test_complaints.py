"""What HR's end says of troubles: at once, and not as often as a stranger likes."""

from __future__ import annotations

import pytest
from tests.device.punches import EPOCH

from glancein.domain.complaints import MOST_SAID, SAY_AGAIN_S, Complaints
from glancein.types import StreamTrouble, TroubleKind


def trouble(kind: TroubleKind, *, kiosk: str = "door", seq: int = 1, detail: str = "came") -> StreamTrouble:
    """Something wrong with an event."""
    return StreamTrouble(kind, kiosk, EPOCH, seq, detail)


@pytest.mark.parametrize("kind", [TroubleKind.FORGED, TroubleKind.FOREIGN, TroubleKind.UNREADABLE])
def test_first_of_each_kiosk_is_said_when_strangers_send_many(kind: TroubleKind) -> None:
    """A line for each kiosk, at once; the next one an hour later."""
    complaints = Complaints()
    many = [trouble(kind, kiosk=kiosk, seq=seq) for seq in range(1, 500) for kiosk in ("door", "gate")]

    first = list(complaints.of(many, now_s=0.0))
    within = list(complaints.of(many, now_s=SAY_AGAIN_S - 1))
    later = list(complaints.of(many, now_s=SAY_AGAIN_S))

    assert [("door" in words, "gate" in words) for words in first] == [(True, False), (False, True)]
    assert (within, later) == ([], first)


def test_every_fork_is_said_when_there_are_many() -> None:
    """Only what comes from the kiosks themselves makes one."""
    forks = [trouble(TroubleKind.FORK, seq=seq) for seq in range(3)]

    assert len(list(Complaints().of(forks, now_s=0.0))) == 3


def test_strangers_who_make_up_names_do_not_fill_the_memory() -> None:
    """Nor the log: a few hundred names within an hour."""
    complaints = Complaints()
    many = [trouble(TroubleKind.FOREIGN, kiosk=f"k{number}") for number in range(2 * MOST_SAID)]

    assert len(list(complaints.of(many, now_s=0.0))) == MOST_SAID


def test_names_are_fit_for_a_terminal_when_nobody_has_checked_them() -> None:
    """A topic may hold what clears the screen."""
    troubles = [
        trouble(TroubleKind.UNREADABLE, kiosk="glancein/v1/\x1b[2J/door/event"),
        trouble(TroubleKind.FOREIGN, detail="came from \x1b[2J/door"),
    ]

    assert all(words.isprintable() for words in Complaints().of(troubles, now_s=0.0))
