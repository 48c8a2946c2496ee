"""What the doctor says about the feed's record, to whoever asks: the command line and the desk."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from tests.device.punches import check_in, moment

from glancein import doctor, wiring
from glancein.doctor import Check, State


@pytest.fixture
def home(tmp_path: Path) -> wiring.Home:
    """A data folder of the test's own."""
    return wiring.open_home(tmp_path / "home")


def lines(home: wiring.Home) -> dict[str, Check]:
    """The doctor's report by what each line is about."""
    return {check.what: check for check in doctor.examine(home, with_camera=False)}


def test_events_without_a_second_copy_are_a_warning(
    home: wiring.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever process recorded them, with what to do; and no word of it once the copy is there."""
    monkeypatch.setattr(doctor, "COPY_PATIENCE_S", 0.0)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with closing(wiring.open_ledger(home)) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr("os.fdatasync", fail)
            patch.setattr("os.pwrite", lambda *_: fail(0))
            ledger.record(check_in("E1"))
        told = lines(home)["second copy"]
        ledger.record(check_in("E2", at=moment(1)))

    assert told.state is State.WARNING
    assert "no second copy" in told.said
    assert "free some space" in told.advice
    assert "second copy" not in lines(home)


def test_event_the_broker_never_takes_is_a_warning(home: wiring.Home) -> None:
    """Which one, in the broker's words, and how to send it again."""
    with closing(wiring.open_ledger(home)) as ledger:
        event = ledger.record(check_in("E1"))
        ledger.lay_aside(event.id, "the broker never takes it: Packet too large")

    told = lines(home)["feed"]
    assert told.state is State.WARNING
    assert "number 1" in told.said
    assert "Packet too large" in told.said
    assert "--send-again" in told.advice
