"""The kiosk as a process: people enrolled beside it are known within two seconds; SIGTERM ends it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from glancein import cli, wiring
from glancein.scenes import Scene, film

PICTURES = Path(wiring.__file__).parent / "demo_pictures"
START_S = 90.0  # a busy machine opens both networks and tries them in a process of their own
PROMISE_S = 2.0


@contextmanager
def running_kiosk(home: Path, pictures: Path) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[Any]]]:
    """A kiosk process and the JSON lines it prints, each with the time it came."""
    command = [sys.executable, "-m", "glancein", "kiosk", "--camera", f"{pictures}/", "--fps", "10"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--json", "--data", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines: queue.Queue[Any] = queue.Queue()
    reader = threading.Thread(target=_read_lines, args=(process, lines))
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[Any]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put((time.monotonic(), json.loads(line)))


def _first_recorded(lines: queue.Queue[Any]) -> Any:  # Any: whatever JSON the kiosk prints
    """The first punch; refusals before it are those of people not enrolled yet."""
    while True:
        came = lines.get(timeout=START_S)
        if came[1]["shown"] == "recorded":
            return came


def test_kiosk_when_somebody_is_enrolled_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person whom another process enrols is checked in within two seconds of the enrolment."""
    home, pictures = tmp_path / "home", tmp_path / "camera"
    pictures.mkdir()
    film([Scene("collins.jpg", 40)], pictures)
    shown = sorted(pictures.iterdir())
    for number in range(40, 3000):  # the same forty pictures for five minutes
        (pictures / f"{number:05d}.jpg").hardlink_to(shown[number % 40])

    with running_kiosk(home, pictures) as (process, lines):
        _, first = lines.get(timeout=START_S)
        assert first["shown"] == "refused"
        assert (
            cli.main(
                ["enroll", str(PICTURES / "collins.jpg"), "--id", "E1", "--name", "E C", "--data", str(home)]
            )
            == 0
        )
        enrolled_s = time.monotonic()
        came_s, second = _first_recorded(lines)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)

    capsys.readouterr()
    assert second["event"]["person_id"] == "E1"
    assert came_s - enrolled_s < PROMISE_S + 2.0  # and the two seconds for three agreeing frames
    assert code == 0
