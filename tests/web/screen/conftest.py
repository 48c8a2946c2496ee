"""One kiosk and one browser for a module of tests; each test begins with nobody before the camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from tests.web.browser import PATIENCE_S, chromium, resize, until
from tests.web.screen.stage import Stage, stage

from glancein.settings import Settings

# The answer stays until the test has read it, however slow the machine is.
SETTINGS = Settings(
    site="hq", kiosk="front-door", time_zone="Asia/Seoul", quiet_s=0.0, answer_s=600.0, agreeing_frames=2
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The kiosk."""
    with stage(tmp_path_factory.mktemp("kiosk"), SETTINGS) as opened:
        yield opened


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """The browser."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def kiosk(running: Stage) -> Iterator[Stage]:
    """The kiosk, nobody before it, everything well; who stood there has gone afterwards."""
    running.scenery.show(None)
    running.publisher.is_connected, running.publisher.backlog = True, 0
    running.screen.unrecorded = 0
    running.scenery.is_broken = False
    wait_until(lambda: running.kiosk._visit.seen_mono_s is None and running.kiosk.health.frames > 0)
    yield running
    running.scenery.is_broken = False
    running.scenery.show(None)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something in the kiosk, for as long as a loaded machine may need."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < deadline_s:
        time.sleep(0.02)


@pytest.fixture
def page(chrome: Chrome, kiosk: Stage) -> Chrome:
    """The page, loaded anew, at rest and connected."""
    resize(chrome, "desk")
    kiosk.screen._answer = None
    chrome.get(kiosk.url)
    until(chrome, lambda b: b.find_element("id", "clock-time").text)
    return chrome


@pytest.fixture
def camera_folder(tmp_path: Path) -> Path:
    """An empty folder for pictures."""
    folder = tmp_path / "camera"
    folder.mkdir()
    return folder
