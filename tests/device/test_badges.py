"""The shipped networks on fifty people: enrolled from one photo, recognised smiling, nobody as another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.device import simulate

from glancein import wiring
from glancein.adapters.image_gate import read_picture
from glancein.domain.calibrate import limits_for
from glancein.domain.gallery import Gallery, gather
from glancein.enrolment import EnrolmentLimits, Examined, Portrait, Refusal, examine
from glancein.pipeline import Sight
from glancein.settings import Settings
from glancein.types import Accepted, Frame, Limits, Pixels, Template

pytestmark = pytest.mark.data
QUARTER_TURNS = (0, 90, 180, 270)


@dataclass(frozen=True, slots=True)
class Bench:
    """The networks as shipped, the photos, and the limits for a gallery of this many people."""

    recogniser: wiring.Recogniser
    neutral: dict[str, Pixels]
    smiling: dict[str, Pixels]
    limits: Limits
    duplicate_cos: float

    def enrol(self, photo: Pixels) -> Examined:
        """One badge photo, examined as enrolment does."""
        return examine(
            photo,
            self.recogniser.finder,
            self.recogniser.embedder,
            EnrolmentLimits(duplicate_cos=self.duplicate_cos),
        )

    def gallery(self, photos: dict[str, Pixels]) -> Gallery:
        """Everybody enrolled from these photos; each must be usable."""
        examined = {who: self.enrol(photo) for who, photo in photos.items()}
        refused = {who: e.message for who, e in examined.items() if isinstance(e, Refusal)}
        assert refused == {}
        return gather(
            [Template(who, e.vector, "shipped") for who, e in examined.items() if isinstance(e, Portrait)]
        )

    def failures(self, gallery: Gallery) -> tuple[dict[str, str], dict[str, str]]:
        """Who was taken for somebody else, and who was not recognised and why."""
        wrong, missed = {}, {}
        pipeline = wiring.pipeline_of(self.recogniser, Settings())
        for who, photo in self.smiling.items():
            sight = pipeline.look(Frame(photo, 0.0), gallery, self.limits)
            match sight.decision:
                case Accepted(person_id, score) if person_id != who:
                    wrong[who] = f"{person_id} {score:.3f}"
                case Accepted():
                    pass
                case _:
                    missed[who] = _why(sight)
        return wrong, missed


def _why(sight: Sight) -> str:
    if sight.decision is None or isinstance(sight.decision, Accepted):
        return "no face"
    best = sight.decision.score_cos
    return str(sight.decision.reason) if best is None else f"{sight.decision.reason} {best:.3f}"


@pytest.fixture(scope="module")
def bench(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Everything, read once; skipped while no models are shipped."""
    if not (wiring.MODEL_FOLDERS / "embedder" / "card.json").exists():
        pytest.skip("no embedder in glancein/models yet")
    if not (wiring.MODEL_FOLDERS / "finder" / "card.json").exists():
        pytest.skip("no finder in glancein/models yet")
    photos = {
        kind: {path.stem: read_picture(path) for path in sorted((data_dir / "badges" / kind).glob("*.jpg"))}
        for kind in ("neutral", "smiling")
    }
    recogniser = wiring.open_recogniser(wiring.Home(tmp_path_factory.mktemp("home"), Settings()))
    limits = recogniser.limits_for(len(photos["neutral"]), Settings())
    alarm = limits_for(recogniser.embedder.card, len(photos["neutral"]), wiring.DUPLICATE_ALARM_RATE)
    return Bench(recogniser, photos["neutral"], photos["smiling"], limits, alarm.accept_cos)


@pytest.fixture(scope="module")
def enrolled(bench: Bench) -> Gallery:
    """Everybody from the plain badge photo."""
    return bench.gallery(bench.neutral)


def test_every_badge_photo_enrols(bench: Bench, enrolled: Gallery) -> None:
    """Fifty of fifty neutral photos are usable."""
    assert len(enrolled) == len(bench.neutral) == 50


def test_every_smiling_person_is_recognised_and_nobody_as_another(bench: Bench, enrolled: Gallery) -> None:
    """One look at each smiling face, at the shipped threshold and margin."""
    wrong, missed = bench.failures(enrolled)

    assert wrong == {}
    assert not missed, f"{len(missed)} of {len(bench.smiling)} at {bench.limits}: {missed}"


@pytest.fixture(scope="module")
def scanned(bench: Bench) -> Gallery:
    """Everybody from a halftoned, scanned portrait of 120 px."""
    return bench.gallery({who: simulate.print_and_scan(photo) for who, photo in bench.neutral.items()})


def test_printed_and_scanned_badges_enrol_and_name_nobody_wrongly(bench: Bench, scanned: Gallery) -> None:
    """Fifty of fifty scans are usable, and nobody is taken for somebody else."""
    wrong, _ = bench.failures(scanned)

    assert len(scanned) == 50
    assert wrong == {}


def test_printed_and_scanned_badges_recognise_everybody(bench: Bench, scanned: Gallery) -> None:
    """One look at each smiling face is enough after enrolment from a scan."""
    _, missed = bench.failures(scanned)

    assert not missed, f"{len(missed)} of {len(bench.smiling)} at {bench.limits}: {missed}"


@pytest.mark.parametrize("turn_deg", QUARTER_TURNS)
def test_small_portrait_on_a_turned_card_is_that_person(
    bench: Bench, enrolled: Gallery, turn_deg: int
) -> None:
    """A 100 px portrait on a card of 1000 px with print and a ghost image gives nearly the plain template."""
    likeness = {}
    for who, photo in list(bench.neutral.items())[::10]:
        badge = simulate.card(photo, portrait_px=100, turn_deg=turn_deg, ghost=True)
        examined = bench.enrol(badge.pixels)
        own = enrolled.matrix[enrolled.person_ids.index(who)]
        likeness[who] = float(own @ examined.vector) if isinstance(examined, Portrait) else examined.message

    assert all(
        isinstance(cosine, float) and cosine > bench.limits.accept_cos for cosine in likeness.values()
    ), likeness


def test_no_badge_photo_is_refused_as_a_duplicate(bench: Bench, enrolled: Gallery) -> None:
    """No two of fifty people look as alike as two badge photos of one person."""
    likeness = enrolled.matrix @ enrolled.matrix.T

    assert np.isfinite(enrolled.matrix).all()
    assert float(likeness[~np.eye(len(enrolled), dtype=bool)].max()) < bench.duplicate_cos
