"""glancein desk: HR's pages on a kiosk's data folder, without a camera."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from glancein import wiring
from glancein.cli.app import DataFolder, app
from glancein.errors import SettingsError

if TYPE_CHECKING:
    from glancein.web.app import Address, WebServer
    from glancein.web.desk.desk import Desk

DESK_PORT = 8600


@app.command()
def desk(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on, 0 for a free one.")
    ] = DESK_PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets the network in.")
    ] = "127.0.0.1",
    certificate: Annotated[str, typer.Option(help="TLS certificate chain in PEM form.")] = "",
    key: Annotated[str, typer.Option(help="Its private key.")] = "",
    new_admin: Annotated[
        bool,
        typer.Option(
            "--new-admin", help="Print a setup code for another admin, such as when a password is lost."
        ),
    ] = False,
    data: DataFolder = None,
) -> None:
    """Serve the HR desk: enrol, see who is in, correct, export, look after the kiosk.

    Works beside a running kiosk on the same data folder. The first start prints a setup code.
    """
    from glancein.web.desk.build import serving_desk  # noqa: PLC0415  # loads the web server

    where = desk_address(host, port, certificate=certificate, key=key)
    stop = threading.Event()
    with serving_desk(wiring.open_home(data), where) as (server, opened):
        if new_admin:
            opened.accounts.invite_admin()
        tell(server, opened, where, safer="give --certificate and --key")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(1.0):
            pass


def desk_address(host: str, port: int, *, certificate: str = "", key: str = "") -> Address:
    """Where to listen. Raises SettingsError for a certificate without its key."""
    from glancein.web.app import Address  # noqa: PLC0415  # loads the web server

    if bool(certificate) != bool(key):
        raise SettingsError("--certificate and --key belong together")
    return Address(host, port, certificate, key)


def tell(server: WebServer, opened: Desk, address: Address, *, safer: str) -> None:
    """Where the desk is, the setup code if there is one, what an open line risks; ``safer``: the way out."""
    with contextlib.suppress(BrokenPipeError):
        print(f"desk: {server.url}", file=sys.stderr, flush=True)
        if opened.accounts.setup_code:
            why = "first start" if opened.accounts.is_new else "for another admin"
            print(
                f"desk: {why}; open {server.url}/setup and enter {opened.accounts.setup_code}",
                file=sys.stderr,
                flush=True,
            )
        if not address.is_private:
            print(
                f"desk: passwords and names travel unencrypted on this network: {safer}, "
                "or listen on 127.0.0.1 behind a proxy that encrypts",
                file=sys.stderr,
                flush=True,
            )
