"""An archive's people whose face is here already: who may come in, and whom the others are like."""

from __future__ import annotations

from tests.device.punches import MODEL, NOON, TINY_PNG, unit_vector

from glancein.domain.doubles import SameFace, find_doubles
from glancein.domain.person import HistoryEntry, Person, PersonRecord, StoredTemplate
from glancein.types import Template

SAME_FACE = SameFace(MODEL, 0.9)


def record(person_id: str, face: int, *, reason: str = "", model: str = MODEL) -> PersonRecord:
    """Somebody of an archive with this face; ``reason`` is why it was allowed beside its like."""
    photo = f"photo of {person_id}"
    return PersonRecord(
        Person(person_id, person_id, NOON, photo, (model,)),
        (StoredTemplate(unit_vector(face), model, TINY_PNG, {}, NOON, active=True),),
        (HistoryEntry(NOON, "enrolled", photo, reason),),
    )


def here(person_id: str, face: int) -> Template:
    """Somebody who is enrolled."""
    return Template(person_id, unit_vector(face), MODEL)


def likes(
    archive: list[PersonRecord], *enrolled: Template, unchanged: tuple[str, ...] = ()
) -> dict[str, str]:
    """Who must not come in, and whom they are like."""
    found = find_doubles(archive, enrolled, SAME_FACE, unchanged=unchanged)
    return {person_id: like.person_id for person_id, like in found.items()}


def test_find_doubles_when_a_face_is_enrolled_under_another_id() -> None:
    """That person is refused with the other's id and the cosine; the others come in."""
    found = find_doubles([record("A1", 1), record("A2", 2)], [here("X1", 1)], SAME_FACE)

    assert list(found) == ["A1"]
    assert found["A1"].person_id == "X1"
    assert found["A1"].score_cos > 0.999


def test_find_doubles_when_the_same_person_has_a_new_photo() -> None:
    """Nobody is a double of themselves."""
    assert likes([record("A1", 1)], here("A1", 1)) == {}


def test_find_doubles_when_the_archive_holds_a_reason() -> None:
    """Twins come in: whose reason is recorded, and the other one who came from the same kiosk."""
    twins = [record("A1", 1, reason="twins"), record("A2", 1)]

    assert likes(twins) == {}
    assert likes([record("A1", 1, reason="twins")], here("X1", 1)) == {}


def test_find_doubles_when_the_reason_is_anothers() -> None:
    """A twin's reason does not open the door to a third who is here under another id."""
    assert likes([record("A1", 1, reason="twins"), record("A2", 1)], here("X1", 1)) == {"A2": "X1"}


def test_find_doubles_when_two_of_the_archive_are_alike() -> None:
    """The later one is refused."""
    assert likes([record("A1", 1), record("A2", 1)]) == {"A2": "A1"}


def test_find_doubles_when_two_mixed_up_people_are_put_right() -> None:
    """Everybody is compared with what the others will be, not with what they were."""
    assert likes([record("A1", 2), record("A2", 1)], here("A1", 1), here("A2", 2)) == {}


def test_find_doubles_when_a_refused_one_keeps_the_former_face() -> None:
    """Who stays as enrolled may be what another of the archive is like."""
    archive = [record("A1", 2), record("A2", 3)]

    assert likes(archive, here("A2", 2), here("X1", 3)) == {"A2": "X1", "A1": "A2"}


def test_find_doubles_when_both_are_here_already() -> None:
    """An unchanged person is not refused, and still counts."""
    archive = [record("A1", 1), record("A2", 1)]

    assert likes(archive, here("A1", 1), here("X1", 1), unchanged=("A1",)) == {"A2": "A1"}


def test_find_doubles_when_templates_are_of_another_model() -> None:
    """Vectors of two models cannot be compared."""
    assert likes([record("A1", 1, model="cd" * 32)], here("X1", 1)) == {}
