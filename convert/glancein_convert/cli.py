"""glancein-convert: from a checkpoint to a bundle that a kiosk can trust."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

import glancein
from glancein.errors import GlanceinError, InputError
from glancein_convert.errors import ConversionError

if TYPE_CHECKING:
    from glancein.model_card import Finding
    from glancein_convert.preflight import Preflight
    from glancein_convert.ranges import Method

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help=__doc__)
DEFAULT_CACHE = Path("~/.cache/glancein")
USUAL_THRESHOLD, USUAL_FALSE_FACES = 0.5, 1.0  # of a finder that nobody has measured yet
FINDER_COMMAND = "sh training/runs/finder.sh"
SHIPPED = Path(glancein.__file__).parent / "models"
# Sums in another order differ in the last bit: with one thread a conversion can be repeated to the byte.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
REPORTS = Path("runs")  # git ignores it: the report shows development crops
out_console = Console()
error_console = Console(stderr=True)


Key = Annotated[
    Path | None,
    typer.Option(envvar="GLANCEIN_RELEASE_KEY", help="sign the bundle with this private key"),
]
Force = Annotated[bool, typer.Option("--force", help="write the bundle although the gate fails")]
Report = Annotated[Path | None, typer.Option(help="folder of the report; default runs/NAME-report")]


@app.command()
def export(  # noqa: PLR0913, PLR0917  # every option of a command is an argument
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a training run")],
    out: Annotated[Path, typer.Option(help="folder of the bundle")],
    data: Annotated[
        Path, typer.Option(help="folder with faces/ and unlabelled/, or with --landmarks one for each person")
    ] = Path("../shared/data"),
    landmarks: Annotated[Path | None, typer.Option(help="FILE.npz of `glancein embed DATA`")] = None,
    cache: Annotated[Path, typer.Option(help="decoded crops")] = DEFAULT_CACHE,
    report: Report = None,
    method: Annotated[
        str | None, typer.Option(help="minmax, p99.999, p99.99 or mse; default tries all")
    ] = None,
    improve: Annotated[
        list[str] | None,
        typer.Option(help="try this too, keep it if it wins: equalised, corrected or tuned; repeatable"),
    ] = None,
    people: Annotated[
        int | None, typer.Option(help="only this many development people: quicker", min=10)
    ] = None,
    training_command: Annotated[str, typer.Option(help="goes into the card as it is")] = "",
    key: Key = None,
    *,
    force: Force = False,
) -> None:
    """Convert an embedder, prove it, calibrate it, write its bundle and sign it."""

    def act() -> None:
        from glancein_convert import bundle, candidates, ranges  # noqa: PLC0415  # torch takes seconds

        wanted = improve or []
        improvements = tuple(i for i in candidates.IMPROVEMENTS if i in wanted)
        if len(improvements) != len(set(wanted)):
            raise ConversionError(f"--improve takes {', '.join(candidates.IMPROVEMENTS)}")
        methods = ranges.METHODS if method is None else (_method(method),)
        _look_at(key)
        request = bundle.Request(
            checkpoint, out, data, cache.expanduser(), report or REPORTS / f"{out.name}-report",
            landmarks=landmarks, force=force, methods=methods, improvements=improvements, people=people,
            training_command=training_command,
        )  # fmt: skip
        bundle.export_embedder(request, say=out_console.print)
        _sign(out, key)

    _run(act)


@app.command()
def export_finder(  # noqa: PLR0913, PLR0917  # as above
    weights: Annotated[Path, typer.Argument(help="weights/finder.pt or a checkpoint of a run")],
    landmarks: Annotated[Path, typer.Argument(help="weights/landmarks.pt")],
    out: Annotated[Path, typer.Option(help="folder of the bundle")],
    data: Annotated[Path, typer.Option(help="labelled pictures")] = Path("../shared/data/finder"),
    report: Report = None,
    method: Annotated[str, typer.Option(help="minmax, p99.999, p99.99 or mse")] = "minmax",
    threshold: Annotated[
        float | None, typer.Option(help="score from which on a box is a face; default 0.5, or OUT's own")
    ] = None,
    false_faces: Annotated[
        float | None, typer.Option(help="false faces a picture at that threshold; default 1, or OUT's own")
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="JSON of measured figures for the card")] = None,
    training_command: Annotated[str, typer.Option(help="goes into the card as it is")] = FINDER_COMMAND,
    key: Key = None,
    *,
    recard: Annotated[
        bool, typer.Option("--recard", help="keep the models of OUT, change only threshold and figures")
    ] = False,
    force: Force = False,
) -> None:
    """Convert the finder and its landmark network, prove them, write their bundle and sign it."""

    def act() -> None:
        from glancein_convert import finder  # noqa: PLC0415  # torch takes seconds

        known = _method(method)
        _look_at(key)
        told = _figures(figures)
        finding = _finding(threshold, false_faces, out if recard else None)
        words = finder.CardWords(finding, told, training_command)
        if recard:
            out_console.print(f"rewrote {finder.recard(out, words)}")
        else:
            where = report or REPORTS / f"{out.name}-report"
            request = finder.FinderRequest(
                weights, landmarks, out, data, where, words, method=known, force=force
            )
            finder.export_finder(request, say=out_console.print)
        _sign(out, key)

    _run(act)


@app.command()
def preflight(
    models: Annotated[
        list[Path] | None, typer.Argument(help="int8 .tflite files; those shipped with glancein by default")
    ] = None,
) -> None:
    """Say for each operator whether the Edge TPU compiler would map it; exit code 1 if one would not.

    Where edgetpu_compiler is on the PATH it is asked as well.
    """
    from glancein_convert.preflight import check  # noqa: PLC0415  # the schema is large

    sound = True

    def act() -> None:
        nonlocal sound
        for model in models or sorted(SHIPPED.rglob("*.tflite")):
            checked = check(model)
            _show(model, checked)
            sound &= checked.maps_everything and _ask_compiler(model)

    _run(act)
    raise typer.Exit(0 if sound else 1)


@app.command()
def embed(  # noqa: PLR0913  # every option of a command is an argument
    model: Annotated[Path, typer.Argument(help="int8 model.tflite of an embedder")],
    pack: Annotated[Path, typer.Argument(help="folder with labels.csv and tars of aligned crops")],
    out: Annotated[Path, typer.Option(help="FILE.npz to write, for `glancein-train evaluate`")],
    split: Annotated[str, typer.Option(help="only this split")] = "",
    most: Annotated[int, typer.Option(help="draw at most this many pictures", min=1)] = 1_000_000,
    *,
    templates: Annotated[
        bool, typer.Option("--templates", help="also what enrolling each crop would store")
    ] = False,
    cache: Annotated[Path, typer.Option(help="decoded crops")] = DEFAULT_CACHE,
) -> None:
    """Embed a pack's aligned crops with an int8 model: the network alone, without the finder."""

    def act() -> None:
        from glancein_convert.embed_pack import embed_pack  # noqa: PLC0415  # torch takes seconds

        count = embed_pack(
            model, pack, out, split=split, most=most, templates=templates, cache=cache.expanduser()
        )
        out_console.print(f"{count} pictures in {out}", markup=False, highlight=False)

    _run(act)


