"""glancein kiosk and feed: the two programs that run all day."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from glancein import wiring
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.output import table
from glancein.errors import InputError

if TYPE_CHECKING:
    from glancein.adapters.screen_web import WebScreen
    from glancein.kiosk import Kiosk
    from glancein.ports import FeedStore, Screen
    from glancein.types import Event

LIVE_ROWS = 20
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens inside.")]


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
        int, typer.Option(help="Port of the embedded broker, 0 for a free one.")
    ] = wiring.EMBEDDED_PORT,
    screen: Annotated[
        str | None, typer.Option(help="terminal | web: a page on this machine; the settings' by default.")
    ] = None,
    web_port: Annotated[
        int | None, typer.Option(help="Port of that page, 0 for a free one; the settings' by default.")
    ] = None,
    desk_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve the HR desk too, on this port.")
    ] = None,
    desk_host: Annotated[
        str, typer.Option(help="Address of the desk; 0.0.0.0 lets the network in.")
    ] = "127.0.0.1",
    fps: Annotated[float, typer.Option(min=0.1, max=1000, help="Pictures a second from a folder.")] = 10.0,
    data: DataFolder = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run the kiosk until it is stopped (Ctrl-C, SIGTERM) or a recording has ended.

    People enrolled by another process are known within a second; a lost camera or broker is taken back when
    it returns.
    """
    from glancein.adapters.screen_terminal import TerminalScreen  # noqa: PLC0415  # only here
    from glancein.model_care import ModelWatch  # noqa: PLC0415  # loads the runtime

    _start_log(verbose=verbose)
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
        terminal = TerminalScreen(as_json=as_json)
        lines = stack.enter_context(contextlib.closing(wiring.note_attempts(home, terminal)))
        page = _make_page(home, stores, lines) if on_web else None
        door = wiring.open_kiosk(home, stores, camera=eye, screen=page or lines, feedway=feedway)
        if page is not None:
            from glancein.web.screen.serve import serving  # noqa: PLC0415  # loads the web server

            where = web_port if web_port is not None else home.settings.web_port
            url = stack.enter_context(serving(home, door, page, eye, port=where))
            print(f"the screen is at {url}", file=sys.stderr)
        if desk_port is not None:
            stack.enter_context(_desk_beside(home, door, desk_host, desk_port))
        print(
            f"kiosk {home.settings.site}/{home.settings.kiosk}: events go to {feedway.broker_url}",
            file=sys.stderr,
        )
        watch = ModelWatch(home, stores.people, door)
        watch.start()
        stack.enter_context(contextlib.closing(watch))
        stop = threading.Event()
        with _stopping(stop.set):
            door.run(stop)


