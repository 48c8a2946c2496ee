"""Raspberry Pi cameras through picamera2, which comes from apt and is imported only when a camera is opened.

Written after picamera2 0.3.38 (picamera2/picamera2.py: create_video_configuration, capture_array,
dispatch_functions, cancel_all_and_flush; picamera2/request.py: make_array).
"""

from __future__ import annotations

import contextlib
import importlib
from concurrent.futures import CancelledError
from typing import Any

import numpy as np

from glancein.domain.camera_word import PiCamera
from glancein.errors import CameraError
from glancein.types import Pace, Picture, SourceFacts

# picamera2 names formats after DRM: the bits of a little-endian word. So the bytes of "RGB888" lie B, G, R in
# the array: request.py maps "RGB888" to PIL's mode "BGR", and the Picamera2 manual lists them so.
_FORMAT = "RGB888"
_READ_S = 2.5  # inside the capture thread's patience of 3 s


class PicameraSource:
    """Pictures of one Pi camera, (h, w, 3) RGB."""

    def __init__(self, word: PiCamera, *, size: tuple[int, int] = (1280, 720), fps: float = 30.0) -> None:
        self._number = word.number
        self._size = size
        self._fps = fps
        self._facts = SourceFacts(word.name, Pace.LIVE)
        self._camera: Any = None  # picamera2.Picamera2; not installed where the types are checked

    @property
    def facts(self) -> SourceFacts:
        """Name and pace."""
        return self._facts

    def open(self) -> None:
        """Start the camera. Raises CameraError."""
        maker = _picamera2()
        try:
            # IndexError: older versions index the list of cameras without looking.
            self._camera = maker(camera_num=self._number)
            video = self._camera.create_video_configuration(
                main={"size": self._size, "format": _FORMAT},
                buffer_count=4,
                controls={"FrameRate": self._fps},
                # Without a queue each picture is taken after it was asked for; with one it may be older.
                queue=False,
            )
            self._camera.configure(video)
            self._camera.start()
        except (RuntimeError, IndexError, OSError, ValueError) as err:
            raise CameraError(
                f"the Pi camera does not start ({err}); look at its cable and try rpicam-hello --list-cameras"
            ) from err

    def read(self) -> Picture:
        """The next picture. Raises CameraError, at the latest after 2.5 s."""
        if self._camera is None:
            raise CameraError("is not open")
        try:
            bgr = self._camera.capture_array("main", wait=_READ_S)
        except TimeoutError as err:
            raise CameraError("the Pi camera sends no pictures; look at the ribbon cable") from err
        except (RuntimeError, OSError, CancelledError) as err:
            raise CameraError(f"the Pi camera failed ({err})") from err
        if bgr.ndim != 3 or bgr.shape[2] != 3:
            raise CameraError(f"the Pi camera sent a picture of shape {bgr.shape} instead of {_FORMAT}")
        return Picture(np.ascontiguousarray(bgr[:, :, ::-1], np.uint8))

    def close(self) -> None:
        """Stop the camera and let it go."""
        camera, self._camera = self._camera, None
        if camera is None:
            return
        # Jobs that timed out would keep stop() waiting for a picture that never comes (picamera2 issue 1264).
        camera.cancel_all_and_flush()
        with contextlib.suppress(RuntimeError, OSError, CancelledError):
            camera.stop()
        camera.close()


def _picamera2() -> Any:  # as above
    try:
        return importlib.import_module("picamera2").Picamera2
    except ImportError as err:
        raise CameraError(
            "picamera2 is not installed; run: sudo apt install python3-picamera2,"
            " and make the virtual environment with --system-site-packages"
        ) from err
