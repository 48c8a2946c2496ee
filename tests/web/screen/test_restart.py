"""The service is killed under the page and started again: the page comes back without a hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome
from tests.test_deploy import free_port
from tests.web.browser import find, keep, until

from glancein.scenes import Scene, film


@contextmanager
def service(home: Path, pictures: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A kiosk process with its page on this port, killed at the end."""
    command = [sys.executable, "-m", "glancein", "kiosk", "--screen", "web", "--web-port", str(port)]
    process = subprocess.Popen(
        [*command, "--camera", f"{pictures}/", "--fps", "5", "--port", "0", "--data", str(home)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    """True once the service serves its page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def boot_of(browser: Chrome) -> str:
    """Which start of the service this page belongs to."""
    return str(browser.execute_script("return document.body?.dataset.boot ?? ''"))


def test_page_comes_back_when_the_service_was_killed(
    chrome: Chrome, tmp_path: Path, camera_folder: Path
) -> None:
    """Killed, it is told in words at once; started again, the page is the new service's, by itself."""
    film([Scene(None, 10)], camera_folder)
    shown = sorted(camera_folder.iterdir())
    for number in range(10, 1500):  # the same ten pictures for five minutes
        (camera_folder / f"{number:05d}.jpg").hardlink_to(shown[number % 10])
    port = free_port()
    with service(tmp_path / "home", camera_folder, port):
        until(chrome, lambda _b: answers(port))
        chrome.get(f"http://127.0.0.1:{port}/")
        until(chrome, lambda b: find(b, "#clock-time").text)
        before = boot_of(chrome)
    until(chrome, lambda b: find(b, "#lost").is_displayed())
    keep(chrome, "lost")

    with service(tmp_path / "home", camera_folder, port):
        until(chrome, lambda b: boot_of(b) not in {"", before})
        until(chrome, lambda b: find(b, "#clock-time").text)
        until(chrome, lambda b: not find(b, "#lost").is_displayed())
