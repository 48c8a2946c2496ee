"""glancein site: certificates and keys for a company's broker, kiosks and consumers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from glancein.cli.app import AsJson, app
from glancein.cli.output import Output, table

if TYPE_CHECKING:
    from glancein.site.folder import SiteFolder
    from glancein.site.register import Member

SOON_DAYS = 30
EXPIRED = 1
CLIENT_DAYS = 825  # two years and a quarter: a visit each second year
site = typer.Typer(
    help="A certificate authority in a folder: who may speak on the broker.", no_args_is_help=True
)
app.add_typer(site, name="site")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The site's folder; keep it off the network.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name as glancein site list shows it.")]
Days = Annotated[int, typer.Option(min=1, max=3650, help="Days until the certificate expires.")]
Hosts = Annotated[list[str], typer.Option("--broker-host", help="Name or address of the broker; repeatable.")]
Broker = Annotated[str, typer.Option(help="The broker it talks to; the site's first one by default.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The port that the broker listens on.")]


@site.command()
def init(
    folder: Folder,
    *,
    name: Annotated[str, typer.Option(help="Name of the site, as in the topics.")],
    broker_host: Hosts,
    port: Port = 8883,
    days: Days = CLIENT_DAYS,
    as_json: AsJson = False,
) -> None:
    """Make a site's authority and the bundle of its broker. Again with the same names: nothing changes."""
    from glancein.site.folder import FIRST_BROKER, make_site, open_site  # noqa: PLC0415  # loads cryptography
    from glancein.site.register import Kind, Member  # noqa: PLC0415  # as above

    broker = Member(Kind.BROKER, FIRST_BROKER, hosts=tuple(broker_host), port=port)
    is_new = make_site(folder, name=name, broker=broker, days=days, now=_now())
    with open_site(folder, now=_now()) as opened:
        _tell(opened, opened.register.get(broker.name), is_new=is_new, as_json=as_json)


@site.command()
def add_kiosk(
    folder: Folder,
    kiosk: Annotated[str, typer.Argument(metavar="KIOSK", help="Its name in topics and events.")],
    *,
    of_site: Annotated[str, typer.Option("--site", help="Another site than the folder's.")] = "",
    broker: Broker = "",
    days: Days = CLIENT_DAYS,
    as_json: AsJson = False,
) -> None:
    """Make a kiosk's bundle: certificate, signing key, whom to trust, and its settings."""
    from glancein.site.folder import open_site  # noqa: PLC0415  # loads cryptography
    from glancein.site.register import Kind, Member, member_name  # noqa: PLC0415  # as above

    with open_site(folder, now=_now()) as opened:
        name = member_name(Kind.KIOSK, of_site or opened.register.site, kiosk)
        _add(opened, Member(Kind.KIOSK, name), broker=broker, days=days, as_json=as_json)


@site.command()
def add_consumer(
    folder: Folder,
    consumer: Annotated[str, typer.Argument(metavar="NAME", help="Such as hr.")],
    *,
    listen_only: Annotated[
        bool, typer.Option("--listen-only", help="It may read and not acknowledge.")
    ] = False,
    broker: Broker = "",
    days: Days = CLIENT_DAYS,
    as_json: AsJson = False,
) -> None:
    """Make the bundle of somebody who reads the feed: certificate, signing key, every kiosk's public key."""
    from glancein.site.folder import open_site  # noqa: PLC0415  # loads cryptography
    from glancein.site.register import Kind, Member, member_name  # noqa: PLC0415  # as above

    kind = Kind.READER if listen_only else Kind.CONSUMER
    with open_site(folder, now=_now()) as opened:
        wanted = Member(kind, member_name(kind, opened.register.site, consumer))
        _add(opened, wanted, broker=broker, days=days, as_json=as_json)


@site.command()
def add_broker(
    folder: Folder,
    broker: Annotated[str, typer.Argument(metavar="NAME", help="Such as branch.")],
    *,
    broker_host: Hosts,
    port: Port = 8883,
    bridge_to: Annotated[str, typer.Option(help="The broker it passes everything on to.")] = "broker",
    days: Days = CLIENT_DAYS,
    as_json: AsJson = False,
) -> None:
    """Make the bundle of a second broker, bridged to the first."""
    from glancein.site.folder import open_site  # noqa: PLC0415  # loads cryptography
    from glancein.site.register import Kind, Member, member_name  # noqa: PLC0415  # as above

    with open_site(folder, now=_now()) as opened:
        name = member_name(Kind.BROKER, opened.register.site, broker)
        wanted = Member(Kind.BROKER, name, hosts=tuple(broker_host), port=port)
        _add(opened, wanted, broker=bridge_to, days=days, as_json=as_json)


