"""One day with the real process: HR enrols, the camera checks in, HR sees it live, corrects, exports."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from openpyxl import load_workbook
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select
from tests.web.browser import PATIENCE_S, chromium, find, keep, resize, until

from glancein import wiring
from glancein.scenes import Scene, film
from glancein.web.language import words

PICTURES = Path(wiring.__file__).parent / "demo_pictures"
PERSON, NAME = "E1001", "Barack Obama"
PASSWORD = "five green lamps"  # noqa: S105  # of an account that lives as long as this test
REASON = "came by the other door"
FPS, FRAMES, MINUTES = 5, 20, 30


class Door:
    """A folder that the kiosk replays; who stands there can be changed while it does.

    Each name leads to the picture of that number in the scene ``now``, which is one link.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for scene, portrait in (("nobody", None), ("somebody", "obama2.jpg")):
            (folder / scene).mkdir(parents=True)
            film([Scene(portrait, FRAMES)], folder / scene)
        self.show("nobody")
        self.pictures = folder / "camera"
        self.pictures.mkdir()
        for number in range(FPS * 60 * MINUTES):
            (self.pictures / f"{number:05d}.jpg").symlink_to(f"../now/{number % FRAMES:05d}.jpg")

    def show(self, scene: str) -> None:
        """From the next picture on this is before the camera."""
        link = self._folder / "next"
        link.symlink_to(scene)
        link.replace(self._folder / "now")


@dataclass(frozen=True, slots=True)
class Service:
    """Where the two pages are, and the code that the console shows."""

    screen: str
    desk: str
    setup_code: str


@contextmanager
def service(folder: Path, pictures: Path, language: str) -> Iterator[Service]:
    """The kiosk with both pages, on free ports, as its console tells them."""
    command = [sys.executable, "-m", "glancein", "kiosk", "--screen", "web", "--web-port", "0"]
    command += ["--desk-port", "0", "--port", "0", "--camera", f"{pictures}/", "--fps", str(FPS)]
    console = folder / "console.txt"
    home = folder / "home"
    home.mkdir()
    (home / "settings.toml").write_text(
        f'site = "hq"\nkiosk = "front-door"\nlanguage = "{language}"\ntime_zone = "{noon()}"\n'
        "answer_s = 15.0\nquiet_s = 3600.0\n"  # long to be read, and one punch only
    )
    with console.open("wb") as told:
        process = subprocess.Popen(
            [*command, "--data", str(home)],
            stdout=told,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield Service(
            wait_for(console, process, r"the screen is at (\S+)"),
            wait_for(console, process, r"desk: (http\S+)"),
            wait_for(console, process, r"desk: first start; open \S+ and enter (\S+)"),
        )
    finally:
        process.kill()
        process.wait()


def noon() -> str:
    """A time zone in which it is about noon: what is corrected by an hour stays on its day."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def wait_for(console: Path, process: subprocess.Popen[bytes], pattern: str) -> str:
    """What the console says there, as soon as it does."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if found := re.search(pattern, console.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the kiosk never said {pattern!r}:\n{console.read_text(encoding='utf-8')}")


@dataclass
class Visit:
    """What one does at a browser, in one language and on one size of screen; each step leaves a picture."""

    chrome: Chrome
    language: str
    size: str
    steps: int = 0

    def click(self, css: str) -> None:
        """Press what is there, as soon as it is, wherever on the page."""
        self.wait_to_see(css)
        button = find(self.chrome, css)
        self.chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def fill(self, **fields: str) -> None:
        """Type into the fields of these names."""
        for name, text in fields.items():
            find(self.chrome, f"main [name={name}]").send_keys(text)

    def wait_to_see(self, css: str, *, saying: str = "") -> None:
        """Wait until such an element is on the page and says that."""
        until(
            self.chrome,
            lambda page: any(
                found.is_displayed() and saying in found.text
                for found in page.find_elements(By.CSS_SELECTOR, css)
            ),
        )

    def keep(self, what: str) -> None:
        """A numbered screenshot of this step."""
        self.steps += 1
        keep(self.chrome, f"day-{self.language}-{self.size}-{self.steps}-{what}")


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """The browser."""
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize(("language", "size"), [("en", "desk"), ("ko", "pi"), ("ko", "phone")])
def test_one_day_from_enrolment_to_export(chrome: Chrome, tmp_path: Path, language: str, size: str) -> None:
    """Enrolled by upload, checked in by the camera, seen live, corrected with a reason, exported so."""
    door = Door(tmp_path / "door")
    chrome.delete_all_cookies()
    visit = Visit(chrome, language, size)

    with service(tmp_path, door.pictures, language) as at:
        resize(chrome, size)
        sign_in(visit, at)
        enrol(visit)
        today = watch_today(visit)
        chrome.switch_to.new_window("tab")
        resize(chrome, size)
        be_checked_in(visit, at, door)
        chrome.close()
        chrome.switch_to.window(today)
        see_it_live(visit)
        corrected = correct(visit)
        tables = export(visit, tmp_path / "downloads")

    said = words("desk", language)
    for header, *rows in tables:
        assert [dict(zip(header, row, strict=True)) for row in rows] == [
            dict(zip(header, rows[0], strict=True))
            | {
                said["column_id"]: PERSON,
                said["column_name"]: NAME,
                said["column_in"]: f"{corrected:%Y-%m-%d %H:%M}",
                said["column_corrected"]: "x",
            }
        ]


