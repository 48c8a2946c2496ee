"""Enrolment: the right face of a photo, the right reason against it, no person twice, a roster row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.device import simulate
from tests.device.fakes import (
    FakeEmbedder,
    FakeFinder,
    FakePictures,
    FakeRegister,
    cartoon,
    draw_face,
    face_at,
)

from glancein import enrolment
from glancein.domain import align
from glancein.domain.person import Outcome
from glancein.domain.roster import BadRow, RosterRow
from glancein.enrolment import (
    Enroller,
    EnrolmentLimits,
    Examined,
    Portrait,
    Refusal,
    RefusedPhotoError,
    RowStatus,
    crop_png,
    enrol_rows,
    examine,
    template_of,
)
from glancein.errors import InputError, PhotoError
from glancein.types import Face, Pixels, Reason

LIMITS = EnrolmentLimits(duplicate_cos=0.95)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ALONE = face_at(320, 280, 100)


def photo(*people: tuple[Face, int]) -> Pixels:
    """A 640 x 640 picture of these people (face, seed of the looks)."""
    pixels = np.full((640, 640, 3), 215, np.uint8)
    for face, seed in people:
        draw_face(pixels, face, seed=seed)
    return pixels


def seen(pixels: Pixels, *faces: Face) -> Examined:
    """What enrolment makes of a picture in which the finder sees these faces."""
    return examine(pixels, FakeFinder(list(faces)), FakeEmbedder(), LIMITS)


def portrait(examined: Examined) -> Portrait:
    """The examined photo, which must be usable."""
    assert isinstance(examined, Portrait), examined
    return examined


def refusal(examined: Examined) -> Refusal:
    """The examined photo, which must not be."""
    assert isinstance(examined, Refusal)
    return examined


def test_examine_clean_portrait_gives_unit_vector_and_no_warning() -> None:
    """A plain portrait is usable without a word."""
    found = portrait(seen(photo((ALONE, 1)), ALONE))

    assert found.warnings == ()
    assert found.quality.overall > 0.95
    assert np.linalg.norm(found.vector) == pytest.approx(1.0, abs=1e-5)


def test_template_is_the_direction_of_the_sum_of_all_looks() -> None:
    """One vector for nine looks, each counted once, and not that of the crop alone."""
    found = portrait(seen(photo((ALONE, 1)), ALONE))

    rows = [FakeEmbedder().embed([look])[0] for look in align.looks(found.crop)]

    total = np.zeros(128)
    for row in rows:
        total += row
    np.testing.assert_allclose(found.vector, total / np.linalg.norm(total), atol=1e-6)
    assert not np.allclose(found.vector, rows[0], atol=1e-4)
    np.testing.assert_array_equal(found.vector, template_of(found.crop, FakeEmbedder()))


def test_examine_photo_without_face_says_so() -> None:
    """No face: its own reason, one line, something to do."""
    found = refusal(seen(photo()))

    assert found.reason is Reason.NO_FACE
    assert found.message.startswith("no face was found. ")
    assert [(f.reason, f.value, f.limit) for f in found.findings] == [(Reason.NO_FACE, 0, 1)]


def test_examine_two_people_side_by_side_refuses() -> None:
    """Of two comparable faces none is chosen."""
    left, right = face_at(180, 280, 80), face_at(460, 280, 70)

    found = refusal(seen(photo((left, 1), (right, 5)), left, right))

    assert found.reason is Reason.SEVERAL_FACES
    assert "2 faces" in found.message
    assert [(f.reason, f.value, f.limit) for f in found.findings] == [(Reason.SEVERAL_FACES, 2, 1)]


def test_examine_somebody_small_in_background_takes_the_large_face() -> None:
    """One face that clearly dominates is the portrait."""
    behind = face_at(540, 120, 40, score=0.95)

    found = portrait(seen(photo((ALONE, 1), (behind, 5)), ALONE, behind))

    assert found.face is ALONE


def test_examine_same_face_printed_twice_is_one_person() -> None:
    """A badge's second portrait of like size is not a second person."""
    left, right = face_at(180, 280, 80), face_at(460, 280, 76)

    found = portrait(seen(photo((left, 1), (right, 1)), left, right))

    assert found.face is left


