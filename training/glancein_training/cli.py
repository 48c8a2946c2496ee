"""glancein-train: the laboratory's command line."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from glancein_training import studies
from glancein_training.frames import commands
from glancein_training.terminal import (
    CACHE,
    Half,
    Labels,
    Set,
    Split,
    error_console,
    errors_in_words,
    out_console,
)

__all__ = ["app", "errors_in_words", "main"]

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.registered_commands += commands.app.registered_commands  # rank, defects, person-limit, style
studies.add_to(app)


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
    split: Annotated[
        str, typer.Option(help="only this split of the labels; the others pad the galleries")
    ] = "",
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
    table.add_row("area under the curve", report.area_told(found.verification))
    if found.verification.ten_fold:
        table.add_row("ten-fold accuracy", report.accuracy_told(found.verification.ten_fold))
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
    gallery: Annotated[int, typer.Option(help="people enrolled, at most half of them all", min=1)] = 400,
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
    heads = [f"TAR at FAR {rate}" for rate in rows[0].true_accepts]
    table = Table("", *heads, f"FNIR at FPIR 1 %, {rows[0].enrolled:,} enrolled")
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
    people: Annotated[int, typer.Option(min=0, help="draw only this many people; 0 for all")] = 0,
    worse: Annotated[
        bool, typer.Option("--worse", help="26 of each: as it is, and worse in every way of `robustness`")
    ] = False,
    cache: Annotated[Path, typer.Option(help="decoded crops")] = CACHE,
) -> None:
    """Write a pack's crops as picture files on grey, for `glancein embed`: the whole device pipeline."""
    from glancein_training.unpack import unpack as write  # noqa: PLC0415  # numpy and PIL take a while

    with errors_in_words():
        count = write(pack, out, split=split, half=half, people=people, worse=worse, cache=cache)
    out_console.print(f"{count} pictures in {out}")


@app.command()
def robustness(
    embedder: Annotated[
        Path, typer.Argument(help="checkpoint.pt of a run, or an .npz of `unpack --worse` pictures embedded")
    ],
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
    """True accepts against JPEG, pixels between the eyes, blur, rotation and light; one side stays clean.

    Of a checkpoint, on a pack's crops; or of anybody's embeddings, the device pipeline's or a peer's, of the
    pictures that `unpack PACK --worse` writes (then --split, --half and --people were chosen there).
    """
    from glancein_training import robustness as robust  # noqa: PLC0415  # torch takes seconds
    from glancein_training.evaluate.report import percent  # noqa: PLC0415  # as above
    from glancein_training.evaluate.robustness import FAR  # noqa: PLC0415  # as above

    with errors_in_words():
        if embedder.suffix == ".npz":
            rows = robust.measure_embedded(embedder, pack, out, resamples=resamples, seed=seed)
        else:
            choice = robust.Choice(pack, split, half, people)
            rows = robust.measure_checkpoint(
                embedder, choice, out, cache=cache, resamples=resamples, seed=seed
            )
    if all(math.isnan(row.clean.value) for row in rows):
        error_console.print(
            f"fewer than {1 / FAR:,.0f} pairs of strangers tell no FAR of {FAR:g}: take more people"
        )
    heads = ("true accepts at FAR 1e-3", "at the clean pictures' threshold", "false accepts there")
    for row in rows:
        table = Table(row.name, *heads, title=f"clean {percent(row.clean)}")
        figures = zip(
            row.true_accepts, row.accepts_at_clean_limit, row.false_accepts_at_clean_limit, strict=True
        )
        for value, rates in zip(row.values, figures, strict=True):
            table.add_row(f"{value:g} {row.unit}", *(percent(rate) for rate in rates))
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
    start_from: Annotated[Path | None, typer.Option(help="begin a fresh run with kept weights")] = None,
    decay: Annotated[bool, typer.Option("--decay", help="decay from the latest checkpoint")] = False,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="compile the network")] = True,
) -> None:
    """Run or resume a distillation from the teachers' embeddings."""
    from glancein_training import distill as distillation  # noqa: PLC0415  # torch takes seconds
    from glancein_training.configuration import with_settings  # noqa: PLC0415  # as above

    with errors_in_words():
        config = with_settings(distillation.Config(), settings or [])
        distillation.run(
            config, out, cache, minutes=minutes, decay=decay, compiled=compiled, start_from=start_from
        )


@app.command()
def blend(
    first: Annotated[Path, typer.Argument(help="checkpoint.pt or kept weights that the second began from")],
    second: Annotated[Path, typer.Argument(help="checkpoint.pt or kept weights of the later run")],
    out: Annotated[Path, typer.Option(help="file of the blended weights")],
    share: Annotated[
        list[float] | None,
        typer.Option(
            help="how far from the first to the second, 0 to 1, default 0.5; four times for each part of the "
            "network: until 28 px, at 14 px, at 7 px, and the rest"
        ),
    ] = None,
) -> None:
    """Weights between two runs: what the first can still do, with most of what the second learnt."""
    from glancein_training.blend import blend as write  # noqa: PLC0415  # torch takes seconds

    shares = share or [0.5]
    with errors_in_words():
        write(first, second, shares, out)
    told = ", ".join(f"{part:g}" for part in shares)
    out_console.print(f"weights {told} of the way from {first} to {second} in {out}")


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


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
