"""People: list, search, enrol one or many, consent, ways in without a face, erase with a receipt."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from time import time_ns

import numpy as np
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from glancein.domain import quality
from glancein.domain.align import CROP_PX
from glancein.domain.person import Person, PersonRecord, check_person_id
from glancein.domain.roster import BadRow, RosterRow
from glancein.enrolment import Enrolled, RowReport, RowStatus, crop_png, read_crop
from glancein.errors import InputError, PhotoError
from glancein.types import Finding
from glancein.web.audit import Outcome
from glancein.web.desk.consent import Consent, Consents, read_own_text
from glancein.web.desk.desk import Desk
from glancein.web.desk.page import Pages, explained, language_of
from glancein.web.desk_file import erase_person
from glancein.web.language import DEFAULT
from glancein.web.security import LARGEST_PHOTO, Call, refused
from glancein.web.uploads import Job, Judged, read_bulk, report_json, taken, work_through

PAGE_ROWS = 100


@dataclass(frozen=True, slots=True)
class PeopleRoutes:
    """The routes about people."""

    desk: Desk
    pages: Pages
    consents: Consents

    # Pages

    def list_page(self, call: Call) -> Response:
        """Everybody, or those whose name or id holds some words."""
        self.desk.audit.note_look(call.who.name, "looked at the list of people")
        found = self._search(call.query("q"))
        context = {
            "people": found[:PAGE_ROWS],
            "total": len(found),
            "q": call.query("q"),
            "consents": self.consents.givers(),
        }
        return self.pages.show(call, "people.html", context)

    def person_page(self, call: Call) -> Response:
        """One person: photo crop, quality, consent, ways in, history."""
        record = self._record(call.query("id"))
        person_id = record.person.person_id
        self.desk.audit.note(call.who.name, "looked at a person", about=person_id)
        active = [template for template in record.templates if template.active]
        template = active[-1] if active else None
        context = {
            "person": record.person,
            "template": template,
            "ease": None if template is None else template.quality.get("overall"),
            "checks": [] if template is None else measured(dict(template.quality)),
            "history": record.history,
            "consents": self.consents.of(person_id),
            "consent": self.consent_text(call),
            "ways": self.desk.passes.ways_of(person_id),
        }
        return self.pages.show(call, "person.html", context)

    def enrol_page(self, call: Call) -> Response:
        """One photo by drag and drop, by file or by webcam; or a whole list."""
        person_id = call.query("id")
        name = self.desk.people.name_of(person_id) if person_id else None
        context = {
            "person_id": person_id if name is not None else "",
            "name": name or "",
            "largest_photo": LARGEST_PHOTO,
            "consent": self.consent_text(call),
        }
        return self.pages.show(call, "enrol.html", context)

    # API

    def people(self, call: Call) -> Response:
        """Everybody enrolled, or those whose name or id holds the words of ``q``."""
        self.desk.audit.note_look(call.who.name, "looked at the list of people")
        return JSONResponse({"people": [person_json(person) for person in self._search(call.query("q"))]})

    def person(self, call: Call) -> Response:
        """One person: enrolment, quality, history, consents, ways in."""
        record = self._record(call.request.path_params["person_id"])
        person_id = record.person.person_id
        self.desk.audit.note(call.who.name, "looked at a person", about=person_id)
        active = [template for template in record.templates if template.active]
        ways = self.desk.passes.ways_of(person_id)
        document = person_json(record.person) | {
            "quality": dict(active[-1].quality) if active else {},
            "history": [{"at": h.at.isoformat(), "what": h.what, "reason": h.reason} for h in record.history],
            "consents": [
                {"version": c.version, "at": _iso(c.at), "by": c.by} for c in self.consents.of(person_id)
            ],
            "pin": ways.number is not None,
            "passes": ways.passes,
        }
        return JSONResponse(document)

    def crop(self, call: Call) -> Response:
        """The crop that a person is recognised by, as PNG; the small one belongs to the list of people."""
        record = self._record(call.request.path_params["person_id"])
        active = [template for template in record.templates if template.active]
        if not active:
            return refused(404, "no photo is in use for this person")
        if call.query("size") == "small":
            return Response(small_png(active[-1].crop_png), media_type="image/png")
        self.desk.audit.note(call.who.name, "looked at a photo", about=record.person.person_id)
        return Response(active[-1].crop_png, media_type="image/png")

    def judge(self, call: Call) -> Response:
        """What a photo is worth: the crop, every check, who it is like. Stores nothing."""
        photo = call.files["photo"][0]
        judged = self.desk.enrolment.judge(
            _photo_bytes(photo), name=photo.filename or "", person_id=call.fields.get("id", "")
        )
        said = self.pages.words_for(call)
        return JSONResponse(judged_json(judged, dict(said)))

    def enrol(self, call: Call) -> Response:
        """Enrol or re-enrol somebody from one photo, with their consent recorded."""
        consent = self._consent_given(call)
        photo = call.files["photo"][0]
        person_id = check_person_id(call.fields["id"])
        with self.desk.enrolment.enroller() as enroller:
            # Not before it is our turn: a colleague may just have enrolled somebody else under this id.
            if self.desk.people.name_of(person_id) is not None and not call.flag("replace"):
                raise taken(person_id)
            with (
                self.desk.audit.noting(call.who.name, "enrolled", about=person_id) as line,
                self.consents.before(person_id, consent, by=call.who.name) as pledge,
            ):
                done = enroller.enrol(
                    _photo_bytes(photo),
                    person_id=person_id,
                    name=call.fields["name"],
                    allow_duplicate=call.fields.get("allow_duplicate", "")[:200],
                )
                pledge.stands = True
                line.detail = str(done.outcome)
        return JSONResponse(enrolled_json(done), 201)

    def bulk(self, call: Call) -> Response:
        """Enrol a whole list: a zip with a CSV and photos, or a CSV and the photos beside it."""
        consent = self._consent_given(call)
        table = call.files["list"][0]
        photos = {file.filename or "": file.file for file in call.files.get("photos", [])}
        bulk = read_bulk(table.file, table.filename or "list.csv", photos, close=call.close_files)
        who = call.who.name
        one = partial(self._enrol_signed, consent=consent, by=who)
        # Noted first: once the list is on its way its files are the job's to close.
        self.desk.audit.note(who, "uploaded a list", detail=f"{len(bulk.rows)} rows")
        job = self.desk.jobs.start(
            lambda: work_through(self.desk.home, bulk, one=one), len(bulk.rows), by=who
        )
        return JSONResponse({"job": job.number, "total": job.total}, 202)

    def job(self, call: Call) -> Response:
        """How far a list has come, and what became of each row."""
        job = self.desk.jobs.find(call.request.path_params["number"])
        if job is None or job.by != call.who.name:
            return refused(404, "there is no such list any more")
        language = DEFAULT if call.who.is_token else language_of(call.request)
        return JSONResponse(job_json(job, partial(explained, language=language)))

    def note_consent(self, call: Call) -> Response:
        """Record that somebody agreed to the text as it stands now."""
        person_id = self._record(call.request.path_params["person_id"]).person.person_id
        consent = self._consent_given(call)
        by, version = call.who.name, consent.version
        with self.desk.audit.noting(by, "recorded a consent", about=person_id, detail=version):
            self.consents.note(person_id, consent, by=by)
        return JSONResponse({"version": consent.version}, 201)

    def set_pin(self, call: Call) -> Response:
        """Give somebody a PIN as another way in."""
        person_id = self._record(call.request.path_params["person_id"]).person.person_id
        with self.desk.audit.noting(call.who.name, "set a PIN", about=person_id):
            number = self.desk.passes.set_pin(
                person_id, call.fields["pin"], at=datetime.now(UTC), number=call.fields.get("number") or None
            )
        return JSONResponse({"number": number}, 201)

    def clear_pin(self, call: Call) -> Response:
        """Take somebody's PIN away."""
        person_id = self._record(call.request.path_params["person_id"]).person.person_id
        with self.desk.audit.noting(call.who.name, "took a PIN away", about=person_id):
            cleared = self.desk.passes.clear_pin(person_id)
        return JSONResponse({"cleared": cleared})

    def issue_pass(self, call: Call) -> Response:
        """A new QR pass; the answer holds its text and picture, this once."""
        person_id = self._record(call.request.path_params["person_id"]).person.person_id
        with self.desk.audit.noting(call.who.name, "issued a pass", about=person_id):
            text = self.desk.passes.issue(person_id, at=datetime.now(UTC))
        return JSONResponse({"text": text, "png": _data_address(qr_png(text))}, 201)

    def revoke_passes(self, call: Call) -> Response:
        """Make every pass of somebody worthless."""
        person_id = self._record(call.request.path_params["person_id"]).person.person_id
        with self.desk.audit.noting(call.who.name, "revoked passes", about=person_id) as line:
            count = self.desk.passes.revoke(person_id, at=datetime.now(UTC))
            line.detail = str(count)
        return JSONResponse({"revoked": count})

    def erase(self, call: Call) -> Response:
        """Erase somebody: photo crop, template, history, consents, PIN and passes; the punches stay."""
        person_id = check_person_id(call.request.path_params["person_id"])
        record = self.desk.people.record_of(person_id)
        if record is None:
            # What an erasure that was cut short left in the files goes now.
            erase_person(person_id, self.desk.people, self.desk.file)
            raise InputError(f"nobody is enrolled as {person_id}")
        ways = self.desk.passes.ways_of(person_id)
        number = hashlib.sha256(f"{person_id} {time_ns()}".encode()).hexdigest()[:16]
        consents = len(self.consents.of(person_id))
        with self.desk.audit.noting(call.who.name, "erased a person", about=person_id, detail=number):
            erase_person(person_id, self.desk.people, self.desk.file)  # PIN and passes go with the row
        receipt = {
            "receipt": number,
            "id": person_id,
            "at": self.desk.now().isoformat(timespec="seconds"),
            "by": call.who.name,
            "erased": {
                "templates_and_crops": len(record.templates),
                "history": len(record.history),
                "consents": consents,
                "pin": int(ways.number is not None),
                "passes": ways.passes,
            },
            "may_still_be_in": [path.name for path in self.desk.home.set_aside()],
            "kept": "punches under the id, as the time record; they hold no biometrics and no name",
        }
        return JSONResponse(receipt)

    # Consent

    def consent_text(self, call: Call) -> Consent:
        """The text that people sign now; its version changes with every letter. Raises SettingsError."""
        path = self.desk.home.settings.consent_text
        text = read_own_text(path) if path else self.pages.words_for(call)["consent_text"]
        return Consent(hashlib.sha256(text.encode()).hexdigest()[:12], text, 0.0, "")

    def _consent_given(self, call: Call) -> Consent:
        consent = self.consent_text(call)
        if not call.flag("consent"):
            raise InputError("no consent is recorded: tick the box once it is signed")
        said = call.fields.get("consent_version", "")
        if said and said != consent.version:
            raise InputError("the consent's text has changed meanwhile: load the page again")
        return consent

    def _enrol_signed(
        self, row: RosterRow | BadRow, enrol: Callable[[], RowReport], *, consent: Consent, by: str
    ) -> RowReport:
        """One row of a list whose people have all signed, those who are enrolled as it says already too."""
        if isinstance(row, BadRow):
            return enrol()
        has_agreed = any(given.version == consent.version for given in self.consents.of(row.person_id))
        with (
            self.desk.audit.noting(by, "enrolled", about=row.person_id, detail="by list") as line,
            self.consents.before(row.person_id, consent, by=by) as pledge,
        ):
            report = enrol()
            is_new = report.status in {RowStatus.ENROLLED, RowStatus.RE_ENROLLED}
            pledge.stands = is_new or (report.status is RowStatus.UNCHANGED and not has_agreed)
            line.detail = f"by list: {report.status}"
            if pledge.stands and not is_new:
                line.detail += f", consent {consent.version}"
            if report.status is RowStatus.REFUSED:
                line.outcome = Outcome.FAILED
        return report

    # Reading

    def _search(self, words: str) -> list[Person]:
        wanted = words.casefold().split()
        return [
            person
            for person in self.desk.people.people()
            if all(word in f"{person.person_id} {person.name}".casefold() for word in wanted)
        ]

    def _record(self, person_id: str) -> PersonRecord:
        record = self.desk.people.record_of(check_person_id(person_id))
        if record is None:
            raise InputError(f"nobody is enrolled as {person_id[:64]}")
        return record