@app.command()
def feed(
    *,
    broker: Annotated[str, typer.Option(help="mqtt://host[:port] or mqtts://user:password@host.")] = (
        f"mqtt://127.0.0.1:{wiring.EMBEDDED_PORT}"
    ),
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until stopped; else end when it is quiet.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Append to this CSV file.", dir_okay=False)
    ] = None,
    jsonl: Annotated[
        Path | None, typer.Option("--jsonl", help="Append to this JSON-lines file.", dir_okay=False)
    ] = None,
    sqlite: Annotated[
        Path | None, typer.Option("--sqlite", help="Keep in this database.", dir_okay=False)
    ] = None,
    site: Annotated[str, typer.Option(help="Only this site.")] = "+",
    kiosk_name: Annotated[str, typer.Option("--kiosk", help="Only this kiosk.")] = "+",
    signing_key: Annotated[
        str, typer.Option(help="Sign acknowledgements with this key (glancein make-key).")
    ] = "",
    trusted_keys: Annotated[str, typer.Option(help="Take only events signed by a key in this list.")] = "",
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Receive punches: each once, in order, gaps asked for again, acknowledged after they are safely stored.

    With --csv, --jsonl or --sqlite the kiosk may forget an event once it is in that file. Without one,
    events are shown and stay in the kiosk's outbox.
    """
    from glancein.adapters.feed_mqtt import Feed, FeedRules  # noqa: PLC0415  # loads paho
    from glancein.mqtt.broker_url import parse_broker_url  # noqa: PLC0415  # as above

    _start_log(verbose=verbose)
    store = _store(csv, jsonl, sqlite)
    seal = wiring.open_seal(signing_key, trusted_keys)
    rules = FeedRules(site=site, kiosk=kiosk_name, follow=follow, seal=seal)
    source = Feed(
        parse_broker_url(broker),
        store=store,
        rules=rules,
        on_error=lambda words: print(words, file=sys.stderr),
    )
    with contextlib.closing(store) if store else contextlib.nullcontext(), _stopping(source.stop):
        events = (received.event for received in source)
        if as_json or not sys.stdout.isatty():
            _print_lines(events, as_json=as_json)
        else:
            _show_live(events)


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

    kind, _, name = whose.partition(" ")
    if kind not in {"kiosk", "consumer"} or not name or " " in name:
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

    def running() -> dict[str, object]:
        health = door.health
        return {
            "frames": health.frames,
            "recorded": health.recorded,
            "not_recorded": health.not_recorded,
            "enrolled": health.enrolled,
            "camera": health.camera_problem or "",
        }

    address = desk_address(host, port)
    with serving_desk(home, address, running=running) as (server, opened):
        tell(server, opened, address)
        yield


def _make_page(home: wiring.Home, stores: wiring.Stores, beside: Screen) -> WebScreen:
    from glancein.web.screen.serve import make_screen  # noqa: PLC0415  # loads the web server

    return make_screen(home.settings, stores, beside=beside)


def print_event(event: Event) -> str:
    """One line: when, who, which way, which kiosk."""
    punch = event.check_in
    name = f" ({event.name})" if event.name else ""
    return (
        f"{punch.moment.wall:%Y-%m-%d %H:%M:%S%z} {punch.direction:<3} {punch.person_id}{name} "
        f"{event.site}/{event.kiosk} #{event.seq} score {punch.score_cos:.3f}"
    )


def _print_lines(events: Iterator[Event], *, as_json: bool) -> None:
    from glancein.domain.wire import encode_event  # noqa: PLC0415  # only here

    for event in events:
        print(encode_event(event).decode() if as_json else print_event(event), flush=True)


def _show_live(events: Iterator[Event]) -> None:
    """A table of the latest punches that fills as they come."""
    rows: list[tuple[object, ...]] = []
    columns = ("time", "", "person", "name", "kiosk", "#", "score", "clock")
    with Live(table("waiting for punches", *columns, rows=[]), console=Console()) as live:
        for count, event in enumerate(events, 1):
            punch = event.check_in
            time = f"{punch.moment.wall:%Y-%m-%d %H:%M:%S}"
            where = f"{event.site}/{event.kiosk}"
            rows.append(
                (
                    time,
                    punch.direction,
                    punch.person_id,
                    event.name,
                    where,
                    event.seq,
                    punch.score_cos,
                    punch.moment.trust,
                )
            )
            live.update(table(f"{count} punches", *columns, rows=rows[-LIVE_ROWS:]))


def _store(csv: Path | None, jsonl: Path | None, sqlite: Path | None) -> FeedStore | None:
    from glancein.adapters import feed_store  # noqa: PLC0415  # loads sqlite-utils

    chosen = [path for path in (csv, jsonl, sqlite) if path is not None]
    if len(chosen) > 1:
        raise InputError("one of --csv, --jsonl and --sqlite: run a second feed for a second file")
    if csv is not None:
        return feed_store.csv_store(csv)
    if jsonl is not None:
        return feed_store.jsonl_store(jsonl)
    return feed_store.SqliteFeedStore(sqlite) if sqlite is not None else None


@contextlib.contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the work in order instead of at once."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_log(*, verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
