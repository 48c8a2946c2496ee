"""One gate before every route: who is asking, did their own page ask, may they; then the body, bounded."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from glancein.errors import AmbiguousTime, GlanceinError, InputError, PhotoError
from glancein.types import Reason
from glancein.web.access import Door, Permission, Who

SESSION_COOKIE, FORM_COOKIE = "glancein_session", "glancein_form"
CSRF_HEADER = "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD"})
MOST_FIELDS, MOST_FILES = 64, 2000
LARGEST_JSON = 64 * 1024
LARGEST_PHOTO = 50_000_000
LARGEST_PHOTO_FORM = LARGEST_PHOTO + 1_000_000  # kept in memory
LARGEST_UPLOAD = 300_000_000

# No inline script or style, nothing from elsewhere, no frame around us; a preview is a blob or data picture.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; media-src 'self' blob:; manifest-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS: dict[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
}

Scope = MutableMapping[str, Any]  # Any: what ASGI says
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class SecurityHeaders:
    """Puts the headers on every answer, errors and static files too; no cache keeps pages.

    A static file may be kept, but is asked about each time: after an update no page runs on an old script.
    """

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers added."""

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                extra = dict(SECURITY_HEADERS)
                is_static = scope.get("path", "").startswith("/static/")
                extra["cache-control"] = "no-cache" if is_static else "no-store"
                added = [(n.encode(), v.encode()) for n, v in extra.items() if n.encode() not in present]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, with_headers)


class Kind(StrEnum):
    """What a route answers with, and so how it refuses."""

    PAGE = "page"  # redirects to the sign-in, or a page that says why
    API = "api"  # JSON


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request, for the documentation and the check that required ones are there."""

    name: str
    about: str
    required: bool = True
    kind: str = "string"  # string, boolean, file, files, array


@dataclass(frozen=True, slots=True)
class Call:
    """One request that passed the gate, its body read."""

    request: Request
    who: Who
    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, list[UploadFile]] = field(default_factory=dict)

    @property
    def csrf(self) -> str:
        """The token that this caller's pages must send back."""
        return csrf_token(self.who.secret)

    @property
    def is_tls(self) -> bool:
        """True if the browser's own line is encrypted: its cookies then belong on no other."""
        return self.request.url.scheme == "https"

    def query(self, name: str, default: str = "") -> str:
        """One value out of the address."""
        return self.request.query_params.get(name, default)

    def close_files(self) -> None:
        """Let the uploads go."""
        for file in (file for files in self.files.values() for file in files):
            file.file.close()

    def flag(self, name: str) -> bool:
        """A yes or no out of the body."""
        return self.fields.get(name, "").lower() in {"1", "true", "yes", "on"}


Handler = Callable[[Call], Response] | Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route: everything the server, the documentation and the tests need to know of it."""

    method: str
    path: str
    handler: Handler
    needs: Permission | Door
    summary: str
    kind: Kind = Kind.API
    takes: tuple[Field, ...] = ()
    asks: tuple[Field, ...] = ()  # what may stand in the address
    gives: tuple[str, ...] = ("application/json",)
    refuses: tuple[str, ...] = ()  # statuses beside those that every route may refuse with
    keeps_files: bool = False  # the handler closes the uploads, later

    @property
    def takes_files(self) -> bool:
        """True if the body is multipart."""
        return any(entry.kind in {"file", "files"} for entry in self.takes)


class Doorkeeper(Protocol):
    """Knows sessions and tokens."""

    def who_has_session(self, raw: str) -> Who:
        """Who holds this cookie."""

    def who_has_token(self, raw: str) -> Who:
        """Which integration holds this token."""


def csrf_token(secret: str) -> str:
    """What a page must send back: derived from a cookie that no other site can read."""
    return hmac.new(secret.encode(), b"glancein csrf", hashlib.sha256).hexdigest() if secret else ""


def new_secret() -> str:
    """A form cookie's value."""
    return secrets.token_urlsafe(32)


