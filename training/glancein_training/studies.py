"""Commands that look into networks: what they cost, what they see, whether two of them agree."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from glancein.errors import InputError
from glancein_training.figures import to_json
from glancein_training.outputs import check_ending
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

if TYPE_CHECKING:
    from glancein_training.evaluate.cross import Crossed


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
        check_ending(out, seen.ENDINGS)
        network = load_network(checkpoint)
        if landmarks is None:
            pixels = packs.load(images, cache=cache).pixels
        else:
            pixels = people.cut_all(images, *people.faces_in(landmarks))
        rows = np.sort(np.random.default_rng(0).permutation(len(pixels))[:most])
        seen.draw(network, pixels[rows], out, channels=channels, count=count)
    out_console.print(f"{out}", highlight=False)


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

    with errors_in_words():
        if runs and plot is None:
            raise InputError("--run is for a plot: say where with --plot, such as --plot runs.svg")
        if plot is not None:
            check_ending(plot, plots.ENDINGS)
        absent = cost.lacking() if measure else []
        if absent:
            error_console.print(f"no milliseconds: {', '.join(absent)} not installed; pip install .[convert]")
        found = cost.costs(names or list(FAMILY), measure=measure and not absent)
        if plot is not None and runs:
            plots.save(cost.accuracy_plot([cost.bought(run) for run in runs]), plot)
        elif plot is not None:
            if all(c.int8_ms is None for c in found):
                raise InputError("there are no milliseconds to plot; install the converter, or give --run")
            plots.save(cost.time_plot(found), plot)
    if as_json:
        print(to_json([asdict(c) for c in found]))
        return
    table = Table("network", "parameters", "MMAC", "int8 MB", "int8 ms", "input", "embedding")
    for c in found:
        took = "-" if c.int8_ms is None else f"{c.int8_ms:.2f}"
        table.add_row(
            c.name, f"{c.parameters / 1e6:.2f} M", f"{c.macs / 1e6:.1f}", f"{c.int8_bytes / 1e6:.2f}", took,
            f"{c.input_px} px", str(c.embedding),
        )  # fmt: skip
    out_console.print(table)


def throughput(
    name: Annotated[str, typer.Argument(help="such as glance-158")] = "glance-158",
    *,
    px: Annotated[int, typer.Option(help="side of the training pictures", min=32)] = 112,
    batch: Annotated[int, typer.Option(min=2)] = 64,
    steps: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Images a second of one core in training, and what each part of a step costs."""
    from glancein_training import throughput as speed  # noqa: PLC0415  # torch takes seconds

    with errors_in_words():
        spent = speed.measure(name, batch=batch, px=px, steps=steps)
    whole = sum(spent.values())
    table = Table("", "ms a picture", "share", title=f"{name}, {px} px: {1000 / whole:.0f} images/s a core")
    for part, took in spent.items():
        table.add_row(part, f"{took:.2f}", f"{100 * took / whole:.0f} %")
    out_console.print(table)


def add_to(app: typer.Typer) -> None:
    """Make these commands of the laboratory's program."""
    for command in (networks, throughput, patches, harmonic, cross):
        app.command()(command)
