"""HTTP to another system: no redirects, bounded answers, and every failure in words that hold no secret."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from glancein import __version__
from glancein.domain.delivery import Later
from glancein.errors import SettingsError

TIMEOUT_S = 20.0  # for each read, which a peer that drips bytes keeps to
ANSWER_WITHIN_S = 60.0  # for the whole of an answer
STILL_AT_WORK_S = 150.0  # Odoo and Frappe end a request by themselves after 120 s
LARGEST_ANSWER = 256 * 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
BUSY = frozenset({408, 425, 429, 502, 503, 504})
# The request never began, so nothing of it can be there.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
# Without "<" inside: 40,000 of them took 22 s, each being looked at to the end of the text.
_TAGS = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Site:
    """Where the other system is. ``ca`` is a file of certificates to trust, in PEM form."""

    url: str
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> object:
        """The body as JSON, None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class HttpLink:
    """A connection to one site.

    ``looks_first``: its user looks whether a thing is there before making it. That tells nothing while the
    site may still be at work on a request whose answer was not waited for, so the next one waits longer.
    Raises SettingsError for an address that would give secrets away, for headers that HTTP cannot carry, and
    for a proxy in the environment that cannot be used.
    """

    def __init__(
        self,
        site: Site,
        *,
        headers: Mapping[str, str] | None = None,
        looks_first: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        parts = _checked(site.url)
        self._patience_s = STILL_AT_WORK_S if looks_first else None
        self._now = now
        self._name = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._base = site.url
        # httpx logs every address at INFO; one may hold a secret in its query.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._client = _client(headers or {}, _trust(site.ca))
        self._socket: socket.socket | None = None  # of the last connection made, which may be used again

    def __str__(self) -> str:
        """Scheme and host, for messages."""
        return self._name

    def post(self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None) -> Reply | Later:
        """Send JSON; without a path to exactly the address that was given."""
        request = self._client.build_request(
            "POST",
            self._address(path),
            content=body,
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        return self._send(request)

    def get(self, path: str, query: Mapping[str, str]) -> Reply | Later:
        """Ask."""
        return self._send(self._client.build_request("GET", self._address(path), params=dict(query)))

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def busy(self, reply: Reply) -> Later | None:
        """If the status says that the site is busy or has moved: when to come back, and its words."""
        if 300 <= reply.status < 400:
            return Later(
                f"{self} points to another address (HTTP {reply.status}), where nothing is sent: "
                "put the right address into the command"
            )
        if reply.status not in BUSY:
            return None
        words = f"{self} is busy (HTTP {reply.status}): {words_of(reply)}"
        return Later(words, _retry_after(reply, self._now()), may_be_there=may_have_done_it(reply))

    def _address(self, path: str) -> str:
        return self._base.rstrip("/") + path if path else self._base

    def _send(self, request: httpx.Request) -> Reply | Later:
        deadline = _Deadline(ANSWER_WITHIN_S, self._socket)
        request.extensions["trace"] = deadline.see
        try:
            reply = self._exchange(request)
        except httpx.HTTPError as err:
            words = f"cannot reach {self}: {_in_words(err)}"
            wait_s = self._patience_s if isinstance(err, httpx.ReadTimeout) else None
            reply = Later(words, wait_s, may_be_there=not isinstance(err, NOT_SENT))
        finally:
            deadline.end()
            self._socket = deadline.socket
        if deadline.is_over:  # an answer without a length seems whole when it is cut off
            words = f"{self} does not come to the end of its answer within {ANSWER_WITHIN_S:.0f} s"
            return Later(words, self._patience_s, may_be_there=True)
        return reply

    def _exchange(self, request: httpx.Request) -> Reply | Later:
        with_body = self._client.send(request, stream=True)
        with contextlib.closing(with_body):
            body = b""
            for chunk in with_body.iter_bytes():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    words = f"{self} answered with more than {LARGEST_ANSWER} bytes"
                    return Later(words, is_about_all=False, may_be_there=True)
        return Reply(with_body.status_code, with_body.headers, body)


class _Deadline:
    """Cuts an exchange off when its time is over; ``see`` is httpx's extension "trace".

    httpx counts each read by itself and has no limit for all of them.
    """

    def __init__(self, seconds: float, connected: socket.socket | None) -> None:
        self.socket = connected
        self.is_over = False
        self._timer = threading.Timer(seconds, self._strike)
        self._timer.name = "answer-deadline"
        self._timer.daemon = True
        self._timer.start()

    def see(self, _event: str, info: Mapping[str, object]) -> None:
        """Note the socket of a connection that was made; every step of httpx's is told here."""
        about = getattr(info.get("return_value"), "get_extra_info", None)  # a network stream has it
        if about is not None:
            self.socket = about("socket")
            if self.is_over:
                self._strike()

    def end(self) -> None:
        """The exchange is done."""
        self._timer.cancel()

    def _strike(self) -> None:
        self.is_over = True
        with contextlib.suppress(OSError):  # closed already
            if self.socket is not None:
                # Not SSLSocket's own, which takes its state away from the thread that reads.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


def may_have_done_it(reply: Reply) -> bool:
    """True if what stands before the site, or the site itself, failed while it may have been at work."""
    return reply.status >= 500 and reply.status != 503


def words_of(reply: Reply) -> str:
    """The other side's own words, without markup; a page of HTML or an empty body is "no reason given"."""
    text = reply.body[:4000].decode(errors="replace")
    found = reply.json()
    if isinstance(found, dict):
        for key in ("detail", "message", "error", "title", "errors"):
            if found.get(key):
                value = found[key]
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                break
    elif "<html" in text.lower():
        text = ""
    return plain(text) or "no reason given"


def plain(text: str) -> str:
    """Without tags, entities, control characters and runs of blanks."""
    bare = unescape(_TAGS.sub(" ", text))
    return " ".join("".join(c if c.isprintable() else " " for c in bare).split())[:400]


def _client(headers: Mapping[str, str], trusted: ssl.SSLContext) -> httpx.Client:
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        # httpx would repeat the header, secret and all.
        raise SettingsError(
            "the secret holds a line break or a character that HTTP cannot carry; it is one line of ASCII"
        )
    try:
        return httpx.Client(
            headers={"User-Agent": f"glancein/{__version__}", "Accept": "application/json", **headers},
            timeout=TIMEOUT_S,
            follow_redirects=False,
            verify=trusted,
            event_hooks={"response": [_stay_here]},
        )
    except (ImportError, ValueError, httpx.InvalidURL):  # whose words may hold the proxy's password
        raise SettingsError(
            "the proxy that HTTPS_PROXY, ALL_PROXY or NO_PROXY names cannot be used; write it like "
            "http://proxy.example:3128 (a SOCKS proxy needs: pip install 'httpx[socks]')"
        ) from None


def _stay_here(response: httpx.Response) -> None:
    """Forget where it points to: httpx reads the address even if it does not go there, and stumbles."""
    response.headers.pop("location", None)


def _checked(url: str) -> _Parts:
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        raise SettingsError(
            "the address has a wrong host or port; write it like https://hr.example"
        ) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(
            "the address does not begin with https:// and a host; write it like https://hr.example"
        )
    if parts.username or parts.password:
        raise SettingsError("the address holds a name or password; those come from the environment or a file")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise SettingsError(
            f"http://{parts.hostname} would send punches and secrets in the clear; use https:// (with --ca "
            "for a certificate of your own)"
        )
    return _Parts(parts.scheme, parts.hostname, port)


@dataclass(frozen=True, slots=True)
class _Parts:
    scheme: str
    hostname: str
    port: int | None


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as err:
        raise SettingsError(f"the certificates in {ca} cannot be used: {err}") from err


def _retry_after(reply: Reply, now_s: float) -> float | None:
    """Seconds from now, as RFC 9110 section 10.2.3 has them: a count or a date; None if it is neither."""
    given = reply.headers.get("retry-after", "")
    if given.isdecimal() and len(given) < 10:
        return float(given)
    try:
        at = parsedate_to_datetime(given)
        stamp = at.timestamp() if at.tzinfo is not None else at.replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, stamp - now_s)


def _in_words(err: httpx.HTTPError) -> str:
    text = str(err)
    if isinstance(err, httpx.TimeoutException):
        return f"it does not answer within {TIMEOUT_S:.0f} s"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not trusted (name your own with --ca)"
    if isinstance(err, httpx.ConnectError) and "refused" in text.lower():
        return "nothing listens there"
    if "Name or service not known" in text or "No address associated" in text or "name resolution" in text:
        return "no machine has that name"
    return plain(text) or type(err).__name__