def person_json(person: Person) -> dict[str, object]:
    """A person as JSON values."""
    return {
        "id": person.person_id,
        "name": person.name,
        "enrolled_at": person.enrolled_at.isoformat(),
        "models": list(person.models),
    }


def measured(measures: dict[str, float]) -> list[dict[str, object]]:
    """Each quality check with its measure and its limits: must and should, and whether they hold."""
    rows: list[dict[str, object]] = []
    for check in quality.checks(measures, quality.PHOTO_LIMITS, quality.PHOTO_WISHES):
        state = "bad" if not check.holds_limit else "ok" if check.holds_wish else "fair"
        rows.append(
            {
                "measure": check.measure,
                "value": round(check.value, 3),
                "limit": check.limit,
                "wish": check.wish,
                "is_least": check.is_least,
                "state": state,
            }
        )
    return rows


def judged_json(judged: Judged, said: dict[str, str]) -> dict[str, object]:
    """What a photo is worth, as JSON values; ``sentence`` is in the reader's language."""
    like = judged.like
    refusal = None
    if judged.reason is not None:
        refusal = {"reason": str(judged.reason), "message": judged.message}
    elif like is not None and like.score_cos >= judged.duplicate_cos:
        refusal = {"reason": "duplicate_person", "message": said["same_as"].format(id=like.person_id)}
    measures = {} if judged.quality is None else judged.quality.measures
    checks = measured(measures)
    for check in checks:
        check["name"] = said[f"measure_{check['measure']}"]
    return {
        "usable": refusal is None,
        "refusal": None
        if refusal is None
        else refusal | {"sentence": said.get(f"reason_{refusal['reason']}", refusal["message"])},
        "ease": None if judged.quality is None else round(judged.quality.overall, 3),
        "checks": checks,
        "findings": [_finding(f, said) for f in (*judged.findings, *judged.warnings)],
        "like": None
        if like is None
        else {
            "id": like.person_id,
            "score": round(like.score_cos, 3),
            "live_match_from": round(judged.live_cos, 3),
            "too_like": judged.is_too_like,
            "sentence": said["too_like" if judged.is_too_like else "like_nobody"].format(id=like.person_id),
        },
        "crop": None if judged.crop_png is None else _data_address(judged.crop_png),
    }


