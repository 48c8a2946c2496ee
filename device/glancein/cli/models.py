"""glancein models: which networks are here, are they sound, install others, go back."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glancein import wiring
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.output import Output, table
from glancein.cli.refusal import refusals_told

if TYPE_CHECKING:
    from glancein.adapters.model_store import Installed, ModelStore
    from glancein.model_card import Kind

GENTLY = 10  # a kiosk on the same machine goes first
KINDS: tuple[Kind, ...] = ("embedder", "finder")
models = typer.Typer(no_args_is_help=True, help="List, verify, install and take back the networks.")
app.add_typer(models, name="models")


@models.command("list")
def list_models(*, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Show every network on this machine; the first of a kind is the one in use."""
    output = Output(as_json)
    with refusals_told(output):
        found = [entry for kind in KINDS for entry in _store(data, kind).listing()]
    rows = [
        (e.card.kind, e.role, e.card.name, e.card.sha256[:16], f"{e.card.size_bytes / 1e6:.2f} MB")
        for e in found
    ]
    output.result(
        [_plain(entry) for entry in found],
        lambda console: console.print(
            table("networks", "kind", "role", "name", "SHA-256", "size", rows=rows)
        ),
    )


@models.command()
def verify(
    bundle: Annotated[
        Path | None, typer.Argument(help="Folder of a bundle; by default those in use.")
    ] = None,
    *,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Check hashes, signature and golden vectors, each in a process of its own. Exit code 6 at a fault.

    A bundle without a signature is named as such; only install insists on one.
    """
    from glancein.adapters.model_store import try_out  # noqa: PLC0415  # only here
    from glancein.model_card import read_card  # noqa: PLC0415  # as above

    output = Output(as_json)
    with refusals_told(output):
        folders = [bundle] if bundle is not None else [_store(data, kind).folder() for kind in KINDS]
        cards = [read_card(folder) for folder in folders]
        signers = []
        for folder, card in zip(folders, cards, strict=True):
            signers.append(_store(data, card.kind).signed_by(folder))
            try_out(folder, card.kind)
    found = list(zip(cards, signers, strict=True))
    output.result(
        [
            {"kind": c.kind, "name": c.name, "sha256": c.sha256, "sound": True, "signed_by": who}
            for c, who in found
        ],
        lambda console: console.print(
            table(
                "sound",
                "kind",
                "name",
                "signed by",
                rows=[(c.kind, c.name, who or "nobody") for c, who in found],
            )
        ),
    )


@models.command()
def install(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    *,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Take a bundle that nobody has signed.")
    ] = False,
    data: DataFolder = None,
) -> None:
    """Verify a bundle, try it, and switch to it; the one in use is kept for rollback.

    Of a new embedder, everybody first gets a template from the stored photo crop; until that is done the old
    one serves. A running kiosk takes an embedder over by itself and a finder at its next start.
    """
    from glancein.model_card import read_card  # noqa: PLC0415  # only here

    found = read_card(bundle)
    home = wiring.open_home(data)
    store = wiring.model_store(home, found.kind)
    later = found.kind == "embedder" and _has_to_wait(home, found.sha256)
    card = store.install(bundle, allow_unsigned=allow_unsigned, later=later)
    print(f"{card.kind} {card.name} ({card.sha256[:16]}) is installed")
    if card.kind == "embedder":
        _renew(home)


@models.command()
def renew(*, data: DataFolder = None) -> None:
    """Give everybody a template of the embedder that waits or is in use; exit code 1 if somebody is left.

    A kiosk does so by itself; this goes on with an install that was interrupted.
    """
    from glancein.renewal import SOMEBODY_LEFT  # noqa: PLC0415  # loads numpy

    home = wiring.open_home(data)
    os.nice(GENTLY)
    if not _renew(home):
        raise typer.Exit(SOMEBODY_LEFT)


@models.command()
def rollback(
    kind: Annotated[str, typer.Argument(help="embedder or finder.")], *, data: DataFolder = None
) -> None:
    """Go back to the network that was in use before; one that is still waiting is forgotten."""
    chosen = next((known for known in KINDS if known == kind), None)
    if chosen is None:
        raise typer.BadParameter(f"there is no {kind}: say {' or '.join(KINDS)}")
    card = _store(data, chosen).rollback()
    print(f"{card.name if card else 'the shipped network'} is in use")
    if chosen == "embedder":
        _renew(wiring.open_home(data))


def _has_to_wait(home: wiring.Home, model_sha256: str) -> bool:
    with closing(wiring.open_people(home)) as people:
        return bool(people.lacking(model_sha256))


def _renew(home: wiring.Home) -> bool:
    """Renew the gallery and say what was done; False if somebody is left."""
    from glancein.model_care import renew_gallery  # noqa: PLC0415  # loads the runtime

    done = renew_gallery(home)
    if done is None:
        print("another process is renewing the gallery")
        return True
    if done.made:
        print(f"{done.made} templates made from stored crops")
    if done.switched:
        print("the new embedder is in use")
    if done.left:
        print(f"enrol again, with a photo: {', '.join(done.left)}", file=sys.stderr)
    return not done.left


def _store(data: Path | None, kind: Kind) -> ModelStore:
    return wiring.model_store(wiring.open_home(data), kind)


def _plain(entry: Installed) -> dict[str, object]:
    card = entry.card
    return {
        "kind": card.kind,
        "role": entry.role,
        "name": card.name,
        "sha256": card.sha256,
        "size_bytes": card.size_bytes,
        "folder": str(entry.folder),
    }
