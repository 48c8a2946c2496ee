"""How a running kiosk is, for other programs on its data folder: a socket there answers whoever connects.

Nothing is written for it, so a card does not wear, and a killed kiosk leaves no claim to be running.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_log = logging.getLogger(__name__)
FILE = "kiosk.sock"
PATIENCE_S = 1.0


def ask_kiosk(folder: Path) -> dict[str, object] | None:
    """What the kiosk on this folder says of itself; None without one, empty if it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(PATIENCE_S)
        try:
            with _short(folder) as path:
                line.connect(path)
            document = json.loads(b"".join(iter(lambda: line.recv(4096), b"")))
        except (TimeoutError, BlockingIOError, ValueError):
            return {}
        except OSError:
            return None
    return document if isinstance(document, dict) else {}


class KioskSocket:
    """Says what ``tell`` gives to whoever asks, from a thread of its own.

    Where no socket can be made, or another kiosk has it, that is logged and nobody is told.
    """

    def __init__(self, folder: Path, tell: Callable[[], Mapping[str, object]]) -> None:
        self._folder = folder
        self._tell = tell
        self._listener = _listen(folder)
        self._thread = threading.Thread(target=self._serve, name="kiosk-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        if self._listener is None:
            return
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends the thread's waiting
        self._thread.join(2 * PATIENCE_S)
        self._listener.close()
        with suppress(OSError):
            (self._folder / FILE).unlink()

    def _serve(self) -> None:
        if self._listener is None:
            return
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # closed
                return
            with caller, suppress(OSError):
                caller.settimeout(PATIENCE_S)
                caller.sendall(json.dumps(self._tell()).encode())


def _listen(folder: Path) -> socket.socket | None:
    if ask_kiosk(folder) is not None:
        _log.warning("another kiosk runs on %s: other programs are told of that one", folder)
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        (folder / FILE).unlink(missing_ok=True)  # a killed kiosk's
        with _short(folder) as path:
            listener.bind(path)
        (folder / FILE).chmod(0o600)
        listener.listen()
    except OSError as err:
        _log.warning("other programs are not told how this kiosk is: %s", err)
        listener.close()
        return None
    return listener


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """The socket's path by way of the open folder: in itself it may have 107 bytes and no more (unix(7))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{FILE}"
    finally:
        os.close(descriptor)
