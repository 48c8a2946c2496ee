"""A new embedder comes into use when everybody has a template of it, and at no earlier moment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from glancein import renewal, wiring
from glancein.adapters.embedder_tflite import TfliteEmbedder
from glancein.adapters.model_store import ModelStore
from glancein.adapters.people_sqlite import SqlitePeople
from glancein.domain.person import Enrolment
from glancein.enrolment import crop_png, read_crop, template_of
from glancein.errors import ModelError, StoreError
from glancein.model_card import read_card
from glancein.types import Crop

tiny_model = pytest.importorskip("tests.device.tiny_model", reason="needs ai-edge-litert to write a model")
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
IDS = ("anna", "ben", "carla")


def crop(seed: int) -> Crop:
    """A crop of noise."""
    return Crop(np.random.default_rng(seed).integers(0, 256, (112, 112, 3)).astype(np.uint8), 1.0, 0.0)


def enrolment(seed: int, embedder: TfliteEmbedder) -> Enrolment:
    """What enrolling a photo with this embedder stores."""
    portrait = crop(seed)
    return Enrolment(
        name=f"Person {seed}",
        vector=template_of(portrait, embedder),
        model_sha256=embedder.model_sha256,
        crop_png=crop_png(portrait),
        photo_sha256=f"{seed:064x}",
    )


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store that ships tiny-0, with tiny-1 waiting to come into use."""
    tiny_model.write_bundle(tmp_path / "shipped", seed=0, name="tiny-0")
    tiny_model.write_bundle(tmp_path / "new", seed=1, name="tiny-1")
    store = ModelStore(tmp_path / "models", "embedder", shipped=tmp_path / "shipped")
    store.install(tmp_path / "new", allow_unsigned=True, later=True)
    return store


@pytest.fixture
def people(tmp_path: Path) -> Iterator[SqlitePeople]:
    """Three people enrolled with tiny-0."""
    tiny_model.write_bundle(tmp_path / "old", seed=0)
    old = TfliteEmbedder(tmp_path / "old")
    with closing(SqlitePeople(tmp_path / "glancein.sqlite")) as opened:
        for seed, person_id in enumerate(IDS):
            opened.add(person_id, enrolment(seed, old), at=NOW)
        yield opened


def opener(bundle: Path) -> TfliteEmbedder:
    """Open without a trial in another process."""
    return TfliteEmbedder(bundle)


def in_use(store: ModelStore) -> str:
    """The name of the bundle in use."""
    return read_card(store.folder()).name


def test_everybody_gets_a_template_and_then_the_new_embedder_is_used(
    store: ModelStore, people: SqlitePeople
) -> None:
    """The vectors are those that enrolling the photo anew would give."""
    assert in_use(store) == "tiny-0"

    done = renewal.renew(store, people, opener=opener, now=lambda: NOW)

    assert (done.made, done.left, done.switched) == (3, (), True)
    assert in_use(store) == "tiny-1"
    new = opener(store.folder())
    found = {t.person_id: t.vector for t in people.templates(new.model_sha256)}
    for seed, person_id in enumerate(IDS):
        assert np.array_equal(found[person_id], enrolment(seed, new).vector)


def test_old_templates_stay_so_that_rollback_finds_them(store: ModelStore, people: SqlitePeople) -> None:
    """The old pair is whole again at once."""
    renewal.renew(store, people, opener=opener, now=lambda: NOW)

    assert store.rollback() is None

    assert in_use(store) == "tiny-0"
    assert people.lacking(read_card(store.folder()).sha256) == []


def test_nobody_is_lost_to_a_damaged_crop(store: ModelStore, people: SqlitePeople) -> None:
    """The old embedder stays in use while one person has no template of the new one."""
    old = opener(store.folder())
    damaged = enrolment(9, old)
    half = crop_png(crop(9))[:60]
    people.add("dora", Enrolment(damaged.name, damaged.vector, old.model_sha256, half, "9" * 64), at=NOW)

    done = renewal.renew(store, people, opener=opener, now=lambda: NOW)

    assert (done.made, done.left, done.switched) == (3, ("dora",), False)
    assert in_use(store) == "tiny-0"
    people.replace("dora", damaged, at=NOW)
    assert renewal.renew(store, people, opener=opener, now=lambda: NOW).switched


