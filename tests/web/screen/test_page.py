"""The page as people meet it, in a real browser: check in, be refused, use PIN or pass, take back, choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from tests.web.browser import SIZES, find, keep, resize, serious_findings, until
from tests.web.screen.conftest import SETTINGS
from tests.web.screen.stage import PIN, Stage, hold_up, stage

from glancein.adapters.pass_card import code_of
from glancein.adapters.passes_sqlite import SqlitePasses
from glancein.domain.choice import Question
from glancein.errors import StoreError
from glancein.scenes import moving
from glancein.types import Correction, Direction, Event, Method, Reason, Voided
from glancein.web.language import words

LANGUAGES = ("en", "ko")


def shows(kind: str) -> Callable[[Chrome], bool]:
    """True once the page shows an answer of this kind."""
    return lambda b: bool(
        b.execute_script(
            "const a = document.getElementById('answer');return !a.hidden && a.dataset.kind === arguments[0]",
            kind,
        )
    )


def text_of(browser: Chrome, name: str) -> str:
    """What an element says."""
    return str(find(browser, f"#{name}").get_property("textContent")).strip()


def speak(browser: Chrome, language: str) -> None:
    """Switch the page to this language by its own button."""
    while browser.execute_script("return document.documentElement.lang") != language:
        browser.execute_script("document.getElementById('next-language').click()")


def events_since(kiosk: Stage, seq: int) -> list[Event]:
    """What was recorded after this number."""
    return kiosk.ledger.replay(kiosk.ledger.position().epoch, seq + 1, 100)


def check_in_by_face(page: Chrome, kiosk: Stage) -> Event:
    """Somebody steps before the camera and is thanked; gives what was recorded."""
    before = kiosk.ledger.position().seq
    kiosk.scenery.show("obama2.jpg")
    until(page, shows("recorded"))
    return events_since(kiosk, before)[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_person_before_the_camera_is_checked_in(page: Chrome, kiosk: Stage, language: str) -> None:
    """Name, direction in words, time: shown after the event is in the ledger."""
    speak(page, language)
    said = words("screen", language)

    event = check_in_by_face(page, kiosk)

    assert event.check_in.person_id == "E1001"
    assert event.check_in.method is Method.FACE
    assert text_of(page, "headline") == "Barack Obama"
    assert text_of(page, "direction-word") == said[f"{event.check_in.direction}.done"]
    assert f"{event.check_in.moment.wall:%H:%M}" in text_of(page, "at")
    for size in SIZES:
        resize(page, size)
        keep(page, f"recorded-{language}-{size}")


def test_somebody_unknown_is_offered_another_way(page: Chrome, kiosk: Stage) -> None:
    """A stranger reads that nobody was recognised, and the button for PIN and pass is there."""
    kiosk.scenery.show("biden.jpg")

    until(page, shows("refused"))

    assert words("screen", "en")["refused.title"] == text_of(page, "headline")
    find(page, "#answer-ways").click()
    assert find(page, "#pad").is_displayed()


def test_frame_follows_the_face_that_the_kiosk_sees(page: Chrome, kiosk: Stage) -> None:
    """The frame lies around the middle of the mirrored picture, where the person stands."""
    kiosk.scenery.show("biden.jpg")
    until(page, lambda b: "shown" in (find(b, "#frame").get_attribute("class") or ""))

    box = page.execute_script(
        "const r = document.getElementById('frame-line').getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2, r.width]"
    )

    keep(page, "frame")
    assert box[0] == pytest.approx(640, abs=160)
    assert box[1] == pytest.approx(400, abs=160)
    assert 150 < box[2] < 800


def test_pin_is_an_equal_way_in(page: Chrome, kiosk: Stage) -> None:
    """Number and PIN on the large keys, and the same answer as for a face."""
    before = kiosk.ledger.position().seq
    find(page, "#open-pad").click()
    for key in "1002":
        find(page, f"#keys button[value='{key}']").click()
    find(page, "#key-enter").click()
    for key in PIN:
        find(page, f"#keys button[value='{key}']").click()
    find(page, "#key-enter").click()

    until(page, shows("recorded"))

    event = events_since(kiosk, before)[0]
    assert (event.check_in.person_id, event.check_in.method) == ("E1002", Method.PIN)
    assert words("screen", "en")["answer.method.pin"] in text_of(page, "at")
    assert not find(page, "#pad").is_displayed()


def test_pin_on_a_full_disk_is_not_recorded(
    page: Chrome, kiosk: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not "the kiosk is not answering": red and loud as for a face, and the pad is out of the way."""

    def full(_self: SqlitePasses, *_number_and_pin: str, at: datetime) -> str:
        raise StoreError(f"the disk is full at {at}")

    monkeypatch.setattr(SqlitePasses, "who_types", full)
    find(page, "#open-pad").click()
    find(page, "#number").send_keys("1002", Keys.ENTER)
    find(page, "#pin").send_keys(PIN, Keys.ENTER)

    until(page, shows("not_recorded"))

    until(page, lambda b: not find(b, "#pad").is_displayed())
    until(page, lambda b: not find(b, "#unrecorded").get_attribute("hidden"))
    assert kiosk.kiosk.punches.not_recorded > 0
    kiosk.screen.unrecorded = 0