def enrolled_json(done: Enrolled) -> dict[str, object]:
    """An enrolment as JSON values."""
    return {
        "id": done.person_id,
        "outcome": str(done.outcome),
        "quality": done.quality.overall,
        "warnings": [str(warning.reason) for warning in done.portrait.warnings],
        "most_like": None
        if done.like is None
        else {"id": done.like.person_id, "score": round(done.like.score_cos, 3)},
    }


def job_json(job: Job, explain: Callable[[str, str], str]) -> dict[str, object]:
    """How far a list has come, as JSON values; ``explain`` as for each row."""
    reports = list(job.reports)
    counts: dict[str, int] = {}
    for report in reports:
        counts[str(report.status)] = counts.get(str(report.status), 0) + 1
    return {
        "job": job.number,
        "total": job.total,
        "done": len(reports),
        "is_done": job.is_done,
        "error": explain(job.error, "") if job.error else "",
        "counts": counts,
        "rows": [report_json(report, explain) for report in reports],
    }


def small_png(stored_png: bytes) -> bytes:
    """The crop at half its size. Raises StoreError."""
    import cv2  # noqa: PLC0415  # heavy, and only needed for a list

    crop = read_crop(stored_png)
    half = (CROP_PX // 2, CROP_PX // 2)
    small = cv2.resize(crop.pixels, half, interpolation=cv2.INTER_AREA)
    return crop_png(replace(crop, pixels=np.asarray(small, np.uint8)))


def qr_png(text: str) -> bytes:
    """A QR code as PNG, large enough to print."""
    import cv2  # noqa: PLC0415  # heavy, and only needed for a pass
    import numpy as np  # noqa: PLC0415  # as above

    code = cv2.QRCodeEncoder.create().encode(text)
    framed = np.pad(code, 4, constant_values=255)  # the quiet zone of ISO/IEC 18004
    large = np.kron(framed, np.ones((8, 8), np.uint8))
    return bytes(cv2.imencode(".png", large)[1].tobytes())


def _finding(finding: Finding, said: dict[str, str]) -> dict[str, object]:
    return {
        "reason": str(finding.reason),
        "value": round(finding.value, 3),
        "limit": finding.limit,
        "advice": said.get(f"advice_{finding.reason}", finding.advice),
    }


def _photo_bytes(photo: UploadFile) -> bytes:
    data = photo.file.read(LARGEST_PHOTO + 1)
    if len(data) > LARGEST_PHOTO:
        raise PhotoError("too_large", f"the photo is larger than {LARGEST_PHOTO // 1_000_000} MB")
    return data


def _data_address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
