"""glancein connect: punches from the feed's database to other HR systems."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console

from glancein.cli.app import AsJson, app
from glancein.cli.feed import open_database_store, print_event
from glancein.cli.output import Output, table
from glancein.cli.program import Verbose, start_log, stopping
from glancein.errors import InputError, SettingsError

if TYPE_CHECKING:
    from glancein.connect.courier import Round
    from glancein.connect.http_link import Site
    from glancein.domain.delivery import Held, Line, Tally
    from glancein.ports import Remote
    from glancein.storage.feed_tables import FeedTables

LARGEST_SECRET = 4096
MOST_SHOWN = 50
# The kiosk's page takes a "Not you?" for 20 s: what is taken back then need never get there.
SETTLE_S = 30.0
connect = typer.Typer(
    help="""Carry punches from the feed's database to other HR systems.

    First glancein feed --follow fills a database; then one of these carries every event on, once, in order,
    until the other side has it. What the other side refuses is kept with its own words: see it with
    glancein connect status, put it right there, and send it again with glancein connect retry. Each can be
    run from cron (--once, the default) or as a service (--follow), and may be killed at any moment.
    Secrets come from the environment or a file, never from the command line.""",
    no_args_is_help=True,
)
app.add_typer(connect, name="connect")

Sqlite = Annotated[
    Path | None, typer.Option("--sqlite", help="The feed's SQLite database.", dir_okay=False, exists=True)
]
Postgres = Annotated[
    str | None,
    typer.Option(
        "--postgres",
        envvar="GLANCEIN_FEED_POSTGRES",
        help="The feed's PostgreSQL database; no password here.",
    ),
]
Follow = Annotated[
    bool, typer.Option("--follow/--once", help="Go on until stopped, or hand over what is due.")
]
OnlyNew = Annotated[
    bool, typer.Option("--only-new", help="At its very first run: leave what the database holds already.")
]
Url = Annotated[str, typer.Argument(metavar="URL", help="Where it is: https://…")]
Ca = Annotated[
    Path | None, typer.Option(help="Trust the certificates in this PEM file instead of the system's.")
]
SecretFile = Annotated[
    Path | None, typer.Option(help="File that holds the secret; readable by its owner only.", dir_okay=False)
]
Hold = Annotated[
    float,
    typer.Option(min=0, help="Hours that a punch with an unset clock waits for its true time."),
]


@connect.command()
def webhook(
    url: Url,
    *,
    sqlite: Sqlite = None,
    postgres: Postgres = None,
    name: Annotated[str, typer.Option(help="Under which it keeps its place.")] = "webhook",
    secret_file: SecretFile = None,
    ca: Ca = None,
    only_new: OnlyNew = False,
    follow: Follow = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """POST every event to an address of yours, signed with HMAC-SHA256 as Standard Webhooks has it.

    The secret is in GLANCEIN_WEBHOOK_SECRET or --secret-file: "whsec_" and at least 24 bytes in base64.
    Answer 2xx when you have the event; webhook-id is the same whenever it is sent again. 400, 413, 415 and
    422 refuse it for good; everything else is tried again.
    """
    _want_httpx()
    from glancein.connect.webhook import Webhook  # noqa: PLC0415  # an extra

    secret = _secret("GLANCEIN_WEBHOOK_SECRET", secret_file)
    with _database(sqlite, postgres) as store:
        _run(
            store,
            Webhook(_site(url, ca), secret),
            _line(name, only_new=only_new),
            _How(follow, as_json, verbose),
        )


@connect.command()
def csv(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to drop files into.")],
    *,
    sqlite: Sqlite = None,
    postgres: Postgres = None,
    name: Annotated[str, typer.Option(help="Under which it keeps its place.")] = "csv",
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows in a file, at most.")] = 500,
    hold: Hold = 24.0,
    only_new: OnlyNew = False,
    follow: Follow = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Drop CSV files of punches into a folder: whole files only, no name twice, no cell that is a formula.

    Later corrections are rows of their own: corrects names the row, becomes the column that changes.
    """
    from glancein.connect.csv_drop import CsvDrop  # noqa: PLC0415  # only here

    line = _line(name, only_new=only_new, hold_h=hold, settle_s=SETTLE_S)
    with _database(sqlite, postgres) as store:
        _run(store, CsvDrop(folder, most=rows), line, _How(follow, as_json, verbose))