def test_half_typed_number_survives_a_face(page: Chrome, kiosk: Stage) -> None:
    """Somebody else who is recognised meanwhile does not close the pad of who types."""
    find(page, "#open-pad").click()
    find(page, "#number").send_keys("100")
    check_in_by_face(page, kiosk)

    assert find(page, "#pad").is_displayed()
    assert find(page, "#number").get_property("value") == "100"
    find(page, "#key-close").click()


def test_pad_that_nobody_types_on_makes_way(page: Chrome, kiosk: Stage) -> None:
    """Who opened it and was recognised after all sees the answer."""
    find(page, "#open-pad").click()

    check_in_by_face(page, kiosk)

    assert not find(page, "#pad").is_displayed()


def test_answer_that_has_had_its_time_stays_away(page: Chrome, kiosk: Stage) -> None:
    """A page loaded anew shows an answer for the rest of its seconds, and one that is over not at all."""
    event = check_in_by_face(page, kiosk)
    page.refresh()
    until(page, shows("recorded"))

    kiosk.screen._thanked = None
    kiosk.screen.show_repeat(event, "Barack Obama")
    assert kiosk.screen._answer is not None
    said_s, said = kiosk.screen._answer
    kiosk.screen._answer = said_s - 4, said  # it has three seconds, and pages are told for eight
    page.refresh()
    until(page, lambda b: text_of(b, "clock-time") != "")

    assert not shows("repeat")(page)


def test_wrong_pin_is_told_and_nothing_recorded(page: Chrome, kiosk: Stage) -> None:
    """Neither the number nor the PIN is said to be the wrong one."""
    before = kiosk.ledger.position().seq
    find(page, "#open-pad").click()
    find(page, "#number").send_keys("1002", Keys.ENTER)
    find(page, "#pin").send_keys("700700", Keys.ENTER)

    until(page, lambda b: words("screen", "en")["pin_wrong"] in text_of(b, "pad-says"))

    assert events_since(kiosk, before) == []
    keep(page, "pin-wrong")


