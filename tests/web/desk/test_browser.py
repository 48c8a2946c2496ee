"""The desk in a headless Chromium: sign in, enrol, see a punch live, correct it, export it."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select
from tests.web.browser import PATIENCE_S, SIZES, chromium, find, keep, resize, serious_findings, until
from tests.web.desk.office import PASSWORD, SETTINGS, Office, demo_picture, open_office

from glancein import wiring
from glancein.enrolment import RowReport
from glancein.errors import StoreError
from glancein.types import Direction, Event
from glancein.web.access import Role
from glancein.web.app import Address, WebServer
from glancein.web.desk.build import desk_app
from glancein.web.security import LARGEST_PHOTO, SESSION_COOKIE

PAGES = (
    "/",
    "/people",
    "/enrol",
    "/month",
    "/health",
    "/audit",
    "/accounts",
    "/me",
    "/person?id=E1002",
    "/month?id=E1002",
)
STAFF = (
    "Grace Hopper",
    "Kim Minji",
    "Alan Turing",
    "Noor Inayat",
    "Park Jisoo",
    "Tim Lee",
    "Mary Jackson",
    "Choi Eun",
)


@dataclass(frozen=True, slots=True)
class Served:
    """A desk that answers over a real socket."""

    office: Office
    url: str
    photos: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A company of nine with two weeks behind it."""
    folder = tmp_path_factory.mktemp("desk")
    office = open_office(folder, SETTINGS)
    office.model = wiring.embedder_sha256(office.desk.home) or ""
    for number, name in enumerate(STAFF):
        _work(office, f"E{1010 + number}", name, number)
    photos = tmp_path_factory.mktemp("photos")
    for name in ("obama.jpg", "obama2.jpg", "collins.jpg", "biden.jpg"):
        (photos / name).write_bytes(demo_picture(name))
    office.person("E1002", "Eileen Collins", seed=2)
    server = WebServer(desk_app(office.desk), Address())
    server.start()
    yield Served(office, server.url, photos)
    server.stop()
    office.desk.close()


def _work(office: Office, person_id: str, name: str, number: int) -> None:
    """Two weeks of coming and going, late now and then, one check-out forgotten."""
    office.person(person_id, name, seed=number + 10)
    now = office.desk.now()
    for days in range(14, -1, -1):
        day = now - timedelta(days=days)
        if day.weekday() >= 5 or (number + days) % 7 == 6:
            continue
        came = day.replace(hour=8, minute=40 + (number * 7 + days * 3) % 35 % 20, second=0)
        if (number + days) % 5 == 0:
            came = came.replace(hour=9, minute=20)
        left = came + timedelta(hours=8, minutes=(number * 13 + days * 5) % 60)
        for wall, direction in ((came, Direction.IN), (left, Direction.OUT)):
            forgotten = direction is Direction.OUT and (number, days) == (2, 3)
            if wall < now and not forgotten:
                office.punch_at(person_id, direction, wall)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """The browser."""
    with chromium() as opened:
        yield opened


def sign_in(chrome: Chrome, served: Served, name: str) -> None:
    """Sign in with the keyboard's help, from whatever page there is."""
    chrome.delete_all_cookies()
    chrome.get(f"{served.url}/sign-in?lang=en")
    find(chrome, "input[name=name]").send_keys(name)
    find(chrome, "input[name=password]").send_keys(PASSWORD)
    find(chrome, "main button").click()
    until(chrome, lambda page: page.current_url == f"{served.url}/")


@pytest.fixture
def hr(chrome: Chrome, served: Served) -> Chrome:
    """A browser in which HR is signed in, in English, on a desk's screen."""
    resize(chrome, "desk")
    sign_in(chrome, served, "hr")
    return chrome