def test_examine_faded_ghost_image_is_not_a_person() -> None:
    """A pale second portrait of somebody who looks different enough still does not count."""
    left, right = face_at(180, 280, 80), face_at(460, 280, 90)
    pixels = photo((left, 1), (right, 4))
    pixels[:, 330:] = np.rint((pixels[:, 330:] / 255.0 - 0.5) * 60 + 190).astype(np.uint8)

    found = portrait(seen(pixels, left, right))

    assert found.face is left


def test_examine_half_believed_pattern_is_not_a_person() -> None:
    """A logo that the finder half believes in does not make several faces."""
    logo = face_at(500, 500, 90, score=0.4)

    assert portrait(seen(photo((ALONE, 1), (logo, 5)), ALONE, logo)).face is ALONE


def test_examine_face_within_a_face_is_not_a_second_person() -> None:
    """A chin seen upside down is no rival of the face it belongs to."""
    chin = face_at(320, 340, 80, turn_deg=180, score=0.8)

    assert portrait(seen(photo((ALONE, 1)), ALONE, chin)).face is ALONE


@pytest.mark.parametrize("turn_deg", [0, 14, 90, 180, 270])
def test_examine_turned_card_gives_the_upright_crop(turn_deg: int) -> None:
    """A small portrait on a badge at any angle comes out as upright as the photo it was made from."""
    plain = photo((ALONE, 1))
    badge = simulate.card(plain, portrait_px=220, turn_deg=turn_deg, ghost=True)
    face = replace(ALONE, landmarks=simulate.moved(ALONE.landmarks, badge.from_portrait))

    crop = portrait(seen(badge.pixels, face)).crop

    straight = align.crop(plain, ALONE.landmarks)
    assert float(np.abs(crop.pixels.astype(float) - straight.pixels).mean()) < 8


def test_examine_hundred_pixel_portrait_on_a_card_is_usable_with_a_warning() -> None:
    """A portrait of 100 px is enrolled, and HR is told that a larger one would be better."""
    badge = simulate.card(photo((ALONE, 1)), portrait_px=100)
    face = replace(ALONE, landmarks=simulate.moved(ALONE.landmarks, badge.from_portrait))

    found = portrait(seen(badge.pixels, face))

    assert Reason.TOO_SMALL in {finding.reason for finding in found.warnings}


def test_examine_poor_photo_carries_value_limit_and_advice() -> None:
    """A refusal holds the measure, the limit and what to do, and the crop for a look."""
    blurred = np.asarray(cv2.GaussianBlur(photo((ALONE, 1)), (0, 0), 16), np.uint8)

    found = refusal(seen(blurred, ALONE))

    assert found.reason is Reason.BLURRED
    assert found.findings[0].value > found.findings[0].limit
    assert f"limit {found.findings[0].limit:.2f}" in found.message
    assert found.crop is not None


def enroller(
    register: FakeRegister | None = None,
    limits_for: Callable[[int], EnrolmentLimits] = lambda _: LIMITS,
    **photos: int,
) -> Enroller:
    """An enroller whose photos show the people of these seeds, by file name."""
    pictures = FakePictures({name: photo((ALONE, seed)) for name, seed in photos.items()})
    store = FakeRegister() if register is None else register
    return Enroller(
        pictures, (FakeFinder([ALONE]), FakeEmbedder()), store, limits_for=limits_for, now=lambda: NOON
    )


