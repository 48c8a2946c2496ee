"""What a running kiosk tells to other programs on its folder, and that none is running where none is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from glancein.adapters import kiosk_socket
from glancein.adapters.kiosk_socket import FILE, KioskSocket, ask_kiosk

STATE: dict[str, object] = {"frames": 7, "camera": "it was unplugged"}


@contextmanager
def taken(folder: Path) -> Iterator[socket.socket]:
    """The socket as another program holds it; nobody answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(folder / FILE))
        listener.listen()
        yield listener


def test_kiosk_tells_how_it_is_as_long_as_it_runs(tmp_path: Path) -> None:
    """Each answer is of the moment; before and afterwards there is no kiosk, and no file of it."""
    frames = iter([1, 2])
    before = ask_kiosk(tmp_path)
    with closing(KioskSocket(tmp_path, lambda: {"frames": next(frames)})):
        told = [ask_kiosk(tmp_path), ask_kiosk(tmp_path)]
        mode = (tmp_path / FILE).stat().st_mode & 0o777

    assert told == [{"frames": 1}, {"frames": 2}]
    assert mode == 0o600
    assert before is ask_kiosk(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_killed_kiosk_is_not_running(tmp_path: Path) -> None:
    """What it left in the folder answers nobody, and the next kiosk takes its place."""
    with taken(tmp_path):
        pass
    left = ask_kiosk(tmp_path)
    with closing(KioskSocket(tmp_path, lambda: STATE)):
        told = ask_kiosk(tmp_path)

    assert left is None
    assert told == STATE


def test_second_kiosk_leaves_the_first_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It runs on, and says in the log that nobody is told of it."""
    with closing(KioskSocket(tmp_path, lambda: STATE)):
        with closing(KioskSocket(tmp_path, lambda: {"frames": 0})):
            during = ask_kiosk(tmp_path)
        after = ask_kiosk(tmp_path)

    assert during == after == STATE
    assert "another kiosk runs" in caplog.text


def test_kiosk_that_hangs_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the camera, whether it answers or not."""
    monkeypatch.setattr(kiosk_socket, "PATIENCE_S", 0.1)
    with taken(tmp_path):
        assert ask_kiosk(tmp_path) == {}


def test_folder_with_a_long_path(tmp_path: Path) -> None:
    """A socket's own path has 107 bytes at most; the folder's may be longer."""
    folder = tmp_path / ("data" * 40)
    folder.mkdir()
    with closing(KioskSocket(folder, lambda: STATE)):
        assert ask_kiosk(folder) == STATE


def test_folder_without_room_for_a_socket_stops_no_kiosk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that nobody is told."""
    (tmp_path / FILE).mkdir()
    KioskSocket(tmp_path, lambda: STATE).close()

    assert "not told how this kiosk is" in caplog.text
