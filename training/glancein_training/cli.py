"""glancein-train: the laboratory's command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from glancein.errors import GlanceinError, InputError

if TYPE_CHECKING:
    from glancein_training.evaluate.cross import Crossed

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
out_console = Console()
error_console = Console(stderr=True)

CACHE = Path.home() / ".cache/glancein"
Labels = Annotated[Path | None, typer.Option(help="labels.csv with path and identity (or id), split, groups")]
Split = Annotated[str, typer.Option(help="only this split of the labels; others pad the galleries")]
Half = Annotated[str, typer.Option(help="even (to choose on), odd (to report on) or all people")]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of the configuration; repeatable")]


@app.command()
def evaluate(
    embeddings: Annotated[Path, typer.Argument(help="FILE.npz of `glancein embed`, or a teacher's")],
    out: Annotated[Path, typer.Option(help="folder of the report")],
    *,
    labels: Labels = None,
    pairs: Annotated[
        tuple[Path, Path] | None, typer.Option(help="LFW's pairs.txt and the folder of its images")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="folder or packs of pictures: adds errors.png")] = None,
    padding: Annotated[
        Path | None, typer.Option(help="embeddings of strangers to pad galleries with")
    ] = None,
    padding_labels: Annotated[Path | None, typer.Option(help="labels.csv of the padding")] = None,
    split: Split = "",
    half: Half = "all",
    people: Annotated[int, typer.Option(help="draw only this many people; 0 for all")] = 0,
    enrol_from: Annotated[str, typer.Option(help="folder of the badge photos; only they are enrolled")] = "",
    identity_from: Annotated[str, typer.Option(help="without labels: folder, stem or picture")] = "folder",
    drawings: Annotated[int, typer.Option(help="galleries drawn for each size", min=1)] = 20,
    resamples: Annotated[int, typer.Option(help="bootstrap resamples of people", min=2)] = 200,
    seed: int = 0,
    quick: Annotated[bool, typer.Option("--quick", help="without clusters, neighbours and the map")] = False,
) -> None:
    """Measure embeddings: report.json, report.html and, with images, errors.png."""
    from glancein_training.evaluate import command, report  # noqa: PLC0415  # matplotlib takes seconds

    request = command.Request(
        embeddings, labels, pairs[0] if pairs else None, images or (pairs[1] if pairs else None), padding,
        padding_labels, split, half, people, enrol_from, identity_from,
    )  # fmt: skip
    plan = report.Plan(drawings=drawings, resamples=resamples, seed=seed, with_structure=not quick)
    with errors_in_words():
        found = command.evaluate(request, out, plan)
    table = Table(
        "", "with 95 % interval by people", title=f"{found.pictures} pictures, {found.people} people"
    )
    for rate, tar in found.verification.true_accepts.items():
        table.add_row(f"true accepts at FAR {rate}", report.percent(tar))
    table.add_row("equal error rate", report.percent(found.verification.equal_error))
    for row in found.open_set:
        for rate, miss in row.misses.items():
            told = f"misses at FPIR {100 * float(rate):g} %, {row.gallery:,} enrolled"
            table.add_row(told, report.percent(miss))
    out_console.print(table)
    out_console.print(f"{out / 'report.html'}", highlight=False)


@app.command()
def compare(
    embeddings: Annotated[list[Path], typer.Argument(help="FILE.npz of each network, the one to beat first")],
    *,
    labels: Labels = None,
    split: Split = "",
    half: Half = "all",
    gallery: Annotated[int, typer.Option(help="people enrolled", min=1)] = 400,
    resamples: Annotated[int, typer.Option(min=2)] = 200,
    seed: int = 0,
) -> None:
    """Compare networks on the same pictures, with intervals of the differences."""
    from glancein_training.evaluate import command, report  # noqa: PLC0415  # matplotlib takes seconds
    from glancein_training.evaluate.compare import compare as measure  # noqa: PLC0415  # as above
    from glancein_training.evaluate.faces import read_faces  # noqa: PLC0415  # as above

    with errors_in_words():
        named = []
        for path in embeddings:
            request = command.Request(path, labels=labels, split=split, half=half)
            faces = command.chosen_faces(read_faces(path, labels=labels), request, seed=seed)
            named.append((f"{path.parent.name}/{path.stem}", faces))
        rows = measure(named, gallery=gallery, resamples=resamples, seed=seed)
    table = Table("", *(f"TAR at FAR {rate}" for rate in rows[0].true_accepts), "FNIR at FPIR 1 %")
    for row in rows:
        table.add_row(
            row.name, *(report.percent(e) for e in row.true_accepts.values()), report.percent(row.miss)
        )
        if row is not rows[0]:
            gaps = [report.percent(e) for e in row.true_accepts_difference.values()]
            table.add_row("  difference", *gaps, report.percent(row.miss_difference))
    out_console.print(table)


@app.command()
def embed(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a run")],
    pack: Annotated[Path, typer.Argument(help="folder with labels.csv and tars")],
    out: Annotated[Path, typer.Option(help="FILE.npz to write")],
    split: Annotated[str, typer.Option(help="only this split")] = "",
    cache: Annotated[Path, typer.Option(help="decoded crops")] = CACHE,
) -> None:
    """Embed a pack with a checkpoint, for `evaluate` and `compare`."""
    from glancein_training.embed import embed_pack  # noqa: PLC0415  # torch takes seconds

    with errors_in_words():
        count = embed_pack(checkpoint, pack, out, cache=cache, split=split)
    out_console.print(f"{count} pictures in {out}")


@app.command()
def unpack(
    pack: Annotated[Path, typer.Argument(help="folder with labels.csv and tars")],
    out: Annotated[Path, typer.Option(help="folder of the pictures")],
    *,
    split: Annotated[str, typer.Option(help="only this split")] = "",
    half: Half = "all",
    cache: Annotated[Path, typer.Option(help="decoded crops")] = CACHE,
) -> None:
    """Write a pack's crops as picture files on grey, for `glancein embed`: the whole device pipeline."""
    from glancein_training.unpack import unpack as write  # noqa: PLC0415  # numpy and PIL take a while

    with errors_in_words():
        count = write(pack, out, split=split, half=half, cache=cache)
    out_console.print(f"{count} pictures in {out}")


