"""One badge photo -> one enrolled person, or a refusal that says why and what to do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import numpy as np

from glancein.domain import align, quality
from glancein.domain.gallery import Gallery, gather, unit
from glancein.domain.person import (
    Enrolment,
    Outcome,
    Person,
    check_name,
    check_person_id,
    check_reason,
    refuse_unsafe,
)
from glancein.domain.roster import BadRow, RosterRow
from glancein.errors import InputError, PhotoError, StoreError
from glancein.ports import Embedder, FaceFinder, Pictures, Register
from glancein.types import Box, Candidate, Crop, Face, Finding, Floats, Pixels, Quality, Reason, Template

# A face this much smaller than the portrait's is somebody in the background or a badge's ghost image.
RIVAL_SHARE = 0.6
# A ghost image, the faded second portrait of a badge, has less of the portrait's contrast than this.
GHOST_CONTRAST_SHARE = 0.5
# A pattern that the finder half believes in is not a second person.
RIVAL_SCORE_SHARE = 0.6
# Building a matrix costs time in proportion to the people in it: a long roster builds the large one seldom.
SETTLE_EVERY = 256
BAD_ROW = "bad_row"  # the reason of a row that is refused for its id, name or reason

_REFUSED = {
    Reason.NO_FACE: "no face was found",
    Reason.SEVERAL_FACES: "several faces of like size were found",
    Reason.TOO_SMALL: "the face is too small",
    Reason.BLURRED: "the face is blurred",
    Reason.TOO_DARK: "the face is too dark",
    Reason.TOO_BRIGHT: "the face is burnt out",
    Reason.LOW_CONTRAST: "the face has hardly any contrast",
    Reason.TURNED_AWAY: "the face is turned away",
    Reason.COVERED: "the face is covered",
    Reason.CUT_OFF: "the face is cut off",
}


@dataclass(frozen=True, slots=True)
class EnrolmentLimits:
    """What a badge photo must reach, what it should, and the cosine from which two photos show one person."""

    duplicate_cos: float
    must: quality.QualityLimits = quality.PHOTO_LIMITS
    should: quality.QualityLimits = quality.PHOTO_WISHES


@dataclass(frozen=True, slots=True)
class Portrait:
    """A usable face; ``warnings`` are wishes it missed. Box and landmarks lie in the photo as given."""

    face: Face
    crop: Crop
    quality: Quality
    vector: Floats  # (128,) unit length
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a photo is not enrolled, in a code and in one line; with what was seen, as far as it went."""

    reason: Reason
    message: str
    findings: tuple[Finding, ...] = ()
    face: Face | None = None
    crop: Crop | None = None
    quality: Quality | None = None
    like: Candidate | None = None  # the enrolled person whom a duplicate resembles


Examined = Portrait | Refusal


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A person who is now enrolled (or would be, in a dry run), and the portrait it was done with."""

    person_id: str
    outcome: Outcome
    portrait: Portrait
    like: Candidate | None = None  # the most similar other person

    @property
    def quality(self) -> Quality:
        """The portrait's quality."""
        return self.portrait.quality


def examine(pixels: Pixels, finder: FaceFinder, embedder: Embedder, limits: EnrolmentLimits) -> Examined:
    """The portrait in an RGB photo (h, w, 3) of a person or a whole badge, in any quarter turn."""
    sights = [_sight(pixels, face) for face in _apart(finder.search(pixels))]
    if not sights:
        advice = "Take a photo, or scan the badge larger, so that the whole face shows."
        return _refuse(Finding(Reason.NO_FACE, 0.0, 1.0, advice))
    main = _portrait_among(sights)
    rivals = [s for s in sights if s is not main and _is_rival(s, main)]
    others = 0
    if rivals:
        own, *looks = embedder.embed([sight.crop for sight in (main, *rivals)])
        others = sum(float(own @ look) < limits.duplicate_cos for look in looks)
    if others:  # the same face twice is the badge's own second portrait
        advice = f"Take a photo of one person ({others + 1} faces)."
        several = _refuse(Finding(Reason.SEVERAL_FACES, others + 1.0, 1.0, advice))
        return replace(several, face=main.face, crop=main.crop)
    judged = quality.judge(main.measures, limits.must)
    if judged.findings:
        return _refuse_quality(main, judged)
    wishes = quality.judge(main.measures, limits.should)
    return Portrait(main.face, main.crop, judged, template_of(main.crop, embedder), wishes.findings)


