"""A watched thread makes a camera of a source: nothing stale, nothing frozen, and it comes back by itself."""

from __future__ import annotations

import gc
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from glancein.capture import Capture, CaptureLimits
from glancein.domain.watch import Trouble
from glancein.errors import CameraError
from glancein.ports import Camera, Source
from glancein.types import Pace, Picture, Pixels, SourceFacts

QUICK = CaptureLimits(first_pause_s=0.001, longest_pause_s=0.004, closing_s=5.0)
PATIENCE_S = 10.0  # for what happens within milliseconds, on a machine that is busy with something else


@dataclass
class Script:
    """What the scripted camera does next, and what was done to it.

    An empty script keeps the reader waiting, or sends noise if ``sends_on``.
    """

    pace: Pace = Pace.LIVE
    steps: queue.Queue[Pixels | Exception | threading.Event | None] = field(default_factory=queue.Queue)
    over: threading.Event = field(default_factory=threading.Event)
    opened: int = 0
    closed: int = 0
    due_s: float = 0.0
    open_error: CameraError | None = None
    sends_on: bool = False

    def feed(self, *steps: Pixels | Exception | threading.Event | None) -> None:
        """Append to the script."""
        for step in steps:
            self.steps.put(step)


class ScriptedSource:
    """A source that follows a script and holds a real file descriptor while it is open."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._fd: int | None = None
        self._number = 0

    @property
    def facts(self) -> SourceFacts:
        """A fixed name and the script's pace."""
        return SourceFacts("scripted", self._script.pace)

    def open(self) -> None:
        """Fail as told, or hold a descriptor."""
        if self._script.open_error is not None:
            raise self._script.open_error
        self._fd = os.open(os.devnull, os.O_RDONLY)
        self._script.opened += 1

    def read(self) -> Picture | None:
        """Do the next step."""
        match self._next_step():
            case None:
                return None
            case threading.Event() as released:
                released.wait()
                return Picture(scene(99))
            case Exception() as error:
                raise error
            case pixels:
                self._number += 1
                return Picture(pixels.copy(), self._number * self._script.due_s)

    def close(self) -> None:
        """Let the descriptor go."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._script.closed += 1

    def _next_step(self) -> Pixels | Exception | threading.Event | None:
        while not self._script.over.is_set():
            try:
                return self._script.steps.get(timeout=0.005)
            except queue.Empty:
                if self._script.sends_on:
                    self._number += 1
                    return scene(1000 + self._number)
        raise CameraError("the script is over")


class HandClock:
    """A monotonic clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time it was set to."""
        return self.now_s


@pytest.fixture
def script() -> Script:
    """An empty script for a live camera."""
    return Script()


@pytest.fixture
def clock() -> HandClock:
    """A clock that stands still."""
    return HandClock()


@pytest.fixture
def camera(script: Script, clock: HandClock) -> Iterator[Capture]:
    """The scripted camera on the standing clock; afterwards nothing of it may be left."""
    capture = Capture(lambda: ScriptedSource(script), limits=QUICK, clock=clock)
    yield capture
    script.over.set()
    capture.close()
    eventually(lambda: not camera_threads())
    assert script.closed == script.opened


def test_capture_when_seen_from_the_pipeline(script: Script) -> None:
    """A scripted source is a Source, and a capture of it is a Camera."""
    source: Source = ScriptedSource(script)
    camera: Camera = Capture(lambda: source)

    camera.close()


def test_read_when_the_reader_is_slow(camera: Capture, script: Script) -> None:
    """The newest picture wins; those it replaced are counted as dropped."""
    script.feed(scene(1), scene(2), scene(3))
    with pytest.raises(CameraError):
        camera.read(0)  # starts the thread
    eventually(lambda: camera.state().pictures == 3)

    frame = camera.read(PATIENCE_S)

    assert frame is not None
    assert frame.number == 3
    assert np.array_equal(frame.pixels, scene(3))
    assert camera.state().dropped == 2


def test_read_when_a_picture_was_read_before(camera: Capture, script: Script) -> None:
    """No picture is handed out twice: without a new one the read times out and says so."""
    script.feed(scene(1))
    assert camera.read(PATIENCE_S)

    with pytest.raises(CameraError, match="camera scripted: no picture for 0 s; see that it is connected"):
        camera.read(0)


def test_read_when_the_newest_picture_is_old(camera: Capture, script: Script, clock: HandClock) -> None:
    """A picture older than a second is dropped and not shown as if it were now."""
    script.feed(scene(1), scene(2))
    assert camera.read(PATIENCE_S)
    eventually(lambda: camera.state().pictures == 2)
    clock.now_s += 1.1

    with pytest.raises(CameraError):
        camera.read(0)

    assert camera.state().dropped == 1


def test_state_when_a_read_hangs(camera: Capture, script: Script, clock: HandClock) -> None:
    """After 3 s the hang is said, a second opening brings pictures, and the late one is thrown away."""
    hang = threading.Event()
    script.feed(scene(1))
    assert camera.read(PATIENCE_S)
    script.feed(hang)
    eventually(script.steps.empty)

    clock.now_s += 2.9
    assert camera.state().problem is None
    clock.now_s += 0.2
    state = camera.state()
    script.feed(scene(2))
    frame = camera.read(PATIENCE_S)
    hang.set()
    eventually(lambda: camera.state().stuck_readers == 0)

    assert state.problem == "has not answered for 3 s; unplug it and plug it in again"
    assert state.stuck_readers == 1
    assert frame is not None
    assert np.array_equal(frame.pixels, scene(2))
    assert camera.state().problem is None
    assert (camera.state().pictures, script.opened, script.closed) == (2, 2, 1)


def test_threads_when_every_read_hangs(camera: Capture, script: Script, clock: HandClock) -> None:
    """However long the driver hangs, at most two threads are left behind; all end when it lets go."""
    hang = threading.Event()
    with pytest.raises(CameraError):
        camera.read(0)

    for _ in range(6):
        script.feed(hang)
        clock.now_s += 3.1
        time.sleep(0.02)  # lets a new reader reach its hang; more of them would show below
        camera.state()

    assert len(camera_threads()) == 3
    assert camera.state().stuck_readers == 2
    hang.set()
    eventually(lambda: len(camera_threads()) == 1)


def test_read_when_the_picture_freezes(camera: Capture, script: Script, clock: HandClock) -> None:
    """Of a frozen picture only the first is handed out; after 2 s it is said, and the camera opened anew."""
    script.feed(scene(1))
    assert camera.read(PATIENCE_S)

    for second in range(1, 4):
        clock.now_s += 1.0
        script.feed(scene(1))
        eventually(partial(repeats_are, camera, second))
    eventually(lambda: script.opened == 2)

    with pytest.raises(CameraError, match="does not change; unplug"):
        camera.read(0.01)
    assert camera.state().trouble is Trouble.FROZEN
    assert camera.state().pictures == 4


def test_read_when_a_frozen_picture_moves_again(camera: Capture, script: Script, clock: HandClock) -> None:
    """Frozen before and after a new opening is one freeze; the first changed picture ends it."""
    script.feed(scene(1))
    assert camera.read(PATIENCE_S)
    clock.now_s += 2.5
    script.feed(scene(1))
    eventually(lambda: camera.state().trouble is Trouble.FROZEN)
    script.feed(scene(1))
    eventually(lambda: camera.state().repeated == 2)
    frozen = camera.state().problem

    script.feed(scene(2))
    frame = camera.read(PATIENCE_S)

    assert frozen is not None
    assert frame is not None
    assert camera.state().problem is None
    assert camera.state().last_problem == frozen


def test_state_when_the_lens_is_covered(camera: Capture, script: Script, clock: HandClock) -> None:
    """Two seconds of darkness are said, while the pictures keep coming."""
    for level in (1, 2, 3):
        script.feed(np.full((48, 64, 3), level, np.uint8))
        assert camera.read(PATIENCE_S)
        clock.now_s += 1.0

    assert camera.state().trouble is Trouble.DARK
    assert camera.state().problem == "the picture is dark; switch on the light or uncover the lens"


def test_read_when_unplugged_and_plugged_in_ten_times(camera: Capture, script: Script) -> None:
    """It comes back every time, and keeps neither file descriptors nor threads."""
    script.feed(scene(0))
    assert camera.read(PATIENCE_S)
    descriptors, threads = open_descriptors(), threading.active_count()

    for turn in range(1, 11):
        script.open_error = CameraError("there is no /dev/video0")
        script.feed(CameraError("has stopped sending pictures"))
        eventually(lambda: camera.state().problem == "there is no /dev/video0")
        script.open_error = None
        script.feed(scene(turn))
        assert camera.read(PATIENCE_S)

    assert (script.opened, script.closed) == (11, 10)
    assert open_descriptors() == descriptors
    assert threading.active_count() == threads
    assert camera.state().problem is None


@pytest.mark.heavy
def test_read_when_plugged_in_after_a_while(script: Script) -> None:
    """With the shipped patience a camera that was away for some seconds is back within five."""
    script.open_error = CameraError("there is no /dev/video0")
    script.sends_on = True
    camera = Capture(lambda: ScriptedSource(script))
    with pytest.raises(CameraError, match="there is no"):
        camera.read(6.0)

    script.open_error = None
    back = camera.read(5.0)
    camera.close()

    assert back is not None


def test_log_when_the_same_problem_repeats(
    camera: Capture, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """The first failure is a warning, its repetitions are not, the recovery is told."""
    script.open_error = CameraError("there is no /dev/video0")
    with caplog.at_level(logging.INFO), pytest.raises(CameraError):
        camera.read(0.1)
    script.open_error = None
    script.feed(scene(1))
    with caplog.at_level(logging.INFO):
        assert camera.read(PATIENCE_S)

    assert [record.getMessage() for record in caplog.records] == [
        "camera scripted: there is no /dev/video0",
        "camera scripted is well again",
    ]


def test_read_when_the_size_changes(camera: Capture, script: Script) -> None:
    """Another size in the middle of the stream is just another picture."""
    shapes = []
    for height, width in ((48, 64), (96, 128), (10, 7)):
        script.feed(scene(1, height, width))
        frame = camera.read(PATIENCE_S)
        shapes.append(frame and frame.pixels.shape)

    assert shapes == [(48, 64, 3), (96, 128, 3), (10, 7, 3)]


@pytest.mark.parametrize(
    "odd", [np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3), np.float32), np.zeros((0, 64, 3), np.uint8)]
)
def test_read_when_the_format_changes(camera: Capture, script: Script, odd: Pixels) -> None:
    """A picture that is no colour picture is never handed out; the camera is opened again."""
    script.feed(odd, scene(1))

    frame = camera.read(PATIENCE_S)

    assert frame is not None
    assert frame.pixels.shape == (48, 64, 3)
    assert script.opened == 2
    assert "instead of colours" in (camera.state().last_problem or "")


def test_read_when_a_driver_throws_anything(
    camera: Capture, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """An error nobody foresaw is logged with its traceback, and the camera comes back."""
    script.feed(ZeroDivisionError("driver"), scene(1))

    assert camera.read(PATIENCE_S)

    assert "ZeroDivisionError: driver" in caplog.text


def test_read_when_a_live_stream_ends(camera: Capture, script: Script) -> None:
    """A live camera has no end: it is opened again."""
    script.feed(None, scene(1))

    assert camera.read(PATIENCE_S)

    assert script.opened == 2


def test_rate_when_ten_a_second_arrive(camera: Capture, script: Script, clock: HandClock) -> None:
    """The rate is measured over the last pictures and sinks once they stop."""
    for number in range(11):
        script.feed(scene(number))
        assert camera.read(PATIENCE_S)
        clock.now_s += 0.1

    running = camera.state().pictures_per_s
    clock.now_s += 2.0

    assert running == pytest.approx(10.0)
    assert camera.state().pictures_per_s < 5.0


def test_read_when_a_recording_ends(script: Script) -> None:
    """The last picture is still handed out; then None, as often as asked."""
    script.pace = Pace.STEPPED
    recording = Capture(lambda: ScriptedSource(script), limits=QUICK)
    script.feed(scene(1), scene(1), None)

    answers = [recording.read(PATIENCE_S) for _ in range(4)]
    recording.close()

    assert [answer is None for answer in answers] == [False, False, True, True]
    assert script.opened == 1


def test_read_when_a_recording_has_its_own_speed(script: Script) -> None:
    """Its pictures come no earlier than they are due."""
    script.pace, script.due_s = Pace.RECORDED, 0.02
    script.feed(scene(1), scene(2), scene(3), None)
    recording = Capture(lambda: ScriptedSource(script), limits=QUICK)

    began_s = time.monotonic()
    taken_s = []
    while (frame := recording.read(PATIENCE_S)) is not None:
        taken_s.append(frame.taken_mono_s - began_s)
    recording.close()

    assert taken_s[-1] >= 0.06


def test_read_when_a_recording_is_broken(script: Script) -> None:
    """A recording that cannot be read says so once, without making the reader wait, and then has ended."""
    script.pace = Pace.RECORDED
    script.open_error = CameraError("there is no video file door.mp4")
    recording = Capture(lambda: ScriptedSource(script), limits=QUICK)

    began_s = time.monotonic()
    with pytest.raises(CameraError, match=r"camera scripted: there is no video file door\.mp4"):
        recording.read(60.0)
    after = recording.read(60.0)
    took_s = time.monotonic() - began_s
    recording.close()

    assert after is None
    assert took_s < 30.0


def test_close_when_repeated(camera: Capture, script: Script) -> None:
    """Closing ends the thread and lets the device go; a second time does nothing; reading is refused."""
    script.sends_on = True
    assert camera.read(PATIENCE_S)

    camera.close()
    camera.close()

    assert (script.opened, script.closed) == (1, 1)
    with pytest.raises(CameraError, match="is closed"):
        camera.read(0)


def test_close_when_another_thread_is_reading(script: Script) -> None:
    """A waiting reader is woken and told."""
    camera = Capture(lambda: ScriptedSource(script), limits=CaptureLimits(closing_s=0.0))
    said: list[str] = []

    def wait_for_a_picture() -> None:
        try:
            camera.read(60.0)
        except CameraError as err:
            said.append(str(err))

    waiting = threading.Thread(target=wait_for_a_picture)
    waiting.start()
    eventually(lambda: camera.state().openings == 1)
    camera.close()
    waiting.join(PATIENCE_S)
    script.over.set()
    eventually(lambda: not camera_threads())

    assert said == ["camera scripted is closed"]


def test_close_when_the_driver_hangs(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """Closing does not wait for a hung driver longer than allowed, and says that it left a thread behind."""
    hang = threading.Event()
    script.feed(scene(1), hang)
    camera = Capture(lambda: ScriptedSource(script), limits=CaptureLimits(closing_s=0.01))
    assert camera.read(PATIENCE_S)
    eventually(script.steps.empty)

    camera.close()
    hang.set()
    eventually(lambda: not camera_threads())

    assert "its thread is left behind" in caplog.text
    assert script.closed == 1


def repeats_are(camera: Capture, count: int) -> bool:
    return camera.state().repeated == count


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for another thread; milliseconds as a rule."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.001)


def camera_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("glancein-camera")]


def open_descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def scene(seed: int, height: int = 48, width: int = 64) -> Pixels:
    return np.random.default_rng(seed).integers(20, 230, (height, width, 3)).astype(np.uint8)