@app.command()
def robustness(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a run")],
    pack: Annotated[Path, typer.Argument(help="folder with labels.csv and tars")],
    out: Annotated[Path, typer.Option(help="folder of robustness.json and a plot for each disturbance")],
    *,
    split: Annotated[str, typer.Option(help="only this split")] = "val",
    half: Half = "all",
    people: Annotated[int, typer.Option(help="draw only this many people; 0 for all")] = 150,
    resamples: Annotated[int, typer.Option(min=2)] = 100,
    seed: int = 0,
    cache: Annotated[Path, typer.Option(help="decoded crops")] = CACHE,
) -> None:
    """True accepts against JPEG, pixels between the eyes, blur, rotation and light; one side stays clean."""
    from glancein_training import robustness as robust  # noqa: PLC0415  # torch takes seconds
    from glancein_training.evaluate.report import percent  # noqa: PLC0415  # as above

    choice = robust.Choice(pack, split, half, people)
    with errors_in_words():
        rows = robust.measure_checkpoint(checkpoint, choice, out, cache=cache, resamples=resamples, seed=seed)
    for row in rows:
        table = Table(row.name, "true accepts at FAR 1e-3", title=f"clean {percent(row.clean)}")
        for value, rate in zip(row.values, row.true_accepts, strict=True):
            table.add_row(f"{value:g} {row.unit}", percent(rate))
        out_console.print(table)


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="folder of the run: checkpoint.pt, config.json, curve.csv")],
    settings: Set = None,
    cache: Annotated[Path, typer.Option(help="decoded crops")] = CACHE,
    minutes: Annotated[float, typer.Option(help="stop after this long, with a checkpoint")] = 1e9,
) -> None:
    """Train or resume an embedder from identities alone; under torchrun, in several processes."""
    from glancein_training import train as training  # noqa: PLC0415  # torch takes seconds
    from glancein_training.configuration import with_settings  # noqa: PLC0415  # as above

    with errors_in_words():
        training.run(with_settings(training.Config(), settings or []), out, cache, minutes=minutes)


