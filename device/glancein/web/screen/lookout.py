"""Watches the camera for a QR pass, a few times a second and beside the recognition."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import cv2
import numpy as np

from glancein.domain.passes import looks_like_pass
from glancein.errors import GlanceinError
from glancein.types import Frame, Pixels

_log = logging.getLogger(__name__)
LOOKS_PER_S = 3.0
WIDTH_PX = 480  # a look at 640 takes five times as long, at 320 a pass in the hand is too small to read
SAME_PASS_S = 6.0  # a pass held still is one punch


class Lookout:
    """Calls ``seen`` with the text of each pass held up; one that stays there again only until it was taken.

    ``peek`` gives the newest frame without taking it from the kiosk.
    """

    def __init__(self, peek: Callable[[], Frame | None], seen: Callable[[str], bool]) -> None:
        self._peek = peek
        self._seen = seen
        self._stop = threading.Event()
        self._detector = cv2.QRCodeDetector()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
        self._last: tuple[str, float] = "", float("-inf")

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        number = -1
        while not self._stop.wait(1 / LOOKS_PER_S):
            frame = self._peek()
            if frame is None or frame.number == number:
                continue
            number = frame.number
            text = read_code(self._detector, frame.pixels)
            if looks_like_pass(text):
                self._tell(text)

    def _tell(self, text: str) -> None:
        last, at_s = self._last
        now_s = time.monotonic()
        self._last = text, now_s
        if text == last and now_s - at_s < SAME_PASS_S:
            return
        try:
            if not self._seen(text):
                self._last = "", float("-inf")
        except GlanceinError as err:
            _log.warning("a pass could not be looked up: %s", err)


def read_code(detector: cv2.QRCodeDetector, pixels: Pixels) -> str:
    """The text of a QR code in the picture (h, w, 3), empty without a readable one."""
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if width > WIDTH_PX:
        grey = cv2.resize(grey, (WIDTH_PX, round(height * WIDTH_PX / width)), interpolation=cv2.INTER_AREA)
    try:
        text, _, _ = detector.detectAndDecode(np.asarray(grey, np.uint8))
    except cv2.error:  # it takes some shapes for codes without an area, and says so in this way
        return ""
    return str(text)
