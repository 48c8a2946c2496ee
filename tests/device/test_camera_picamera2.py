"""The Pi camera's adapter against a stand-in for picamera2. UNTESTED ON HARDWARE.

The stand-in has the names, parameters and exceptions of picamera2 0.3.38 as far as the adapter uses them, and
records the calls; nothing here proves that a real camera answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from glancein.adapters.camera_picamera2 import PicameraSource
from glancein.domain.camera_word import PiCamera
from glancein.errors import CameraError
from glancein.ports import Source
from glancein.types import Pace, Pixels

BLUE_GREEN_RED = (10, 20, 200)


class StandIn:
    """Records what is asked of it in the order it is asked."""

    calls: ClassVar[list[tuple[object, ...]]] = []
    answer: ClassVar[Callable[[], Pixels]] = staticmethod(
        lambda: np.full((72, 128, 3), BLUE_GREEN_RED, np.uint8)
    )
    start_error: ClassVar[Exception | None] = None

    def __init__(self, camera_num: int = 0) -> None:
        self.calls.append(("open", camera_num))

    def create_video_configuration(
        self,
        main: dict[str, object],
        *,
        buffer_count: int = 6,
        controls: dict[str, object] | None = None,
        queue: bool = True,
    ) -> dict[str, Any]:  # Any: as loose as the real one
        """As in picamera2: keyword arguments in, a configuration out."""
        self.calls.append(("create_video_configuration", main["size"], main["format"]))
        return {"main": main, "buffer_count": buffer_count, "controls": controls, "queue": queue}

    def configure(self, camera_config: dict[str, Any]) -> None:
        """Take a configuration."""
        self.calls.append(("configure", camera_config["controls"]["FrameRate"], camera_config["queue"]))

    def start(self) -> None:
        """Start, or fail as told."""
        self.calls.append(("start",))
        if self.start_error is not None:
            raise self.start_error

    def capture_array(self, name: str = "main", wait: float | None = None) -> Pixels:
        """The next picture, in the byte order of picamera2."""
        self.calls.append(("capture_array", name, wait))
        return type(self).answer()

    def cancel_all_and_flush(self) -> None:
        """Cancel what waits."""
        self.calls.append(("cancel_all_and_flush",))

    def stop(self) -> None:
        """Stop."""
        self.calls.append(("stop",))

    def close(self) -> None:
        """Let go."""
        self.calls.append(("close",))


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    """A module called picamera2 that holds the stand-in."""
    module = ModuleType("picamera2")
    module.Picamera2 = StandIn  # type: ignore[attr-defined]  # what makes it the stand-in
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(StandIn, "calls", [])
    monkeypatch.setattr(StandIn, "start_error", None)
    return StandIn


def test_read_when_the_camera_delivers(picamera2: type[StandIn]) -> None:
    """A picture in picamera2's RGB888, whose bytes lie blue first, comes out as RGB."""
    source: Source = PicameraSource(PiCamera(1), size=(128, 72), fps=25.0)

    source.open()
    picture = source.read()

    assert picture is not None
    assert picture.pixels.shape == (72, 128, 3)
    assert picture.pixels[0, 0].tolist() == [200, 20, 10]
    assert picture.pixels.flags.c_contiguous
    assert picamera2.calls == [
        ("open", 1),
        ("create_video_configuration", (128, 72), "RGB888"),
        ("configure", 25.0, False),
        ("start",),
        ("capture_array", "main", 2.5),
    ]


def test_close_when_the_camera_runs(picamera2: type[StandIn]) -> None:
    """Waiting jobs are cancelled before the camera is stopped and closed, once."""
    source = PicameraSource(PiCamera())
    source.open()

    source.close()
    source.close()

    assert picamera2.calls[4:] == [("cancel_all_and_flush",), ("stop",), ("close",)]


def test_facts_when_unopened() -> None:
    """The name is known without picamera2."""
    facts = PicameraSource(PiCamera(1)).facts

    assert (facts.name, facts.pace) == ("picamera2:1", Pace.LIVE)


@pytest.mark.parametrize(
    "error", [FutureTimeoutError(), RuntimeError("camera lost"), OSError(5, "I/O error")]
)
def test_read_when_the_ribbon_is_loose(
    picamera2: type[StandIn], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What picamera2 raises becomes a CameraError."""

    def fail() -> Pixels:
        raise error

    monkeypatch.setattr(picamera2, "answer", staticmethod(fail))
    source = PicameraSource(PiCamera())
    source.open()

    with pytest.raises(CameraError, match="Pi camera"):
        source.read()


def test_read_when_the_format_is_not_what_was_asked(
    picamera2: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture with four channels is refused, not misread."""
    monkeypatch.setattr(picamera2, "answer", staticmethod(lambda: np.zeros((72, 128, 4), np.uint8)))
    source = PicameraSource(PiCamera())
    source.open()

    with pytest.raises(CameraError, match=r"\(72, 128, 4\)"):
        source.read()


def test_open_when_the_camera_is_in_use(picamera2: type[StandIn], monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that does not start says what to try, and what was opened can still be closed."""
    monkeypatch.setattr(picamera2, "start_error", RuntimeError("Failed to acquire camera"))
    source = PicameraSource(PiCamera())

    with pytest.raises(CameraError, match="rpicam-hello"):
        source.open()

    source.close()
    assert picamera2.calls[-1] == ("close",)


def test_open_when_picamera2_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package to install."""
    monkeypatch.setitem(sys.modules, "picamera2", None)

    with pytest.raises(CameraError, match="python3-picamera2"):
        PicameraSource(PiCamera()).open()
