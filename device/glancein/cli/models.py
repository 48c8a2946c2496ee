"""glancein models: which networks are here, are they sound, install others, go back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glancein import wiring
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.output import Output, table

if TYPE_CHECKING:
    from glancein.adapters.model_store import Installed, ModelStore
    from glancein.model_card import Kind

KINDS: tuple[Kind, ...] = ("embedder", "finder")
models = typer.Typer(no_args_is_help=True, help="List, verify, install and take back the networks.")
app.add_typer(models, name="models")


@models.command("list")
def list_models(*, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Show every network on this machine; the first of a kind is the one in use."""
    found = [entry for kind in KINDS for entry in _store(data, kind).listing()]
    rows = [
        (e.card.kind, e.role, e.card.name, e.card.sha256[:16], f"{e.card.size_bytes / 1e6:.2f} MB")
        for e in found
    ]
    Output(as_json).result(
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
    """Check hashes and golden vectors, each network in a process of its own. Exit code 6 at a fault."""
    from glancein.adapters.model_store import try_out  # noqa: PLC0415  # only here
    from glancein.model_card import read_card  # noqa: PLC0415  # as above

    folders = [bundle] if bundle is not None else [_store(data, kind).folder() for kind in KINDS]
    cards = [read_card(folder) for folder in folders]
    for folder, card in zip(folders, cards, strict=True):
        try_out(folder, card.kind)
    Output(as_json).result(
        [{"kind": card.kind, "name": card.name, "sha256": card.sha256, "sound": True} for card in cards],
        lambda console: console.print(
            table("sound", "kind", "name", rows=[(card.kind, card.name) for card in cards])
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

    People enrolled with another embedder must be enrolled again: glancein doctor counts them.
    """
    from glancein.model_card import read_card  # noqa: PLC0415  # only here

    store = _store(data, read_card(bundle).kind)
    card = store.install(bundle, allow_unsigned=allow_unsigned)
    print(f"{card.kind} {card.name} ({card.sha256[:16]}) is in use; restart the kiosk")


@models.command()
def rollback(
    kind: Annotated[str, typer.Argument(help="embedder or finder.")], *, data: DataFolder = None
) -> None:
    """Go back to the network that was in use before."""
    chosen = next((known for known in KINDS if known == kind), None)
    if chosen is None:
        raise typer.BadParameter(f"there is no {kind}: say {' or '.join(KINDS)}")
    card = _store(data, chosen).rollback()
    print(f"{card.name if card else 'the shipped network'} is in use; restart the kiosk")


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
