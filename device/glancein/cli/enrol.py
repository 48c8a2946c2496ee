"""glancein enroll: one photo, or a CSV of people and a folder of photos."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from glancein import wiring
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.output import Output, table
from glancein.cli.refusal import finding_json, like_json, refusals_told
from glancein.errors import InputError, PhotoError
from glancein.settings import FILE as SETTINGS_FILE

if TYPE_CHECKING:
    from glancein.enrolment import Enrolled, Examined, RowReport

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
        Path | None,
        typer.Argument(help="A portrait, or a scan of the whole badge.", show_default=False, readable=False),
    ] = None,
    *,
    person_id: Annotated[str | None, typer.Option("--id", help="The person's id, such as E1024.")] = None,
    name: Annotated[str | None, typer.Option(help="The person's name.")] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            help="A CSV with columns id, name, photo, and allow_duplicate where a reason is needed.",
            readable=False,
        ),
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
    output = Output(as_json)
    with refusals_told(output):
        if csv is not None:
            given = {"PHOTO": photo, "--id": person_id, "--name": name, "--preview": preview}
            _refuse_beside("--csv", given | {"--allow-duplicate": allow_duplicate})
            _enrol_csv(output, csv, photos, encoding=encoding, data=data, dry_run=dry_run)
            return
        if photo is None or person_id is None or name is None:
            raise InputError(
                'say whom: glancein enroll photo.jpg --id E1024 --name "Kim Minji", or --csv and --photos'
            )
        _refuse_beside("a single photo", {"--photos": photos, "--encoding": encoding})
        _check_writable(preview)
        with home_to_enrol(data, dry_run=dry_run) as home, wiring.open_enroller(home) as enroller:
            try:
                done = enroller.enrol(
                    photo, person_id=person_id, name=name, allow_duplicate=allow_duplicate, dry_run=dry_run
                )
            except PhotoError as err:
                _save_preview(getattr(err, "refusal", None), preview)
                raise
        _save_preview(done.portrait, preview)
    tell_enrolled(output, done, dry_run=dry_run)


@contextmanager
def home_to_enrol(data: Path | None, *, dry_run: bool) -> Iterator[wiring.Home]:
    """The data folder; where there is no database yet, a dry run gets one that goes away again."""
    folder = wiring.folder_meant(data)
    if not dry_run or (folder / wiring.DATABASE_FILE).exists():
        yield wiring.open_home(data)
        return
    with TemporaryDirectory(prefix="glancein-") as passing:
        for name in (SETTINGS_FILE, "models"):
            if (folder / name).exists():
                (Path(passing) / name).symlink_to((folder / name).resolve())
        yield wiring.open_home(Path(passing))


def tell_enrolled(output: Output, done: Enrolled, *, dry_run: bool) -> None:
    """What was enrolled, how good the photo is, and who comes nearest."""
    from glancein.domain.person import Outcome  # noqa: PLC0415  # loads numpy
    from glancein.enrolment import RowStatus  # noqa: PLC0415  # as above

    like = done.like
    would = dry_run and done.outcome is not Outcome.UNCHANGED
    outcome = str(RowStatus.WOULD_ENROL if would else done.outcome)
    document = {
        "id": done.person_id,
        "outcome": outcome,
        "quality": done.quality.overall,
        "measures": done.quality.measures,
        "warnings": [finding_json(w) for w in done.portrait.warnings],
        "most_like": like_json(like),
    }

    def tell(console: Console) -> None:
        console.print(f"{done.person_id}: {outcome}, quality {done.quality.overall:.2f}", markup=False)
        for warning in done.portrait.warnings:
            missed = f"{warning.value:.2f}, better {warning.limit:.2f}"
            said = f"  warning {warning.reason}: {missed}. {warning.advice}"
            console.print(said, markup=False)
        if like is not None:
            console.print(f"  most like {like.person_id}, cosine {like.score_cos:.2f}", markup=False)

    output.result(document, tell)


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


def _refuse_beside(what: str, given: Mapping[str, object]) -> None:
    """Options that would have no effect are refused by name. Raises InputError."""
    idle = [name for name, value in given.items() if value]
    if idle:
        hint = "; a CSV says why in a column allow_duplicate" if "--allow-duplicate" in idle else ""
        raise InputError(f"{', '.join(idle)} cannot be used with {what}: leave that out{hint}")


def _enrol_csv(
    output: Output,
    csv: Path,
    photos: Path | None,
    *,
    encoding: str | None,
    data: Path | None,
    dry_run: bool,
) -> None:
    from glancein.adapters.roster_csv import read_roster  # noqa: PLC0415  # only here
    from glancein.enrolment import RowStatus, enrol_rows  # noqa: PLC0415  # loads numpy

    if photos is None:
        raise InputError("a CSV needs --photos with the folder of its photos")
    rows = read_roster(csv, photos, encoding=encoding)
    with home_to_enrol(data, dry_run=dry_run) as home, wiring.open_enroller(home) as enroller:
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
        "findings": [finding_json(finding) for finding in report.findings],
        "most_like": like_json(report.like),
    }
