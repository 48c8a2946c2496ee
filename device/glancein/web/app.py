"""A web application out of a table of endpoints, behind the same gate, and the thread that serves it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from glancein.errors import SettingsError
from glancein.web.security import Doorkeeper, Endpoint, SecurityHeaders, Wording, guarded

_log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
OWN_HOSTS = ("localhost", "127.0.0.1", "[::1]")
START_S, STOP_S = 10.0, 5.0

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def secured(
    routes: Sequence[BaseRoute], *, hosts: Sequence[str] = (), lifespan: Lifespan | None = None
) -> Starlette:
    """An application that answers to these host names only, with our headers on every answer."""
    return Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=STATIC), name="static")],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=[*OWN_HOSTS, *hosts], www_redirect=False),
        ],
        lifespan=lifespan,
    )


def guarded_routes(
    endpoints: Sequence[Endpoint], doorkeeper: Doorkeeper, *, wording: Wording | None = None
) -> list[BaseRoute]:
    """The routes of a table of endpoints, each behind the gate."""
    return [guarded(endpoint, doorkeeper, wording=wording) for endpoint in endpoints]


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
        self._address = address
        self._socket = _listen(address)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # an address line may hold a person's id
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=400,
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


def _listen(address: Address) -> socket.socket:
    """A listening socket, so that a taken port is told before anything runs. Raises SettingsError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except (OSError, OverflowError) as err:
        listener.close()
        raise SettingsError(
            f"cannot listen on {address.host} port {address.port} ({err}): choose another with --port"
        ) from err
    return listener
