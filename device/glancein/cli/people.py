"""glancein people: list, show, PIN, pass, remove, export, import."""

from __future__ import annotations

import os
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from glancein import wiring
from glancein.cli.app import AsJson, DataFolder, app
from glancein.cli.enrol import SOME_REFUSED, DryRun, Duplicate, home_to_enrol, tell_enrolled
from glancein.cli.output import Output, table
from glancein.cli.refusal import refusal_json, refusals_told
from glancein.domain.person import Person, PersonRecord
from glancein.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from glancein.adapters.people_sqlite import SqlitePeople
    from glancein.domain.doubles import SameFace
    from glancein.types import Candidate

people = typer.Typer(help="The enrolled people.", no_args_is_help=True)
app.add_typer(people, name="people")

PersonId = Annotated[str, typer.Argument(metavar="ID", help="The person's id, as enrolled.")]


@people.command("list")
def list_people(*, data: DataFolder = None, as_json: AsJson = False) -> None:
    """List everybody who is enrolled."""
    output = Output(as_json)
    with refusals_told(output):
        home = wiring.open_home(data)
        with closing(wiring.open_people(home)) as store:
            everybody = store.people()
        model = wiring.embedder_sha256(home)
    rows = [
        (p.person_id, p.name, f"{p.enrolled_at:%Y-%m-%d %H:%M}", _model_state(p, model)) for p in everybody
    ]
    output.result(
        [_as_json(p) for p in everybody],
        lambda console: console.print(
            table(f"{len(rows)} enrolled", "id", "name", "enrolled", "model", rows=rows)
        ),
    )


@people.command()
def show(person_id: PersonId, *, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Show one person: enrolment, quality, history."""
    output = Output(as_json)
    with refusals_told(output):
        record = _record(wiring.open_home(data), person_id)
    history = [(f"{h.at:%Y-%m-%d %H:%M}", h.what, h.reason) for h in record.history]
    active = [t for t in record.templates if t.active]

    def tell(console: Console) -> None:
        console.print(f"{record.person.person_id}  {record.person.name}", markup=False)
        for template in active:
            measures = "  ".join(f"{name} {value:.2f}" for name, value in sorted(template.quality.items()))
            console.print(f"model {template.model_sha256[:12]}  {measures}", markup=False)
        console.print(table("history", "when", "what", "reason", rows=history))

    document = _as_json(record.person) | {
        "quality": dict(active[-1].quality) if active else {},
        "history": [{"at": h.at.isoformat(), "what": h.what, "reason": h.reason} for h in record.history],
    }
    output.result(document, tell)


@people.command()
def photo(
    person_id: PersonId,
    file: Annotated[Path, typer.Argument(help="The new photo.", readable=False)],
    *,
    allow_duplicate: Duplicate = "",
    dry_run: DryRun = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Re-enrol somebody from a new photo; the earlier one stays in the history."""
    output = Output(as_json)
    with refusals_told(output), home_to_enrol(data, dry_run=dry_run) as home:
        name = _record(home, person_id).person.name
        with wiring.open_enroller(home) as enroller:
            done = enroller.enrol(
                file, person_id=person_id, name=name, allow_duplicate=allow_duplicate, dry_run=dry_run
            )
    tell_enrolled(output, done, dry_run=dry_run)


@people.command()
def pin(
    person_id: PersonId,
    *,
    number: Annotated[
        str,
        typer.Option(
            help="What is typed before the PIN; as it is by default, at first the digits of the id."
        ),
    ] = "",
    generate: Annotated[bool, typer.Option("--generate", help="Make a PIN and print it.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the PIN away.")] = False,
    data: DataFolder = None,
) -> None:
    """Set a person's PIN for the kiosk's pad; asks for it twice, or reads one line from a pipe.

    Only its argon2id hash is kept. A lock after wrong tries is lifted.
    """
    from glancein.adapters.passes_sqlite import new_pin  # noqa: PLC0415  # loads argon2

    home = wiring.open_home(data)
    with closing(wiring.open_passes(home)) as passes:
        if remove:
            _record(home, person_id)
            print(f"{person_id} has no PIN now" if passes.clear_pin(person_id) else f"{person_id} had no PIN")
            return
        chosen = new_pin() if generate else _read_pin()
        typed = passes.set_pin(person_id, chosen, at=datetime.now(UTC), number=number or None)
    print(f"{person_id} types {typed} and then " + (f"the PIN {chosen}" if generate else "the PIN"))


@people.command("pass")
def print_pass(
    person_id: PersonId,
    file: Annotated[
        Path | None,
        typer.Argument(help="Written: .svg for paper, .png for a phone.", dir_okay=False),
    ] = None,
    *,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="First make all earlier passes of this person worthless.")
    ] = False,
    data: DataFolder = None,
) -> None:
    """Write a QR pass that a person can hold to the kiosk's camera, or revoke the passes they have.

    Whoever holds the pass is that person to the kiosk: hand it over like a key.
    """
    from glancein.adapters.pass_card import card_svg, code_png  # noqa: PLC0415  # loads OpenCV

    if file is None and not revoke:
        raise InputError("name a file to write, such as card.svg, or --revoke")
    if file is not None and file.suffix.lower() not in {".svg", ".png"}:
        raise InputError(f"{file}: a pass is written as .svg or .png")
    home = wiring.open_home(data)
    name = _record(home, person_id).person.name
    now = datetime.now(UTC)
    with closing(wiring.open_passes(home)) as passes:
        if revoke:
            print(f"{passes.revoke(person_id, at=now)} passes of {person_id} are revoked")
        if file is None:
            return
        text = passes.issue(person_id, at=now)
    if file.suffix.lower() == ".png":
        _write_private(file, code_png(text))
    else:
        _write_private(file, card_svg(text, name=name, person_id=person_id, site=home.settings.site).encode())
    print(f"pass of {person_id} written to {file}")


