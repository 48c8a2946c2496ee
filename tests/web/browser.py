"""A headless Chromium for the tests, and where their screenshots are kept."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
SIZES = {"desk": (1280, 800), "pi": (800, 480), "phone": (390, 844)}
PATIENCE_S = 120.0  # a loaded machine; nothing is expected to take so long
SERIOUS = {"serious", "critical"}
# npm install --prefix tests/web brings the version that package.json names; else the one of the dev extra.
AXE_OF_NPM = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
# A page that is just being replaced has lost what was found on it.
GONE = (NoSuchElementException, StaleElementReferenceException)


@contextmanager
def chromium(*more: str) -> Iterator[Chrome]:
    """A browser without a window, with ``more`` arguments; the test is skipped where there is none."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium on this machine: sudo apt install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = program
    options.page_load_strategy = "eager"  # a live picture never ends loading
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        "--autoplay-policy=no-user-gesture-required",
        "--window-size=1280,800",
        *more,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(driver))
    browser.set_script_timeout(PATIENCE_S)
    browser.set_page_load_timeout(PATIENCE_S)
    try:
        yield browser
    finally:
        browser.quit()


def resize(browser: Chrome, size: str) -> None:
    """Make the page as large as this screen."""
    width, height = SIZES[size]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )


def keep(browser: Chrome, name: str) -> Path:
    """Keep a screenshot as build output."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    browser.save_screenshot(str(path))
    return path


def find(browser: Chrome, css: str) -> WebElement:
    """The first element of this selector."""
    return browser.find_element(By.CSS_SELECTOR, css)


def until(browser: Chrome, what: Callable[[Chrome], Any]) -> Any:  # Any: whatever the page answers
    """Wait for a condition of the page; returns what made it true."""
    return WebDriverWait(browser, PATIENCE_S, poll_frequency=0.05, ignored_exceptions=GONE).until(what)


def serious_findings(browser: Chrome) -> list[str]:
    """What axe-core finds serious or critical on the page as it stands."""
    if not browser.execute_script("return 'axe' in window"):
        browser.execute_script(_axe())
    found = browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run({ resultTypes: ['violations'] }).then((all) => done(all.violations));"
    )
    return [
        f"{rule['id']}: {node['html'][:160]}"
        for rule in found
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]


@functools.cache
def _axe() -> str:
    """axe-core's script."""
    if AXE_OF_NPM.exists():
        return AXE_OF_NPM.read_text(encoding="utf-8")
    shipped = resources.files("selenium_axe_python").joinpath("axe-core", "axe.min.js")
    return shipped.read_text(encoding="utf-8")