def test_keyboard_alone_is_enough(page: Chrome, kiosk: Stage) -> None:
    """Tab to the pad, digits, Enter: no pointer is needed, and Escape closes."""
    before = kiosk.ledger.position().seq
    find(page, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("id") == "open-pad"
    page.switch_to.active_element.send_keys(Keys.ENTER)
    page.switch_to.active_element.send_keys("1001", Keys.ENTER)
    page.switch_to.active_element.send_keys(PIN, Keys.ENTER)
    until(page, shows("recorded"))

    ActionChains(page).send_keys(Keys.ESCAPE).perform()

    until(page, lambda b: not find(b, "#answer").is_displayed())
    assert events_since(kiosk, before)[0].check_in.method is Method.PIN


def test_pass_held_to_the_camera_checks_in(page: Chrome, kiosk: Stage) -> None:
    """A QR pass is read from the same picture; a revoked one is told to be worthless."""
    before = kiosk.ledger.position().seq
    text = kiosk.passes.issue("E1002", at=kiosk.now())
    kiosk.scenery.show_pixels(hold_up(code_of(text)))

    until(page, shows("recorded"))

    event = events_since(kiosk, before)[0]
    assert (event.check_in.person_id, event.check_in.method) == ("E1002", Method.QR)
    keep(page, "pass-recorded")


def test_revoked_pass_is_refused(page: Chrome, kiosk: Stage) -> None:
    """A pass that HR revoked opens nothing and says so."""
    before = kiosk.ledger.position().seq
    text = kiosk.passes.issue("E1002", at=kiosk.now())
    kiosk.passes.revoke("E1002", at=kiosk.now())
    kiosk.scenery.show_pixels(hold_up(code_of(text)))

    until(page, shows("refused"))

    assert words("screen", "en")["pass_refused"] in text_of(page, "detail")
    assert events_since(kiosk, before) == []


def test_not_you_is_recorded_as_a_correction(page: Chrome, kiosk: Stage) -> None:
    """The punch stays in the record and no longer counts; the page offers another way."""
    event = check_in_by_face(page, kiosk)

    find(page, "#not-you").click()
    until(page, shows("withdrawn"))

    said = events_since(kiosk, event.seq)[0].body
    assert isinstance(said, Correction)
    assert said.of == event.id
    assert said.becomes == Voided()
    assert find(page, "#answer-ways").is_displayed()


def test_not_you_touched_twice_is_taken_back_once(page: Chrome, kiosk: Stage) -> None:
    """A hand that touches twice is not told that it was too late for what was just done."""
    event = check_in_by_face(page, kiosk)
    page.execute_script(
        "const first = window.fetch; window.asked = [];"
        "window.fetch = (...all) => { const one = first(...all); window.asked.push(one); return one; };"
        "const button = document.getElementById('not-you'); button.click(); button.click();"
    )
    until(page, lambda _: events_since(kiosk, event.seq))
    asked = page.execute_async_script(
        "const done = arguments[0];"
        "Promise.all(window.asked).then((all) => setTimeout(() => done(all.map((one) => one.status)), 300));"
    )
    until(page, shows("withdrawn"))

    assert asked == [200]
    assert len(events_since(kiosk, event.seq)) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_not_you_too_late_says_what_it_is_about(page: Chrome, kiosk: Stage, language: str) -> None:
    """Nothing is taken back: the headline says so and not that nobody was recognised, then what to do."""
    speak(page, language)
    said = words("screen", language)
    event = check_in_by_face(page, kiosk)
    kiosk.kiosk.punches._recent.clear()  # as after its minute

    find(page, "#not-you").click()
    until(page, shows("late"))
    keep(page, f"late-{language}")

    assert text_of(page, "headline") == said["not_you.not_done"] != said["refused.title"]
    assert text_of(page, "detail") == said["not_you.late"]
    assert events_since(kiosk, event.seq) == []
    assert cut_off(page) == []


def test_chosen_direction_is_what_is_recorded(chrome: Chrome, tmp_path: Path) -> None:
    """Where the policy asks, a face alone records nothing; the pressed button does, by the face."""
    with stage(tmp_path, replace(SETTINGS, direction="ask")) as kiosk:
        resize(chrome, "pi")
        chrome.get(kiosk.url)
        until(chrome, lambda b: text_of(b, "clock-time"))
        before = kiosk.ledger.position().seq
        kiosk.scenery.show("obama2.jpg")
        until(chrome, shows("choice"))
        assert events_since(kiosk, before) == []
        kiosk.scenery.show(None)

        find(chrome, "#choose-out").click()

        until(chrome, shows("recorded"))
        (event,) = events_since(kiosk, before)
        assert (event.check_in.person_id, event.check_in.method) == ("E1001", Method.FACE)
        assert event.check_in.direction is Direction.OUT
        keep(chrome, "choice-pressed")


def test_hours_of_today_are_shown(page: Chrome, kiosk: Stage) -> None:
    """Who leaves reads how long they were there."""
    event = check_in_by_face(page, kiosk)
    kiosk.screen._hours_of = lambda _person, _at: 7.75

    kiosk.screen.show_recorded(event, "Barack Obama")

    until(page, lambda b: "7 h 45 min" in text_of(b, "today"))


def test_guidance_comes_from_the_reason(page: Chrome, kiosk: Stage) -> None:
    """Two people at once read "one person at a time", in words, beside the picture."""
    pair = list(moving("biden.jpg", 6, np.random.default_rng(4)))
    for frame in pair:
        middle = frame[:, 160:480].copy()
        frame[:, :320], frame[:, 320:] = middle, middle
    kiosk.scenery.show_pixels(pair)

    until(page, lambda b: text_of(b, "guidance") == words("screen", "en")["reason.several_faces"])

    keep(page, "guidance")


def ask(kiosk: Stage) -> None:
    """A question for the direction on the page."""
    kiosk.screen.ask_direction(Question("token", "E1001", "Barack Obama", Direction.OUT, 20.0))


def refuse(kiosk: Stage) -> None:
    """A refusal on the page."""
    kiosk.screen.show_refusal(Reason.AMBIGUOUS, "")


def fail(kiosk: Stage) -> None:
    """A punch that could not be stored, on the page."""
    kiosk.screen.show_not_recorded("the disk is full")


def cut_feed(kiosk: Stage) -> None:
    """The broker is away with seven events waiting."""
    kiosk.publisher.is_connected, kiosk.publisher.backlog = False, 7


def everything_fails(kiosk: Stage) -> None:
    """No broker, no camera, and a punch that could not be stored a while ago."""
    cut_feed(kiosk)
    kiosk.scenery.is_broken = True
    kiosk.screen.unrecorded = 1


def is_in_trouble(browser: Chrome) -> Any:  # Any: what a condition answers
    """True once all of it is said on the resting page."""
    bands = browser.find_elements(By.CSS_SELECTOR, ".band")
    return is_resting(browser) and all(band.is_displayed() for band in bands)


def rest(_kiosk: Stage) -> None:
    """Nothing happens."""


def is_offline(browser: Chrome) -> Any:  # Any: what a condition answers
    """True once the page says so."""
    return find(browser, "#offline").is_displayed()


def is_resting(browser: Chrome) -> Any:  # Any: as above
    """True while the clock is shown."""
    return browser.execute_script("return document.body.dataset.state") == "idle"


STATES: dict[str, tuple[Callable[[Stage], None], Callable[[Chrome], Any]]] = {
    "idle": (rest, is_resting),
    "choice": (ask, shows("choice")),
    "refused": (refuse, shows("refused")),
    "not-recorded": (fail, shows("not_recorded")),
    "offline": (cut_feed, is_offline),
    "troubles": (everything_fails, is_in_trouble),
}


@pytest.fixture
def lasting(chrome: Chrome) -> Iterator[None]:
    """Answers stay on the page until they have been looked at on every screen."""
    script = (
        "const soon = window.setTimeout;"
        "window.setTimeout = (act, ms, ...more) => soon(act, ms < 5000 ? ms : 9e6, ...more);"
    )
    added = chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    yield
    chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.usefixtures("lasting")
@pytest.mark.parametrize("state", STATES)
def test_every_state_fits_every_screen(page: Chrome, kiosk: Stage, state: str) -> None:
    """In both languages and on three screens nothing is cut off and axe finds nothing serious."""
    act, seen = STATES[state]
    act(kiosk)
    until(page, seen)

    problems = {}
    for language in LANGUAGES:
        speak(page, language)
        for size in SIZES:
            resize(page, size)
            keep(page, f"{state}-{language}-{size}")
            problems[language, size] = [*cut_off(page), *overlapping(page), *serious_findings(page)]

    assert seen(page)
    assert [found for found in problems.items() if found[1]] == []


def test_pad_fits_every_screen(page: Chrome) -> None:
    """Fields and keys are there without scrolling, each key large enough for any finger."""
    for language in LANGUAGES:
        speak(page, language)
        page.execute_script("document.getElementById('open-pad').click()")
        for size in SIZES:
            resize(page, size)
            keep(page, f"pad-{language}-{size}")
            keys = [key.size for key in page.find_elements(By.CSS_SELECTOR, "#keys button")]
            assert [*cut_off(page), *serious_findings(page)] == []
            assert all(key["height"] >= 44 and key["width"] >= 44 for key in keys)
        find(page, "#key-close").click()


def test_high_contrast_is_one_press(page: Chrome, kiosk: Stage) -> None:
    """And it holds for the answers as well."""
    find(page, "#contrast").click()
    refuse(kiosk)
    until(page, shows("refused"))

    assert find(page, "html").get_attribute("data-contrast") == "high"
    assert serious_findings(page) == []
    keep(page, "high-contrast")


def test_lost_camera_and_not_recorded_stay_in_sight(page: Chrome, kiosk: Stage) -> None:
    """A punch that was not stored is told until one succeeds; a blind camera as long as it is."""
    fail(kiosk)
    until(page, lambda b: find(b, "#unrecorded").is_displayed() or shows("not_recorded")(b))
    kiosk.scenery.is_broken = True
    try:
        until(page, lambda b: not find(b, "#blind").get_attribute("hidden"))
        until(page, lambda b: not find(b, "#unrecorded").get_attribute("hidden"))
    finally:
        kiosk.scenery.is_broken = False
    until(page, lambda b: find(b, "#blind").get_attribute("hidden"))


def test_page_runs_without_an_error(page: Chrome, kiosk: Stage) -> None:
    """No script fails, nothing is fetched from elsewhere and the content policy refuses nothing."""
    severe(page)
    check_in_by_face(page, kiosk)

    log = severe(page)
    fetched = page.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")

    assert log == []
    assert [address for address in fetched if not address.startswith(kiosk.url)] == []


def severe(browser: Chrome) -> list[str]:
    """What the browser complained of since the last time."""
    entries: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


def overlapping(browser: Chrome) -> list[str]:
    """Texts of the resting page that lie on another part's: the states above, the clock, the buttons."""
    return list(
        browser.execute_script(
            """
            if (document.querySelector("dialog[open], .cover:not([hidden])")) return [];
            const boxes = (part) => [...document.querySelectorAll(`#${part} :is(p, time, button)`)]
              .filter((e) => e.getBoundingClientRect().width && getComputedStyle(e).visibility !== "hidden");
            const out = [];
            for (const [one, other] of [["bands", "idle"], ["idle", "controls"], ["bands", "controls"]])
              for (const a of boxes(one)) for (const b of boxes(other)) {
                const over = a.getBoundingClientRect().bottom - b.getBoundingClientRect().top;
                if (over > 1) out.push(`${a.id} over ${b.id} by ${Math.round(over)}`);
              }
            return out;
            """
        )
    )


def cut_off(browser: Chrome) -> list[str]:
    """Elements that reach over the page's edge or over their own box."""
    return list(
        browser.execute_script(
            """
            const out = [];
            for (const e of document.querySelectorAll("h2, p, button, label, input, time, span")) {
              const box = e.getBoundingClientRect(), style = getComputedStyle(e);
              const unseen = style.clipPath !== "none" || style.visibility === "hidden";
              if (!box.width || !box.height || unseen || e.closest(".unseen")) continue;
              const edges = [box.left, box.top, box.right, box.bottom].map(Math.round);
              const cover = document.querySelector("dialog[open], .cover:not([hidden])");
              if (cover && !cover.contains(e)) continue;
              if (box.left < -1 || box.top < -1 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1)
                out.push(`${e.id || e.tagName} ${edges}`);
              if (e.tagName === "BUTTON" && e.scrollWidth > e.clientWidth + 1) out.push(`${e.id} is cut`);
            }
            return out;
            """
        )
    )