@people.command()
def remove(
    person_id: PersonId,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person: template, photo crop, history, PIN, passes and consents leave the files.

    Punches stay: they are the time record and hold no biometrics.
    """
    output = Output(as_json)
    with refusals_told(output):
        home = wiring.open_home(data)
        try:
            name = _record(home, person_id).person.name
        except InputError:
            _erase(home, person_id)  # what an erasure that was cut short left in the files goes now
            raise
        if not yes:
            typer.confirm(f"Erase {person_id} ({name})?", abort=True, err=as_json)
        _erase(home, person_id)
    still = [path.name for path in home.set_aside()]

    def tell(_: object) -> None:
        print(f"{person_id} is erased; a running kiosk forgets them within a second")
        for name in still:
            print(f"{name}, a damaged database, may still hold them: delete it in {home.folder}")

    output.result({"id": person_id, "outcome": "erased", "may_still_be_in": still}, tell)


@people.command()
def export(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The archive to write.")],
    *,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Write everybody to one archive that another kiosk can import. It holds biometrics: keep it safe."""
    from glancein.adapters.people_archive import write_archive  # noqa: PLC0415  # only here

    output = Output(as_json)
    with refusals_told(output):
        with closing(wiring.open_people(wiring.open_home(data))) as store:
            records = [record for p in store.people() if (record := store.record_of(p.person_id)) is not None]
        write_archive(file, records)
    output.result(
        {"file": str(file), "people": len(records)},
        lambda _: print(f"{len(records)} people written to {file}"),
    )


@people.command("import")
def import_people(
    file: Annotated[Path, typer.Argument(readable=False, help="An archive from glancein people export.")],
    *,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Take over everybody in an archive; who is here already with the same record stays as they are.

    A differing record is replaced; PINs, passes and templates of models that the archive does not hold stay.
    A damaged archive changes nothing. A face that is enrolled already under another id is refused, the others
    are taken over together; twins come in if the archive holds the reason that allowed them. Exit code 1 if
    somebody was refused.
    """
    from glancein.adapters.people_archive import read_archive  # noqa: PLC0415  # as above
    from glancein.domain.doubles import find_doubles  # noqa: PLC0415  # loads numpy

    output = Output(as_json)
    with refusals_told(output):
        records = read_archive(file)
        home = wiring.open_home(data)
        with closing(wiring.open_people(home)) as store:
            same_face = _same_face(home, store, records)
            doubles = find_doubles(
                records,
                store.templates(same_face.model_sha256),
                same_face,
                unchanged=[r.person.person_id for r in records if _is_here(store, r)],
            )
            outcomes = store.restore([r for r in records if r.person.person_id not in doubles])
    refused = {person: _double_json(like, same_face) for person, like in doubles.items()}
    _tell_import(output, {person: str(outcome) for person, outcome in outcomes.items()}, refused)
    if refused:
        raise typer.Exit(SOME_REFUSED)


def _erase(home: wiring.Home, person_id: str) -> None:
    """Erase somebody from the kiosk's file, and from the desk's if there is one. Raises StoreError."""
    from glancein.web.desk_file import DeskFile, erase_person  # noqa: PLC0415  # only here

    with closing(wiring.open_people(home)) as store:
        if not (home.folder / wiring.DESK_FILE).exists():
            store.remove(person_id)
            return
        with closing(DeskFile(home.folder)) as desk:
            erase_person(person_id, store, desk)


def _same_face(home: wiring.Home, store: SqlitePeople, archive: Sequence[PersonRecord]) -> SameFace:
    """When two templates count as one person, with everybody here and in the archive enrolled."""
    from glancein.domain.doubles import SameFace  # noqa: PLC0415  # loads numpy
    from glancein.model_card import read_card  # noqa: PLC0415  # loads the schema

    card = read_card(wiring.model_store(home, "embedder").folder())
    here = {template.person_id for template in store.templates(card.sha256)}
    enrolled = len(here.union(record.person.person_id for record in archive))
    return SameFace(card.sha256, wiring.duplicate_cos(home, card, enrolled))


def _is_here(store: SqlitePeople, record: PersonRecord) -> bool:
    """True if all that the archive says of this person is stored already."""
    from glancein.adapters.people_sqlite import same_record  # noqa: PLC0415  # loads sqlite-utils

    stored = store.record_of(record.person.person_id)
    return stored is not None and same_record(stored, record)


def _double_json(like: Candidate, same_face: SameFace) -> dict[str, object]:
    """Why somebody of an archive is not taken over, as JSON values."""
    from glancein.types import Finding, Reason  # noqa: PLC0415  # loads numpy

    advice = "Check who it is; for twins enrol the photo here with --allow-duplicate."
    message = f"this face is enrolled already, as {like.person_id} (cosine {like.score_cos:.2f}). {advice}"
    found = Finding(Reason.DUPLICATE_PERSON, like.score_cos, same_face.duplicate_cos, advice)
    return refusal_json(str(found.reason), message, (found,), like)


def _tell_import(
    output: Output, taken: Mapping[str, str], refused: Mapping[str, Mapping[str, object]]
) -> None:
    """What became of each person; a refusal with its reason."""
    rows = [(person, outcome, "", "") for person, outcome in taken.items()]
    rows += [(who, "refused", str(why["reason"]), str(why["message"])) for who, why in refused.items()]
    output.result(
        {**taken, **refused},
        lambda console: console.print(
            table(f"{len(rows)} people", "id", "outcome", "reason", "what to do", rows=rows)
        ),
    )


def _read_pin() -> str:
    """From the keyboard, twice and unseen; from a pipe, its first line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return str(typer.prompt("PIN", hide_input=True, confirmation_prompt=True))


def _write_private(file: Path, content: bytes) -> None:
    """Whole or not at all, readable by its owner only. Raises InputError."""
    part = file.with_name(f".{file.name}.part")
    try:
        with open(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as made:  # noqa: PTH123
            made.write(content)
        part.replace(file)
    except OSError as err:
        with suppress(OSError):
            part.unlink()
        raise InputError(f"{file} cannot be written: {err.strerror}") from err


def _record(home: wiring.Home, person_id: str) -> PersonRecord:
    with closing(wiring.open_people(home)) as store:
        record = store.record_of(person_id)
    if record is None:
        raise InputError(f"nobody is enrolled as {person_id}: see glancein people list")
    return record


def _model_state(person: Person, model_sha256: str | None) -> str:
    if model_sha256 is None:
        return "?"
    return "current" if model_sha256 in person.models else "stale: re-enrol"


def _as_json(person: Person) -> dict[str, object]:
    return {
        "id": person.person_id,
        "name": person.name,
        "enrolled_at": person.enrolled_at.isoformat(),
        "photo_sha256": person.photo_sha256,
        "models": list(person.models),
    }