def test_enrol_by_upload(hr: Chrome, served: Served) -> None:
    """A photo is judged at once, with crop, checks and likeness; with consent the person is there."""
    hr.get(f"{served.url}/enrol")
    find(hr, "#photo").send_keys(str(served.photos / "obama.jpg"))
    until(hr, lambda page: find(page, "#judged").is_displayed())
    keep(hr, "desk-enrol-judged")

    assert (find(hr, "#crop").get_attribute("src") or "").startswith("data:image/png")
    assert len(hr.find_elements(By.CSS_SELECTOR, "#checks tr")) >= 10
    assert find(hr, "#like").text

    find(hr, "#one input[name=id]").send_keys("E1001")
    find(hr, "#one input[name=name]").send_keys("Barack Obama")
    find(hr, "#one input[name=consent]").click()
    find(hr, "#go").click()
    until(hr, lambda page: find(page, "#done").is_displayed())

    assert served.office.desk.people.name_of("E1001") == "Barack Obama"
    rows = served.office.desk.file.rows("SELECT by, version FROM consents WHERE person_id = 'E1001'")
    assert rows[0][0] == "hr"

    hr.get(f"{served.url}/enrol")  # the same face under another id
    find(hr, "#photo").send_keys(str(served.photos / "obama2.jpg"))
    until(hr, lambda page: find(page, "#judged").is_displayed())
    assert "E1001" in find(hr, "#judged").text
    keep(hr, "desk-enrol-duplicate")


@pytest.mark.parametrize("beside", ["h1", "#one input[name=name]", "body"])
def test_photo_dropped_beside_the_zone_leaves_the_page_alone(hr: Chrome, served: Served, beside: str) -> None:
    """The browser would show the file in the page's place; it is told not to, and the zone works on."""
    hr.get(f"{served.url}/enrol")
    is_refused = drop(hr, served.photos / "obama.jpg", beside)
    assert not find(hr, "#judged").is_displayed()
    drop(hr, served.photos / "obama.jpg", "#drop")
    until(hr, lambda page: find(page, "#judged").is_displayed())

    assert is_refused
    assert hr.current_url == f"{served.url}/enrol"


def test_photo_that_is_too_large_is_not_sent(hr: Chrome, served: Served, tmp_path: Path) -> None:
    """The page says so at once; the photo before it is not enrolled in its place."""
    film = tmp_path / "film.jpg"
    with film.open("wb") as file:
        file.truncate(LARGEST_PHOTO + 1)
    hr.get(f"{served.url}/enrol")
    find(hr, "#photo").send_keys(str(film))
    until(hr, lambda page: find(page, "#one .problem").is_displayed())

    assert "50 MB" in find(hr, "#one .problem").text
    assert (
        hr.execute_script("return performance.getEntriesByName(location.origin + '/api/v1/photos/check')")
        == []
    )
    assert not find(hr, "#go").is_enabled()


def test_list_may_be_dropped_on_its_field(hr: Chrome, served: Served) -> None:
    """A browser takes files on such a field by itself, unless the page forbids it."""
    hr.get(f"{served.url}/enrol")
    is_refused = drop(hr, served.photos / "obama.jpg", "#list input[name=photos]")
    until(hr, lambda page: page.execute_script("return document.getElementById('list').photos.files.length"))

    assert not is_refused


def drop(chrome: Chrome, file: Path, css: str) -> bool:
    """Drag a file out of another window and let it go over an element; true if no browser would open it."""
    where = find(chrome, css)
    left, top = chrome.execute_script(
        "window.over = []; window.addEventListener('dragover', (e) => window.over.push(e.defaultPrevented));"
        "arguments[0].scrollIntoView({block: 'center'}); const box = arguments[0].getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]",
        where,
    )
    what = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        chrome.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": left, "y": top, "data": what})
    return bool(chrome.execute_script("return window.over.length && window.over.every(Boolean)"))


def webcam_film(folder: Path) -> Path:
    """A short film of somebody before a webcam, as Chromium's pretended camera takes it."""
    portrait = cv2.imdecode(np.frombuffer(demo_picture("collins.jpg"), np.uint8), cv2.IMREAD_COLOR)
    assert portrait is not None
    room = np.full((720, 1280, 3), 120, np.uint8)
    height, width = portrait.shape[:2]
    small = cv2.resize(portrait, (round(640 * width / height), 640), interpolation=cv2.INTER_AREA)
    room[40:680, 300 : 300 + small.shape[1]] = small
    _, frame = cv2.imencode(".jpg", room)
    path = folder / "webcam.mjpeg"
    path.write_bytes(frame.tobytes() * 30)
    return path


