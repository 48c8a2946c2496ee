"""What the doctor says about settings, broker and the feed's record, to the command line and the desk."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.device.brokers import Mosquitto, free_port
from tests.device.punches import check_in, moment

from glancein import doctor, wiring
from glancein.capture import Capture
from glancein.doctor import Check, State
from glancein.errors import CameraError, SettingsError
from glancein.settings import build


@pytest.fixture
def home(tmp_path: Path) -> wiring.Home:
    """A data folder of the test's own."""
    return wiring.open_home(tmp_path / "home")


def lines(home: wiring.Home, *, broker: str | None = None) -> dict[str, Check]:
    """The doctor's report by what each line is about."""
    return {check.what: check for check in doctor.examine(home, broker=broker, with_camera=False)}


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of what takes connections and speaks HTTP, as a broker's."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def serve() -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:  # closed: the test is over
                return
            with caller:
                caller.recv(1024)
                caller.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=serve, name="web server")
    thread.start()
    yield f"mqtt://127.0.0.1:{port}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


@pytest.mark.parametrize(
    ("kiosk", "state", "said"),
    [
        ({"frames": 7, "camera": ""}, State.WELL, "looked at 7 pictures"),
        ({"frames": 7, "camera": "usb:0 was unplugged"}, State.BROKEN, "usb:0 was unplugged"),
        ({}, State.BROKEN, "does not answer"),
    ],
)
def test_camera_is_left_to_a_running_kiosk(
    home: wiring.Home,
    monkeypatch: pytest.MonkeyPatch,
    kiosk: dict[str, object],
    state: State,
    said: str,
) -> None:
    """It is asked how its camera is; opening it again would fail, or take it away."""

    def take(word: str) -> Capture:
        raise CameraError(f"{word} was taken from the kiosk")

    monkeypatch.setattr(wiring, "open_camera", take)
    with closing(wiring.tell_beside(home, lambda: kiosk)):
        told = {check.what: check for check in doctor.examine(home)}["camera"]

    assert told.state is state
    assert said in told.said


def test_settings_are_the_first_line(home: wiring.Home) -> None:
    """Where they stand, and whom they name."""
    told = lines(home)

    assert next(iter(told)) == "settings"
    assert told["settings"].state is State.WELL
    assert "site main, kiosk kiosk-1" in told["settings"].said


@pytest.mark.parametrize(
    ("values", "state", "said"),
    [
        ({"work_days": "mon,funday"}, State.BROKEN, "'fun' is none of"),
        ({"signing_key": "/none.key"}, State.BROKEN, "/none.key"),
        ({"consent_text": "/none.txt"}, State.BROKEN, "/none.txt"),
        ({"language": "xx"}, State.BROKEN, "the screen has words for en, ko"),
        ({"direction": "ask"}, State.WARNING, "needs a screen to touch"),
    ],
)
def test_settings_that_stop_a_program_are_told(
    home: wiring.Home, values: dict[str, object], state: State, said: str
) -> None:
    """Before the kiosk or the desk ends over them, with what to do."""
    told = lines(wiring.Home(home.folder, build(values)))["settings"]

    assert told.state is state
    assert said in told.said
    assert told.advice


def test_wrong_settings_leave_the_machine_to_be_looked_at(home: wiring.Home) -> None:
    """What is wrong with them first, then what needs none of them."""
    told = list(doctor.examine_without_settings(home.folder, SettingsError("there is no setting 'x'")))

    assert (told[0].what, told[0].state, told[0].said) == (
        "settings",
        State.BROKEN,
        "there is no setting 'x'",
    )
    assert {"finder", "embedder", "clock", "disk"} <= {check.what for check in told}


def test_address_that_is_none_is_one_line(home: wiring.Home) -> None:
    """The broker's, in the words of whoever reads addresses; not the certificate's too."""
    told = lines(home, broker="foo")

    assert told["broker"].state is State.BROKEN
    assert "does not begin with mqtt://" in told["broker"].said
    assert "certificate" not in told


def test_what_answers_but_is_no_broker_is_broken(home: wiring.Home, web_server: str) -> None:
    """A connection is not enough: it has to speak MQTT."""
    told = lines(home, broker=web_server)["broker"]

    assert told.state is State.BROKEN
    assert "is it an MQTT broker?" in told.said


def test_nobody_at_the_address_is_broken(home: wiring.Home) -> None:
    """In words, not with the system's number."""
    told = lines(home, broker=f"mqtt://127.0.0.1:{free_port()}")["broker"]

    assert (told.state, told.advice) == (State.BROKEN, "put this right first")
    assert "nothing listens there" in told.said


@pytest.mark.broker
@pytest.mark.parametrize(
    ("anonymous", "state", "said"),
    [("true", State.WELL, "answers"), ("false", State.BROKEN, "refuses the connection")],
)
def test_broker_is_greeted(
    home: wiring.Home, mosquitto: str, tmp_path: Path, *, anonymous: str, state: State, said: str
) -> None:
    """By the user and password of its address; whether it lets in is told."""
    broker = Mosquitto(mosquitto, tmp_path, settings=f"allow_anonymous {anonymous}")
    broker.start()
    try:
        told = lines(home, broker=broker.url)["broker"]
    finally:
        broker.kill()

    assert told.state is state
    assert said in told.said


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


def test_settings_of_another_kiosk_are_a_warning(home: wiring.Home) -> None:
    """Those of the service are in its environment, which a shell does not have."""
    other = wiring.Home(home.folder, build({"site": "hq", "kiosk": "door"}))
    with closing(wiring.open_ledger(other, rescue=True)):
        told = [check for check in doctor.examine(home, with_camera=False) if check.what == "settings"]

    assert told[-1].state is State.WARNING
    assert told[-1].said == "the events are of hq/door, these settings say main/kiosk-1"
    assert [check for check in doctor.examine(other, with_camera=False) if check.what == "settings"][1:] == []


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
