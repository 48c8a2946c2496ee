"""``--camera`` word -> which kind of camera is meant. Syntax only: nothing is opened or looked up here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from urllib.parse import urlsplit

from glancein.errors import InputError

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}
)
STREAM_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps"})
FORMS = "picamera2, usb:0, /dev/video0, rtsp://host/path, http://host/path, a video file, a folder (DIR/)"


@dataclass(frozen=True, slots=True)
class PiCamera:
    """A camera on the ribbon connector, by its picamera2 number."""

    number: int = 0

    @property
    def name(self) -> str:
        """The word that means this camera."""
        return "picamera2" if self.number == 0 else f"picamera2:{self.number}"


@dataclass(frozen=True, slots=True)
class UsbCamera:
    """A V4L2 camera, by its device path (``/dev/video0``, ``/dev/v4l/by-id/...``)."""

    device: str

    @property
    def name(self) -> str:
        """The device path."""
        return self.device


@dataclass(frozen=True, slots=True)
class NetworkCamera:
    """A camera behind an RTSP or HTTP address. Neither ``name`` nor ``repr`` shows user, password or path."""

    url: str = field(repr=False)
    name: str


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A recorded video, played once."""

    path: PurePath

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """A folder of pictures, shown in the order of their names."""

    path: PurePath

    @property
    def name(self) -> str:
        """The path with a slash behind it."""
        return f"{self.path}/"


CameraWord = PiCamera | UsbCamera | NetworkCamera | VideoFile | PictureFolder


def parse_camera(word: str, *, devices: Sequence[str] = ()) -> CameraWord:
    """Understand one camera word; raises InputError for an unknown one.

    ``devices`` are the device paths that exist, only to suggest one in the error.
    A path means a folder if it ends in a slash or has no suffix, a video if its suffix is in VIDEO_SUFFIXES.
    """
    word = word.strip()
    if "://" in word:
        return _network_camera(word)
    if found := re.fullmatch(r"picamera2(?::(\d{1,2}))?", word):
        return PiCamera(int(found[1] or 0))
    if found := re.fullmatch(r"usb:(\d{1,3})", word):
        return UsbCamera(f"/dev/video{int(found[1])}")
    if re.fullmatch(r"/dev/(video\d+|v4l/\S+)", word):
        return UsbCamera(word)
    if "@" in word:
        raise InputError(
            f"unknown camera; begin an address with rtsp:// or http://; otherwise use one of: {FORMS}"
        )
    if word.startswith("/dev/"):
        raise InputError(f"{word!r} is not a video device; {_present(devices)}")
    return _recording(word, devices)


def _recording(word: str, devices: Sequence[str]) -> VideoFile | PictureFolder:
    path = PurePath(word)
    if word.endswith("/") or word in {".", ".."}:
        return PictureFolder(path)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoFile(path)
    if "/" in word and not path.suffix:
        return PictureFolder(path)
    if re.fullmatch(r"\d{1,3}", word):
        raise InputError(f"unknown camera {word!r}; write usb:{int(word)} for USB; {_present(devices)}")
    if path.suffix:
        raise InputError(
            f"unknown camera {word!r}; videos end in {' '.join(sorted(VIDEO_SUFFIXES))};"
            " put pictures into a folder and write DIR/"
        )
    raise InputError(f"unknown camera {word!r}; use one of: {FORMS}; {_present(devices)}")


def _network_camera(url: str) -> NetworkCamera:
    """The errors here never repeat the address: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError("the camera address cannot be read; write rtsp://user:password@host/path") from None
    if parts.scheme not in STREAM_SCHEMES:
        raise InputError(f"unknown camera scheme; use one of: {', '.join(sorted(STREAM_SCHEMES))}")
    if "@" in parts.path + parts.query + parts.fragment:
        raise InputError("the camera's user or password holds / ? # or @; write them as %2F %3F %23 %40")
    if not host or re.search(r"[\s\x00-\x1f]", url):
        raise InputError("the camera address has no host or holds blanks; write rtsp://host/path")
    # Scheme, host and port only: some cameras carry the password in the path or the query.
    shown_host = f"[{host}]" if ":" in host else host
    return NetworkCamera(url, f"{parts.scheme}://{shown_host}{f':{port}' if port else ''}")


def _present(devices: Sequence[str]) -> str:
    return f"here are: {', '.join(devices)}" if devices else "no /dev/video* device is present"