def test_enrol_by_webcam(served: Served, tmp_path: Path) -> None:
    """A picture taken with the desk's own camera is judged like an uploaded one."""
    film = webcam_film(tmp_path)
    with chromium(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ) as browser:
        sign_in(browser, served, "hr")
        browser.get(f"{served.url}/enrol")
        find(browser, "#webcam").click()
        until(
            browser, lambda page: page.execute_script("return document.querySelector('video').videoWidth > 0")
        )
        find(browser, "#take").click()
        until(browser, lambda page: find(page, "#judged").is_displayed())
        keep(browser, "desk-enrol-webcam")

        assert (find(browser, "#crop").get_attribute("src") or "").startswith("data:image/png")
        assert not find(browser, "#camera").is_displayed()


def test_list_by_zip_shows_progress_and_report(hr: Chrome, served: Served, tmp_path: Path) -> None:
    """Two good rows and a bad one: a bar to its end, and what became of each, also after a reload."""
    from zipfile import ZipFile  # noqa: PLC0415  # only here

    archive = tmp_path / "staff.zip"
    with ZipFile(archive, "w") as made:
        made.writestr(
            "staff.csv",
            "id,name,photo\nE2001,Eileen C,collins.jpg\nE2002,Joe B,biden.jpg\nE2003,X,none.jpg\n",
        )
        for name in ("collins.jpg", "biden.jpg"):
            made.write(served.photos / name, name)
    hr.get(f"{served.url}/enrol")
    find(hr, "#list input[name=list]").send_keys(str(archive))
    find(hr, "#list input[name=consent]").click()
    find(hr, "#list button").click()
    until(hr, lambda page: "Done." in find(page, "#progress").text)
    hr.refresh()
    until(hr, lambda page: "Done." in find(page, "#progress").text)
    keep(hr, "desk-enrol-list")
    rows = [row.text for row in hr.find_elements(By.CSS_SELECTOR, "#rows tr")]

    assert len(rows) == 3
    assert "none.jpg" in rows[-1] or "none.jpg" in rows[0]
    assert {"E2001", "E2002"} <= {person.person_id for person in served.office.desk.people.people()}