def test_embedder_that_fails_its_trial_is_forgotten(store: ModelStore, people: SqlitePeople) -> None:
    """The old pair goes on, and nothing waits any more."""

    def broken(_bundle: Path) -> TfliteEmbedder:
        raise ModelError("the trial failed")

    with pytest.raises(ModelError, match="the trial failed"):
        renewal.renew(store, people, opener=broken, now=lambda: NOW)

    assert store.pending() is None
    assert in_use(store) == "tiny-0"
    assert people.lacking(read_card(store.folder()).sha256) == []


def test_person_enrolled_with_the_old_embedder_meanwhile_is_renewed_too(
    store: ModelStore, people: SqlitePeople, tmp_path: Path
) -> None:
    """Between the first look and the switch, and after the switch."""
    old = opener(tmp_path / "shipped")
    opened: list[str] = []

    def slowly(bundle: Path) -> TfliteEmbedder:
        if not opened:
            people.add("emil", enrolment(7, old), at=NOW)
        opened.append(bundle.name)
        return opener(bundle)

    renewal.renew(store, people, opener=slowly, now=lambda: NOW)
    people.add("fred", enrolment(8, old), at=NOW)
    late = renewal.renew(store, people, opener=opener, now=lambda: NOW)

    assert (late.made, late.switched) == (1, False)
    assert people.lacking(read_card(store.folder()).sha256) == []


def test_portrait_replaced_while_its_template_was_made_is_not_renewed_from_the_old_photo(
    people: SqlitePeople, tmp_path: Path
) -> None:
    """The new photo counts."""
    tiny_model.write_bundle(tmp_path / "new", seed=1)
    old, new = opener(tmp_path / "old"), opener(tmp_path / "new")
    portrait = people.portrait_of("anna")
    assert portrait is not None
    people.replace("anna", enrolment(77, old), at=NOW)

    stored = people.add_template("anna", renewal.renewed(portrait, new, at=NOW), like=portrait)

    assert not stored
    assert "anna" in people.lacking(new.model_sha256)


def test_second_call_has_nothing_to_do(store: ModelStore, people: SqlitePeople) -> None:
    """Repeating is harmless, and the version that kiosks look at stays."""
    renewal.renew(store, people, opener=opener, now=lambda: NOW)
    version = people.version()

    done = renewal.renew(store, people, opener=opener, now=lambda: NOW)

    assert (done.made, done.switched) == (0, False)
    assert people.version() == version


def test_person_who_left_meanwhile_gets_no_template(people: SqlitePeople, tmp_path: Path) -> None:
    """Erased is erased."""
    tiny_model.write_bundle(tmp_path / "new", seed=1)
    new = opener(tmp_path / "new")
    portrait = people.portrait_of("anna")
    assert portrait is not None
    people.remove("anna")

    assert not people.add_template("anna", renewal.renewed(portrait, new, at=NOW), like=portrait)
    assert people.portrait_of("anna") is None


def test_stored_crop_comes_back_to_the_pixel() -> None:
    """PNG loses nothing, colours keep their order."""
    one = crop(3)

    assert np.array_equal(read_crop(crop_png(one)).pixels, one.pixels)


HUGE = crop_png(crop(0)).replace(b"\0\0\0\x70", (40_000).to_bytes(4, "big"))


@pytest.mark.parametrize("png", [b"", b"no picture", crop_png(crop(0))[:60], HUGE])
def test_damaged_crop_is_an_error_of_ours(png: bytes) -> None:
    """The sentence says what to do."""
    with pytest.raises(StoreError, match="enrol the person again"):
        read_crop(png)


def test_only_one_process_renews_at_a_time(store: ModelStore) -> None:
    """Who comes second is told so."""
    with store.alone() as first, store.alone() as second:
        assert (first, second) == (True, False)
    with store.alone() as third:
        assert third