def test_enrol_stores_vector_crop_hash_and_quality() -> None:
    """What is stored is enough to show, to re-embed and to recognise."""
    register = FakeRegister()

    done = enroller(register, ann=1).enrol("ann", person_id="E1", name="Ann")

    stored = register.stored["E1"]
    assert done.outcome is Outcome.ADDED
    assert stored.crop_png.startswith(b"\x89PNG")
    assert len(stored.photo_sha256) == 64
    assert stored.quality["overall"] == done.quality.overall
    assert np.array_equal(stored.vector, done.portrait.vector)


def test_enrol_second_id_for_one_face_is_refused_with_the_first() -> None:
    """Two people with one face: the second is refused, and the message names the first and the cosine."""
    both = enroller(ann=1, anna=1)
    both.enrol("ann", person_id="E1", name="Ann")

    with pytest.raises(RefusedPhotoError, match=r"enrolled already, as E1 \(cosine 1\.00\)") as refused:
        both.enrol("anna", person_id="E2", name="Anna")

    (found,) = refused.value.refusal.findings
    assert refused.value.reason == found.reason == Reason.DUPLICATE_PERSON
    assert found.value == pytest.approx(1.0)
    assert found.limit == LIMITS.duplicate_cos


def test_enrol_duplicate_known_from_the_database_is_refused() -> None:
    """Also those count who were enrolled before this process began."""
    register = FakeRegister()
    enroller(register, ann=1).enrol("ann", person_id="E1", name="Ann")

    with pytest.raises(PhotoError, match="as E1"):
        enroller(register, ann=1).enrol("ann", person_id="E2", name="Anna")


def test_enrol_duplicate_limit_is_the_one_for_as_many_as_are_enrolled_by_then() -> None:
    """Within one roster too: the known and the new ones count, a new photo of somebody does not."""
    register = FakeRegister()
    enroller(register, ann=1).enrol("ann", person_id="E1", name="Ann")
    asked: list[int] = []

    def limits_for(enrolled: int) -> EnrolmentLimits:
        asked.append(enrolled)
        return EnrolmentLimits(duplicate_cos=0.95 if enrolled < 3 else 1.5)

    several = enroller(register, limits_for, anna=1, bob=2, bobby=4, dan=5)
    with pytest.raises(PhotoError, match="as E1"):
        several.enrol("anna", person_id="E9", name="Anna")
    for photo_name, person_id in (("bob", "E2"), ("bobby", "E2"), ("dan", "E3"), ("anna", "E9")):
        several.enrol(photo_name, person_id=person_id, name=photo_name)

    assert asked == [1, 1, 2, 2, 3]


def test_enrol_allowed_duplicate_stores_the_reason() -> None:
    """Twins can be enrolled; why is kept."""
    register = FakeRegister()
    both = enroller(register, ann=1, anna=1)
    both.enrol("ann", person_id="E1", name="Ann")

    done = both.enrol("anna", person_id="E2", name="Anna", allow_duplicate="twins, HR checked")

    assert register.stored["E2"].reason == "twins, HR checked"
    assert done.like is not None
    assert done.like.person_id == "E1"


def test_enrol_reason_without_a_duplicate_is_not_kept() -> None:
    """It would let this very face in under another id, somewhere else."""
    register = FakeRegister()
    enroller(register, ann=1).enrol("ann", person_id="E1", name="Ann", allow_duplicate="left over")

    assert register.stored["E1"].reason == ""


def test_enrol_blank_reason_for_a_duplicate_is_refused() -> None:
    """Spaces are no reason."""
    both = enroller(ann=1, anna=1)
    both.enrol("ann", person_id="E1", name="Ann")

    with pytest.raises(InputError, match="blank"):
        both.enrol("anna", person_id="E2", name="Anna", allow_duplicate=" \t")


@pytest.mark.parametrize(("person_id", "name"), [("-F2", "Ann"), ("E1", "=HYPERLINK(1)")])
def test_enrol_formula_as_id_or_name_is_refused(person_id: str, name: str) -> None:
    """What a roster may not hold cannot come in singly either."""
    with pytest.raises(InputError, match="formula"):
        enroller(ann=1).enrol("ann", person_id=person_id, name=name)


