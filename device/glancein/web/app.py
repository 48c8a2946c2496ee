"""A web application out of a table of endpoints, behind the same gate, and the thread that serves it."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from glancein.errors import SettingsError
from glancein.web.line import MOST_LINES, Line
from glancein.web.security import (
    Asgi,
    Doorkeeper,
    Endpoint,
    Manners,
    Receive,
    Scope,
    SecurityHeaders,
    Send,
    guarded,
)

_log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
OWN_ADDRESSES = ["127.0.0.1", "::1"]
OWN_HOSTS = ("localhost", "127.0.0.1", "[::1]")
IS_OURS = "glancein.is_ours"
NOT_OURS = (
    "This is not one of the names of this page: open the address that the program printed at its start, "
    "or add the name to desk_hosts in the settings.\n"
)
START_S, STOP_S = 10.0, 5.0

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]
Missing = Callable[[Request, Exception], Awaitable[Response]]


def secured(
    routes: Sequence[BaseRoute],
    *,
    hosts: Sequence[str] = (),
    lifespan: Lifespan | None = None,
    missing: Missing | None = None,
    is_behind_proxy: bool = False,
) -> Starlette:
    """An application that answers to these host names only, with our headers on every answer.

    ``is_behind_proxy``: a proxy on this machine says whose browser asks, and whether over TLS.
    """
    proxy = [Middleware(ProxyHeadersMiddleware, trusted_hosts=OWN_ADDRESSES)] if is_behind_proxy else []
    return Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=STATIC), name="static")],
        middleware=[
            Middleware(SecurityHeaders),
            *proxy,
            Middleware(OwnNames, names=[*OWN_HOSTS, *hosts]),
        ],
        exception_handlers={404: missing} if missing else None,
        lifespan=lifespan,
    )


def guarded_routes(
    endpoints: Sequence[Endpoint], doorkeeper: Doorkeeper, *, manners: Manners | None = None
) -> list[BaseRoute]:
    """The routes of a table of endpoints, each behind the gate."""
    return [guarded(endpoint, doorkeeper, manners=manners) for endpoint in endpoints]


class OwnNames:
    """Answers under these names only, and tells who comes by another what to do."""

    def __init__(self, app: Asgi, names: Sequence[str]) -> None:
        self._app = app
        self._judge = TrustedHostMiddleware(_mark_as_ours, allowed_hosts=names, www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse in a sentence."""
        await self._judge(scope, receive, _say_nothing)
        if scope.pop(IS_OURS, False):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(NOT_OURS, 400)(scope, receive, send)


async def _mark_as_ours(scope: Scope, _receive: Receive, _send: Send) -> None:
    scope[IS_OURS] = True


async def _say_nothing(_message: MutableMapping[str, Any]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and with which certificate."""

    host: str = "127.0.0.1"
    port: int = 0
    certificate: str = ""
    key: str = ""

    @property
    def name(self) -> str:
        """The host in its URL; this machine's name where it listens on every address."""
        host = socket.gethostname() if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104  # compared, not bound
        return f"[{host}]" if ":" in host else host

    @property
    def is_private(self) -> bool:
        """True if nobody on the way can read along: this machine only, or TLS."""
        try:
            return bool(self.certificate) or ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class WebServer:
    """Serves one application from a thread of its own."""

    def __init__(self, app: Starlette, address: Address, *, name: str = "web") -> None:
        _check_certificate(address)
        self._address = address
        self._socket = _listen(address)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # an address line may hold a person's id
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=MOST_LINES,
            http=Line,
            timeout_graceful_shutdown=1,
            ssl_certfile=address.certificate or None,
            ssl_keyfile=address.key or None,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def url(self) -> str:
        """Where it answers."""
        scheme = "https" if self._address.certificate else "http"
        return f"{scheme}://{self._address.name}:{self._socket.getsockname()[1]}"

    def start(self) -> None:
        """Begin to answer; returns when it does. Raises SettingsError."""
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_S / 0.02)):
            if self._server.started:
                return
            if not self._thread.is_alive():
                break
            waited.wait(0.02)
        raise SettingsError(f"the web server at {self.url} did not start: see the log")

    def stop(self) -> None:
        """Stop answering; open live pages are let go."""
        self._server.should_exit = True
        self._thread.join(STOP_S)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except (Exception, SystemExit):  # noqa: BLE001  # the top of a thread: the kiosk goes on without
            _log.exception("the web server ended")


def _check_certificate(address: Address) -> None:
    """Raises SettingsError for a certificate or key that no server could use."""
    if not address.certificate:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # An empty password: else OpenSSL would ask on the console for the one of an encrypted key.
        context.load_cert_chain(address.certificate, address.key or None, password=lambda: "")
    except (OSError, ValueError) as err:  # ssl.SSLError is an OSError
        why = getattr(err, "reason", "") or getattr(err, "strerror", "") or str(err)
        raise SettingsError(
            f"certificate {address.certificate} with key {address.key} cannot be used ({why}): "
            "give a chain in PEM form and its own key, without a password"
        ) from err


def _listen(address: Address) -> socket.socket:
    """A listening socket, so that a taken port is told before anything runs. Raises SettingsError."""
    if not address.host:  # the system would take it for every address
        raise SettingsError(
            "the address to listen on is empty: say 127.0.0.1, or 0.0.0.0 to let the network in"
        )
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except (OSError, OverflowError) as err:
        listener.close()
        raise SettingsError(
            f"cannot listen on {address.host} port {address.port} ({err}): choose another port"
        ) from err
    return listener