@app.command()
def speed(
    names: Annotated[list[str], typer.Argument(help="members of the family, such as glance-158-96px")],
) -> None:
    """Convert networks with random weights and print each one's int8 milliseconds as a line of JSON."""

    def act() -> None:
        from glancein_convert.speed import measure  # noqa: PLC0415  # torch takes seconds

        for name in names:
            print(json.dumps(asdict(measure(name))), flush=True)

    _run(act)


def _show(model: Path, checked: Preflight) -> None:
    table = Table("", "operator", "version", "output", "MMAC", "why not", title=str(model))
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


def _ask_compiler(model: Path) -> bool:
    """What the compiler itself says; True where there is none."""
    from glancein_convert import edge_tpu  # noqa: PLC0415  # only here

    program = edge_tpu.find_compiler()
    if program is None:
        out_console.print(f"{edge_tpu.COMPILER} is not on the PATH: the table is all there is")
        return True
    with tempfile.TemporaryDirectory() as folder:
        try:
            compiled = edge_tpu.compile_model(program, model, Path(folder))
        except ConversionError as err:
            error_console.print(str(err), markup=False)
            return False
    left = ", ".join(f"{p.count} {p.name}: {p.status}" for p in compiled.on_cpu)
    if not left:
        left = (
            "everything" if compiled.maps_everything else "less than everything; its log does not tell what"
        )
    out_console.print(f"{edge_tpu.COMPILER} {compiled.version}: {left}", markup=False, soft_wrap=True)
    return compiled.maps_everything


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