@app.command()
def distill(
    out: Annotated[Path, typer.Argument(help="folder of the run: checkpoint.pt, config.json, curve.csv")],
    settings: Set = None,
    cache: Annotated[Path, typer.Option(help="decoded crops")] = CACHE,
    minutes: Annotated[float, typer.Option(help="stop after this long, with a checkpoint")] = 1e9,
    *,
    decay: Annotated[bool, typer.Option("--decay", help="decay from the latest checkpoint")] = False,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="compile the network")] = True,
) -> None:
    """Run or resume a distillation from the teachers' embeddings."""
    from glancein_training import distill as distillation  # noqa: PLC0415  # torch takes seconds
    from glancein_training.configuration import with_settings  # noqa: PLC0415  # as above

    with errors_in_words():
        config = with_settings(distillation.Config(), settings or [])
        distillation.run(config, out, cache, minutes=minutes, decay=decay, compiled=compiled)


@app.command()
def patches(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a run, or kept weights")],
    images: Annotated[Path, typer.Argument(help="a pack, or the folder that --landmarks were found in")],
    out: Annotated[Path, typer.Option(help="PNG to write; it shows faces")],
    *,
    landmarks: Annotated[Path | None, typer.Option(help="FILE.npz of `glancein embed IMAGES`")] = None,
    most: Annotated[int, typer.Option(help="look at this many pictures of a pack", min=1)] = 1000,
    channels: Annotated[int, typer.Option(help="channels of each layer", min=1)] = 8,
    count: Annotated[int, typer.Option(help="patches of each channel", min=1)] = 4,
    cache: Annotated[Path, typer.Option(help="decoded crops")] = CACHE,
) -> None:
    """What each layer sees: the patches that excite its most selective channels, as one picture."""
    import numpy as np  # noqa: PLC0415  # beside its only use

    from glancein_training import packs, people  # noqa: PLC0415  # torch takes seconds
    from glancein_training import patches as seen  # noqa: PLC0415  # as above
    from glancein_training.checkpoints import load_network  # noqa: PLC0415  # as above

    with errors_in_words():
        network = load_network(checkpoint)
        crops = people.load_people(images, landmarks) if landmarks else packs.load(images, cache=cache)
        rows = np.sort(np.random.default_rng(0).permutation(len(crops))[:most])
        seen.draw(network, crops.pixels[rows], out, channels=channels, count=count)
    out_console.print(f"{out}", highlight=False)


@app.command()
def harmonic(
    out: Annotated[Path, typer.Argument(help="folder of the run: checkpoint.pt, config.json, harmonic.json")],
    settings: Set = None,
    cache: Annotated[Path, typer.Option(help="decoded crops and features")] = CACHE,
) -> None:
    """Fit a new network to an old one's vectors, so that old templates still match; and what it costs."""
    from glancein_training import harmonic as harmony  # noqa: PLC0415  # torch takes seconds
    from glancein_training.configuration import with_settings  # noqa: PLC0415  # as above

    with errors_in_words():
        show_cross(harmony.run(with_settings(harmony.Config(), settings or []), out, cache))


@app.command()
def cross(
    old: Annotated[Path, typer.Argument(help="FILE.npz of the network that made the templates")],
    new: Annotated[Path, typer.Argument(help="FILE.npz of the network that looks, same pictures")],
    *,
    labels: Labels = None,
    split: Split = "",
    half: Half = "all",
    resamples: Annotated[int, typer.Option(min=2)] = 100,
    seed: int = 0,
) -> None:
    """True accepts when one network enrolled and another one looks."""
    from glancein_training.evaluate import command  # noqa: PLC0415  # matplotlib takes seconds
    from glancein_training.evaluate.compare import in_order  # noqa: PLC0415  # as above
    from glancein_training.evaluate.cross import cross as measure  # noqa: PLC0415  # as above
    from glancein_training.evaluate.faces import read_faces  # noqa: PLC0415  # as above

    with errors_in_words():
        faces = [
            command.chosen_faces(
                read_faces(path, labels=labels),
                command.Request(path, labels=labels, split=split, half=half),
                seed=seed,
            )
            for path in (old, new)
        ]
        new_faces = in_order(faces[1], new.stem, (old.stem, faces[0]))
        show_cross(measure(faces[0], new_faces, resamples=resamples, seed=seed))


