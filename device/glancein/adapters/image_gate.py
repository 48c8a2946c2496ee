"""Pictures from outside -> RGB pixels, or one line that says why not. The only way a file becomes pixels.

The file is looked at here without decoding (what it is, how long); a child process with bounded memory,
processor time and wall time decodes it, and refuses too many pixels by the header, before a decoder runs.
"""

from __future__ import annotations

import functools
import json
import os
import select
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from glancein.errors import PhotoError
from glancein.types import Pixels, Reason

MAX_FILE_BYTES = 50_000_000  # a 16-megapixel BMP is 48 MB
TIMEOUT_S = 5.0
START_S = 10.0  # a new child loads Python and Pillow first: seconds on a busy Pi, and no picture's fault
_CHILD = Path(__file__).with_name("image_child.py")
_CONVERT = "convert it to JPEG or PNG"
# What people send instead of a photo, by the bytes it begins with, and what to do about it.
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", f"is a GIF: {_CONVERT}"),
    (0, b"II*\0", f"is a TIFF: {_CONVERT}"),
    (0, b"MM\0*", f"is a TIFF: {_CONVERT}"),
    (0, b"II+\0", f"is a TIFF: {_CONVERT}"),
    (0, b"MM\0+", f"is a TIFF: {_CONVERT}"),
    (0, b"%PDF", "is a PDF: export the page as JPEG or PNG"),
    (0, b"PK\3\4", "is an archive: unpack it and give the picture in it"),
    (0, b"\xff\x0a", f"is a JPEG XL: {_CONVERT}"),
    (4, b"JXL ", f"is a JPEG XL: {_CONVERT}"),
    (4, b"jP  ", f"is a JPEG 2000: {_CONVERT}"),
    (0, b"8BPS", f"is a Photoshop file: {_CONVERT}"),
    (8, b"AVI ", "is a video: save one picture of it as JPEG or PNG"),
)


