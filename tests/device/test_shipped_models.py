"""The networks that ship are whole, signed by the key that ships, and pass their golden vectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from glancein.adapters.bundle_folder import open_bundle
from glancein.adapters.model_store import ModelStore, verify
from glancein.domain.calibrate import limits_for
from glancein.model_card import Kind, read_card
from glancein.settings import Settings
from glancein.wiring import DUPLICATE_ALARM_RATE, MODEL_FOLDERS, Home, enrolment_limits

KINDS: tuple[Kind, ...] = ("embedder", "finder")


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_bundle_is_signed_by_the_key_that_ships(kind: Kind) -> None:
    """So a copy of it installs anywhere, and whoever changes it must sign it again."""
    key = (MODEL_FOLDERS / "trusted/release.pub").read_bytes()

    card = verify(MODEL_FOLDERS / kind, kind, trusted={"release": key})

    assert card.kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_bundle_computes_rightly_here(kind: Kind) -> None:
    """Golden vectors of every model in it."""
    assert open_bundle(MODEL_FOLDERS / kind, kind).network.runtime_name


def test_copy_of_the_shipped_embedder_installs_without_further_keys(tmp_path: Path) -> None:
    """The key that ships is trusted; none has to be put into the data folder."""
    store = ModelStore(
        tmp_path, "embedder", shipped=MODEL_FOLDERS / "embedder", keys=MODEL_FOLDERS / "trusted"
    )

    card = store.install(MODEL_FOLDERS / "embedder")

    assert store.folder() != MODEL_FOLDERS / "embedder"
    assert store.signed_by(store.folder()) == "release"
    assert card.kind == "embedder"


def test_limit_for_duplicates_rises_with_the_people_unless_it_is_set(tmp_path: Path) -> None:
    """One alarm in a million new people, however many are enrolled; a cosine in the settings is just that."""
    card = read_card(MODEL_FOLDERS / "embedder")
    sizes = (0, 100, 1_000)

    free = [enrolment_limits(Home(tmp_path, Settings()), card, size).duplicate_cos for size in sizes]
    fixed = [
        enrolment_limits(Home(tmp_path, Settings(duplicate_cos=0.7)), card, size).duplicate_cos
        for size in sizes
    ]

    assert free == [limits_for(card, size, DUPLICATE_ALARM_RATE).accept_cos for size in sizes]
    assert free[0] < free[1] < free[2]
    assert fixed == [0.7, 0.7, 0.7]
