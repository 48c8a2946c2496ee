"""The desk as an application: its parts, its table of routes, its server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from starlette.applications import Starlette

from glancein.web.app import Address, WebServer, guarded_routes, secured
from glancein.web.desk.desk import Desk, open_desk
from glancein.web.desk.page import Pages, worded
from glancein.web.desk.routes import endpoints
from glancein.web.security import Manners, nothing_there
from glancein.wiring import Home


def desk_app(desk: Desk, *, own: Sequence[str] = ()) -> Starlette:
    """The desk's application, which answers under its ``own`` names and those of the settings."""
    hosts = [name.strip() for name in desk.home.settings.desk_hosts.split(",") if name.strip()]
    manners = Manners(worded, Pages(desk.zone).refuse)
    return secured(
        guarded_routes(endpoints(desk), desk.accounts, manners=manners),
        hosts=[*own, *hosts],
        missing=nothing_there(desk.accounts, manners),
        is_behind_proxy=desk.home.settings.desk_proxy,
    )


@contextmanager
def serving_desk(
    home: Home, address: Address, *, running: Callable[[], dict[str, object]] | None = None
) -> Iterator[tuple[WebServer, Desk]]:
    """The desk on a data folder, answering until the block ends. Raises StoreError, SettingsError."""
    desk = open_desk(home, running=running)
    try:
        server = WebServer(desk_app(desk, own=[address.name]), address, name="desk")
        server.start()
        try:
            yield server, desk
        finally:
            server.stop()
    finally:
        desk.close()