class PictureGate:
    """Reads pictures through one child process, started at the first picture and again after it died.

    Safe to share between threads (one picture at a time); a forked process starts its own child.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner_pid = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, source: Path | str | bytes) -> Pixels:
        """RGB (h, w, 3) uint8 of a file or of its bytes, upright by its EXIF orientation, clear parts white.

        Takes JPEG, PNG, WebP and BMP of at most 16 megapixels and 50 MB that are not animations. A symbolic
        link to a regular file is followed; folders, devices, sockets and pipes are refused without waiting.
        Raises PhotoError with reason unreadable, wrong_format or too_large.
        """
        return self.decode(*self.fetch(source))

    def fetch(self, source: Path | str | bytes) -> tuple[bytes, str]:
        """The bytes of a picture file, not yet decoded, and the name to call it by. Raises PhotoError."""
        data, name = _fetch(source)
        _refuse_foreign(data, name)
        return data, name

    def decode(self, data: bytes, name: str) -> Pixels:
        """The pixels of bytes that ``fetch`` gave, as ``read`` returns them."""
        with self._lock:
            return self._decode(data, name)

    def child_pid(self) -> int | None:
        """Process id of the running child."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """End the child; the gate may be used again."""
        child, self._child = self._child, None
        if child is None or self._owner_pid != os.getpid():
            return
        child.kill()
        child.communicate()

    def _decode(self, data: bytes, name: str) -> Pixels:
        fresh, child = self._running_child()
        try:
            allowed_s = self._timeout_s + (START_S if fresh else 0.0)
            return _exchange(child, data, time.monotonic() + allowed_s)
        except _Refusal as refusal:
            raise PhotoError(refusal.reason, f"{name} {refusal}") from None
        except TimeoutError:
            self.close()
            message = f"{name} takes longer than {self._timeout_s:g} s to decode: save it again as JPEG"
            raise PhotoError(Reason.TOO_LARGE, message) from None
        except (EOFError, OSError):
            self.close()
            if not fresh:  # it may have died before this picture came: only a new child's death counts
                return self._decode(data, name)
            message = f"{name} broke the decoder and was refused: save it again as JPEG"
            raise PhotoError(Reason.UNREADABLE, message) from None

    def _running_child(self) -> tuple[bool, subprocess.Popen[bytes]]:
        """Whether the child was started just now, and the child."""
        if self._owner_pid != os.getpid():
            self._child, self._owner_pid = None, os.getpid()
        if self._child is not None and self._child.poll() is None:
            return False, self._child
        self.close()
        self._child = _start_child()
        return True, self._child


def read_picture(source: Path | str | bytes, *, trusted: bool = False) -> Pixels:
    """As PictureGate.read, through a gate that lives as long as this process.

    ``trusted`` decodes in this process under the same limits of format and size: faster by the copy through a
    pipe, for evaluation over one's own files; a hostile file can then reach this process's memory.
    """
    if not trusted:
        return _shared_gate().read(source)
    from glancein.adapters import image_child  # noqa: PLC0415  # loads Pillow, which only this path needs here

    data, name = _fetch(source)
    _refuse_foreign(data, name)
    try:
        return np.array(image_child.decode(data), np.uint8)
    except image_child.Refused as refused:
        raise PhotoError(refused.reason, f"{name} {refused}") from None


@functools.cache
def _shared_gate() -> PictureGate:
    import atexit  # noqa: PLC0415  # only who reads pictures needs an end

    gate = PictureGate()
    atexit.register(gate.close)
    return gate


class _Refusal(Exception):  # noqa: N818  # an answer of the child, not a fault
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def _fetch(source: Path | str | bytes) -> tuple[bytes, str]:
    """The bytes of a source and the name to call it by. Raises PhotoError."""
    if isinstance(source, bytes):
        data, name = source, "the picture"
        _refuse_length(len(data), name)
        return data, name
    name = shown(source)
    try:
        return _read_regular_file(os.fspath(source), name), name
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        why = getattr(err, "strerror", None) or str(err)
        raise PhotoError(Reason.UNREADABLE, f"{name} cannot be read: {why}") from None


def shown(path: Path | str) -> str:
    """A path as it may stand in a message: on one line, without control characters, not endless."""
    text = "".join(char if char.isprintable() else "?" for char in str(path))
    return text if len(text) <= 120 else f"…{text[-119:]}"


def _read_regular_file(path: str, name: str) -> bytes:
    # O_NONBLOCK: opening a pipe nobody writes to must not wait for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise PhotoError(Reason.UNREADABLE, f"{name} is a {_kind(state.st_mode)}, not a picture file")
        _refuse_length(state.st_size, name)
        data = file.read(MAX_FILE_BYTES + 1)
    _refuse_length(len(data), name)
    return data


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def _refuse_length(size_bytes: int, name: str) -> None:
    if size_bytes == 0:
        raise PhotoError(Reason.UNREADABLE, f"{name} is empty (0 bytes): copy it again")
    if size_bytes > MAX_FILE_BYTES:
        limit = f"the limit is {MAX_FILE_BYTES // 1_000_000} MB"
        raise PhotoError(Reason.TOO_LARGE, f"{name} has {size_bytes / 1e6:.0f} MB; {limit}: save it smaller")


def _refuse_foreign(data: bytes, name: str) -> None:
    """Let only JPEG, PNG, WebP and BMP through, by their first bytes whatever the file is called."""
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")) or _is_riff(data, b"WEBP"):
        return
    raise PhotoError(Reason.WRONG_FORMAT, f"{name} {_what_instead(data)}")


def _is_riff(data: bytes, kind: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == kind


def _what_instead(data: bytes) -> str:
    for offset, mark, words in _FOREIGN:
        if data.startswith(mark, offset):
            return words
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in {b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"}:
            return "is a HEIC: convert it to JPEG (iPhone: Settings, Camera, Formats, Most Compatible)"
        return (
            f"is an AVIF: {_CONVERT}" if brand in {b"avif", b"avis"} else "is a video: save one picture of it"
        )
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return "is an SVG drawing: export it as PNG"
    if start and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return "is text, not a picture: give a JPEG, PNG, WebP or BMP"
    return "is not a picture that can be read: give a JPEG, PNG, WebP or BMP"


def _start_child() -> subprocess.Popen[bytes]:
    # -P: nothing beside the script is imported by accident. Own session: Ctrl-C reaches us, not the child.
    return subprocess.Popen(  # noqa: S603  # our own file under our own interpreter
        [sys.executable, "-P", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        pipesize=2**20,  # a 640 x 640 picture in two steps instead of nineteen
        start_new_session=True,
    )


def _exchange(child: subprocess.Popen[bytes], data: bytes, deadline_s: float) -> Pixels:
    """Send one file and take its pixels. Raises _Refusal, TimeoutError, EOFError or OSError."""
    if child.stdin is None or child.stdout is None:
        raise EOFError
    _send(child.stdin.fileno(), struct.pack(">Q", len(data)), deadline_s)
    _send(child.stdin.fileno(), data, deadline_s)
    (length,) = struct.unpack(">I", _take(child.stdout.fileno(), 4, deadline_s))
    header = json.loads(_take(child.stdout.fileno(), length, deadline_s))
    if "reason" in header:
        raise _Refusal(header["reason"], header["message"])
    width, height = header["width"], header["height"]
    pixels = _take(child.stdout.fileno(), width * height * 3, deadline_s)
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _send(pipe: int, data: bytes, deadline_s: float) -> None:
    os.set_blocking(pipe, False)
    rest = memoryview(data)
    while rest:
        _wait(pipe, select.POLLOUT, deadline_s)
        rest = rest[os.write(pipe, rest) :]


def _take(pipe: int, size: int, deadline_s: float) -> bytearray:
    taken = bytearray(size)
    view, have = memoryview(taken), 0
    while have < size:
        _wait(pipe, select.POLLIN, deadline_s)
        part = os.readv(pipe, [view[have:]])
        if part == 0:
            raise EOFError
        have += part
    return taken


def _wait(pipe: int, event: int, deadline_s: float) -> None:
    poller = select.poll()  # select.select would refuse file numbers above 1023
    poller.register(pipe, event)
    left_s = max(0.0, deadline_s - time.monotonic())
    if not poller.poll(left_s * 1000):
        raise TimeoutError