@connect.command()
def frappe(
    url: Url,
    *,
    sqlite: Sqlite = None,
    postgres: Postgres = None,
    name: Annotated[str, typer.Option(help="Under which it keeps its place.")] = "frappe",
    field: Annotated[
        str, typer.Option(help="The field of Employee that holds the kiosk's person ids.")
    ] = "attendance_device_id",
    zone: Annotated[
        str, typer.Option(help="Time zone in the site's System Settings; empty: as the kiosk's clock shows.")
    ] = "",
    secret_file: SecretFile = None,
    ca: Ca = None,
    hold: Hold = 24.0,
    only_new: OnlyNew = False,
    follow: Follow = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Make Employee Checkins in Frappe HR, by its endpoint for time clocks.

    GLANCEIN_FRAPPE_TOKEN or --secret-file holds "api_key:api_secret" of a user who may create Employee
    Checkin (and read it and Employee). A punch that Frappe has already counts as handed over.
    """
    _want_httpx()
    from glancein.connect.frappe import Frappe, FrappeRules  # noqa: PLC0415  # an extra

    token = _secret("GLANCEIN_FRAPPE_TOKEN", secret_file)
    line = _line(name, only_new=only_new, hold_h=hold, settle_s=SETTLE_S)
    rules = FrappeRules(field, _zone(zone))
    with _database(sqlite, postgres) as store:
        _run(store, Frappe(_site(url, ca), token, rules=rules), line, _How(follow, as_json, verbose))


@connect.command()
def odoo(
    url: Url,
    *,
    database: Annotated[str, typer.Option(help="Name of the Odoo database.")],
    user: Annotated[str, typer.Option(help="Login of the user whose rights are used.")],
    sqlite: Sqlite = None,
    postgres: Postgres = None,
    name: Annotated[str, typer.Option(help="Under which it keeps its place.")] = "odoo",
    field: Annotated[
        str, typer.Option(help="The field of hr.employee that holds the kiosk's person ids: Badge ID.")
    ] = "barcode",
    secret_file: SecretFile = None,
    ca: Ca = None,
    hold: Hold = 24.0,
    only_new: OnlyNew = False,
    follow: Follow = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Open and close attendances in Odoo over JSON-RPC.

    GLANCEIN_ODOO_SECRET or --secret-file holds the user's API key or password; the user needs the rights of
    Attendances: Officer. An in opens an attendance, an out closes the open one; what Odoo's rules forbid,
    such as a second in without an out, is refused with its words and waits for a person.
    """
    _want_httpx()
    from glancein.connect.odoo import Odoo, OdooLogin  # noqa: PLC0415  # an extra

    login = OdooLogin(database, user, _secret("GLANCEIN_ODOO_SECRET", secret_file), field)
    line = _line(name, only_new=only_new, hold_h=hold, settle_s=SETTLE_S)
    with _database(sqlite, postgres) as store:
        _run(store, Odoo(_site(url, ca), login), line, _How(follow, as_json, verbose))


@connect.command()
def status(
    *,
    sqlite: Sqlite = None,
    postgres: Postgres = None,
    as_json: AsJson = False,
) -> None:
    """Show how many events stand where, and why some did not get through."""
    from glancein.domain.delivery import State  # noqa: PLC0415  # only here

    with _database(sqlite, postgres) as store:
        tallies = store.tallies()
        held = {
            tally.connector: [
                one
                for state in (State.REFUSED, State.FAILED)
                for one in store.held(tally.connector, state, most=MOST_SHOWN)
            ]
            for tally in tallies
        }
    document = [_tally_document(tally, held[tally.connector]) for tally in tallies]
    Output(as_json).result(document, lambda console: _show_status(console, tallies, held))


@connect.command()
def retry(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The connector, as status shows it.")],
    *,
    number: Annotated[
        int | None, typer.Option(min=1, help="Only the event with this number in status; all without it.")
    ] = None,
    sqlite: Sqlite = None,
    postgres: Postgres = None,
    as_json: AsJson = False,
) -> None:
    """Try refused events again, after what was wrong at the other side has been put right."""
    with _database(sqlite, postgres) as store:
        if name not in {tally.connector for tally in store.tallies()}:
            raise InputError(f"there is no connector {name!r}; glancein connect status lists them")
        count = store.again(name, number)
    Output(as_json).result(
        {"again": count}, lambda console: console.print(f"{count} events will be tried again")
    )


@dataclass(frozen=True, slots=True)
class _How:
    """The switches that every connector has."""

    follow: bool
    as_json: bool
    verbose: bool


def _run(store: FeedTables, remote: Remote, line: Line, how: _How) -> None:
    """Hand over what is due, once or until stopped; exit code 1 if something did not get through."""
    from glancein.connect.courier import Courier, Round  # noqa: PLC0415  # only here

    start_log(verbose=how.verbose)
    with contextlib.closing(remote), store.only_one(line.name):
        courier = Courier(store, remote, line=line)
        if how.follow:
            stop = threading.Event()
            with stopping(stop.set):
                courier.follow(stop, lambda done: _tell(line.name, done, how))
            return
        done = courier.round()
    _tell(line.name, done, how)
    if done != Round(done=done.done):
        raise typer.Exit(1)


def _tell(name: str, done: Round, how: _How) -> None:
    """What a round did: one document of --once, one line for each round of --follow."""
    document = {
        "connector": name,
        "done": done.done,
        "refused": done.refused,
        "failed": done.failed,
        "words": done.words,
        "again_at": _time(done.again_at),
    }
    line = f"{name}: {done.done} handed over, {done.refused} refused, {done.failed} to be tried again"
    words = f"; {done.words}; again at {_time(done.again_at)}" if done.words else ""
    if how.follow:
        Output(how.as_json).line(document, line + words)
    else:
        Output(how.as_json).result(document, lambda _: print(line + words))


def _tally_document(tally: Tally, held: list[Held]) -> dict[str, object]:
    return {
        "connector": tally.connector,
        "counts": {state.value: count for state, count in tally.counts.items()},
        "words": tally.standing.words,
        "again_at": _time(tally.standing.retry_at),
        "held": [
            {
                "number": one.number,
                "state": one.state.value,
                "event": one.event.id.word,
                "attempts": one.attempts,
                "again_at": _time(one.retry_at),
                "words": one.words,
            }
            for one in held
        ],
    }


def _show_status(console: Console, tallies: list[Tally], held: dict[str, list[Held]]) -> None:
    from glancein.domain.delivery import State  # noqa: PLC0415  # only here

    rows = [
        (tally.connector, *(tally.counts.get(state, 0) for state in State), tally.standing.words)
        for tally in tallies
    ]
    console.print(table("connectors", "name", *(state.value for state in State), "now", rows=rows))
    for name, ones in held.items():
        if ones:
            lines = [(one.number, one.state.value, print_event(one.event), one.words) for one in ones]
            console.print(table(f"{name}: not there yet", "number", "state", "event", "why", rows=lines))


def _line(name: str, *, only_new: bool, hold_h: float | None = None, settle_s: float = 0.0) -> Line:
    """Without ``hold_h`` the other side gets everything at once, time fixes too."""
    from glancein.domain.delivery import Line  # noqa: PLC0415  # only here

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InputError(f"--name {name[:70]!r}: use up to 64 letters, digits, '.', '_' or '-'")
    return Line(
        name, hold_s=(hold_h or 0.0) * 3600, settle_s=settle_s, fixes=hold_h is None, only_new=only_new
    )


def _want_httpx() -> None:
    if find_spec("httpx") is None:
        raise InputError("this connector needs its libraries: pip install 'glancein[connect]'")


def _database(sqlite: Path | None, postgres: str | None) -> contextlib.closing[FeedTables]:
    return contextlib.closing(open_database_store(sqlite, postgres))


def _site(url: str, ca: Path | None) -> Site:
    from glancein.connect.http_link import Site  # noqa: PLC0415  # an extra

    return Site(url, ca)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"there is no time zone {name!r}; write it like Europe/Berlin") from None


def _secret(variable: str, file: Path | None) -> str:
    """From the file if there is one, else from the environment. Raises SettingsError, never repeats it."""
    if file is None:
        given = os.environ.get(variable, "").strip()
        if not given:
            raise SettingsError(f"no secret: put it into {variable}, or name a file with --secret-file")
        return given
    try:
        if file.stat().st_mode & 0o007:
            raise SettingsError(f"everybody may read {file}: chmod 600 {file}")
        given = file.read_bytes()[:LARGEST_SECRET].decode().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"cannot read the secret in {file}: {err}") from None
    if not given:
        raise SettingsError(f"{file} is empty")
    return given


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
