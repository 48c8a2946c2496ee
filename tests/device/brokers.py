"""Real brokers for the tests: mosquitto as a child process, on a free port of this machine."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path


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