@site.command()
def rotate(folder: Folder, name: Name, *, days: Days = CLIENT_DAYS, as_json: AsJson = False) -> None:
    """Make a new certificate and new keys. The former ones stay good until: glancein site revoke --former."""
    from glancein.site.folder import open_site  # noqa: PLC0415  # loads cryptography

    with open_site(folder, now=_now()) as opened:
        _tell(opened, opened.rotate(name, days=days), is_new=True, as_json=as_json)


@site.command()
def revoke(
    folder: Folder,
    name: Name,
    *,
    former: Annotated[
        bool, typer.Option("--former", help="Only what was replaced by glancein site rotate.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take certificates and keys back; brokers refuse them once they have the new revoked.crl."""
    from glancein.site.folder import open_site  # noqa: PLC0415  # loads cryptography

    with open_site(folder, now=_now()) as opened:
        member = opened.revoke(name, former_only=former)
        gone = sum(issue.revoked_at is not None for issue in member.issues)
        document = _plain(opened, member) | {"copy_again": [str(path) for path in opened.changed]}

        def tell(console: Console) -> None:
            console.print(f"{member.name}: {gone} of {len(member.issues)} certificates revoked", markup=False)
            _tell_changed(console, opened.changed)

        Output(as_json).result(document, tell)


@site.command("list")
def list_members(folder: Folder, *, as_json: AsJson = False) -> None:
    """Show who has a certificate and until when. Exit code 1 if one in use has expired."""
    from glancein.site.folder import open_site  # noqa: PLC0415  # loads cryptography

    with open_site(folder, now=_now()) as opened:
        documents = [_plain(opened, member) for member in opened.register.members]
    rows = [
        tuple(d[key] for key in ("state", "kind", "name", "ends", "days_left", "valid")) for d in documents
    ]
    columns = ("", "kind", "name", "until", "days left", "valid certificates")
    Output(as_json).result(
        documents, lambda console: console.print(table(f"site {opened.register.site}", *columns, rows=rows))
    )
    if any(document["state"] == "expired" for document in documents):
        raise typer.Exit(EXPIRED)


def _add(opened: SiteFolder, wanted: Member, *, broker: str, days: int, as_json: bool) -> None:
    upstream = opened.register.get(broker).name if broker else ""
    member, is_new = opened.add(replace(wanted, upstream=upstream), days=days)
    _tell(opened, member, is_new=is_new, as_json=as_json)


def _tell(opened: SiteFolder, member: Member, *, is_new: bool, as_json: bool) -> None:
    document = _plain(opened, member) | {
        "new": is_new,
        "bundle": str(opened.bundle(member)),
        "copy_again": [str(path) for path in opened.changed],
    }

    def tell(console: Console) -> None:
        words = "made" if is_new else "was there already, nothing changed"
        console.print(f"{member.kind} {member.name}: {words}; good until {document['ends']}", markup=False)
        console.print(f"copy to its machine: {document['bundle']}", markup=False, soft_wrap=True)
        _tell_changed(console, opened.changed)

    Output(as_json).result(document, tell)


def _tell_changed(console: Console, changed: list[Path]) -> None:
    for path in changed:
        console.print(f"copy again, it changed: {path}", markup=False, soft_wrap=True)


def _plain(opened: SiteFolder, member: Member) -> dict[str, object]:
    newest = member.newest
    left = None if newest is None else (newest.ends - opened.now).days
    return {
        "name": member.name,
        "kind": member.kind.value,
        "state": _state(left),
        "ends": None if newest is None else f"{newest.ends:%Y-%m-%d}",
        "days_left": left,
        "valid": len(member.valid),
        "revoked": len(member.issues) - len(member.valid),
    }


def _state(days_left: int | None) -> str:
    if days_left is None:
        return "revoked"
    if days_left < 0:
        return "expired"
    return "expires soon" if days_left < SOON_DAYS else "ok"


def _now() -> datetime:
    """Certificates know no fractions of a second."""
    return datetime.now(UTC).replace(microsecond=0)
