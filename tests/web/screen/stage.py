"""A whole kiosk with its page, before a camera whose scene the test sets: real networks, real database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import numpy as np

from glancein import wiring
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.passes_sqlite import SqlitePasses
from glancein.adapters.screen_web import WebScreen
from glancein.capture import Capture
from glancein.kiosk import Kiosk
from glancein.scenes import demo_picture, moving
from glancein.settings import Settings
from glancein.types import Pace, Picture, Pixels, SourceFacts
from glancein.web.screen.parts import ScreenParts
from glancein.web.screen.serve import make_screen, serving
from glancein.wiring import Home

FPS = 20.0
FRAMES = 16  # of each scene, over and over
ENROLLED = {"E1001": ("obama.jpg", "Barack Obama"), "E1002": ("collins.jpg", "Eileen Collins")}
PIN = "295174"


@dataclass
class Scenery:
    """Pictures without end of whoever stands in front, at ``FPS``; a Source for one opening."""

    scenes: dict[str, list[Pixels]] = field(default_factory=dict)
    is_broken: bool = False
    _now: Iterator[Pixels] = field(init=False)
    _wait: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.show(None)

    def show(self, portrait: str | None) -> None:
        """From the next picture on this person stands there, or nobody."""
        key = portrait or ""
        if key not in self.scenes:
            self.scenes[key] = list(moving(portrait, FRAMES, np.random.default_rng(3)))
        self._now = cycle(self.scenes[key])

    def show_pixels(self, frames: list[Pixels]) -> None:
        """From the next picture on these are seen."""
        self._now = cycle(frames)

    @property
    def facts(self) -> SourceFacts:
        return SourceFacts("scenery", Pace.LIVE)

    def open(self) -> None:
        """Nothing to open."""

    def read(self) -> Picture:
        self._wait.wait(1 / FPS)
        while self.is_broken:
            self._wait.wait(0.05)
        return Picture(next(self._now))

    def close(self) -> None:
        """Nothing to close."""


class Publisher:
    """A way to HR that a test can cut."""

    def __init__(self) -> None:
        self.is_connected = True
        self.backlog = 0

    def start(self) -> None:
        """Nothing to start."""

    def wake(self) -> None:
        """Nothing to wake."""

    def state(self) -> dict[str, object]:
        return {"connected": self.is_connected, "backlog": self.backlog}

    def stop(self, timeout_s: float) -> None:
        """Nothing to stop."""


@dataclass
class Stage:
    """What a test holds in its hands."""

    url: str
    scenery: Scenery
    publisher: Publisher
    kiosk: Kiosk
    screen: WebScreen
    ledger: SqliteLedger
    passes: SqlitePasses
    capture: Capture
    parts: ScreenParts

    def preview_viewers(self) -> int:
        """How many look at the live picture."""
        return self.parts.preview.viewers()

    def now(self) -> datetime:
        return datetime.now(UTC)


def enrol(home: Home) -> None:
    """Everybody of ``ENROLLED`` from one photo each, with the same PIN."""
    with wiring.open_enroller(home) as enroller:
        for person_id, (photo, name) in ENROLLED.items():
            enroller.enrol(photo_bytes(photo), person_id=person_id, name=name)
    passes = SqlitePasses(home.database)
    for person_id in ENROLLED:
        passes.set_pin(person_id, PIN, at=datetime.now(UTC))
    passes.close()


def photo_bytes(name: str) -> bytes:
    """One of the demo's pictures as a file."""
    return (Path(wiring.__file__).parent / "demo_pictures" / name).read_bytes()


@contextmanager
def stage(folder: Path, settings: Settings) -> Iterator[Stage]:
    """A kiosk with its page on a free port, and nobody in front of it."""
    home = Home(folder, settings)
    enrol(home)
    scenery, publisher = Scenery(), Publisher()
    capture = Capture(lambda: scenery)
    with ExitStack() as stack:
        stores = stack.enter_context(wiring.open_stores(home))
        screen = make_screen(settings, stores, beside=None)
        kiosk = kiosk_of(home, stores, capture, screen, publisher)
        url, parts = stack.enter_context(serving(home, kiosk, screen, capture, port=0))
        passes = SqlitePasses(home.database)
        stack.callback(passes.close)
        stop = threading.Event()
        loop = threading.Thread(target=kiosk.run, args=(stop,), name="kiosk")
        loop.start()
        stack.callback(loop.join, 10)
        stack.callback(stop.set)
        yield Stage(url, scenery, publisher, kiosk, screen, stores.ledger, passes, capture, parts)


def kiosk_of(
    home: Home, stores: wiring.Stores, camera: Capture, screen: WebScreen, publisher: Publisher
) -> Kiosk:
    """As ``wiring.open_kiosk``, with another way to HR."""
    feedway = wiring.Feedway(publisher, "", None)  # type: ignore[arg-type]  # a publisher of the same port
    return wiring.open_kiosk(home, stores, camera=camera, screen=screen, feedway=feedway)


def hold_up(code: Pixels, portrait: str | None = None, *, px: int = 190) -> list[Pixels]:
    """Frames in which somebody holds a QR code to the camera."""
    import cv2  # noqa: PLC0415  # only here

    frames = [frame.copy() for frame in moving(portrait, 6, np.random.default_rng(5))]
    small = np.asarray(cv2.resize(code, (px, px), interpolation=cv2.INTER_AREA), np.uint8)
    for number, frame in enumerate(frames):
        left = 40 + 2 * number
        frame[250 : 250 + px, left : left + px] = small[..., None] if small.ndim == 2 else small
    return frames


__all__ = ["ENROLLED", "PIN", "Scenery", "Stage", "demo_picture", "hold_up", "stage"]
