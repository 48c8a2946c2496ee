"""Source -> Camera: a thread reads, the newest picture wins, and trouble is noticed and said.

The thread lives beside the pipeline because every source needs it and adapters must not import each other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from glancein.domain.watch import ADVICE, Sight, Trouble, WatchLimits, next_sight, trouble_of
from glancein.errors import CameraError
from glancein.ports import Source
from glancein.types import Frame, Pace, Picture, Pixels

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_LOOK_AGAIN_S = 0.2  # how often a waiting reader looks whether the source hangs
_RATE_WINDOW = 30  # pictures over which the rate is measured


@dataclass(frozen=True, slots=True)
class CaptureLimits:
    """Patience, in seconds, with a live source."""

    blocked_s: float = (
        3.0  # a read that takes longer has hung; a slow camera still sends one picture a second
    )
    opening_s: float = 10.0  # an RTSP camera that has to wake up
    stale_s: float = 1.0  # an older picture shows somebody who has moved on
    first_pause_s: float = 0.25  # before the first new opening; doubled each time
    longest_pause_s: float = 2.0  # so that a camera plugged in again is back within 5 s
    closing_s: float = 3.0
    stuck_readers: int = 2  # hung threads left behind before waiting for one of them to come back
    watch: WatchLimits = field(default_factory=WatchLimits)


@dataclass(frozen=True, slots=True)
class CaptureState:
    """What the health page shows of a camera. ``problem`` is what is wrong now."""

    name: str
    pictures_per_s: float
    pictures: int
    dropped: int  # overwritten or grown stale before they were read
    repeated: int  # the same bytes as the picture before; never handed out
    openings: int
    stuck_readers: int
    trouble: Trouble | None
    problem: str | None
    last_problem: str | None


class Capture:
    """A Camera made of a source. The first ``read`` starts the thread; ``close`` ends it.

    A live source: the newest picture wins, a stale or repeated one is never handed out, and after any
    failure it is opened again and again. A recording is played once, at its own speed or, if stepped, picture
    by picture as they are read; its failure is final. ``make`` builds an unopened source: one for every
    opening, so that a hung one can be left behind. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        make: Callable[[], Source],
        *,
        limits: CaptureLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._facts = make().facts
        self._limits = limits or CaptureLimits()
        self._clock = clock
        self._news = threading.Condition()  # guards everything below
        self._reader: _Reader | None = None
        self._stuck: list[_Reader] = []
        self._frame: Frame | None = None
        self._newest: Frame | None = None
        self._sight: Sight | None = None
        self._trouble: Trouble | None = None
        self._problem: str | None = None
        self._last_problem: str | None = None
        self._ended = self._failed = self._closed = False
        self._pictures = self._dropped = self._repeated = self._openings = 0
        self._arrivals: deque[float] = deque(maxlen=_RATE_WINDOW)

    def read(self, timeout_s: float) -> Frame | None:
        """The next picture not read before; None once a recording has ended.

        Raises CameraError, saying why there is none, after ``timeout_s``; a recording that fails says so at
        once, and has ended after that.
        """
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                self._supervise()
                if (frame := self._take()) is not None:
                    return frame
                if self._closed:
                    raise CameraError(f"camera {self._facts.name} is closed")
                if self._ended:
                    return None
                left_s = deadline - time.monotonic()
                if self._failed or left_s <= 0:
                    self._ended = self._failed
                    raise CameraError(f"camera {self._facts.name}: {self._problem or _silence(timeout_s)}")
                self._news.wait(min(left_s, _LOOK_AGAIN_S))

    def peek(self) -> Frame | None:
        """The newest picture, for who only looks on and takes it from nobody. None before the first."""
        with self._news:
            return self._newest

    def state(self) -> CaptureState:
        """How the camera is, now."""
        with self._news:
            if self._reader is not None:
                self._supervise()
            return CaptureState(
                name=self._facts.name,
                pictures_per_s=self._pictures_per_s(),
                pictures=self._pictures,
                dropped=self._dropped,
                repeated=self._repeated,
                openings=self._openings,
                stuck_readers=len(self._stuck),
                trouble=self._trouble if self._trouble and self._problem == ADVICE[self._trouble] else None,
                problem=self._problem,
                last_problem=self._last_problem,
            )

    def close(self) -> None:
        """Let the source go; a reader that hangs is left to end by itself. Harmless when repeated."""
        with self._news:
            self._closed = True
            self._frame = self._newest = None
            readers = [*self._stuck, *([self._reader] if self._reader else [])]
            for reader in readers:
                reader.stop.set()
            self._news.notify_all()
        deadline = time.monotonic() + self._limits.closing_s
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
            if reader.is_alive():
                _log.warning("camera %s hangs; its thread is left behind", self._facts.name)

    # Called with the lock held.

    def _supervise(self) -> None:
        """Start the reader; leave a hung one behind and start another."""
        if self._closed:
            return
        if self._reader is None:
            self._reader = self._start_reader()
        self._stuck = [reader for reader in self._stuck if reader.is_alive()]
        hung_s = self._reader.overdue_s(self._clock())
        if hung_s is None or self._facts.pace is not Pace.LIVE:
            return
        self._tell(f"has not answered for {hung_s:.0f} s; unplug it and plug it in again")
        if len(self._stuck) < self._limits.stuck_readers:
            self._reader.stop.set()
            self._stuck.append(self._reader)
            self._reader = self._start_reader()

    def _start_reader(self) -> _Reader:
        reader = _Reader(self._run, f"glancein-camera {self._facts.name}", self._clock)
        reader.start()
        return reader

    def _take(self) -> Frame | None:
        frame, self._frame = self._frame, None
        if frame is None:
            return None
        self._news.notify_all()
        if self._facts.pace is Pace.LIVE and self._clock() - frame.taken_mono_s > self._limits.stale_s:
            self._dropped += 1
            return None
        return frame

    def _tell(self, problem: str | None) -> None:
        if problem is not None and problem != self._last_problem:
            _log.warning("camera %s: %s", self._facts.name, problem)
        elif problem is not None and problem != self._problem:
            _log.debug("camera %s again: %s", self._facts.name, problem)
        elif problem is None and self._problem is not None:
            _log.info("camera %s is well again", self._facts.name)
        self._problem = problem
        self._last_problem = problem or self._last_problem

    def _pictures_per_s(self) -> float:
        if len(self._arrivals) < 2:
            return 0.0
        # Up to now and not to the last arrival: a camera that has stopped sinks towards zero.
        took_s = max(self._arrivals[-1], self._clock() - 1.0) - self._arrivals[0]
        return (len(self._arrivals) - 1) / took_s if took_s > 0 else 0.0

    # Called in the reader's thread.

    def _run(self, reader: _Reader) -> None:
        """Open, read until it fails, close; pause, and again. A recording is opened once."""
        pause_s = self._limits.first_pause_s
        while not reader.stop.is_set():
            before = self._pictures
            if self._play_once(reader) or self._facts.pace is not Pace.LIVE:
                return
            pause_s = self._limits.first_pause_s if self._pictures > before else pause_s
            reader.stop.wait(pause_s)
            pause_s = min(2 * pause_s, self._limits.longest_pause_s)

    def _play_once(self, reader: _Reader) -> bool:
        """One opening of the source; True if a recording came to its end."""
        source = self._make()
        try:
            reader.call(source.open, self._limits.opening_s)
            with self._news:
                self._openings += 1
            self._pump(source, reader)
        except CameraError as err:
            self._fail(reader, str(err))
        except Exception:  # noqa: BLE001  # the reader's loop top: whatever a driver throws, it is opened again
            _log.exception("camera %s failed in an unexpected way", self._facts.name)
            self._fail(reader, "failed in an unexpected way; the log says how")
        else:
            return True
        finally:
            self._let_go(source, reader)
        return False

    def _pump(self, source: Source, reader: _Reader) -> None:
        """Hand on pictures until the recording ends or somebody says stop. Raises CameraError."""
        opened_s = self._clock()
        while not reader.stop.is_set():
            picture = reader.call(source.read, self._limits.blocked_s)
            if picture is None:
                self._end(reader)
                return
            self._wait_turn(picture, opened_s, reader)
            frozen = self._offer(_checked(picture.pixels), reader)
            if frozen and self._clock() - opened_s >= self._limits.watch.frozen_s:
                raise CameraError(ADVICE[Trouble.FROZEN])

    def _wait_turn(self, picture: Picture, opened_s: float, reader: _Reader) -> None:
        """A recording waits for its time, a stepped one for its reader."""
        if self._facts.pace is Pace.RECORDED:
            reader.stop.wait(max(0.0, opened_s + picture.due_s - self._clock()))
        elif self._facts.pace is Pace.STEPPED:
            with self._news:
                self._news.wait_for(lambda: self._frame is None or reader.stop.is_set())

    def _offer(self, pixels: Pixels, reader: _Reader) -> bool:
        """Put the picture where ``read`` finds it unless it repeats the last; True if it is frozen."""
        now_s = self._clock()
        with self._news:
            if reader.stop.is_set():
                return False
            self._pictures += 1
            self._arrivals.append(now_s)
            if self._facts.pace is Pace.LIVE:
                watch = self._limits.watch
                self._sight = next_sight(self._sight, pixels, now_s=now_s, limits=watch)
                self._trouble = trouble_of(self._sight, watch)
                if self._trouble is Trouble.FROZEN:
                    self._tell(ADVICE[Trouble.FROZEN])
                if self._sight.repeats:
                    self._repeated += 1
                    return self._trouble is Trouble.FROZEN
            self._tell(None if self._trouble is None else ADVICE[self._trouble])
            self._dropped += self._frame is not None
            self._frame = self._newest = Frame(pixels, now_s, self._pictures)
            self._news.notify_all()
            return False

    def _end(self, reader: _Reader) -> None:
        if self._facts.pace is Pace.LIVE:
            raise CameraError("has stopped sending pictures")
        with self._news:
            self._ended = not reader.stop.is_set()
            self._news.notify_all()

    def _fail(self, reader: _Reader, problem: str) -> None:
        with self._news:
            if reader.stop.is_set():
                return
            self._failed = self._facts.pace is not Pace.LIVE
            self._tell(problem)
            self._news.notify_all()

    def _let_go(self, source: Source, reader: _Reader) -> None:
        try:
            reader.call(source.close, self._limits.blocked_s)
        except Exception:  # noqa: BLE001  # a device pulled out may not close; the next opening will tell
            _log.debug("camera %s could not be closed", self._facts.name, exc_info=True)


class _Reader(threading.Thread):
    """A thread that knows how long its present call into the driver is taking."""

    def __init__(self, run: Callable[[_Reader], None], name: str, clock: Callable[[], float]) -> None:
        super().__init__(name=name, daemon=True)  # daemon: a hung driver must not keep the kiosk from ending
        self.stop = threading.Event()
        self._job = run
        self._clock = clock
        self._call: tuple[float, float] | None = None  # when it began, how long it may take

    def run(self) -> None:
        self._job(self)

    def call(self, act: Callable[[], _Answer], patience_s: float) -> _Answer:
        """Do one thing that may hang."""
        self._call = self._clock(), patience_s
        try:
            return act()
        finally:
            self._call = None

    def overdue_s(self, now_s: float) -> float | None:
        """How long the present call has taken, once that is too long."""
        call = self._call
        if call is None or now_s - call[0] <= call[1]:
            return None
        return now_s - call[0]


def _checked(pixels: Pixels) -> Pixels:
    """The size may change from picture to picture; the kind may not."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise CameraError(f"sent a {pixels.dtype} picture of shape {pixels.shape} instead of colours")
    return pixels


def _silence(timeout_s: float) -> str:
    return f"no picture for {timeout_s:g} s; see that it is connected and not used by another program"
