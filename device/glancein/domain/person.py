"""Who can be enrolled: valid ids and names, and what an enrolment brings along."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from glancein.domain.spreadsheet import FORMULA_BEGINS
from glancein.errors import InputError
from glancein.types import Floats

ID_LIMIT = 64
NAME_LIMIT = 200
# They would break MQTT topics and file names made from an id.
FORBIDDEN_IN_ID = frozenset("/\\+#")


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What one badge photo gives: the vector, the crop it was made from, and how good it was."""

    name: str
    vector: Floats  # (128,) unit length
    model_sha256: str
    crop_png: bytes
    photo_sha256: str
    quality: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


class Outcome(StrEnum):
    """What became of an enrolment."""

    ADDED = "added"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to a person's enrolment."""

    at: datetime
    what: str
    photo_sha256: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """One template as kept on disk; inactive ones are earlier photos."""

    vector: Floats  # (128,) unit length
    model_sha256: str
    crop_png: bytes
    quality: Mapping[str, float]
    created_at: datetime
    active: bool


@dataclass(frozen=True, slots=True)
class Person:
    """An enrolled person as the list shows them."""

    person_id: str
    name: str
    enrolled_at: datetime
    photo_sha256: str
    models: tuple[str, ...]  # hashes of the models that have an active template


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """Everything stored about one person."""

    person: Person
    templates: tuple[StoredTemplate, ...]
    history: tuple[HistoryEntry, ...]


def check_person_id(text: str) -> str:
    """The id in normal form (NFC); raises InputError that says what is wrong with it."""
    tidy = unicodedata.normalize("NFC", text)
    if not tidy or len(tidy) > ID_LIMIT:
        raise InputError(f"a person id has 1 to {ID_LIMIT} characters, this one has {len(tidy)}")
    if not tidy.isprintable() or tidy != tidy.strip():
        raise InputError(f"person id {tidy[:20]!r} has control characters or spaces at its ends; remove them")
    for character in tidy:
        if character in FORBIDDEN_IN_ID:
            raise InputError(
                f"person id {tidy!r} contains {character!r}; an id holds no '/', '\\', '+' and '#'"
            )
    return tidy


def check_name(text: str) -> str:
    """The display name in normal form (NFC); raises InputError that says what is wrong with it."""
    tidy = unicodedata.normalize("NFC", text).strip()
    if not tidy or len(tidy) > NAME_LIMIT:
        raise InputError(f"a name has 1 to {NAME_LIMIT} characters, this one has {len(tidy)}")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in tidy):
        raise InputError(f"name {tidy[:20]!r} has control characters or line breaks; remove them")
    return tidy


def check_reason(text: str) -> str:
    """Why a face like an enrolled one is right, trimmed; empty if nothing was said. Raises InputError."""
    tidy = text.strip()
    if text and not tidy:
        raise InputError("the reason for a duplicate is blank: say why both are right, such as twins")
    return tidy


def refuse_unsafe(person_id: str, name: str, *, stored_name: str | None, spelled: str) -> None:
    """Raises InputError if an id or name that is new must not come in; what is stored already may stay.

    ``stored_name`` is None for somebody new; ``spelled`` is the id that differs from this at most in case.
    """
    if stored_name is None:
        refuse_formula(person_id, "the id")
        if spelled != person_id:
            raise InputError(f"id {person_id} differs from {spelled} only in case: use that id, or another")
    if stored_name != name:
        refuse_formula(name, "the name")


def refuse_formula(text: str, what: str) -> None:
    """Raises InputError if a spreadsheet would run this new id or name; what is stored already may stay."""
    if text.startswith(FORMULA_BEGINS):
        raise InputError(
            f"{what} begins with {text[0]!r}, which a spreadsheet would run as a formula: remove it"
        )
