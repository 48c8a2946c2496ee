"""glancein feed: HR's end of the feed."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from glancein import wiring
from glancein.cli.app import app
from glancein.cli.output import table
from glancein.cli.program import Verbose, start_log, stopping
from glancein.errors import InputError

if TYPE_CHECKING:
    from glancein.adapters.feed_mqtt import Feed
    from glancein.domain.intake import Counts
    from glancein.domain.tails import Sender
    from glancein.domain.wire import KioskState
    from glancein.ports import FeedStore
    from glancein.storage.feed_tables import FeedTables
    from glancein.types import Correction, Event

LIVE_ROWS = 20
_PASSWORD = re.compile(r"password\s*=|//[^/@]*:[^/@]*@")


@app.command()
def feed(
    *,
    broker: Annotated[
        str,
        typer.Option(envvar="GLANCEIN_FEED_BROKER", help="mqtt://host[:port] or mqtts://user:password@host."),
    ] = f"mqtt://127.0.0.1:{wiring.EMBEDDED_PORT}",
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
    postgres: Annotated[
        str | None,
        typer.Option(
            "--postgres",
            envvar="GLANCEIN_FEED_POSTGRES",
            help="Keep in this PostgreSQL database, such as postgresql://payroll@db.example/attendance; the "
            "password comes from PGPASSWORD or ~/.pgpass.",
        ),
    ] = None,
    site: Annotated[str, typer.Option(help="Only this site.")] = "+",
    kiosk_name: Annotated[str, typer.Option("--kiosk", help="Only this kiosk.")] = "+",
    consumer: Annotated[str, typer.Option(help="The name to acknowledge under.")] = "feed",
    signing_key: Annotated[
        str,
        typer.Option(
            envvar="GLANCEIN_FEED_SIGNING_KEY",
            help="Sign acknowledgements with this key (glancein make-key).",
        ),
    ] = "",
    trusted_keys: Annotated[
        str,
        typer.Option(
            envvar="GLANCEIN_FEED_TRUSTED_KEYS", help="Take only events signed by a key in this list."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Receive punches: each once, in order, gaps asked for again, acknowledged after they are safely stored.

    With --csv, --jsonl, --sqlite or --postgres the kiosk may forget an event once it is there. Without one,
    what waits in the kiosk's outbox is shown, then what comes, and all of it stays there. What is wrong with
    a kiosk's stream, such as an old copy of its database in use, is said on standard error and kept in the
    table troubles.
    """
    from glancein.adapters.feed_mqtt import Feed, FeedRules  # noqa: PLC0415  # loads paho
    from glancein.mqtt.broker_url import parse_broker_url  # noqa: PLC0415  # as above

    start_log(verbose=verbose)
    seal = wiring.open_seal(signing_key, trusted_keys)
    store = _store(csv, jsonl, sqlite, postgres)
    looks = store is None
    rules = FeedRules(site, kiosk_name, consumer, follow=follow, seal=seal, only_looks=looks)
    with contextlib.closing(store) if store else contextlib.nullcontext():
        source = Feed(parse_broker_url(broker), store=store, rules=rules, on_error=_complain)
        with stopping(source.stop):
            shown: Counter[Sender] = Counter()
            if as_json or not sys.stdout.isatty():
                _print_lines(_counted(source, shown), as_json=as_json)
            else:
                show_live(_counted(source, shown), Console())
        _sum_up(source.counts)
        if not follow:
            say_what_waits(source, shown)


def print_event(event: Event) -> str:
    """One line: when, who, which way, which kiosk."""
    from glancein.types import CheckIn, Correction, TimeFix  # noqa: PLC0415  # loads numpy

    where = f"{event.site}/{event.kiosk} #{event.seq}"
    when = f"{event.body.moment.wall:%Y-%m-%d %H:%M:%S%z}"
    match event.body:
        case CheckIn() as punch:
            name = f" ({event.name})" if event.name else ""
            who = f"{punch.direction:<3} {punch.person_id}{name}"
            return f"{when} {who} {where} score {punch.score_cos:.3f}"
        case Correction() as said:
            return f"{when} fix {_change(said)} of #{said.of.seq} {where} ({said.reason}; {said.by})"
        case TimeFix() as fix:
            return f"{when} clock was {fix.offset_s:.3f} s behind {where}"


