"""glancein identify, verify, embed: pictures in, answers out."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from glancein import wiring
from glancein.array_file import check_writable
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.output import Output, one_line, table
from glancein.cli.refusal import finding_json, refusals_told
from glancein.errors import InputError, PhotoError
from glancein.types import Accepted, Candidate, Decision, Frame, Limits, Reason, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from glancein.domain.gallery import Gallery
    from glancein.pipeline import Pipeline

SOME_FAILED = 1
UNREADABLE = frozenset({Reason.UNREADABLE, Reason.WRONG_FORMAT, Reason.TOO_LARGE})
UNKNOWN_YET = dict.fromkeys(
    ("person", "nearest", "score", "runner_up_person", "runner_up", "quality", "reason", "message")
)

Pictures = Annotated[list[Path], typer.Argument(help="Pictures (JPEG, PNG, WebP, BMP).", show_default=False)]


@app.command()
def identify(pictures: Pictures, *, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Say who is in each picture, who comes nearest, the runner-up and the quality, or why nobody is named.

    Exit code 1 if a picture could not be read.
    """
    from glancein.domain.gallery import gather  # noqa: PLC0415  # loads numpy

    output = Output(as_json)
    with refusals_told(output):
        home = wiring.open_home(data)
        recogniser = wiring.open_recogniser(home)
        with closing(wiring.open_people(home)) as store:
            gallery = gather(store.templates(recogniser.embedder.model_sha256))
        limits = recogniser.limits_for(len(set(gallery.person_ids)), home.settings)
        pipeline = wiring.pipeline_of(recogniser, home.settings)
    work = output.track(pictures, "identifying")
    answers = [_identify(picture, pipeline, gallery, limits) for picture in work]
    columns = ("picture", "person", "nearest", "runner-up", "quality", "reason")
    rows = [_row(answer) for answer in answers]
    title = f"threshold {limits.accept_cos:.3f}, margin {limits.margin_cos:.3f}"
    output.result(
        {"threshold": limits.accept_cos, "margin": limits.margin_cos, "pictures": answers},
        lambda console: console.print(table(title, *columns, rows=rows)),
    )
    if any(answer["reason"] in UNREADABLE for answer in answers):
        raise typer.Exit(SOME_FAILED)


