"""glancein-convert: from a checkpoint to a bundle that a kiosk can trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from glancein.errors import GlanceinError

if TYPE_CHECKING:
    from glancein_convert import bundle

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help=__doc__)
DEFAULT_CACHE = Path("~/.cache/glancein")
REPORTS = Path("runs")  # git ignores it: the report shows development crops
out_console = Console()
error_console = Console(stderr=True)


@app.command()
def export(  # noqa: PLR0913, PLR0917  # every option of a command is an argument
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a training run")],
    out: Annotated[Path, typer.Option(help="folder of the bundle")],
    data: Annotated[Path, typer.Option(help="folder with faces/ and unlabelled/")] = Path("../shared/data"),
    cache: Annotated[Path, typer.Option(help="decoded crops")] = DEFAULT_CACHE,
    report: Annotated[
        Path | None, typer.Option(help="folder of the report; default runs/NAME-report")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="minmax, p99.999, p99.99 or mse; default tries all")
    ] = None,
    people: Annotated[int | None, typer.Option(help="only this many development people: quicker")] = None,
    training_command: Annotated[str, typer.Option(help="goes into the card as it is")] = "",
    key: Annotated[Path | None, typer.Option(help="sign the bundle with this private key")] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="write the bundle although the gate fails")] = False,
) -> None:
    """Convert an embedder, prove it, calibrate it and write its bundle."""
    from glancein_convert import bundle, ranges  # noqa: PLC0415  # torch takes seconds

    methods = ranges.METHODS if method is None else tuple(m for m in ranges.METHODS if m == method)
    request = bundle.Request(
        checkpoint, out, data, cache.expanduser(), report or REPORTS / f"{out.name}-report",
        force=force, methods=methods, people=people, training_command=training_command,
    )  # fmt: skip
    _run(lambda: _export_and_sign(request, key))


@app.command()
def preflight(model: Annotated[Path, typer.Argument(help="an int8 .tflite file")]) -> None:
    """Say for each operator whether the Edge TPU compiler would map it; exit code 1 if one would not."""
    from glancein_convert.preflight import check  # noqa: PLC0415  # the schema is large

    checked = check(model)
    table = Table("", "operator", "version", "output", "MMAC", "why not")
    for o in checked.operators:
        shape = "x".join(map(str, o.output_shape))
        table.add_row(
            str(o.index), o.name, str(o.version), shape, f"{o.macs / 1e6:.2f}", ", ".join(o.reasons)
        )
    out_console.print(table)
    for problem in checked.problems:
        error_console.print(problem)
    mapped = sum(not o.reasons for o in checked.operators)
    out_console.print(
        f"{mapped} of {len(checked.operators)} operators map, {checked.macs / 1e6:.1f} MMAC, "
        f"{checked.parameter_bytes / 1e6:.2f} MB of parameters; not tried on hardware"
    )
    raise typer.Exit(0 if checked.maps_everything else 1)


@app.command()
def new_key(
    path: Annotated[Path, typer.Argument(help="where the private key goes; the public one is .pub")],
) -> None:
    """Make a key pair for signing bundles; kiosks get the .pub file in their models/trusted folder."""
    from glancein_convert import signing  # noqa: PLC0415  # cryptography is only needed here

    _run(lambda: out_console.print(f"private key {path}, public key {signing.new_key(path)}"))


@app.command()
def sign(
    bundle: Annotated[Path, typer.Argument(help="folder of a bundle")],
    key: Annotated[Path, typer.Option(help="private key")],
) -> None:
    """Sign a bundle's card, after checking every hash on it."""
    from glancein_convert import signing  # noqa: PLC0415  # as above

    _run(lambda: out_console.print(f"signed: {signing.sign(bundle, key)}"))


def _export_and_sign(request: bundle.Request, key: Path | None) -> None:
    from glancein_convert import bundle, signing  # noqa: PLC0415  # torch takes seconds

    bundle.export_embedder(request, say=out_console.print)
    if key is not None:
        out_console.print(f"signed: {signing.sign(request.out, key)}")


def _run(act: Callable[[], None]) -> None:
    """Do it; an error of ours becomes one line and its exit code."""
    try:
        act()
    except GlanceinError as err:
        error_console.print(f"glancein-convert: {err}", highlight=False, markup=False)
        raise typer.Exit(err.exit_code) from None


def main() -> None:
    """Entry point."""
    app()