def show_live(events: Iterator[Event], console: Console) -> None:
    """A table of the latest events that fills as they come."""
    rows: list[tuple[object, ...]] = []
    with Live("waiting for punches", console=console) as live:  # a table without rows would break its title
        for count, event in enumerate(events, 1):
            rows = [*rows[1 - LIVE_ROWS :], (print_event(event),)]
            live.update(table("1 event" if count == 1 else f"{count} events", "event", rows=rows))


def say_what_waits(source: Feed, shown: Counter[Sender]) -> None:
    """On standard error: why there was not more, for who looks in for a moment.

    shown: how many events of each site and kiosk.
    """
    if not shown and not source.states:
        _complain(
            "glancein: no kiosk has been at this broker; is one connected, are --site and --kiosk right, "
            "does its access list name this feed?"
        )
    left = [
        _what_waits(state, shown[sender])
        for sender, state in sorted(source.states.items())
        if not state.online or (state.backlog or 0) > shown[sender]
    ]
    for words in left:
        _complain(f"glancein: {words}")
    if not shown and source.states and not left:
        _complain("glancein: nothing waits at the kiosks; --follow shows what comes")


def _what_waits(state: KioskState, shown: int) -> str:
    where, count = f"{state.site}/{state.kiosk}", (state.backlog or 0) - shown
    if not state.online:
        return f"kiosk {where} is not connected; what waits there comes when it is back"
    if shown:
        return f"{count} more wait at kiosk {where} until a feed with a file or database takes the first ones"
    return f"{count} wait at kiosk {where}, which does not answer: does it trust this feed's --signing-key?"


def _change(said: Correction) -> str:
    """``direction=out``, as the payload has it."""
    from glancein.domain.event_body import fields_of  # noqa: PLC0415  # only here

    becomes = fields_of(said)["becomes"]
    return " ".join(f"{name}={value}" for name, value in becomes.items()) if isinstance(becomes, dict) else ""


def _counted(source: Feed, shown: Counter[Sender]) -> Iterator[Event]:
    """The events, counted by site and kiosk."""
    for received in source:
        event = received.event
        shown[event.site, event.kiosk] += 1
        yield event


def _print_lines(events: Iterator[Event], *, as_json: bool) -> None:
    from glancein.domain.wire import encode_event  # noqa: PLC0415  # only here

    for event in events:
        print(encode_event(event).decode() if as_json else print_event(event), flush=True)


def _complain(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _sum_up(counts: Counts) -> None:
    """What was wrong, in one line; nothing when nothing was."""
    wrong = ", ".join(f"{count} {kind.value}" for kind, count in sorted(counts.of.items()))
    if wrong:
        _complain(f"glancein: {counts.new} new events; wrong: {wrong}")


def _store(
    csv: Path | None, jsonl: Path | None, sqlite: Path | None, postgres: str | None
) -> FeedStore | None:
    from glancein.adapters import feed_store  # noqa: PLC0415  # loads sqlite-utils

    if len([given for given in (csv, jsonl, sqlite, postgres) if given is not None]) > 1:
        raise InputError(
            "one of --csv, --jsonl, --sqlite and --postgres: run a second feed for a second place"
        )
    if csv is not None:
        return feed_store.csv_store(csv)
    if jsonl is not None:
        return feed_store.jsonl_store(jsonl)
    return open_database_store(sqlite, postgres) if sqlite or postgres else None


def open_database_store(sqlite: Path | None, postgres: str | None) -> FeedTables:
    """The one of the two that was named. Raises InputError, StoreError."""
    from glancein.feed.reader import open_store  # noqa: PLC0415  # loads paho and the databases

    if postgres is not None and _PASSWORD.search(postgres):
        raise InputError("leave the password out of --postgres: it comes from PGPASSWORD or ~/.pgpass")
    if (sqlite is None) == (postgres is None):
        raise InputError("name the feed's database: --sqlite FILE or --postgres ADDRESS")
    return open_store(sqlite if sqlite is not None else str(postgres))