def test_list_is_followed_through_a_lost_line_and_a_busy_database(
    hr: Chrome, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on at the desk meanwhile; the page asks again and comes to its end."""
    ends, jobs, looks = threading.Event(), served.office.desk.jobs, list[str]()

    def work() -> Iterator[RowReport]:
        ends.wait(PATIENCE_S)
        return iter(())

    def fail(number: str) -> None:
        looks.append(number)
        raise StoreError("the database is busy")

    job = jobs.start(work, 3, by="hr")
    hr.get(f"{served.url}/enrol#job={job.number}")
    until(hr, lambda page: "3" in find(page, "#progress").text)
    hr.execute_script(
        "const real = window.fetch; window.fetch = () => { window.fetch = real; window.isLost = true;"
        "return Promise.reject(new TypeError('Failed to fetch')); }"
    )
    until(hr, lambda page: page.execute_script("return window.isLost"))
    with monkeypatch.context() as failing:
        failing.setattr(jobs, "find", fail)
        until(hr, lambda _: looks)
    ends.set()
    until(hr, lambda page: "Done." in find(page, "#progress").text)

    assert not find(hr, "#list .problem").is_displayed()
    assert find(hr, "#list button").is_enabled()


def test_punch_appears_live_and_is_corrected_and_exported(hr: Chrome, served: Served) -> None:
    """The punch comes to the open page; HR corrects it in a dialog; the export has the correction."""
    until(hr, lambda page: "on" in (find(page, "#live-state").get_attribute("class") or "").split())
    until(hr, lambda _: served.office.desk.live.has_looked)
    punch = served.office.punch("E1002", Direction.IN, ago=timedelta(minutes=1))
    until(hr, lambda page: "Eileen Collins" in find(page, "#live li").text)
    keep(hr, "desk-today-live")

    hr.get(f"{served.url}/month?id=E1002")
    find(hr, f"[data-correct='{punch.kiosk}/{punch.epoch}/{punch.seq}']").click()
    dialog = find(hr, "#correction")
    keep(hr, "desk-correction")
    Select(dialog.find_element(By.NAME, "becomes")).select_by_value("direction")
    dialog.find_element(By.NAME, "reason").send_keys("was leaving")
    dialog.find_element(By.CSS_SELECTOR, "button:not([type])").click()
    until(hr, lambda page: page.find_elements(By.CSS_SELECTOR, ".corrected"))

    export = served.office.someone(
        next(r for r in served.office.desk.accounts.accounts() if r.name == "hr").role
    )
    table = export.client.get("/api/v1/export.csv?id=E1002").content.decode("utf-8-sig")
    assert [row for row in table.splitlines() if row.endswith(",x")]
    downloads = hr.find_elements(By.CSS_SELECTOR, "a[download]")
    assert {(link.get_attribute("href") or "").partition("?")[0][-5:] for link in downloads} == {
        "t.csv",
        ".xlsx",
    }


@pytest.mark.parametrize("has_history", [True, False], ids=["in the week", "first of the day"])
def test_open_page_catches_up_with_missed_punches_and_the_day(
    has_history: bool,  # noqa: FBT001  # a parameter of the test
    hr: Chrome,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came while its line was away is put where it belongs, once; after midnight it is another day."""
    if has_history:
        served.office.punch("E1010", Direction.IN)
        hr.get(f"{served.url}/")
    live, office = served.office.desk.live, served.office
    until(hr, lambda page: "on" in (find(page, "#live-state").get_attribute("class") or "").split())
    until(hr, lambda _: live.has_looked)
    hr.execute_script("document.querySelector('.head small').textContent = 'yesterday'")
    if not has_history:
        monkeypatch.setattr("glancein.web.desk.attendance.LATEST", 2)
        hr.execute_script("document.getElementById('live').replaceChildren()")
    monkeypatch.setattr(live, "describe", but_for("E1011", live.describe))
    missed, came = office.punch("E1011", Direction.IN), office.punch("E1012", Direction.IN)
    names = [f"{event.kiosk}/{event.epoch}/{event.seq}" for event in (came, missed)]
    until(hr, lambda page: names[1] in listed(page))

    assert listed(hr)[:2] == names
    assert len(set(listed(hr))) == len(listed(hr))
    assert find(hr, ".head small").text == f"{office.desk.now():%Y-%m-%d}"


def test_keyboard_stays_at_its_row_when_today_is_loaded_anew(hr: Chrome, served: Served) -> None:
    """A colleague's punch brings new rows; the focus is on the same person's."""
    until(hr, lambda page: "on" in (find(page, "#live-state").get_attribute("class") or "").split())
    hr.execute_script(
        "document.querySelector('#today tbody').dataset.isOld = 'true';"
        "document.querySelector(\"#today a[href='/month?id=E1013']\").focus()"
    )
    served.office.punch("E1014", Direction.IN)
    until(hr, lambda page: not page.find_elements(By.CSS_SELECTOR, "#today [data-is-old]"))

    assert (hr.switch_to.active_element.get_attribute("href") or "").endswith("/month?id=E1013")


def test_punch_that_a_refresh_brought_before_its_message_stands_once(hr: Chrome, served: Served) -> None:
    """The page asks for the list anew while a message is on its way: the message adds no second line."""
    office = served.office
    until(hr, lambda page: "on" in (find(page, "#live-state").get_attribute("class") or "").split())
    until(hr, lambda _: office.desk.live.has_looked)
    first = office.punch("E1010", Direction.IN)
    before, expected = (f"{first.kiosk}/{first.epoch}/{seq}" for seq in (first.seq, first.seq + 1))
    until(hr, lambda page: before in listed(page))
    hr.execute_script(
        "const line = document.createElement('li'); line.dataset.event = arguments[0];"
        "document.getElementById('live').prepend(line)",
        expected,
    )
    again, last = office.punch("E1011", Direction.IN), office.punch("E1012", Direction.IN)
    until(hr, lambda page: f"{last.kiosk}/{last.epoch}/{last.seq}" in listed(page))

    assert f"{again.kiosk}/{again.epoch}/{again.seq}" == expected
    assert listed(hr).count(expected) == 1


def test_open_page_outlives_a_database_that_is_busy(
    hr: Chrome, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A display on the wall does not end on an error page for a look that failed; the next one is good."""
    office = served.office
    until(hr, lambda page: "on" in (find(page, "#live-state").get_attribute("class") or "").split())
    until(hr, lambda _: office.desk.live.has_looked)
    looks: list[int] = []

    def fail() -> None:
        looks.append(1)
        raise StoreError("the database is busy")

    with monkeypatch.context() as failing:
        failing.setattr(office.desk.people, "people", fail)
        hr.execute_script("window.isTheSame = true")
        office.punch("E1013", Direction.IN)
        until(hr, lambda _: looks)
        until(hr, lambda page: page.execute_script("return document.readyState") == "complete")
    event = office.punch("E1014", Direction.IN)
    name = f"{event.kiosk}/{event.epoch}/{event.seq}"
    until(hr, lambda page: name in listed(page))

    assert hr.execute_script("return window.isTheSame")
    assert hr.current_url == f"{served.url}/"


def test_page_left_open_takes_a_time_after_it_was_loaded(hr: Chrome, served: Served) -> None:
    """The desk says what is still to come; a page of this morning does not know."""
    hr.get(f"{served.url}/month?id=E1002")
    later = f"{served.office.desk.now() + timedelta(days=1):%Y-%m-%dT%H:%M}"
    for field in ("form[data-api$='/events'] input[name=time]", "#to-time"):
        hr.execute_script("document.querySelector(arguments[0]).value = arguments[1]", field, later)
        assert hr.execute_script("return document.querySelector(arguments[0]).checkValidity()", field)


def test_time_that_came_twice_is_asked_about_on_the_page(hr: Chrome, served: Served) -> None:
    """Seoul's clocks went back from 3 to 2 on 9 October 1988; another time takes the question away."""
    hr.get(f"{served.url}/month?id=E1002&month=1988-10")
    form = find(hr, "form[data-api$='/events']")
    which, time = form.find_element(By.CSS_SELECTOR, "[data-twice]"), "form[data-api$='/events'] [name=time]"
    fill = """
        const field = document.querySelector(arguments[0]);
        field.value = arguments[1];
        field.dispatchEvent(new Event("input", { bubbles: true }));
    """
    hr.execute_script(fill, time, "1988-10-09T02:30")
    form.find_element(By.NAME, "reason").send_keys("found in a drawer")
    form.find_element(By.CSS_SELECTOR, "button").click()
    until(hr, lambda _: which.is_displayed())
    asked = [option.text for option in Select(which.find_element(By.NAME, "offset")).options]
    hr.execute_script(fill, time, "1988-10-09T04:30")
    gone = not which.is_displayed()
    hr.execute_script(fill, time, "1988-10-09T02:30")
    form.find_element(By.CSS_SELECTOR, "button").click()
    until(hr, lambda _: which.is_displayed())
    Select(which.find_element(By.NAME, "offset")).select_by_value("+09:00")
    form.find_element(By.CSS_SELECTOR, "button").click()
    until(hr, lambda page: page.find_elements(By.CSS_SELECTOR, ".corrected"))

    assert asked == ["before clocks were set back (+10:00)", "after clocks were set back (+09:00)"]
    assert gone
    assert "02:30" in find(hr, ".punch").text


def test_long_words_break_on_a_phone(chrome: Chrome, served: Served) -> None:
    """Names, ids and accounts may be one word of 64 letters; no page becomes wider than the screen for it."""
    person_id, account = "W" * 64, "personnel.department" * 3
    served.office.person(person_id, "Wolfeschlegelsteinhausenbergerdorff" * 3)
    served.office.desk.accounts.add(account, f"{PASSWORD} and a sixth", role=Role.ADMIN)
    raw = served.office.desk.accounts.sign_in(account, f"{PASSWORD} and a sixth")
    chrome.get(f"{served.url}/sign-in")
    chrome.delete_all_cookies()
    chrome.add_cookie({"name": SESSION_COOKIE, "value": raw or ""})
    resize(chrome, "phone")
    wrong = []
    for page in (f"/person?id={person_id}", f"/month?id={person_id}", "/accounts", "/persons"):
        chrome.get(f"{served.url}{page}")
        until(chrome, lambda at: find(at, ".me"))
        wrong += [f"{page} is {finding}" for finding in too_wide(chrome)]
    served.office.desk.people.remove(person_id)
    served.office.desk.accounts.remove(account)

    assert wrong == []


def but_for(person_id: str, describe: Callable[[Event], bytes]) -> Callable[[Event], bytes]:
    """The same, except that this person's events do not come through."""
    return lambda event: b": lost\n\n" if event.check_in.person_id == person_id else describe(event)


def listed(page: Chrome) -> list[str | None]:
    """The events of the live list, newest first."""
    return [line.get_attribute("data-event") for line in page.find_elements(By.CSS_SELECTOR, "#live li")]


def test_erasure_gives_a_receipt(hr: Chrome, served: Served) -> None:
    """After the question, a receipt; the person is gone from the list."""
    served.office.person("E1999", "Gone Soon")
    hr.get(f"{served.url}/person?id=E1999")
    find(hr, "#erase button").click()
    hr.switch_to.alert.accept()
    until(hr, lambda page: find(page, "#receipt").is_displayed())
    keep(hr, "desk-erase-receipt")

    assert served.office.desk.people.name_of("E1999") is None
    assert "E1999" in find(hr, "#receipt").text


def test_printed_month_fits_on_one_sheet(hr: Chrome, served: Served) -> None:
    """All days, the sum and the line for the signature."""
    hr.get(f"{served.url}/month?id=E1012")
    printed = hr.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})

    assert len(re.findall(rb"/Type /Page\b", base64.b64decode(printed["data"]))) == 1


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_page_is_sound_in_every_size_and_language(
    language: str, chrome: Chrome, served: Served
) -> None:
    """No script error, nothing wider than the screen, no serious finding of axe-core; screenshots."""
    chrome.get_log("browser")  # type: ignore[no-untyped-call]  # selenium left its type out
    sign_in(chrome, served, "admin")
    wrong = []
    for page in PAGES:
        join = "&" if "?" in page else "?"
        chrome.get(f"{served.url}{page}{join}lang={language}")
        until(chrome, lambda at: at.execute_script("return document.readyState") == "complete")
        if chrome.execute_script("return document.documentElement.lang") != language:
            wrong.append(f"{page} is not in {language}")
        name = page.strip("/").replace("?", "-").replace("=", "-") or "today"
        for size in SIZES:
            resize(chrome, size)
            keep(chrome, f"desk-{size}-{language}-{name}")
            wrong += [
                f"{page} on {size}: {finding}" for finding in (*too_wide(chrome), *serious_findings(chrome))
            ]
    lines = chrome.get_log("browser")  # type: ignore[no-untyped-call]  # as above
    logged = [line["message"] for line in lines if line["level"] == "SEVERE"]

    assert wrong + logged == []


def too_wide(chrome: Chrome) -> list[str]:
    """Says so if the page is wider than the screen."""
    wide, shown = chrome.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    return [f"{wide} px wide, and {shown} are there"] if wide > shown else []


def test_sign_in_page_is_sound(chrome: Chrome, served: Served) -> None:
    """The first page anybody sees."""
    chrome.delete_all_cookies()
    chrome.get(f"{served.url}/sign-in?lang=ko")
    for size in SIZES:
        resize(chrome, size)
        keep(chrome, f"desk-{size}-ko-sign-in")
        assert [*too_wide(chrome), *serious_findings(chrome)] == []