def test_enrol_formula_that_is_stored_already_may_stay() -> None:
    """Who was enrolled under such an id or name can still get a new photo."""
    register = FakeRegister()
    enroller(register, ann=1).enrol("ann", person_id="E1", name="Ann")
    register.stored["-F2"] = replace(register.stored.pop("E1"), name="=Ann")

    done = enroller(register, new=1).enrol("new", person_id="-F2", name="=Ann")

    assert done.outcome is Outcome.REPLACED


def test_enrol_id_that_differs_only_in_case_is_refused() -> None:
    """A1 and a1 are one person to whoever reads the list; who is stored under either keeps it."""
    register = FakeRegister()
    enroller(register, ann=1).enrol("ann", person_id="A1", name="Ann")

    with pytest.raises(InputError, match="a1 differs from A1 only in case"):
        enroller(register, bob=2).enrol("bob", person_id="a1", name="Bob")
    assert enroller(register, ann=1).enrol("ann", person_id="A1", name="Ann").outcome is Outcome.UNCHANGED


def test_enrol_same_id_again_replaces_the_photo() -> None:
    """A new photo of an enrolled person is no duplicate of themselves."""
    register = FakeRegister()
    twice = enroller(register, old=1, new=1)
    twice.enrol("old", person_id="E1", name="Ann")

    assert twice.enrol("new", person_id="E1", name="Ann").outcome is Outcome.REPLACED


def test_enrol_after_replacement_forgets_the_former_face() -> None:
    """Only a person's present photo counts when duplicates are looked for."""
    several = enroller(wrong=1, right=2, owner=1)
    several.enrol("wrong", person_id="E1", name="Ann")
    several.enrol("right", person_id="E1", name="Ann")

    assert several.enrol("owner", person_id="E2", name="Bea").outcome is Outcome.ADDED


def test_enrol_dry_run_stores_nothing_but_sees_duplicates() -> None:
    """A rehearsal tells all that the performance would."""
    register = FakeRegister()
    both = enroller(register, ann=1, anna=1)
    both.enrol("ann", person_id="E1", name="Ann", dry_run=True)

    with pytest.raises(PhotoError, match="as E1"):
        both.enrol("anna", person_id="E2", name="Anna", dry_run=True)

    assert register.stored == {}


def test_enrol_dry_run_tells_what_would_become_of_each() -> None:
    """A rehearsal names the outcome that the performance would have."""
    register = FakeRegister()
    enroller(register, ann=1).enrol("ann", person_id="E1", name="Ann")
    again = enroller(register, ann=1, new=1, bob=2)
    people = (("E1", "Ann", "ann"), ("E1", "Ann", "new"), ("E2", "Bob", "bob"))

    outcomes = [again.enrol(file, person_id=i, name=n, dry_run=True).outcome for i, n, file in people]

    assert outcomes == [Outcome.UNCHANGED, Outcome.REPLACED, Outcome.ADDED]


def test_enrol_impossible_id_is_refused_before_the_photo_is_read() -> None:
    """A bad id costs no decoding."""
    with pytest.raises(InputError, match="contains '/'"):
        enroller().enrol("missing", person_id="a/b", name="Ann")


def roster(*people: tuple[str, str, str]) -> list[RosterRow | BadRow]:
    """Rows (id, name, photo) as a CSV would give them."""
    return [RosterRow(line, who, name, Path(file)) for line, (who, name, file) in enumerate(people, start=2)]


