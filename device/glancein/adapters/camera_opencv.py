"""USB and network cameras and video files through OpenCV. OpenCV's BGR becomes RGB here."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from glancein.domain.camera_word import NetworkCamera, UsbCamera, VideoFile
from glancein.errors import CameraError
from glancein.types import Pace, Picture, Pixels, SourceFacts

_ONE_PICTURE = 1  # V4L2 buffers: more of them only make the newest picture older
_NET_OPEN_MS = 8000  # inside the capture thread's patience of 10 s
_NET_READ_MS = 2500  # inside its patience of 3 s
_FALLBACK_FPS = 25.0


def video_devices() -> list[str]:
    """The V4L2 device paths present on this machine, in the order of their numbers."""
    found = Path("/dev").glob("video[0-9]*")
    return sorted((str(path) for path in found), key=lambda path: (len(path), path))


class UsbSource:
    """Pictures of a V4L2 camera. A pulled-out one fails; the select time-out of OpenCV's driver is 10 s."""

    def __init__(self, word: UsbCamera, *, size: tuple[int, int] = (1280, 720), fps: float = 30.0) -> None:
        self._device = word.device
        self._size = size
        self._fps = fps
        self._facts = SourceFacts(word.name, Pace.LIVE)
        self._capture: cv2.VideoCapture | None = None

    @property
    def facts(self) -> SourceFacts:
        """Name and pace."""
        return self._facts

    def open(self) -> None:
        """Take the device and ask for motion JPEG, since USB 2 cannot carry 30 raw pictures a second.

        Raises CameraError.
        """
        if not Path(self._device).exists():
            here = ", ".join(video_devices()) or "none"
            raise CameraError(f"there is no {self._device}; plug the camera in; present: {here}")
        self._capture = _opened(lambda: cv2.VideoCapture(self._device, cv2.CAP_V4L2))
        if self._capture is None:
            raise CameraError(
                f"{self._device} does not open; is it really a camera, in use by another program,"
                " or is this user not in the group video?"
            )
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
        self._capture.set(cv2.CAP_PROP_FPS, self._fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, _ONE_PICTURE)

    def read(self) -> Picture:
        """The next picture. Raises CameraError."""
        pixels = _next_pixels(self._capture)
        if pixels is None:
            raise CameraError("has stopped sending pictures; is it still plugged in?")
        return Picture(pixels)

    def close(self) -> None:
        """Let the device go."""
        _release(self._capture)
        self._capture = None


class NetworkSource:
    """Pictures of an RTSP or HTTP camera through FFmpeg; nothing it says shows the address beyond the host.

    OpenCV asks for RTSP over TCP by itself (``rtsp_flags=prefer_tcp``), unless the environment variable
    OPENCV_FFMPEG_CAPTURE_OPTIONS says otherwise.
    """

    def __init__(self, word: NetworkCamera) -> None:
        self._url = word.url
        self._facts = SourceFacts(word.name, Pace.LIVE)
        self._capture: cv2.VideoCapture | None = None

    @property
    def facts(self) -> SourceFacts:
        """Name and pace."""
        return self._facts

    def open(self) -> None:
        """Connect. Raises CameraError."""
        # The back end is named: the others, tried in turn, would print the address with its password.
        waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _NET_OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _NET_READ_MS]
        self._capture = _opened(lambda: cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, waits))
        if self._capture is None:
            raise CameraError(
                "does not answer or refuses; see that address, user, password and path are right"
            )

    def read(self) -> Picture:
        """The next picture. Raises CameraError."""
        pixels = _next_pixels(self._capture)
        if pixels is None:
            raise CameraError("has stopped sending pictures; see the network between here and the camera")
        return Picture(pixels)

    def close(self) -> None:
        """Hang up."""
        _release(self._capture)
        self._capture = None


class VideoSource:
    """Pictures of a video file at its own speed, or as fast as they are read if not ``realtime``."""

    def __init__(self, word: VideoFile, *, realtime: bool = True) -> None:
        self._path = Path(word.path)
        self._facts = SourceFacts(word.name, Pace.RECORDED if realtime else Pace.STEPPED)
        self._capture: cv2.VideoCapture | None = None
        self._fps = _FALLBACK_FPS
        self._number = 0

    @property
    def facts(self) -> SourceFacts:
        """Name and pace."""
        return self._facts

    def open(self) -> None:
        """Open the file. Raises CameraError."""
        try:
            is_there = self._path.is_file()
        except OSError as err:  # its folder is somebody else's
            raise CameraError(f"the video file {self._path} cannot be read: {err.strerror}") from err
        if not is_there:
            raise CameraError(f"there is no video file {self._path}")
        self._capture = _opened(lambda: cv2.VideoCapture(str(self._path.resolve()), cv2.CAP_FFMPEG))
        if self._capture is None:
            raise CameraError(f"{self._path} is not a video that can be played; convert it to MP4 (H.264)")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._fps = fps if math.isfinite(fps) and 0 < fps <= 240 else _FALLBACK_FPS
        self._number = 0

    def read(self) -> Picture | None:
        """The next picture; None at the end. Raises CameraError if there is not even one."""
        pixels = _next_pixels(self._capture)
        if pixels is None and self._number == 0:
            raise CameraError(f"there is no picture in {self._path}; is the file complete?")
        if pixels is None:
            return None
        self._number += 1
        return Picture(pixels, (self._number - 1) / self._fps)

    def close(self) -> None:
        """Close the file."""
        _release(self._capture)
        self._capture = None


def to_rgb(pixels: NDArray[Any]) -> Pixels:  # Any: OpenCV hands out whatever the camera sends
    """OpenCV's grey (h, w), BGR (h, w, 3) or BGRA (h, w, 4) bytes -> a new RGB array. Raises CameraError."""
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in codes or pixels.size == 0:
        raise CameraError(f"sent a {pixels.dtype} picture of shape {pixels.shape}, which cannot be used")
    return np.asarray(cv2.cvtColor(pixels, codes[channels]), np.uint8)


def _opened(make: Callable[[], cv2.VideoCapture]) -> cv2.VideoCapture | None:
    """The capture if it opened; OpenCV's message is not repeated, for it may hold an address."""
    try:
        capture = make()
    except cv2.error:
        return None
    if capture.isOpened():
        return capture
    capture.release()
    return None


def _next_pixels(capture: cv2.VideoCapture | None) -> Pixels | None:
    if capture is None:
        raise CameraError("is not open")
    try:
        got, pixels = capture.read()
    except cv2.error:
        raise CameraError("sent a picture that cannot be decoded") from None
    return to_rgb(pixels) if got and pixels is not None else None


def _release(capture: cv2.VideoCapture | None) -> None:
    if capture is not None:
        capture.release()