class Refusal(JSONResponse):
    """An answer that says in one sentence why there is no other."""

    def __init__(
        self, document: Mapping[str, str], status: int, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(document, status, headers)
        self.document = document

    def reworded(self, sentence: str) -> Refusal:
        """The same with another sentence."""
        kept = {name: text for name, text in self.headers.items() if not name.startswith("content-")}
        return Refusal({**self.document, "error": sentence}, self.status_code, kept)


# What a refusal says to the people at this browser.
Wording = Callable[[Request, Mapping[str, str]], str]
# The page that says so, for who opened a page; not for a script or a program.
Paging = Callable[[Call, Refusal], Response]


@dataclass(frozen=True, slots=True)
class Manners:
    """How people are refused: in which words, and on what page."""

    wording: Wording
    paging: Paging


def guarded(endpoint: Endpoint, doorkeeper: Doorkeeper, *, manners: Manners | None = None) -> Route:
    """The route with the gate before it; ``manners`` put a refusal to people, programs get it as it is."""

    async def answer(request: Request) -> Response:
        who = Who()
        try:
            who = await run_in_threadpool(_who, request, doorkeeper)
            given = _refusal(endpoint, request, who) or await _answer(endpoint, request, who)
        except GlanceinError as err:
            given = told(err)
        if manners is None or not isinstance(given, Refusal):
            return given
        return _put(given, Call(request, who), manners, is_page=endpoint.kind is Kind.PAGE)

    return Route(endpoint.path, answer, methods=[endpoint.method], name=f"{endpoint.method} {endpoint.path}")


def nothing_there(
    doorkeeper: Doorkeeper, manners: Manners
) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What is said at an address that leads nowhere."""

    async def answer(request: Request, _: Exception) -> Response:
        who = Who()
        with suppress(GlanceinError):
            who = await run_in_threadpool(_who, request, doorkeeper)
        given = refused(404, "there is no such page: look at its address again")
        return _put(given, Call(request, who), manners, is_page=True)

    return answer


def _put(refusal: Refusal, call: Call, manners: Manners, *, is_page: bool) -> Response:
    """The refusal in words or on a page for people, as it is for programs."""
    if call.who.is_token:
        return refusal
    worded = refusal.reworded(manners.wording(call.request, refusal.document))
    # A browser that opens an address asks for HTML; scripts take anything.
    if is_page and "text/html" in call.request.headers.get("accept", ""):
        return manners.paging(call, worded)
    return worded


def told(error: GlanceinError, status: int = 0) -> Refusal:
    """An error of ours as JSON: one sentence, and the reason's code where there is one."""
    document = {"error": str(error)}
    if isinstance(error, PhotoError):
        document["reason"] = str(error.reason)
    if isinstance(error, AmbiguousTime):
        document["offsets"] = " ".join(error.offsets)
    return Refusal(document, status or (422 if isinstance(error, InputError) else 503))


def refused(status: int, message: str) -> Refusal:
    """A refusal as JSON."""
    return Refusal({"error": message}, status)


async def _answer(endpoint: Endpoint, request: Request, who: Who) -> Response:
    """Read the body, run the handler, and close what was uploaded unless the handler goes on with it."""
    call = await _read(endpoint, request, who)
    is_kept = False
    try:
        _check_fields(endpoint, call)
        answer = await _run(endpoint, call)
        is_kept = endpoint.keeps_files
    finally:
        if not is_kept:
            call.close_files()
    return answer


async def _run(endpoint: Endpoint, call: Call) -> Response:
    if inspect.iscoroutinefunction(endpoint.handler):
        answer = await endpoint.handler(call)
    else:
        answer = await run_in_threadpool(endpoint.handler, call)
    if not isinstance(answer, Response):
        raise TypeError(f"{endpoint.method} {endpoint.path} gave no response")
    return answer


def _who(request: Request, doorkeeper: Doorkeeper) -> Who:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":  # other kinds are meant for a proxy before us, which passes them on
        return doorkeeper.who_has_token(token.strip())
    if raw := request.cookies.get(SESSION_COOKIE):
        who = doorkeeper.who_has_session(raw)
        if who.is_known:
            return who
    return Who(secret=request.cookies.get(FORM_COOKIE, ""))


def _refusal(endpoint: Endpoint, request: Request, who: Who) -> Response | None:
    """Why this request is not answered, None if it is."""
    if endpoint.needs is not Door.ANYBODY and not who.is_known:
        if endpoint.kind is Kind.PAGE:
            return RedirectResponse("/sign-in", 303)
        return Refusal({"error": "sign in, or send a token"}, 401, {"www-authenticate": "Bearer"})
    if endpoint.method not in SAFE_METHODS and not who.is_token and not _own_page_asks(request, who):
        return refused(403, "this page is out of date or not ours: load it again")
    if not who.may(endpoint.needs):
        return refused(403, f"this needs {endpoint.needs}, which {who.name} does not have")
    return None


def _own_page_asks(request: Request, who: Who) -> bool:
    """True if the request carries the token that only our page could know, and comes from our address."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        return False
    given = request.headers.get(CSRF_HEADER, "")
    return bool(who.secret) and hmac.compare_digest(given.encode(), csrf_token(who.secret).encode())


async def _read(endpoint: Endpoint, request: Request, who: Who) -> Call:
    """The call with its body, as far as the route takes one. Raises InputError."""
    if endpoint.method in SAFE_METHODS:
        return Call(request, who)
    if endpoint.takes_files:
        return await _read_form(request, who, of_list=endpoint.keeps_files)
    return Call(request, who, fields=await _read_json(request))


def _check_fields(endpoint: Endpoint, call: Call) -> None:
    """Raises InputError if a required field is missing."""
    for entry in endpoint.takes:
        there = call.files.get(entry.name) if entry.kind in {"file", "files"} else call.fields.get(entry.name)
        if entry.required and not there:
            raise InputError(f"{entry.name} is missing: {entry.about}")


async def _read_json(request: Request) -> dict[str, str]:
    """The fields of a JSON object; values are kept as text. Raises InputError."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_JSON:
            raise InputError(f"the body is larger than {LARGEST_JSON // 1024} kB")
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise InputError("send a JSON object with Content-Type: application/json")
    try:
        document = json.loads(body.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise InputError("the body is not JSON") from None
    if not isinstance(document, dict) or len(document) > MOST_FIELDS:
        raise InputError("the body is not a JSON object of a few fields")
    return {name: _as_text(name, value) for name, value in document.items()}


def _as_text(name: str, value: object) -> str:
    match value:
        case str():
            text = value
        case bool():
            text = "true" if value else ""
        case int() | float():
            text = str(value)
        case None:
            text = ""
        case list() if all(isinstance(item, str) for item in value):
            text = " ".join(value)
        case _:
            raise InputError(f"{name} is neither text nor a number")
    return _sound_text(name, text)


def _sound_text(name: str, text: str) -> str:
    """Raises InputError for text that no database or page can hold."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{name[:40]!r} holds characters that are no text")
    return text


class _InMemory(MultiPartParser):
    """Keeps what is uploaded off the disk; Starlette's own lays files of more than 1 MB there."""

    spool_max_size = LARGEST_PHOTO_FORM


async def _read_form(request: Request, who: Who, *, of_list: bool) -> Call:
    """Fields and files of a multipart body, bounded. Raises InputError."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "multipart/form-data":
        raise InputError("send a form with Content-Type: multipart/form-data")
    try:
        said = int(request.headers.get("content-length", "0"))
    except ValueError:
        raise InputError("the content length is no number") from None
    largest, parser = (LARGEST_UPLOAD, MultiPartParser) if of_list else (LARGEST_PHOTO_FORM, _InMemory)
    if said > largest:
        raise _too_large(largest)
    bounded = Request(request.scope, _bounded(request.receive, largest))
    try:
        async with aclosing(bounded.stream()) as body:
            form = await parser(request.headers, body, max_files=MOST_FILES, max_fields=MOST_FIELDS).parse()
    except MultiPartException as err:
        raise InputError(f"the upload cannot be read: {err.message}") from None
    fields: dict[str, str] = {}
    files: dict[str, list[UploadFile]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.setdefault(name, []).append(value)
        else:
            fields[name] = value
    call = Call(request, who, fields, files)
    try:
        for name, text in fields.items():
            _sound_text(name, text)
    except InputError:
        call.close_files()
        raise
    return call


def _bounded(receive: Receive, largest: int) -> Receive:
    """The same stream, which ends with an InputError once it has brought too much."""
    brought = 0

    async def next_message() -> MutableMapping[str, Any]:
        nonlocal brought
        message = await receive()
        brought += len(message.get("body", b""))
        if brought > largest:
            raise _too_large(largest)
        return message

    return next_message


def _too_large(largest: int) -> InputError:
    if largest == LARGEST_PHOTO_FORM:
        return PhotoError(Reason.TOO_LARGE, f"the photo is larger than {LARGEST_PHOTO // 1_000_000} MB")
    return InputError(f"the upload is larger than {largest // 1_000_000} MB: split it")
