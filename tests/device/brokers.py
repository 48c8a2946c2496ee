"""Real brokers for the tests: mosquitto as a child process, on a free port of this machine."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer


class Mosquitto:
    """A mosquitto that can be killed and started again on the same port."""

    def __init__(self, program: str, folder: Path, *, settings: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._program = program
        self._file = folder / "mosquitto.conf"
        self._file.write_text(f"listener {self.port} 127.0.0.1\nuser root\n{settings}\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run until it answers."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("mosquitto did not start")

    def kill(self) -> None:
        """End it at once, without a chance to save anything."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def odd_broker(says: bytes, *, every_s: float | None = None, granted: bytes = b"\1") -> Iterator[str]:
    """The address of what takes every client and subscription, says this, and never answers what is sent.

    With ``every_s`` it says it again and again. ``granted`` answers the subscription (MQTT 5, 3.9.3).
    A packet begins with its kind and its length.
    """
    done = threading.Event()

    class Odd(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"\x20\x03\0\0\0")  # CONNACK (MQTT 5, 3.2)
            wanted = self.request.recv(4096)
            self.request.sendall(b"\x90\x04" + wanted[2:4] + b"\0" + granted)  # SUBACK of one topic (3.9)
            with contextlib.suppress(OSError):  # the client parts
                self.request.sendall(says)
                while not done.wait(every_s):
                    self.request.sendall(says)

    server = ThreadingTCPServer(("127.0.0.1", 0), Odd)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"mqtt://127.0.0.1:{server.server_address[1]}"
    finally:
        done.set()
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: object, *, within_s: float = 10.0) -> bool:
    """Poll a callable until it is true; False when the time is over."""
    assert callable(condition)
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())


class CompanyBroker(Mosquitto):
    """A mosquitto with the files of a site's bundle exactly as they are, only moved from /etc/mosquitto."""

    def __init__(self, program: str, bundle: Path, *, port: int) -> None:
        text = (bundle / "glancein.conf").read_text().replace("/etc/mosquitto/glancein", str(bundle))
        super().__init__(program, bundle, settings=f"persistence_location {bundle}/")
        self.port = port
        self._file.write_text(f"user root\npersistence_location {bundle}/\n{text}")

    def reload(self) -> None:
        """What ``systemctl reload mosquitto`` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
