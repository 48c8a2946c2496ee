"""glancein identify, verify, embed: pictures in, answers out."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from glancein import wiring
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.output import Output, table
from glancein.errors import InputError, PhotoError
from glancein.types import Accepted, Decision, Frame, Rejected

SOME_FAILED = 1

Pictures = Annotated[list[Path], typer.Argument(help="Pictures (JPEG, PNG, WebP, BMP).", show_default=False)]


@app.command()
def identify(pictures: Pictures, *, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Say who is in each picture: person, score, runner-up, quality, or the reason why nobody is named."""
    from glancein.adapters.image_gate import read_picture  # noqa: PLC0415  # only here
    from glancein.domain.gallery import gather  # noqa: PLC0415  # loads numpy

    home = wiring.open_home(data)
    recogniser = wiring.open_recogniser(home)
    with closing(wiring.open_people(home)) as store:
        gallery = gather(store.templates(recogniser.embedder.model_sha256))
    limits = recogniser.limits_for(len(set(gallery.person_ids)), home.settings)
    pipeline = wiring.pipeline_of(recogniser, home.settings)
    output = Output(as_json)
    answers: list[dict[str, object]] = []
    for picture in output.track(pictures, "identifying"):
        try:
            sight = pipeline.look(Frame(read_picture(picture), 0.0), gallery, limits)
        except PhotoError as err:
            answers.append(
                {"picture": str(picture), "person": None, "reason": err.reason, "message": str(err)}
            )
            continue
        quality = sight.quality.overall if sight.quality else None
        answers.append({"picture": str(picture), **_answer(sight.decision), "quality": quality})
    columns = ("picture", "person", "score", "runner_up", "quality", "reason")
    rows = [tuple(answer.get(column) for column in columns) for answer in answers]
    title = f"threshold {limits.accept_cos:.3f}, margin {limits.margin_cos:.3f}"
    Output(as_json).result(
        {"threshold": limits.accept_cos, "margin": limits.margin_cos, "pictures": answers},
        lambda console: console.print(table(title, *columns, rows=rows)),
    )
    if any("message" in answer for answer in answers):
        raise typer.Exit(SOME_FAILED)


@app.command()
def verify(
    first: Annotated[Path, typer.Argument(help="A picture of one face.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    *,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Say whether two pictures show the same person, at the threshold for one comparison."""
    from glancein.bulk_embed import embed_one  # noqa: PLC0415  # loads numpy

    home = wiring.open_home(data)
    recogniser = wiring.open_recogniser(home)
    reader = wiring.reader_of(recogniser, trusted=False)
    rows = [embed_one(path, reader) for path in (first, second)]
    for row in rows:
        if row.problem is not None:
            raise InputError(f"{row.path}: {row.problem}")
    score = float(rows[0].embedding @ rows[1].embedding)
    limit = recogniser.limits_for(1, home.settings).accept_cos
    same = score >= limit
    Output(as_json).result(
        {"same": same, "score": score, "threshold": limit},
        lambda console: console.print(
            f"{'' if same else 'not '}the same person: cosine {score:.3f}, threshold {limit:.3f}"
        ),
    )


@app.command()
def embed(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Pictures, or folders of pictures.", show_default=False)
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The .npz to write.", dir_okay=False)],
    files: Annotated[
        Path | None, typer.Option("--list", help="A text file with one path a line.", dir_okay=False)
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that work side by side.")] = 2,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Detect, align and embed pictures with the device pipeline, for evaluation.

    Arrays: path (n), found (n) bool, embedding (n, 128) float32 unit rows, box (n, 4) left top width height,
    landmarks (n, 5, 2), quality (n). Pictures without a face stay in, with found = False and zeros.
    """
    from glancein import bulk_embed  # noqa: PLC0415  # loads numpy

    wanted = bulk_embed.list_pictures([*(paths or []), *_read_list(files)])
    if not wanted:
        raise InputError("no pictures: name files or folders, or give --list files.txt")
    if not out.parent.is_dir():
        raise InputError(f"the folder of {out} is not there: make it first")
    home, output = wiring.open_home(data), Output(as_json)
    sha256 = wiring.open_recogniser(home).embedder.model_sha256
    work = bulk_embed.embed_all(
        wanted, open_reader=partial(wiring.open_bulk_reader, home), processes=processes
    )
    rows = list(output.track(work, "embedding", total=len(wanted)))
    bulk_embed.save(rows, out, model_sha256=sha256)
    missed = [row for row in rows if not row.found]
    for row in missed[:20]:
        print(f"{row.path}: {row.problem}", file=sys.stderr)
    if len(missed) > 20:  # a screenful
        print(f"and {len(missed) - 20} more without a face", file=sys.stderr)

    def tell(console: Console) -> None:
        console.print(f"{len(rows) - len(missed)} of {len(rows)} faces embedded -> {out}", markup=False)

    output.result({"pictures": len(rows), "found": len(rows) - len(missed), "out": str(out)}, tell)


def _read_list(file: Path | None) -> list[Path]:
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{file} cannot be read as a list of paths: {err}") from err
    return [Path(line.strip()) for line in lines if line.strip()]


def _answer(decision: Decision | None) -> dict[str, object]:
    match decision:
        case None:
            return {"person": None, "reason": "no_face"}
        case Accepted(person_id, score, runner_up):
            return {"person": person_id, "score": score, "runner_up": runner_up, "reason": "recognised"}
        case Rejected(reason, score, findings):
            found = [{"value": f.value, "limit": f.limit, "advice": f.advice} for f in findings]
            return {"person": None, "score": score, "reason": str(reason), "findings": found}
