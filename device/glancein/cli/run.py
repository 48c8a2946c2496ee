"""glancein kiosk, and the keys that sign what it says."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glancein import wiring
from glancein.cli.app import DataFolder, app
from glancein.cli.program import Verbose, start_log, stopping
from glancein.domain.wire import check_segment
from glancein.errors import InputError

if TYPE_CHECKING:
    from glancein.adapters.screen_web import WebScreen
    from glancein.kiosk import Kiosk
    from glancein.ports import Screen


@app.command()
def kiosk(
    *,
    camera: Annotated[
        str | None,
        typer.Option(
            help="picamera2 | usb:0 | rtsp://… | video.mp4 | DIR/; the settings' camera by default."
        ),
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="mqtt://host[:port], mqtts://… or embedded; the settings' by default.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the embedded broker, 0 for a free one.")
    ] = wiring.EMBEDDED_PORT,
    screen: Annotated[
        str | None, typer.Option(help="terminal | web: a page on this machine; the settings' by default.")
    ] = None,
    web_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of that page, 0 for a free one; the settings' by default."),
    ] = None,
    desk_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Serve the HR desk too, on this port, 0 for a free one; the settings' by default.",
        ),
    ] = None,
    desk_host: Annotated[
        str | None,
        typer.Option(help="Address of the desk; 0.0.0.0 lets the network in; the settings' by default."),
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, max=1000, help="Pictures a second from a folder.")] = 10.0,
    data: DataFolder = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document a line, for each answer on the screen.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Run the kiosk until it is stopped (Ctrl-C, SIGTERM) or a recording has ended.

    People enrolled by another process are known within a second; a lost camera or broker is taken back when
    it returns.
    """
    from glancein.adapters.screen_terminal import TerminalScreen  # noqa: PLC0415  # only here
    from glancein.model_care import ModelWatch  # noqa: PLC0415  # loads the runtime

    start_log(verbose=verbose)
    home = wiring.open_home(data)
    on_web = _is_web(screen or home.settings.screen)
    with contextlib.ExitStack() as stack:
        eye = stack.enter_context(
            contextlib.closing(wiring.open_camera(camera or home.settings.camera, fps=fps))
        )
        stores = stack.enter_context(wiring.open_stores(home))
        feedway = stack.enter_context(
            contextlib.closing(
                wiring.open_feedway(home, stores.ledger, broker=broker or home.settings.broker, port=port)
            )
        )
        terminal = TerminalScreen(as_json=as_json, zone=wiring.time_zone(home.settings.time_zone))
        lines = stack.enter_context(contextlib.closing(wiring.note_attempts(home, terminal, stores.ledger)))
        page = _make_page(home, stores, lines) if on_web else None
        door = wiring.open_kiosk(home, stores, camera=eye, screen=page or lines, feedway=feedway)
        if page is not None:
            from glancein.web.screen.serve import serving  # noqa: PLC0415  # loads the web server

            where = web_port if web_port is not None else home.settings.web_port
            url, _ = stack.enter_context(serving(home, door, page, eye, port=where))
            print(f"the screen is at {url}", file=sys.stderr)
        stack.enter_context(contextlib.closing(wiring.tell_beside(home, lambda: _state_of(door))))
        # As a setting 0 is no desk, as an option a free port.
        own_desk = (home.settings.desk_port or None) if desk_port is None else desk_port
        if own_desk is not None:
            stack.enter_context(_desk_beside(home, door, desk_host or home.settings.desk_host, own_desk))
        print(
            f"kiosk {home.settings.site}/{home.settings.kiosk}: events go to {feedway.broker_url}",
            file=sys.stderr,
        )
        watch = ModelWatch(home, stores.people, door)
        watch.start()
        stack.enter_context(contextlib.closing(watch))
        stop = threading.Event()
        with stopping(stop.set):
            door.run(stop)


@app.command()
def make_key(
    file: Annotated[
        Path, typer.Argument(help="The private key to write; never overwritten.", dir_okay=False)
    ],
    *,
    whose: Annotated[str, typer.Option(help="'kiosk SITE/KIOSK' or 'consumer NAME'.")] = "consumer feed",
) -> None:
    """Make an Ed25519 key and print the line that others add to their list of trusted keys."""
    from glancein.adapters.keys_file import make_key as make  # noqa: PLC0415  # loads cryptography

    match whose.split(" "):
        case ["consumer", name] if name:
            pass
        case ["kiosk", name] if name.count("/") == 1:
            for what, part in zip(("site", "kiosk"), name.split("/"), strict=True):
                check_segment(what, part)
        case _:
            raise InputError(f"--whose {whose!r}: say 'kiosk SITE/KIOSK' or 'consumer NAME'")
    print(f"{whose} {make(file)}")


def _is_web(screen: str) -> bool:
    if screen not in {"terminal", "web"}:
        raise InputError(f"--screen {screen!r} is neither terminal nor web")
    return screen == "web"


@contextlib.contextmanager
def _desk_beside(home: wiring.Home, door: Kiosk, host: str, port: int) -> Iterator[None]:
    """The HR desk in this process, which tells what the kiosk has counted."""
    from glancein.cli.desk import desk_address, tell  # noqa: PLC0415  # as above
    from glancein.web.desk.build import serving_desk  # noqa: PLC0415  # loads the web server

    address = desk_address(host, port)
    with serving_desk(home, address, running=lambda: _state_of(door)) as (server, opened):
        tell(server, opened, address, safer="serve them with glancein desk --certificate … --key …")
        yield


def _state_of(door: Kiosk) -> dict[str, object]:
    """What the kiosk tells of itself; ``camera`` is what is wrong with it."""
    health = door.health
    return {
        "frames": health.frames,
        "recorded": health.recorded,
        "not_recorded": health.not_recorded,
        "enrolled": health.enrolled,
        "camera": health.camera_problem or "",
    }


def _make_page(home: wiring.Home, stores: wiring.Stores, beside: Screen) -> WebScreen:
    from glancein.web.screen.serve import make_screen  # noqa: PLC0415  # loads the web server

    return make_screen(home.settings, stores, beside=beside)
