"""The live picture: JPEG frames, mirrored and small, made only while somebody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from glancein.adapters.screen_web import Fanout, Mailbox, Message
from glancein.types import Frame, Pixels

BOUNDARY = b"glancein"


@dataclass(frozen=True, slots=True)
class PreviewRules:
    """How many pictures a second, how wide in pixels, and the JPEG quality of 100."""

    fps: float = 16.0
    width_px: int = 640
    quality: int = 70
    most_viewers: int = 4


class Preview:
    """Encodes the newest frame for everybody who looks, in a thread that runs only while somebody does.

    ``peek`` gives the newest frame without taking it from the kiosk.
    """

    def __init__(self, peek: Callable[[], Frame | None], rules: PreviewRules | None = None) -> None:
        self._peek = peek
        self._rules = rules or PreviewRules()
        self._viewers = Fanout(self._rules.most_viewers)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.encoded = 0

    def look(self) -> Mailbox:
        """A mailbox of parts of the stream. Call it inside the event loop."""
        box = self._viewers.open()
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="preview", daemon=True)
                self._thread.start()
        return box

    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    def close(self) -> None:
        """Nobody looks any more."""
        self._stop.set()
        self._viewers.close()
        thread = self._thread
        if thread is not None:
            thread.join(2.0)

    def _run(self) -> None:
        due_s, shown = time.monotonic(), -1
        while self._has_viewers():
            frame = self._peek()
            if frame is not None and frame.number != shown:
                shown = frame.number
                self.encoded += 1
                self._viewers.send(Message("picture", part_of(jpeg(frame.pixels, self._rules)), passing=True))
            due_s = max(due_s + 1 / self._rules.fps, time.monotonic())
            if self._stop.wait(due_s - time.monotonic()):
                return

    def _has_viewers(self) -> bool:
        """False ends the thread; who comes after that starts another."""
        with self._lock:
            if len(self._viewers):
                return True
            self._thread = None
            return False


def jpeg(pixels: Pixels, rules: PreviewRules) -> bytes:
    """One picture (h, w, 3) RGB as the mirror shows it, at most ``width_px`` wide."""
    height, width = pixels.shape[:2]
    share = min(1.0, rules.width_px / width)
    small = pixels
    if share < 1.0:
        # Whole steps first: taking every nth pixel costs next to nothing, and the eye does not mind.
        step = max(1, int(1 / share / 1.5))
        size = (round(width * share), round(height * share))
        small = np.asarray(cv2.resize(pixels[::step, ::step], size, interpolation=cv2.INTER_LINEAR), np.uint8)
    mirrored = np.ascontiguousarray(small[:, ::-1, ::-1])  # left to right, and RGB to BGR
    done, data = cv2.imencode(".jpg", mirrored, [cv2.IMWRITE_JPEG_QUALITY, rules.quality])
    if not done:
        raise ValueError("OpenCV did not encode the picture")
    return data.tobytes()


def part_of(picture: bytes) -> bytes:
    """One part of a multipart/x-mixed-replace stream.

    The boundary comes after the picture, not before: a browser shows a part only once it sees its end.
    """
    head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
    return head + picture + b"\r\n--" + BOUNDARY + b"\r\n"