def sign_in(visit: Visit, at: Service) -> None:
    """The first account with the code from the console, and then in."""
    visit.chrome.get(f"{at.desk}/setup?lang={visit.language}")
    visit.fill(code=at.setup_code, name="hr", password=PASSWORD, again=PASSWORD)
    visit.keep("setup")
    visit.click("main form button")
    visit.wait_to_see("form[data-api='POST /api/v1/sign-in']")
    visit.fill(name="hr", password=PASSWORD)
    visit.keep("sign-in")
    visit.click("main form button")
    visit.wait_to_see("h1", saying=words("desk", visit.language)["today"])


def enrol(visit: Visit) -> None:
    """One photo is judged, consent recorded, the person enrolled."""
    visit.click("nav a[href='/enrol']")
    until(visit.chrome, lambda page: page.find_elements(By.ID, "photo"))
    find(visit.chrome, "#photo").send_keys(str(PICTURES / "obama.jpg"))
    visit.wait_to_see("#judged")
    visit.fill(id=PERSON, name=NAME)
    visit.click("#one input[name=consent]")
    visit.keep("judged")
    visit.click("#go")
    visit.wait_to_see("#done", saying=PERSON)
    visit.keep("enrolled")


def watch_today(visit: Visit) -> str:
    """The page of today, live, before anything happens; gives its tab."""
    visit.click("nav a[href='/']")
    visit.wait_to_see("#live-state.on")
    visit.chrome.execute_script("window.isFirstLoad = true")
    visit.keep("before")
    return visit.chrome.current_window_handle


def be_checked_in(visit: Visit, at: Service, door: Door) -> None:
    """The person steps before the camera and reads that this was recorded."""
    said = words("screen", visit.language)
    visit.chrome.get(at.screen)
    visit.wait_to_see("#clock-time", saying=":")
    door.show("somebody")
    visit.wait_to_see("#headline", saying=NAME)
    visit.keep("kiosk")
    assert find(visit.chrome, "#direction-word").get_property("textContent") == said["in.done"]
    assert find(visit.chrome, "#answer").get_attribute("data-kind") == "recorded"


def see_it_live(visit: Visit) -> None:
    """The punch came to the open page, which was not loaded again, and the table follows."""
    visit.wait_to_see("#live li", saying=NAME)
    visit.wait_to_see("#today tr[data-presence=in]", saying=NAME)
    visit.keep("live")
    assert visit.chrome.execute_script("return window.isFirstLoad") is True


def correct(visit: Visit) -> datetime:
    """HR says that it was an hour earlier; gives that time."""
    visit.click("#today a")
    visit.wait_to_see("[data-correct]")
    recorded = datetime.fromisoformat(str(find(visit.chrome, "[data-correct]").get_attribute("data-time")))
    earlier = recorded - timedelta(hours=1)
    visit.click("[data-correct]")
    Select(find(visit.chrome, "#correction [name=becomes]")).select_by_value("time")
    visit.chrome.execute_script(
        "const field = document.getElementById('to-time'); field.value = arguments[0];"
        "field.dispatchEvent(new Event('input', { bubbles: true }))",
        f"{earlier:%Y-%m-%dT%H:%M}",
    )
    find(visit.chrome, "#correction [name=reason]").send_keys(REASON)
    visit.keep("correction")
    visit.click("#correction button:not([type])")
    visit.wait_to_see(".corrected")
    visit.keep("corrected")
    assert REASON in str(find(visit.chrome, ".corrected").get_attribute("title"))
    return earlier


def export(visit: Visit, folder: Path) -> list[list[list[str]]]:
    """The CSV and the Excel file that the page's own links give, as rows of text."""
    folder.mkdir()
    visit.chrome.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
    )
    for kind in ("csv", "xlsx"):
        visit.click(f"a[download][href*='export.{kind}']")
    until(visit.chrome, lambda _: len([*folder.glob("*.csv"), *folder.glob("*.xlsx")]) == 2)
    with next(folder.glob("*.csv")).open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))
    sheet = load_workbook(next(folder.glob("*.xlsx"))).active
    assert sheet is not None
    return [table, [[str(cell or "") for cell in row] for row in sheet.iter_rows(values_only=True)]]