def show_cross(found: Crossed) -> None:
    """Three lines: both old, both new, and one of each."""
    from glancein_training.evaluate.report import percent  # noqa: PLC0415  # matplotlib takes seconds

    table = Table("true accepts", *(f"FAR {rate}" for rate in found.new_new), title="95 % interval by people")
    for name, rows in (
        ("old templates, old looks", found.old_old),
        ("new templates, new looks", found.new_new),
        ("old templates, new looks", found.new_old),
    ):
        table.add_row(name, *(percent(rate) for rate in rows.values()))
    table.columns[0].no_wrap = True
    out_console.print(table)


@app.command()
def networks(
    names: Annotated[
        list[str] | None, typer.Argument(help="such as glance-158-96px-256d; default: the family")
    ] = None,
    *,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="convert each and time it in int8, 10 s apiece")
    ] = True,
    runs: Annotated[
        list[Path] | None, typer.Option("--run", help="folder of a finished run, for --plot; repeatable")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="SVG or PNG: accuracy of the runs over MMAC, else milliseconds")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON list instead of a table")] = False,
) -> None:
    """Parameters, multiply-accumulates, int8 size and int8 milliseconds of every member of the family."""
    from glancein_training import cost  # noqa: PLC0415 # torch takes seconds
    from glancein_training.evaluate import plots  # noqa: PLC0415 # as above
    from glancein_training.networks import FAMILY  # noqa: PLC0415 # as above

    absent = cost.lacking() if measure else []
    if absent:
        error_console.print(f"no milliseconds: {', '.join(absent)} not installed; pip install .[convert]")
    with errors_in_words():
        found = cost.costs(names or list(FAMILY), measure=measure and not absent)
        if plot is not None and runs:
            plots.save(cost.accuracy_plot([cost.bought(run) for run in runs]), plot)
        elif plot is not None:
            if all(c.int8_ms is None for c in found):
                raise InputError("there are no milliseconds to plot; install the converter, or give --run")
            plots.save(cost.time_plot(found), plot)
    if as_json:
        print(json.dumps([asdict(c) for c in found], indent=1))
        return
    table = Table("network", "parameters", "MMAC", "int8 MB", "int8 ms", "input", "embedding")
    for c in found:
        took = "-" if c.int8_ms is None else f"{c.int8_ms:.2f}"
        table.add_row(
            c.name, f"{c.parameters / 1e6:.2f} M", f"{c.macs / 1e6:.1f}", f"{c.int8_bytes / 1e6:.2f}", took,
            f"{c.input_px} px", str(c.embedding),
        )  # fmt: skip
    out_console.print(table)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def export(
    context: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.pt of a run")],
    out: Annotated[Path, typer.Option(help="folder of the bundle")],
) -> None:
    """Convert a checkpoint to an int8 bundle; further options go to `glancein-convert export`."""
    # A process of its own: the laboratory does not import the converter, whose libraries are another extra.
    words = [
        sys.executable,
        "-m",
        "glancein_convert",
        "export",
        str(checkpoint),
        "--out",
        str(out),
        *context.args,
    ]
    raise typer.Exit(subprocess.run(words, check=False).returncode)  # noqa: S603  # our own program


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Ours and missing files as one line and an exit code, without a traceback."""
    try:
        yield
    except FileNotFoundError as err:
        error_console.print(f"glancein-train: there is no {err.filename}", highlight=False, markup=False)
        raise typer.Exit(InputError.exit_code) from None
    except GlanceinError as err:
        error_console.print(f"glancein-train: {err}", highlight=False, markup=False)
        raise typer.Exit(err.exit_code) from None


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
