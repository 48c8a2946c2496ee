"""The screen beside a running kiosk: page, preview and lookout, opened and closed together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta

from glancein import wiring
from glancein.adapters.clock_system import SystemClock
from glancein.adapters.ledger_sqlite import SqliteLedger
from glancein.adapters.screen_web import WebScreen
from glancein.capture import Capture
from glancein.domain.punches import settle
from glancein.domain.workdays import pair_up, stay_going_on
from glancein.errors import StoreError
from glancein.kiosk import Kiosk
from glancein.ports import Screen
from glancein.punch_clock import Outcome
from glancein.settings import Settings
from glancein.types import Method
from glancein.web.app import Address, WebServer, guarded_routes, secured
from glancein.web.language import check_language
from glancein.web.screen.lookout import Lookout
from glancein.web.screen.parts import ScreenParts, condition_of
from glancein.web.screen.preview import Preview
from glancein.web.screen.routes import PART, NobodySignsIn, by, endpoints
from glancein.wiring import Home, Stores

LATEST = 40  # check-ins looked back on: more than anybody makes in a day
PASS_REFUSED = "pass_refused"  # noqa: S105  # a reason's name
NOT_VALID = "This QR code is not valid here."


def make_screen(settings: Settings, stores: Stores, *, beside: Screen | None) -> WebScreen:
    """The screen that a kiosk shows on. Raises SettingsError for a language without words."""
    check_language(PART, settings.language)
    longest = timedelta(hours=settings.max_shift_h)
    zone = wiring.time_zone(settings.time_zone)
    return WebScreen(
        names=settings.names_on_screen,
        hours_of=lambda person_id, at: hours_today(
            stores.ledger, person_id, at.astimezone(zone), longest=longest
        ),
        beside=beside,
    )


@contextmanager
def serving(
    home: Home, kiosk: Kiosk, screen: WebScreen, camera: Capture, *, port: int
) -> Iterator[tuple[str, ScreenParts]]:
    """The page on this machine's own address: that address, and what it is made of.

    Raises SettingsError, StoreError.
    """
    with ExitStack() as stack:
        passes = stack.enter_context(closing(wiring.open_passes(home)))
        parts = ScreenParts(
            screen=screen,
            preview=Preview(camera.peek),
            punches=kiosk.punches,
            passes=passes,
            clock=SystemClock(wiring.time_zone(home.settings.time_zone)),
            settings=home.settings,
            condition=lambda: condition_of(kiosk),
        )
        lookout = Lookout(camera.peek, lambda text: take_pass(parts, text))
        app = secured(guarded_routes(endpoints(parts), NobodySignsIn()), lifespan=parts.beating)
        server = WebServer(app, Address(port=port), name="screen")
        server.start()
        stack.callback(server.stop)
        stack.callback(parts.let_go)  # first: a server waits for what it still sends
        lookout.start()
        stack.callback(lookout.close)
        yield server.url, parts


def take_pass(parts: ScreenParts, text: str) -> bool:
    """A punch by the pass that was held to the camera; False if it has to wait for somebody else's answer."""
    try:
        person_id = parts.passes.who_shows(text)
    except StoreError as err:
        parts.punches.fail(err)
        return True
    if person_id is None:
        parts.screen.show_refusal(PASS_REFUSED, NOT_VALID)
        return True
    return parts.punches.punch(by(Method.QR, person_id)) is not Outcome.BUSY


def hours_today(ledger: SqliteLedger, person_id: str, at: datetime, *, longest: timedelta) -> float | None:
    """Hours worked on the local day of ``at`` until then, with an open stay; None if they cannot be read."""
    try:
        events = ledger.latest_of(person_id, LATEST)
    except StoreError:
        return None
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    worked = timedelta(0)
    stays = pair_up((p for p in settle(events) if p.person_id == person_id), longest=longest)
    going_on = stay_going_on(stays, at, longest=longest)
    for stay in stays:
        if stay.came is None or (stay.left is None and stay is not going_on):
            continue
        left = stay.left.wall if stay.left is not None else at
        worked += max(timedelta(0), min(left, at) - max(stay.came.wall, midnight))
    return worked.total_seconds() / 3600
