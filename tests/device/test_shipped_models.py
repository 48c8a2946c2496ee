"""The networks that ship are whole, signed by the key that ships, and pass their golden vectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from glancein.adapters.bundle_folder import open_bundle
from glancein.adapters.model_store import ModelStore, verify
from glancein.model_card import Kind
from glancein.wiring import MODEL_FOLDERS

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