def template_of(crop: Crop, embedder: Embedder) -> Floats:
    """(128,) of unit length: the direction between the looks at a crop that a finder's pixels would give.

    One photo is one place of the finder; the sum of nine is nearer to the next look at the same person
    (``docs/experiments-embedder.md``). The card's thresholds are between such a template and a single look.
    Raises ModelError as ``Embedder.embed``.
    """
    return unit(embedder.embed(align.looks(crop)).sum(axis=0))


@dataclass(frozen=True, slots=True)
class _Sight:
    face: Face
    crop: Crop
    measures: dict[str, float]


def _sight(pixels: Pixels, face: Face) -> _Sight:
    crop = align.crop(pixels, face.landmarks)
    height, width = pixels.shape[:2]
    measures = quality.measure(crop, face, picture_px=(height, width))
    return _Sight(face, align.softened(crop), measures)


def _apart(faces: Sequence[Face]) -> list[Face]:
    """One face for each head: of two that hold each other's middle, the more certain.

    A chin and mouth seen upside down pass for a second, smaller face within the first.
    """
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(_holds(other.box, face.box) or _holds(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _holds(outer: Box, inner: Box) -> bool:
    """True when the middle of one box lies in the other."""
    x, y = inner.left + inner.width / 2 - outer.left, inner.top + inner.height / 2 - outer.top
    return 0 <= x <= outer.width and 0 <= y <= outer.height


def _portrait_among(sights: Sequence[_Sight]) -> _Sight:
    """The largest face that is neither faded against the others nor half believed."""
    contrast = max(sight.measures["contrast"] for sight in sights)
    score = max(sight.face.score for sight in sights)
    sound = [
        sight
        for sight in sights
        if sight.measures["contrast"] >= GHOST_CONTRAST_SHARE * contrast
        and sight.face.score >= RIVAL_SCORE_SHARE * score
    ]
    return max(sound or sights, key=lambda sight: sight.crop.source_px_per_crop_px)


def _is_rival(sight: _Sight, main: _Sight) -> bool:
    """True for a face about as large, as clear and as certain as the portrait."""
    return (
        sight.crop.source_px_per_crop_px >= RIVAL_SHARE * main.crop.source_px_per_crop_px
        and sight.measures["contrast"] >= GHOST_CONTRAST_SHARE * main.measures["contrast"]
        and sight.face.score >= RIVAL_SCORE_SHARE * main.face.score
    )


def _refuse(found: Finding) -> Refusal:
    return Refusal(found.reason, f"{_REFUSED[found.reason]}. {found.advice}", (found,))


def _refuse_quality(sight: _Sight, judged: Quality) -> Refusal:
    first = judged.findings[0]
    message = f"{_REFUSED[first.reason]} ({first.value:.2f}, limit {first.limit:.2f}). {first.advice}"
    return Refusal(first.reason, message, judged.findings, sight.face, sight.crop, judged)


class RefusedPhotoError(PhotoError):
    """A photo that can be read but not enrolled; ``refusal`` says what was found."""

    def __init__(self, refusal: Refusal, file_name: str) -> None:
        super().__init__(refusal.reason, f"{file_name}: {refusal.message}")
        self.refusal = refusal


class Enroller:
    """Reads, examines and stores badge photos; keeps the templates to notice a face enrolled twice.

    ``limits_for`` gives the limits with so many people enrolled, and is asked for each photo. One thread at a
    time. What other processes enrol meanwhile is seen by the next Enroller.
    """

    def __init__(
        self,
        pictures: Pictures,
        networks: tuple[FaceFinder, Embedder],
        register: Register,
        *,
        limits_for: Callable[[int], EnrolmentLimits],
        now: Callable[[], datetime],
    ) -> None:
        self._pictures = pictures
        self._finder, self._embedder = networks
        self._register = register
        self._limits_for = limits_for
        self._now = now
        self._known = _Known(register.templates(self._embedder.model_sha256))
        self._people = {person.person_id: person for person in register.people()}
        self._spelled = {person_id.casefold(): person_id for person_id in self._people}

    def enrol(
        self,
        photo: Path | str | bytes,
        *,
        person_id: str,
        name: str,
        allow_duplicate: str = "",
        dry_run: bool = False,
    ) -> Enrolled:
        """Enrol a person from one photo, or re-enrol who has that id.

        A face too close to another enrolled person's is refused unless ``allow_duplicate`` gives the reason
        why both are right (twins), which is stored. ``dry_run`` does all but store. Raises PhotoError
        (unreadable, with the reason's code), RefusedPhotoError, InputError (id, name or reason), StoreError.
        """
        person_id, name = self._checked(person_id, name)
        reason = check_reason(allow_duplicate)
        data, file_name = self._pictures.fetch(photo)
        limits = self._limits_for(len(self._known))
        examined = examine(self._pictures.decode(data, file_name), self._finder, self._embedder, limits)
        if isinstance(examined, Portrait):
            like = self._known.nearest_other(examined.vector, person_id)
            if not like or like.score_cos < limits.duplicate_cos:
                reason = ""  # it would let this face in under yet another id elsewhere
            elif not reason:
                examined = _duplicate(examined, like, limits.duplicate_cos)
        if isinstance(examined, Refusal):
            raise RefusedPhotoError(examined, file_name)
        outcome = self._outcome(person_id, name, data)
        if not dry_run:
            enrolment = self._enrolment(name, examined, data, reason)
            outcome = self._register.replace(person_id, enrolment, at=self._now())
        self._remember(person_id, name, data, examined.vector)
        return Enrolled(person_id, outcome, examined, like)

    def is_current(self, row: RosterRow) -> bool:
        """True when this person was enrolled before with this very photo and name, for this model."""
        person = self._people.get(row.person_id)
        if person is None or person.name != row.name:
            return False
        data, _ = self._pictures.fetch(row.photo)
        return self._outcome(row.person_id, row.name, data) is Outcome.UNCHANGED

    def _checked(self, person_id: str, name: str) -> tuple[str, str]:
        """Id and name in normal form; what is new in them must be safe, what is stored may stay."""
        person_id, name = check_person_id(person_id), check_name(name)
        person = self._people.get(person_id)
        spelled = self._spelled.get(person_id.casefold(), person_id)
        stored_name = None if person is None else person.name
        refuse_unsafe(person_id, name, stored_name=stored_name, spelled=spelled)
        return person_id, name

    def _outcome(self, person_id: str, name: str, data: bytes) -> Outcome:
        """What storing this would do, as far as this Enroller knows."""
        person = self._people.get(person_id)
        if person is None:
            return Outcome.ADDED
        same = (person.name, person.photo_sha256) == (name, _sha256(data))
        return (
            Outcome.UNCHANGED if same and self._embedder.model_sha256 in person.models else Outcome.REPLACED
        )

    def _remember(self, person_id: str, name: str, data: bytes, vector: Floats) -> None:
        model = self._embedder.model_sha256
        self._people[person_id] = Person(person_id, name, self._now(), _sha256(data), (model,))
        self._spelled[person_id.casefold()] = person_id
        self._known.put(Template(person_id, vector, model))

    def _enrolment(self, name: str, portrait: Portrait, data: bytes, reason: str) -> Enrolment:
        return Enrolment(
            name=name,
            vector=portrait.vector,
            model_sha256=self._embedder.model_sha256,
            crop_png=crop_png(portrait.crop),
            photo_sha256=_sha256(data),
            quality={"overall": portrait.quality.overall, **portrait.quality.measures},
            reason=reason,
        )


class RowStatus(StrEnum):
    """What became of one row of a roster."""

    ENROLLED = "enrolled"
    RE_ENROLLED = "re-enrolled"
    UNCHANGED = "unchanged"
    WOULD_ENROL = "would enrol"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RowReport:
    """One line of the report: which row, what became of it, and why."""

    line: int
    person_id: str
    status: RowStatus
    reason: str = ""
    message: str = ""
    overall: float | None = None
    warnings: tuple[Finding, ...] = field(default=())
    findings: tuple[Finding, ...] = ()  # what a photo was refused for
    like: Candidate | None = None  # the most similar other person


def enrol_rows(
    rows: Iterable[RosterRow | BadRow], enroller: Enroller, *, dry_run: bool = False
) -> Iterator[RowReport]:
    """Enrol each row of a roster, one report a row; a refused row stops nothing, a second run is idle.

    Raises StoreError: when the database does not work no further row can.
    """
    for row in rows:
        if isinstance(row, BadRow):
            yield RowReport(row.line, row.person_id, RowStatus.REFUSED, row.reason, row.message)
            continue
        try:
            yield _enrol_row(row, enroller, dry_run=dry_run)
        except PhotoError as err:
            yield _refused_row(row, err)
        except InputError as err:
            yield RowReport(row.line, row.person_id, RowStatus.REFUSED, BAD_ROW, str(err))


def _refused_row(row: RosterRow, err: PhotoError) -> RowReport:
    report = RowReport(row.line, row.person_id, RowStatus.REFUSED, err.reason, str(err))
    if not isinstance(err, RefusedPhotoError):
        return report
    return replace(report, findings=err.refusal.findings, like=err.refusal.like)


def _enrol_row(row: RosterRow, enroller: Enroller, *, dry_run: bool) -> RowReport:
    if enroller.is_current(row):
        return RowReport(row.line, row.person_id, RowStatus.UNCHANGED)
    done = enroller.enrol(
        row.photo,
        person_id=row.person_id,
        name=row.name,
        allow_duplicate=row.allow_duplicate,
        dry_run=dry_run,
    )
    status = {
        Outcome.ADDED: RowStatus.WOULD_ENROL if dry_run else RowStatus.ENROLLED,
        Outcome.REPLACED: RowStatus.WOULD_ENROL if dry_run else RowStatus.RE_ENROLLED,
        Outcome.UNCHANGED: RowStatus.UNCHANGED,
    }[done.outcome]
    return RowReport(
        row.line,
        row.person_id,
        status,
        overall=done.quality.overall,
        warnings=done.portrait.warnings,
        like=done.like,
    )


class _Known:
    """The templates so far: one matrix of the older ones, and a small one of those that came since."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self._older = list(templates)
        self._settled = gather(self._older)
        self._since: dict[str, Template] = {}
        self._recent: Gallery = gather([])
        self._person_ids = {template.person_id for template in templates}

    def __len__(self) -> int:
        """How many people."""
        return len(self._person_ids)

    def put(self, template: Template) -> None:
        """Know this person by this template only."""
        self._since[template.person_id] = template
        self._person_ids.add(template.person_id)
        if len(self._since) >= SETTLE_EVERY:
            self._older = [t for t in self._older if t.person_id not in self._since]
            self._older.extend(self._since.values())
            self._settled, self._since = gather(self._older), {}
        self._recent = gather(list(self._since.values()))

    def nearest_other(self, vector: Floats, person_id: str) -> Candidate | None:
        """The most similar person but this one."""
        stored = self._settled.rank(vector, 2 + len(self._since))
        current = [c for c in stored if c.person_id not in self._since]
        others = [c for c in (*current, *self._recent.rank(vector, 2)) if c.person_id != person_id]
        return max(others, key=lambda candidate: candidate.score_cos, default=None)


def crop_png(crop: Crop) -> bytes:
    """The crop as a PNG file."""
    import cv2  # noqa: PLC0415  # heavy, and only needed when something is stored

    _, data = cv2.imencode(".png", crop.pixels[:, :, ::-1])
    return data.tobytes()


def read_crop(png: bytes) -> Crop:
    """The crop of a stored PNG, to the pixel what ``crop_png`` was given. Raises StoreError."""
    import cv2  # noqa: PLC0415  # as above

    pixels = None
    if png.startswith(align.CROP_BEGINS):  # a picture of another size may be a huge one
        with suppress(cv2.error):
            pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or pixels.shape != (align.CROP_PX, align.CROP_PX, 3):
        raise StoreError("a stored crop is damaged: enrol the person again")
    # How the face lay in its photo is not stored; no vector depends on it.
    return Crop(np.ascontiguousarray(pixels[:, :, ::-1]), 1.0, 0.0)


def _duplicate(portrait: Portrait, like: Candidate, duplicate_cos: float) -> Refusal:
    advice = "Check the photo and the id; for twins allow the duplicate and say why."
    message = f"this face is enrolled already, as {like.person_id} (cosine {like.score_cos:.2f}). {advice}"
    found = Finding(Reason.DUPLICATE_PERSON, like.score_cos, duplicate_cos, advice)
    seen = Refusal(Reason.DUPLICATE_PERSON, message, (found,), portrait.face, portrait.crop)
    return replace(seen, quality=portrait.quality, like=like)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