def _sign(bundle: Path, key: Path | None) -> None:
    from glancein_convert import signing  # noqa: PLC0415  # as above

    if key is None:
        out_console.print("not signed: kiosks take it only with --allow-unsigned (--key signs it)")
    else:
        out_console.print(f"signed: {signing.sign(bundle, key)}")


def _look_at(key: Path | None) -> None:
    """Complain about the key before minutes of work, not after."""
    from glancein_convert import signing  # noqa: PLC0415  # as above

    if key is not None:
        signing.read_key(key)


def _method(name: str) -> Method:
    from glancein_convert import ranges  # noqa: PLC0415  # torch takes seconds

    known = next((m for m in ranges.METHODS if m == name), None)
    if known is None:
        raise ConversionError(f"there is no method {name}: {', '.join(ranges.METHODS)}")
    return known


def _finding(threshold: float | None, false_faces: float | None, recarded: Path | None) -> Finding:
    """What was asked for; the rest from the card that is rewritten, if one is."""
    from glancein.model_card import Finding, read_card  # noqa: PLC0415  # only here

    if threshold is not None and not 0 <= threshold <= 1:
        raise ConversionError(f"--threshold is a score from 0 to 1, not {threshold:g}")
    if false_faces is not None and not 0 <= false_faces < math.inf:
        raise ConversionError(f"--false-faces is a number of faces a picture, not {false_faces:g}")
    before = None if recarded is None else read_card(recarded).finding
    usual = before or Finding(USUAL_THRESHOLD, USUAL_FALSE_FACES)
    return Finding(
        usual.score_threshold if threshold is None else threshold,
        usual.false_faces_per_image if false_faces is None else false_faces,
    )


def _figures(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError) as err:
        raise ConversionError(f"{path} holds no JSON figures: {err}") from err
    if not isinstance(found, dict):
        raise ConversionError(f"{path} holds no JSON object of figures")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _run(act: Callable[[], None]) -> None:
    """Do it; an error of ours, or a file that cannot be used, becomes one line and its exit code."""
    try:
        act()
    except FileNotFoundError as err:
        _complain(f"there is no {err.filename}")
        raise typer.Exit(InputError.exit_code) from None
    except ModuleNotFoundError as err:
        _complain(f"{err.name} is not installed: pip install .[convert]")
        raise typer.Exit(ConversionError.exit_code) from None
    except OSError as err:
        _complain(f"cannot use {err.filename}: {err.strerror}" if err.filename else str(err))
        raise typer.Exit(InputError.exit_code) from None
    except GlanceinError as err:
        _complain(str(err))
        raise typer.Exit(err.exit_code) from None


def _complain(sentence: str) -> None:
    """One line however narrow the terminal: a path that is broken in two cannot be copied."""
    error_console.print(f"glancein-convert: {sentence}", highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Entry point."""
    for name in ONE_THREAD:
        os.environ[name] = "1"
    app()
