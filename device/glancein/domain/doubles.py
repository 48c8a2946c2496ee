"""People of an archive whose face is enrolled already under another id. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glancein.domain.gallery import gather
from glancein.domain.person import PersonRecord, check_person_id
from glancein.types import Candidate, Template


@dataclass(frozen=True, slots=True)
class SameFace:
    """The cosine from which two templates of one model show one person."""

    model_sha256: str
    duplicate_cos: float


def find_doubles(
    archive: Sequence[PersonRecord],
    enrolled: Sequence[Template],
    same_face: SameFace,
    *,
    unchanged: Collection[str] = (),
) -> dict[str, Candidate]:
    """Whom each person of an archive resembles who must not come in: the kiosk could tell neither.

    ``enrolled``: the model's templates of everybody who is here; ``unchanged``: ids of the archive that stay
    as they are. Of two people alike in the archive the later is refused. A reason for a duplicate, recorded
    in the archive, lets its owner in, and the other one too if both come from this archive. Raises InputError
    for a bad id.
    """
    people = {check_person_id(record.person.person_id): record for record in archive}
    allowed = {person_id for person_id, record in people.items() if _has_reason(record)}
    coming = {
        person_id: _templates(person_id, record, same_face.model_sha256)
        for person_id, record in people.items()
        if person_id not in unchanged
    }
    refused: dict[str, Candidate] = {}
    # Who is refused stays as enrolled, which may be what another of the archive resembles.
    while found := _alike(coming, enrolled, allowed, same_face.duplicate_cos):
        refused |= found
        coming = {person_id: made for person_id, made in coming.items() if person_id not in found}
    return refused


def _has_reason(record: PersonRecord) -> bool:
    """True if the history says why this photo is right although its face was enrolled."""
    photo = record.person.photo_sha256
    return any(entry.reason.strip() and entry.photo_sha256 == photo for entry in record.history)


def _templates(person_id: str, record: PersonRecord, model_sha256: str) -> list[Template]:
    return [
        Template(person_id, template.vector, model_sha256)
        for template in record.templates
        if template.active and template.model_sha256 == model_sha256
    ]


def _alike(
    coming: Mapping[str, Sequence[Template]],
    enrolled: Sequence[Template],
    allowed: Collection[str],
    duplicate_cos: float,
) -> dict[str, Candidate]:
    """Of those who come, each who is like somebody that stays or came before, and whom they resemble most."""
    staying = [template for template in enrolled if template.person_id not in coming]
    gallery = gather([*staying, *(template for made in coming.values() for template in made)])
    found: dict[str, Candidate] = {}
    for row, person_id in enumerate(gallery.person_ids):
        if person_id not in coming or person_id in allowed:
            continue
        scores = gallery.matrix[:row] @ gallery.matrix[row]
        others = {gallery.person_ids[i]: float(scores[i]) for i in np.flatnonzero(scores >= duplicate_cos)}
        against = [
            Candidate(*pair) for pair in others.items() if pair[0] not in {person_id, *allowed, *found}
        ]
        if against:
            found[person_id] = max(against, key=lambda candidate: candidate.score_cos)
    return found
