"""Beside a running kiosk: the gallery is renewed in another process, then the kiosk gets the new embedder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from glancein import cli, wiring
from glancein.adapters.people_sqlite import SqlitePeople
from glancein.kiosk import Heir, Kiosk
from glancein.model_care import ModelWatch, renew_gallery
from glancein.pipeline import Eye
from glancein.renewal import SOMEBODY_LEFT
from glancein.wiring import Home

tiny_model = pytest.importorskip("tests.device.tiny_model", reason="needs ai-edge-litert to write a model")
PICTURES = Path(wiring.__file__).parent / "demo_pictures"


@dataclass
class Door:
    """A kiosk as far as the watch knows it."""

    eye: Eye
    heirs: list[Heir] = field(default_factory=list)

    def hand_over(self, heir: Heir) -> None:
        """Take over at once."""
        self.heirs.append(heir)
        self.eye = heir.eye


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One person is enrolled with the shipped embedder."""
    folder = tmp_path / "home"
    assert (
        cli.main(["enroll", str(PICTURES / "obama.jpg"), "--id", "44", "--name", "B", "--data", str(folder)])
        == 0
    )
    return wiring.open_home(folder)


@pytest.fixture
def people(home: Home) -> Iterator[SqlitePeople]:
    """The kiosk's own connection."""
    with closing(wiring.open_people(home)) as opened:
        yield opened


@pytest.fixture
def door(home: Home) -> Door:
    """A kiosk with the shipped networks."""
    return Door(wiring.pipeline_of(wiring.open_recogniser(home), home.settings))


def watch_over(home: Home, people: SqlitePeople, door: Door) -> ModelWatch:
    """The watch of this door."""
    return ModelWatch(home, people, cast("Kiosk", door))


def install_later(home: Home, bundle: Path, *, seed: int) -> str:
    """Put a small embedder in place, not yet in use; its hash."""
    card = tiny_model.write_bundle(bundle, seed=seed, name=f"tiny-{seed}")
    wiring.model_store(home, "embedder").install(bundle, allow_unsigned=True, later=True)
    return str(card.sha256)


def test_interrupted_install_is_completed_and_handed_over(
    home: Home, people: SqlitePeople, door: Door, tmp_path: Path
) -> None:
    """One look: everybody renewed, the bundle switched, the kiosk with the new embedder."""
    sha256 = install_later(home, tmp_path / "new", seed=1)

    watch_over(home, people, door).look()

    assert [t.person_id for t in people.templates(sha256)] == ["44"]
    assert wiring.embedder_sha256(home) == sha256
    assert door.eye.model_sha256 == sha256
    assert door.heirs[0].limits_for(1).accept_cos > 0


def test_nothing_is_handed_over_while_nothing_changes(home: Home, people: SqlitePeople, door: Door) -> None:
    """A kiosk that is up to date is left alone."""
    watch = watch_over(home, people, door)

    watch.look()
    watch.look()

    assert door.heirs == []


def test_pending_embedder_that_fails_leaves_the_old_pair(
    home: Home, people: SqlitePeople, door: Door, tmp_path: Path
) -> None:
    """Damaged after its install: forgotten, and the kiosk goes on as before."""
    install_later(home, tmp_path / "new", seed=1)
    store = wiring.model_store(home, "embedder")
    waiting = store.pending()
    assert waiting is not None
    (waiting / "model.tflite").write_bytes(b"TFL3")
    before = wiring.embedder_sha256(home)

    watch_over(home, people, door).look()

    assert (door.heirs, wiring.embedder_sha256(home)) == ([], before)
    assert wiring.model_store(home, "embedder").pending() is None
    assert before is not None
    assert people.lacking(before) == []


@pytest.mark.parametrize(("ends_with", "begun"), [(3, 3), (-9, 3), (0, 3), (SOMEBODY_LEFT, 1)])
def test_renewal_that_came_to_nothing_is_begun_again(
    home: Home, people: SqlitePeople, door: Door, tmp_path: Path, *, ends_with: int, begun: int
) -> None:
    """Locked out, killed, or another process at it; one that needs somebody's photo waits for that."""
    install_later(home, tmp_path / "new", seed=1)
    watch = watch_over(home, people, door)
    ends = iter([ends_with] * 3)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(watch, "_renew_beside", lambda: next(ends))
        settled = [watch.look() for _ in range(3)]

    assert len(list(ends)) == 3 - begun
    assert settled == [begun == 1] * 3


def test_renewal_waits_for_another_process(home: Home) -> None:
    """Two never work on one gallery."""
    with wiring.model_store(home, "embedder").alone():
        assert renew_gallery(home) is None


def test_watch_ends_when_it_is_told_to(home: Home, people: SqlitePeople, door: Door) -> None:
    """Closing waits for the thread."""
    watch = watch_over(home, people, door)
    watch.start()

    watch.close()

    assert door.heirs == []
