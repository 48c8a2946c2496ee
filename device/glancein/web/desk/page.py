"""One HTML page: template, words in the reader's language, the CSRF token, and the cookies a form needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from glancein import __version__
from glancein.web.access import Permission
from glancein.web.language import DEFAULT, languages, preferred, say, words
from glancein.web.security import FORM_COOKIE, Call, Refusal, csrf_token, new_secret

PART = "desk"
LANGUAGE_COOKIE = "glancein_language"
TEMPLATES = Path(__file__).parent / "templates"

# Page, its word, what one needs to see it.
NAVIGATION: tuple[tuple[str, str, Permission], ...] = (
    ("/", "nav_today", Permission.ATTENDANCE_READ),
    ("/people", "nav_people", Permission.PEOPLE_READ),
    ("/enrol", "nav_enrol", Permission.PEOPLE_WRITE),
    ("/month", "nav_month", Permission.ATTENDANCE_READ),
    ("/health", "nav_health", Permission.HEALTH_READ),
    ("/audit", "nav_audit", Permission.AUDIT_READ),
    ("/accounts", "nav_accounts", Permission.ACCOUNTS_WRITE),
)


class Pages:
    """Renders templates; everything put into a page is escaped."""

    def __init__(self, zone: tzinfo) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["moment"] = partial(_moment, zone)
        self._templates.filters["hours"] = hours_and_minutes

    def show(
        self, call: Call, template: str, context: Mapping[str, object] | None = None, *, status: int = 200
    ) -> Response:
        """The page in the caller's language."""
        language = _spoken_to(call)
        secret, is_new = call.who.secret, False
        if not secret:
            secret, is_new = new_secret(), True
        said = words(PART, language)
        html = self._templates.get_template(template).render(
            {
                "t": said,
                "say": partial(say, language=language),
                "language": language,
                "languages": languages(PART),
                "who": call.who,
                "may": call.who.permissions,
                "csrf": csrf_token(secret),
                "here": call.request.url.path,
                "address": call.request.url,
                "navigation": [entry for entry in NAVIGATION if entry[2] in call.who.permissions],
                "version": __version__,
                "P": Permission,
                **(context or {}),
            }
        )
        answer = HTMLResponse(html, status)
        if is_new:
            answer.set_cookie(FORM_COOKIE, secret, httponly=True, samesite="strict", secure=call.is_tls)
        if call.query("lang") in languages(PART):
            answer.set_cookie(
                LANGUAGE_COOKIE,
                call.query("lang"),
                max_age=365 * 86_400,
                httponly=True,
                samesite="strict",
                secure=call.is_tls,
            )
        return answer

    def refuse(self, call: Call, refusal: Refusal) -> Response:
        """A page that says why there is no other, with a way on."""
        return self.show(call, "refused.html", {"why": refusal.document["error"]}, status=refusal.status_code)

    def words_for(self, call: Call) -> Mapping[str, str]:
        """The sentences in the caller's language."""
        return words(PART, _spoken_to(call))


def language_of(request: Request) -> str:
    """The language asked for: in the address, in the cookie, or by the browser."""
    offered = languages(PART)
    for wanted in (request.query_params.get("lang", ""), request.cookies.get(LANGUAGE_COOKIE, "")):
        if wanted in offered:
            return wanted
    return preferred(request.headers.get("accept-language", ""), offered)


def _spoken_to(call: Call) -> str:
    """The language of whom we answer: English for a program, whatever its library asks for."""
    return DEFAULT if call.who.is_token else language_of(call.request)


def worded(request: Request, refusal: Mapping[str, str]) -> str:
    """What a refusal (``error``, and ``reason`` where there is a code) says in the reader's language."""
    return explained(refusal["error"], refusal.get("reason", ""), language_of(request))


def explained(sentence: str, reason: str, language: str) -> str:
    """An English sentence in that language, or what is said there of its reason's code."""
    said = say(sentence, language)
    return (
        words(PART, language).get(f"reason_{reason}", said)
        if said == sentence and language != DEFAULT
        else said
    )


def hours_and_minutes(seconds: float) -> str:
    """7:05 for seven hours and five minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def _moment(zone: tzinfo, at: datetime | float | None, form: str = "%Y-%m-%d %H:%M") -> str:
    if at is None:
        return "\u2013"
    return (
        (at if isinstance(at, datetime) else datetime.fromtimestamp(at, zone)).astimezone(zone).strftime(form)
    )
