"""glancein enroll: one photo, or a CSV of people and a folder of photos."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from glancein import wiring
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.output import Output, table
from glancein.errors import InputError, PhotoError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from glancein.enrolment import Enrolled, Examined, RowReport
    from glancein.types import Finding

SOME_REFUSED = 1

Preview = Annotated[
    Path | None,
    typer.Option("--preview", help="Save the crop that is used, as PNG, for a look.", dir_okay=False),
]
Duplicate = Annotated[
    str, typer.Option("--allow-duplicate", metavar="REASON", help="Enrol a face like an enrolled one: why?")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")]


@app.command()
def enroll(
    photo: Annotated[
        Path | None, typer.Argument(help="A portrait, or a scan of the whole badge.", show_default=False)
    ] = None,
    *,
    person_id: Annotated[str | None, typer.Option("--id", help="The person's id, such as E1024.")] = None,
    name: Annotated[str | None, typer.Option(help="The person's name.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="A CSV with columns id, name, photo.", dir_okay=False)
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="The folder of the CSV's photos.", file_okay=False)
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="The CSV's encoding, if it is not UTF-8.")] = None,
    preview: Preview = None,
    allow_duplicate: Duplicate = "",
    dry_run: DryRun = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Enrol one person from one photo, or many from a CSV; running it again changes nothing.

    A photo is refused or warned about with a stable reason code, the value measured, the limit and what to do
    (docs/reasons.md). Exit code 1 if some rows of a CSV were refused, 2 if the photo was.
    """
    home, output = wiring.open_home(data), Output(as_json)
    if csv is not None:
        if photo is not None or photos is None:
            raise InputError(
                "a CSV needs --photos with the folder of its photos, and no single photo beside it"
            )
        _enrol_csv(home, output, (csv, photos), encoding=encoding, dry_run=dry_run)
        return
    if photo is None or person_id is None or name is None:
        raise InputError(
            'say whom: glancein enroll photo.jpg --id E1024 --name "Kim Minji", or --csv and --photos'
        )
    _check_writable(preview)
    from glancein.enrolment import RefusedPhotoError  # noqa: PLC0415  # loads numpy

    with wiring.open_enroller(home) as enroller:
        try:
            done = enroller.enrol(
                photo, person_id=person_id, name=name, allow_duplicate=allow_duplicate, dry_run=dry_run
            )
        except PhotoError as err:
            refusal = err.refusal if isinstance(err, RefusedPhotoError) else None
            _save_preview(refusal, preview)
            if as_json:
                _tell_refusal(output, err, () if refusal is None else refusal.findings)
            raise
    _save_preview(done.portrait, preview)
    tell_enrolled(output, done, dry_run=dry_run)


def tell_enrolled(output: Output, done: Enrolled, *, dry_run: bool) -> None:
    """What was enrolled, how good the photo is, and who comes nearest."""
    like = done.like
    document = {
        "id": done.person_id,
        "outcome": "would enrol" if dry_run else str(done.outcome),
        "quality": done.quality.overall,
        "measures": done.quality.measures,
        "warnings": [finding_json(w) for w in done.portrait.warnings],
        "most_like": None if like is None else {"id": like.person_id, "score": like.score_cos},
    }

    def tell(console: Console) -> None:
        verb = "would be enrolled" if dry_run else str(done.outcome)
        console.print(f"{done.person_id} {verb}, quality {done.quality.overall:.2f}", markup=False)
        for warning in done.portrait.warnings:
            missed = f"{warning.value:.2f}, better {warning.limit:.2f}"
            said = f"  warning {warning.reason}: {missed}. {warning.advice}"
            console.print(said, markup=False)
        if like is not None:
            console.print(f"  most like {like.person_id}, cosine {like.score_cos:.2f}", markup=False)

    output.result(document, tell)


def finding_json(finding: Finding) -> dict[str, object]:
    """A finding as JSON values."""
    return {
        "reason": str(finding.reason),
        "value": finding.value,
        "limit": finding.limit,
        "advice": finding.advice,
    }


def _tell_refusal(output: Output, err: PhotoError, findings: Sequence[Finding]) -> None:
    """The refusal as JSON; its sentence still goes to standard error."""
    document = {
        "outcome": "refused",
        "reason": str(err.reason),
        "message": str(err),
        "findings": [finding_json(finding) for finding in findings],
    }
    output.result(document, lambda _: None)


def _check_writable(preview: Path | None) -> None:
    """Before anybody is enrolled, not after."""
    if preview is None:
        return
    if not os.access(preview if preview.exists() else preview.parent, os.W_OK):
        raise InputError(f"the preview {preview} cannot be written: name a place where you may write")


def _save_preview(examined: Examined | None, preview: Path | None) -> None:
    from glancein.enrolment import crop_png  # noqa: PLC0415  # loads numpy

    if preview is None or examined is None or examined.crop is None:
        return
    try:
        preview.write_bytes(crop_png(examined.crop))
    except OSError as err:
        raise InputError(f"the preview {preview} cannot be written: {err.strerror}") from err


def _enrol_csv(
    home: wiring.Home, output: Output, files: tuple[Path, Path], *, encoding: str | None, dry_run: bool
) -> None:
    from glancein.adapters.roster_csv import read_roster  # noqa: PLC0415  # only here
    from glancein.enrolment import RowStatus, enrol_rows  # noqa: PLC0415  # loads numpy

    rows = read_roster(*files, encoding=encoding)
    with wiring.open_enroller(home) as enroller:
        work = enrol_rows(rows, enroller, dry_run=dry_run)
        reports = list(output.track(work, "enrolling", total=len(rows)))
    counts = Counter(str(report.status) for report in reports)
    title = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no rows"
    cells = [(r.line, r.person_id, r.status, r.reason, r.message or _warnings(r), r.overall) for r in reports]
    columns = ("line", "id", "status", "reason", "what to do", "quality")
    document = {"counts": dict(counts), "rows": [_row_json(report) for report in reports]}
    output.result(document, lambda console: console.print(table(title, *columns, rows=cells)))
    if any(report.status is RowStatus.REFUSED for report in reports):
        raise typer.Exit(SOME_REFUSED)


def _warnings(report: RowReport) -> str:
    return "; ".join(f"{warning.reason}: {warning.advice}" for warning in report.warnings)


def _row_json(report: RowReport) -> dict[str, object]:
    return {
        "line": report.line,
        "id": report.person_id,
        "status": str(report.status),
        "reason": str(report.reason),
        "message": report.message,
        "quality": report.overall,
        "warnings": [finding_json(warning) for warning in report.warnings],
    }
