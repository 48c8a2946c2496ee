"""The verbs of `glancein-train` about frames, limits and looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.progress import Progress as Bar
from rich.table import Table

from glancein_training.figures import to_json
from glancein_training.outputs import check_folder
from glancein_training.terminal import CACHE, Set, error_console, errors_in_words, out_console

if TYPE_CHECKING:
    from glancein_training.evaluate.bootstrap import Estimate
    from glancein_training.frames.fuse import Judged
    from glancein_training.frames.visits import Progress, Study

Chosen = TypeVar("Chosen")

app = typer.Typer()

_WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
_FACES = Path("../shared/data/faces")
Pack = Annotated[Path, typer.Option(help="folder with labels.csv and tars of aligned crops")]
Embedder = Annotated[Path, typer.Option(help="the embedder's checkpoint or kept weights")]
Landmarks = Annotated[Path, typer.Option(help="the second look's weights: a kiosk's measures need landmarks")]
Visits = Annotated[
    list[str] | None, typer.Option("--plan", help="NAME=VALUE of the simulated visits; repeatable")
]
Out = Annotated[Path | None, typer.Option(help="folder for the figures, and for a network that was trained")]
Json = Annotated[bool, typer.Option("--json", help="print the figures as JSON instead of a table")]
Resamples = Annotated[int, typer.Option(help="bootstrap resamples of people", min=2)]
Cache = Annotated[Path, typer.Option(help="decoded crops and simulated visits")]


@app.command()
def rank(
    *,
    pack: Pack = _FACES,
    embedder: Embedder = _WEIGHTS / "embedder.pt",
    landmarks: Landmarks = _WEIGHTS / "landmarks.pt",
    out: Out = None,
    settings: Set = None,
    plan: Visits = None,
    resamples: Resamples = 200,
    cache: Cache = CACHE,
    as_json: Json = False,
) -> None:
    """Does it pay to weigh the frames of a visit? Trains the ranking network and counts the misses it saves.

    Visits are simulated: a badge photo, then spoilt frames of the person's other pictures. A tiny scorer
    learns to put the frame first that matches its own badge best; what it sees is varied (what a kiosk
    measures, the embedding, the picture). The table compares a weighted mean of the frames with the plain
    mean, with today's quality measure and with today's vote, on people that nothing was trained on. "The
    truth" is what a perfect scorer would save.
    """
    from glancein_training.frames import rank as ranking  # noqa: PLC0415  # torch takes seconds
    from glancein_training.frames import rank_command  # noqa: PLC0415  # as above

    with _at_work("visits") as progress:
        study = _study(pack, (embedder, landmarks), cache, plan, out=out, resamples=resamples)
        rows = rank_command.measure(study, _with(ranking.Learning(), settings), progress=progress)
    if as_json:
        _print_json(rows)
        return
    table = _judged_table([row.judged for row in rows], "pairs in order", "steepness")
    for row, cells in zip(rows, _judged_cells([row.judged for row in rows]), strict=True):
        ordered = "" if row.ordered is None else f"{_hundredths(row.ordered)} %"
        table.add_row(*cells, ordered, "" if row.steepness is None else f"{row.steepness:g}")
    out_console.print(table)


@app.command()
def defects(
    *,
    pack: Pack = _FACES,
    embedder: Embedder = _WEIGHTS / "embedder.pt",
    landmarks: Landmarks = _WEIGHTS / "landmarks.pt",
    out: Out = None,
    settings: Set = None,
    plan: Visits = None,
    resamples: Resamples = 200,
    cache: Cache = CACHE,
    as_json: Json = False,
) -> None:
    """Tell what is wrong with a frame by a network, and compare it with the measures a kiosk takes anyway.

    Trains a small network on simulated frames with seven labels (blurred, dark, burnt out, low resolution,
    turned away, covered, cut off), by the smooth ranking loss with both ways to decide how many labels to
    say, and by cross-entropy; compares F1 and average precision with the plain measures at today's limits
    and at limits set anew. A kiosk knows low resolution and cut off from geometry: there it cannot lose.
    """
    from glancein_training.frames import defect_command  # noqa: PLC0415  # torch takes seconds
    from glancein_training.frames import defects as labels  # noqa: PLC0415  # as above

    with _at_work("visits") as progress:
        study = _study(pack, (embedder, landmarks), cache, plan, out=out, resamples=resamples)
        rows = defect_command.measure(study, _with(labels.Learning(), settings), progress=progress)
    if as_json:
        _print_json(rows)
        return
    table = Table("F1, average precision below", "all labels", "all right", *rows[0].f1_each)
    for row in rows:
        each = [_hundredths(value) for value in row.f1_each.values()]
        table.add_row(row.name, _percent(row.f1), f"{100 * row.exact:.1f} %", *each)
        if row.precision_each is not None:
            below = [f"[dim]{_hundredths(value)}[/dim]" for value in row.precision_each.values()]
            table.add_row("", "", "", *below)
    out_console.print(table)


@app.command("person-limit")
def person_limit(
    *,
    pack: Pack = _FACES,
    embedder: Embedder = _WEIGHTS / "embedder.pt",
    landmarks: Landmarks = _WEIGHTS / "landmarks.pt",
    out: Out = None,
    settings: Set = None,
    plan: Visits = None,
    resamples: Resamples = 200,
    cache: Cache = CACHE,
    as_json: Json = False,
) -> None:
    """Would a limit of one's own for each person save misses? Learned from badge photo and neighbours.

    Compares one limit for all with scores normalised by the gallery's neighbours, and with limits learned
    from the neighbours or from the badge's embedding as well, at the same rate of false accepts. Every
    frame of the simulated visits is a look of its own.
    """
    from glancein_training.frames import person_limit as limits  # noqa: PLC0415  # torch takes seconds

    with _at_work("visits") as progress:
        study = _study(pack, (embedder, landmarks), cache, plan, out=out, resamples=resamples)
        rows = limits.measure(study, _with(limits.Learning(), settings), progress=progress)
    if as_json:
        _print_json(rows)
        return
    table = _judged_table(rows)
    for cells in _judged_cells(rows):
        table.add_row(*cells)
    out_console.print(table)


@app.command()
def style(
    *,
    pack: Pack = _FACES,
    embedder: Embedder = _WEIGHTS / "embedder.pt",
    out: Out = None,
    settings: Set = None,
    resamples: Resamples = 100,
    cache: Cache = CACHE,
    as_json: Json = False,
) -> None:
    """Is style transfer worth its time as augmentation? The last layer tuned on, on the same pictures.

    Every second picture is left clean, given the look of a poor camera or a scanned badge by style
    transfer, brought back from such a look towards a clean one, or disturbed directly. The table shows true
    accepts at FAR 1e-3 of clean pictures against clean ones, against the camera's look and against the
    badge's, and how many such looks are missed when one clean picture is enrolled. Settings: images,
    people, passes, rate, transfer.steps, ...
    """
    from glancein_training import style_command  # noqa: PLC0415  # torch takes seconds

    with _at_work("pictures restyled") as progress:
        if out is not None:
            check_folder(out, "--out")
        trial = _with(style_command.Trial(), settings)
        rows = style_command.compare(
            style_command.Place(embedder, pack, cache, out), trial, resamples=resamples, progress=progress
        )
    if as_json:
        _print_json(rows)
        return
    rates = list(rows[0].camera_misses)
    misses = [f"{look} missed at FPIR {float(rate):.0%}" for rate in rates for look in ("camera", "badge")]
    table = Table("true accepts at FAR 1e-3", "clean", "camera", "scanned badge", *misses)
    for row in rows:
        found = [looks[rate] for rate in rates for looks in (row.camera_misses, row.badge_misses)]
        table.add_row(row.name, *(_percent(e) for e in (row.clean, row.camera, row.badge, *found)))
    out_console.print(table)


@contextmanager
def _at_work(what: str) -> Iterator[Progress]:
    """A progress bar on standard error, and errors in words."""
    with errors_in_words(), Bar(console=error_console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _study(
    pack: Path,
    weights: tuple[Path, Path],
    cache: Path,
    plan: list[str] | None,
    *,
    out: Path | None,
    resamples: int,
) -> Study:
    from glancein_training.frames.visits import Plan, Study  # noqa: PLC0415  # torch takes seconds

    if out is not None:
        check_folder(out, "--out")
    return Study(pack, *weights, cache, _with(Plan(), plan), out, resamples)


def _with(settings: Chosen, changes: list[str] | None) -> Chosen:
    from glancein_training.configuration import with_settings  # noqa: PLC0415  # torch takes seconds

    return with_settings(settings, changes or [])


def _print_json(rows: Sequence[Any]) -> None:  # dataclasses of four kinds
    typer.echo(to_json([asdict(row) for row in rows]))


def _judged_table(rows: Sequence[Judged], *more: str) -> Table:
    heads = [(f"misses at FPIR {100 * float(rate):g} %", "less the first") for rate in rows[0].misses]
    return Table("", *(word for pair in heads for word in pair), *more)


def _judged_cells(rows: Sequence[Judged]) -> list[list[str]]:
    return [
        [
            row.name,
            *(_percent(e) for rate in row.misses for e in (row.misses[rate], row.differences[rate])),
        ]
        for row in rows
    ]


def _hundredths(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _percent(figure: Estimate) -> str:
    from glancein_training.evaluate.report import percent  # noqa: PLC0415  # matplotlib takes seconds

    return percent(figure, digits=1)