@app.command()
def verify(
    first: Annotated[Path, typer.Argument(help="A picture of one face.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    *,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Say whether two pictures show the same person, at the threshold for one comparison.

    A picture without a face, or with a second one of like size, is refused: exit code 2.
    """
    from glancein.bulk_embed import embed_only_face  # noqa: PLC0415  # loads numpy

    output = Output(as_json)
    with refusals_told(output):
        home = wiring.open_home(data)
        recogniser = wiring.open_recogniser(home)
    reader = wiring.reader_of(recogniser, trusted=False)
    limit = recogniser.limits_for(1, home.settings).accept_cos
    nothing = {"same": None, "score": None, "threshold": limit, "reason": None, "message": None}
    try:
        one, two = [embed_only_face(path, reader).embedding for path in (first, second)]
    except PhotoError as err:
        output.result({**nothing, "reason": str(err.reason), "message": str(err)}, lambda _: None)
        raise
    score = float(one @ two)
    same = score >= limit
    output.result(
        {**nothing, "same": same, "score": score},
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
    templates: Annotated[
        bool, typer.Option("--templates", help="Also what enrolling each picture would store.")
    ] = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Detect, align and embed pictures with the device pipeline, for evaluation.

    Arrays: path (n), found (n) bool, embedding (n, 128) float32 unit rows, box (n, 4) left top width height,
    landmarks (n, 5, 2), quality (n); with --templates template (n, 128). Pictures without a face stay in,
    with found = False and zeros. Exit code 1 if a picture could not be read.
    """
    from glancein import bulk_embed  # noqa: PLC0415  # loads numpy

    output = Output(as_json)
    with refusals_told(output):
        wanted = bulk_embed.list_pictures([*(paths or []), *_read_list(files)])
        if not wanted:
            raise InputError("no pictures: name files or folders, or give --list files.txt")
        check_writable(out)
        home = wiring.open_home(data)
        sha256 = wiring.open_recogniser(home).embedder.model_sha256
        work = bulk_embed.embed_all(
            wanted,
            open_reader=partial(wiring.open_bulk_reader, home, with_templates=templates),
            processes=processes,
        )
        rows = list(output.track(work, "embedding", total=len(wanted)))
        bulk_embed.save(rows, out, model_sha256=sha256)
    missed = [row for row in rows if not row.found]
    for row in missed[:20]:
        print(one_line(str(row.problem)), file=sys.stderr)
    if len(missed) > 20:  # a screenful
        print(f"and {len(missed) - 20} more without a face", file=sys.stderr)

    def tell(console: Console) -> None:
        console.print(f"{len(rows) - len(missed)} of {len(rows)} faces embedded -> {out}", markup=False)

    output.result({"pictures": len(rows), "found": len(rows) - len(missed), "out": str(out)}, tell)
    if any(row.reason in UNREADABLE for row in missed):
        raise typer.Exit(SOME_FAILED)


def _read_list(file: Path | None) -> list[Path]:
    if file is None:
        return []
    try:
        content = file.read_bytes()
    except OSError as err:
        raise InputError(f"{file} cannot be read as a list of paths: {err.strerror}") from err
    if b"\0" in content:
        raise InputError(f"{file} is not a list of paths: save it as plain text with one path a line")
    lines = (line.strip() for line in content.removeprefix(codecs.BOM_UTF8).split(b"\n"))
    return [Path(os.fsdecode(line)) for line in lines if line]  # as the disk has it, whatever its encoding


def _identify(picture: Path, pipeline: Pipeline, gallery: Gallery, limits: Limits) -> dict[str, object]:
    """The answer for one file; every answer has the same keys."""
    from glancein.adapters.image_gate import read_picture  # noqa: PLC0415  # only here

    nothing: dict[str, object] = {"picture": str(picture), **UNKNOWN_YET, "findings": []}
    try:
        sight = pipeline.look(Frame(read_picture(picture), 0.0), gallery, limits)
    except PhotoError as err:
        return {**nothing, "reason": str(err.reason), "message": str(err)}
    return {
        **nothing,
        **_nearest(sight.ranked),
        **_decided(sight.decision),
        "quality": sight.quality.overall if sight.quality else None,
    }


def _row(answer: Mapping[str, object]) -> tuple[object, ...]:
    """The answer for the table: whose score it is beside the score, the sentence behind the code."""
    near = [
        f"{answer[who]} {answer[score]:.3f}" if answer[who] else ""
        for who, score in (("nearest", "score"), ("runner_up_person", "runner_up"))
    ]
    why = ": ".join(str(answer[key]) for key in ("reason", "message") if answer[key])
    return (answer["picture"], answer["person"], *near, answer["quality"], why)


def _nearest(ranked: Sequence[Candidate]) -> dict[str, object]:
    best, second = [*ranked, None, None][:2]
    return {
        "nearest": best and best.person_id,
        "score": best and best.score_cos,
        "runner_up_person": second and second.person_id,
        "runner_up": second and second.score_cos,
    }


def _decided(decision: Decision | None) -> dict[str, object]:
    match decision:
        case None:
            return {"reason": str(Reason.NO_FACE), "message": _MESSAGES[Reason.NO_FACE]}
        case Accepted(person_id):
            return {"person": person_id, "reason": "recognised"}
        case Rejected(reason, _, findings):
            message = findings[0].advice if findings else _MESSAGES[reason]
            found = [finding_json(finding) for finding in findings]
            return {"reason": str(reason), "message": message, "findings": found}


_MESSAGES = {
    Reason.NO_FACE: "no face was found: give a picture that shows the whole face",
    Reason.SEVERAL_FACES: "several people are equally near: give a picture of one",
    Reason.EMPTY_GALLERY: "nobody is enrolled: begin with glancein enroll",
    Reason.UNKNOWN: "nobody enrolled is like enough: the nearest stays below the threshold",
    Reason.AMBIGUOUS: "two people are too alike: the nearest leads the runner-up by less than the margin",
}
