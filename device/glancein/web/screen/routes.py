"""The screen's routes: everything the page may ask of the kiosk, and it may ask nothing else."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, JSONResponse, Response

from glancein.domain.attendance import Recognised
from glancein.domain.passes import PinAnswer
from glancein.errors import InputError, StoreError
from glancein.punch_clock import Outcome
from glancein.types import Direction, EventId, Method
from glancein.web.access import Door, Who
from glancein.web.app import STATIC
from glancein.web.language import languages, words
from glancein.web.screen.parts import ScreenParts
from glancein.web.screen.preview import BOUNDARY
from glancein.web.screen.streams import MailboxStream
from glancein.web.security import FORM_COOKIE, Call, Endpoint, Field, Kind, csrf_token, new_secret

PART = "screen"
PIN_BUSY = "pin_busy"  # the page has words for it
LARGEST_SEQ = 2**53


class NobodySignsIn:
    """The doorkeeper of a page without accounts."""

    def who_has_session(self, _raw: str) -> Who:
        """Nobody."""
        return Who()

    def who_has_token(self, _raw: str) -> Who:
        """Nobody."""
        return Who()


def endpoints(parts: ScreenParts) -> list[Endpoint]:
    """The table of routes. All are open: the server listens on this machine only."""
    token = Field("token", "the question that is answered")
    return [
        _page("/", _show_page(parts), "The page", "text/html"),
        _page(
            "/events",
            lambda _call: _events(parts),
            "What the kiosk shows, as it happens",
            "text/event-stream",
        ),
        _page("/live.mjpeg", lambda _call: _live(parts), "The mirrored picture", "multipart/x-mixed-replace"),
        _act("/pin", lambda call: _take_pin(parts, call), "Check in by number and PIN", "number", "pin"),
        Endpoint(
            "POST",
            "/direction",
            lambda call: _take_direction(parts, call),
            Door.ANYBODY,
            "Say which way, after the kiosk asked",
            takes=(token, Field("direction", "in or out")),
        ),
        _act(
            "/not-you",
            lambda call: _take_back(parts, call),
            "Take the last punch back",
            "kiosk",
            "epoch",
            "seq",
        ),
    ]


def _page(path: str, handler: Callable[[Call], Response], summary: str, gives: str) -> Endpoint:
    return Endpoint("GET", path, handler, Door.ANYBODY, summary, kind=Kind.PAGE, gives=(gives,))


def _act(path: str, handler: Callable[[Call], Response], summary: str, *fields: str) -> Endpoint:
    takes = tuple(Field(name, f"the {name}") for name in fields)
    return Endpoint("POST", path, handler, Door.ANYBODY, summary, takes=takes)


def _show_page(parts: ScreenParts) -> Callable[[Call], Response]:
    templates = Environment(
        loader=FileSystemLoader(STATIC / PART), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = templates.get_template("screen.html")

    def show(call: Call) -> Response:
        secret = call.who.secret or new_secret()
        chosen = parts.settings
        said = {language: dict(words(PART, language)) for language in languages(PART)}
        first = chosen.language if chosen.language in said else "en"
        html = page.render(
            words=said,
            t=said[first],
            language=first,
            csrf=csrf_token(secret),
            boot=parts.boot,
            chosen=chosen,
        )
        answer = HTMLResponse(html)
        answer.set_cookie(FORM_COOKIE, secret, httponly=True, samesite="strict")
        return answer

    return show


def _events(parts: ScreenParts) -> Response:
    return MailboxStream(parts.screen.pages.open, "text/event-stream", parts.hello)


def _live(parts: ScreenParts) -> Response:
    kind = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
    return MailboxStream(parts.preview.look, kind, lambda: b"--" + BOUNDARY + b"\r\n")


def _take_pin(parts: ScreenParts, call: Call) -> Response:
    """A punch by PIN; why not is said in a code the page has words for."""
    now = parts.clock.now().wall
    try:
        answer = parts.passes.who_types(call.fields["number"], call.fields["pin"], at=now)
    except StoreError as err:
        return JSONResponse({"outcome": str(parts.punches.fail(err))})
    if isinstance(answer, PinAnswer):
        return JSONResponse({"refused": str(answer)}, 403)
    outcome = parts.punches.punch(by(Method.PIN, answer))
    if outcome is Outcome.BUSY:
        return JSONResponse({"refused": PIN_BUSY}, 409)
    return JSONResponse({"outcome": str(outcome)})


def _take_direction(parts: ScreenParts, call: Call) -> Response:
    word = call.fields["direction"]
    if word not in set(Direction):
        raise InputError(f"direction {word[:20]!r} is neither in nor out")
    return JSONResponse({"outcome": str(parts.punches.choose(call.fields["token"], Direction(word)))})


def _take_back(parts: ScreenParts, call: Call) -> Response:
    seq = call.fields["seq"]
    if not (seq.isascii() and seq.isdigit() and len(seq) <= len(str(LARGEST_SEQ))):
        raise InputError("seq is not the number of an event")
    name = EventId(call.fields["kiosk"], call.fields["epoch"], int(seq))
    parts.punches.disown(name)
    parts.screen.show_withdrawn(name)
    return JSONResponse({"outcome": "withdrawn"})


def by(method: Method, person_id: str) -> Recognised:
    """Somebody who is known without a face."""
    return Recognised(person_id, 0.0, 0.0, "", method, str(method))