KILLED_AT_EVERY_STEP = """
import os, shutil, sys
from datetime import UTC, datetime
from pathlib import Path
from glancein import renewal
from glancein.adapters import model_store
from glancein.adapters.embedder_tflite import TfliteEmbedder
from glancein.adapters.people_sqlite import SqlitePeople

def renew(home, last):
    step = 0
    def counted(act):
        def inner(*args, **kwargs):
            nonlocal step
            if step == last:
                os.kill(os.getpid(), 9)
            step += 1
            return act(*args, **kwargs)
        return inner
    store = model_store.ModelStore(home / "models", "embedder", shipped=home / "shipped")
    people = SqlitePeople(home / "glancein.sqlite")
    people.add_template = counted(people.add_template)
    people.lacking = counted(people.lacking)
    model_store._sync = counted(model_store._sync)
    for name in ("replace", "symlink_to", "unlink"):
        setattr(Path, name, counted(getattr(Path, name)))
    opener = lambda bundle: TfliteEmbedder(bundle)
    renewal.renew(store, people, opener=opener, now=lambda: datetime.now(UTC))
    os._exit(0)

root, step, ended = Path(sys.argv[1]), 0, 9
while ended == 9:
    home = root / f"home-{step}"
    home.mkdir()
    for name in ("models", "shipped"):
        shutil.copytree(root / name, home / name, symlinks=True)
    for file in root.glob("glancein.sqlite*"):
        shutil.copy(file, home / file.name)
    child = os.fork()
    if child == 0:
        renew(home, step)
    ended = os.waitpid(child, 0)[1]
    step += 1
print(step, ended)
"""


@pytest.mark.faults
def test_kill_at_any_step_of_the_renewal_leaves_a_working_pair(
    store: ModelStore, people: SqlitePeople, tmp_path: Path
) -> None:
    """Killed by SIGKILL before each step in turn: the embedder in use opens and knows everybody."""
    assert store.pending() is not None
    assert len(people.people()) == len(IDS)
    people.close()

    command = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "device")}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

    steps, ended = map(int, ran.stdout.split())
    assert (steps > 8, ended) == (True, 0), ran.stderr
    names = [after_kill(tmp_path / f"home-{step}") for step in range(steps)]
    assert (names[0], names[-1]) == ("tiny-0", "tiny-1")


def after_kill(home: Path) -> str:
    """The embedder that a killed renewal leaves in use, proved; and that the next call completes it."""
    store = ModelStore(home / "models", "embedder", shipped=home / "shipped")
    embedder = opener(store.folder())
    with closing(SqlitePeople(home / "glancein.sqlite")) as people:
        assert people.lacking(embedder.model_sha256) == []
        renewal.renew(store, people, opener=opener, now=lambda: NOW)
        assert people.lacking(read_card(store.folder()).sha256) == []
    assert (in_use(store), store.pending()) == ("tiny-1", None)
    return embedder.card.name


def test_install_command_renews_before_it_switches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a kiosk with somebody enrolled, by the shipped embedder, from a real photo."""
    from glancein import cli  # noqa: PLC0415  # the command line is only tried here

    photo = Path(wiring.__file__).parent / "demo_pictures" / "obama.jpg"
    data = ["--data", str(tmp_path / "home")]
    tiny_model.write_bundle(tmp_path / "new", seed=1, name="tiny-1")
    assert cli.main(["enroll", str(photo), "--id", "44", "--name", "Barack", *data]) == 0

    assert cli.main(["models", "install", str(tmp_path / "new"), "--allow-unsigned", *data]) == 0

    assert "1 templates made" in capsys.readouterr().out
    home = wiring.open_home(tmp_path / "home")
    with closing(wiring.open_people(home)) as people:
        assert [t.person_id for t in people.templates(wiring.embedder_sha256(home) or "")] == ["44"]
    assert cli.main(["models", "rollback", "embedder", *data]) == 0
    assert in_use(wiring.model_store(home, "embedder")) != "tiny-1"