def test_enrol_rows_reports_each_row_and_goes_on() -> None:
    """A refused row stops nothing."""
    rows = [*roster(("E1", "Ann", "ann"), ("E2", "Anna", "anna")), BadRow(4, "", "bad_row", "no id")]
    rows += roster(("E3", "Bob", "bob"))

    reports = list(enrol_rows(rows, enroller(ann=1, anna=1, bob=2)))

    assert [r.status for r in reports] == [
        RowStatus.ENROLLED,
        RowStatus.REFUSED,
        RowStatus.REFUSED,
        RowStatus.ENROLLED,
    ]
    assert [r.reason for r in reports] == ["", "duplicate_person", "bad_row", ""]


def test_enrol_rows_reason_in_a_row_allows_that_duplicate_only() -> None:
    """Twins in a list come in by the reason in their row; the others' findings are kept."""
    register = FakeRegister()
    twin = RosterRow(3, "E2", "Anna", Path("anna"), "twins")
    rows = [*roster(("E1", "Ann", "ann")), twin, *roster(("E3", "Anni", "anni"))]

    reports = list(enrol_rows(rows, enroller(register, ann=1, anna=1, anni=1)))

    assert [r.status for r in reports] == [RowStatus.ENROLLED, RowStatus.ENROLLED, RowStatus.REFUSED]
    assert register.stored["E2"].reason == "twins"
    assert [finding.limit for finding in reports[2].findings] == [LIMITS.duplicate_cos]
    assert [r.like is None for r in reports] == [True, False, False]


@pytest.mark.parametrize("dry_run", [True, False])
def test_enrol_rows_ids_that_differ_only_in_case_are_one_too_many(dry_run: bool) -> None:  # noqa: FBT001
    """Within a list as well as against who is enrolled."""
    rows = roster(("A1", "Ann", "ann"), ("a1", "Bob", "bob"))

    reports = list(enrol_rows(rows, enroller(ann=1, bob=2), dry_run=dry_run))

    assert (reports[1].status, reports[1].reason) == (RowStatus.REFUSED, "bad_row")
    assert "only in case" in reports[1].message


def test_enrol_rows_second_time_changes_nothing() -> None:
    """The same roster again is unchanged throughout, without looking at a pixel."""
    register = FakeRegister()
    rows = roster(("E1", "Ann", "ann"), ("E2", "Bob", "bob"))
    list(enrol_rows(rows, enroller(register, ann=1, bob=2)))
    before = dict(register.stored)

    reports = list(enrol_rows(rows, enroller(register)))

    assert {r.status for r in reports} == {RowStatus.UNCHANGED}
    assert register.stored == before


def test_enrol_rows_dry_run_stores_nothing() -> None:
    """A dry run reports what would be."""
    register = FakeRegister()

    reports = list(enrol_rows(roster(("E1", "Ann", "ann")), enroller(register, ann=1), dry_run=True))

    assert [r.status for r in reports] == [RowStatus.WOULD_ENROL]
    assert register.stored == {}


def test_enrol_long_roster_still_sees_duplicates_of_its_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settling the templates into one matrix loses nobody and keeps nobody's former face."""
    monkeypatch.setattr(enrolment, "SETTLE_EVERY", 2)
    several = enroller(ann=1, bob=2, cid=4, dee=5, again=1, wrong=6)
    several.enrol("wrong", person_id="E0", name="Eve")
    for number, who in enumerate(("ann", "bob", "cid")):
        several.enrol(who, person_id=f"E{number}", name=who)

    assert several.enrol("wrong", person_id="E8", name="Fay").outcome is Outcome.ADDED
    with pytest.raises(PhotoError, match="as E0"):
        several.enrol("again", person_id="E9", name="Gus")


def test_crop_png_holds_the_crop_exactly() -> None:
    """The stored crop is lossless RGB."""
    crop = replace(align.crop(photo((ALONE, 1)), ALONE.landmarks), pixels=cartoon(np.zeros(12, np.float32)))

    decoded = cv2.imdecode(np.frombuffer(crop_png(crop), np.uint8), cv2.IMREAD_COLOR)

    assert decoded is not None
    assert np.array_equal(decoded[:, :, ::-1], crop.pixels)
