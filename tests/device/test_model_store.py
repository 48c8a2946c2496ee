"""Installing models: nothing damaged, unsigned or crashing gets in, and one working model is always there."""

from __future__ import annotations

import ast
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.device import tiny_model

from glancein.adapters import model_store
from glancein.adapters.bundle_folder import open_bundle
from glancein.adapters.model_store import ModelStore, verify
from glancein.errors import ModelError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
ROOT = Path(__file__).parents[2]


def signed_bundle(folder: Path, *, seed: int) -> Path:
    """A sound bundle signed by KEY."""
    tiny_model.write_bundle(folder, seed=seed, name=f"tiny-{seed}")
    (folder / "card.sig").write_bytes(KEY.sign((folder / "card.json").read_bytes()))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store that trusts KEY and ships tiny-0."""
    trusted = tmp_path / "root/trusted"
    trusted.mkdir(parents=True)
    (trusted / "release.pub").write_bytes(PUBLIC)
    shipped = signed_bundle(tmp_path / "shipped", seed=0)
    return ModelStore(tmp_path / "root", "embedder", shipped=shipped)


def names(store: ModelStore) -> list[tuple[str, str]]:
    """Roles and names, in order."""
    return [(entry.role, entry.card.name) for entry in store.listing()]


def test_shipped_model_is_used_until_another_is_installed(store: ModelStore, tmp_path: Path) -> None:
    """Install switches, and the bundle opens from its new place."""
    assert names(store) == [("shipped", "tiny-0")]

    store.install(signed_bundle(tmp_path / "new", seed=1))

    assert names(store) == [("current", "tiny-1"), ("shipped", "tiny-0")]
    assert open_bundle(store.folder(), "embedder").card.name == "tiny-1"


def test_previous_model_is_kept_and_rollback_returns_to_it(store: ModelStore, tmp_path: Path) -> None:
    """Two installs, one step back, and forth again."""
    store.install(signed_bundle(tmp_path / "one", seed=1))
    store.install(signed_bundle(tmp_path / "two", seed=2))
    assert names(store)[:2] == [("current", "tiny-2"), ("previous", "tiny-1")]

    store.rollback()
    assert names(store)[:2] == [("current", "tiny-1"), ("previous", "tiny-2")]

    store.rollback()
    assert names(store)[0] == ("current", "tiny-2")


def test_rollback_of_the_only_installed_model_ends_at_the_shipped_one(
    store: ModelStore, tmp_path: Path
) -> None:
    """And one step further there is nothing."""
    store.install(signed_bundle(tmp_path / "one", seed=1))

    assert store.rollback() is None
    assert names(store) == [("shipped", "tiny-0")]

    with pytest.raises(ModelError, match="nothing to go back to"):
        store.rollback()


def test_older_bundles_are_removed(store: ModelStore, tmp_path: Path) -> None:
    """Current and previous stay, the card of a Pi does not fill up."""
    for seed in (1, 2, 3):
        store.install(signed_bundle(tmp_path / str(seed), seed=seed))

    assert len(list((tmp_path / "root/embedder/versions").iterdir())) == 2


def test_unsigned_bundle_is_taken_only_when_allowed(store: ModelStore, tmp_path: Path) -> None:
    """No signature, no install, unless the operator says so."""
    bundle = signed_bundle(tmp_path / "new", seed=1)
    (bundle / "card.sig").unlink()

    with pytest.raises(ModelError, match="not signed"):
        store.install(bundle)

    assert store.install(bundle, allow_unsigned=True).name == "tiny-1"


def test_bundle_signed_by_a_stranger_is_refused_even_if_unsigned_ones_are_allowed(
    store: ModelStore, tmp_path: Path
) -> None:
    """A wrong signature is worse than none."""
    bundle = signed_bundle(tmp_path / "new", seed=1)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
    (bundle / "card.sig").write_bytes(stranger.sign((bundle / "card.json").read_bytes()))

    with pytest.raises(ModelError, match="not signed by a key this kiosk trusts"):
        store.install(bundle, allow_unsigned=True)


def test_three_hundred_damaged_bundles_are_all_refused(tmp_path: Path) -> None:
    """Bit flips, zeroed pages, truncations, swapped files, edited cards: 0 of 300 accepted."""
    sound = signed_bundle(tmp_path / "sound", seed=1)
    other = signed_bundle(tmp_path / "other", seed=2)
    rng = random.Random(5)
    accepted = 0

    for _ in range(300):
        bundle = tmp_path / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(sound, bundle)
        damage(bundle, other, rng)
        try:
            verify(bundle, "embedder", trusted={"release": PUBLIC})
        except ModelError:
            continue
        accepted += 1

    assert accepted == 0


def damage(bundle: Path, other: Path, rng: random.Random) -> None:
    """Change one file of the bundle in one random way."""
    path = bundle / rng.choice(["model.tflite", "card.json", "golden.npz", "cohort.npz", "card.sig"])
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    match rng.randrange(5):
        case 0:
            content[at] ^= 1 << rng.randrange(8)
        case 4:
            content[at : at + 4096] = bytes(len(content[at : at + 4096]))
            content += b"" if bytes(content) != path.read_bytes() else b"\0"
        case 1:
            content[at : at + 64] = bytes(b ^ 0xA5 for b in content[at : at + 64])
        case 2:
            del content[at:]
        case _ if path.name != "cohort.npz":
            content = bytearray((other / path.name).read_bytes())
        case _:
            content += b"more"
    path.write_bytes(content)


def test_model_that_fails_its_trial_is_not_switched_to(store: ModelStore, tmp_path: Path) -> None:
    """Signed, but its golden vectors are another model's: the old one stays and nothing is left behind."""
    bundle = signed_bundle(tmp_path / "new", seed=1)
    other = tmp_path / "other"
    card = tiny_model.write_bundle(other, seed=2)
    (bundle / "golden.npz").write_bytes((other / "golden.npz").read_bytes())
    text = (bundle / "card.json").read_text()
    mine = tiny_model.write_bundle(tmp_path / "again", seed=1).files["golden.npz"]
    (bundle / "card.json").write_text(text.replace(mine, card.files["golden.npz"]))
    (bundle / "card.sig").write_bytes(KEY.sign((bundle / "card.json").read_bytes()))

    with pytest.raises(ModelError, match="computes the model wrongly"):
        store.install(bundle)

    assert names(store) == [("shipped", "tiny-0")]
    assert list((tmp_path / "root/embedder/versions").iterdir()) == []


def test_kiosk_leaves_a_model_that_was_damaged_after_install(store: ModelStore, tmp_path: Path) -> None:
    """Current broken: back to the previous one; both broken: the shipped one."""
    store.install(signed_bundle(tmp_path / "one", seed=1))
    store.install(signed_bundle(tmp_path / "two", seed=2))

    (store.folder() / "model.tflite").write_bytes(b"TFL3")
    first = store.working_folder()
    (first / "model.tflite").write_bytes(b"TFL3")
    second = store.working_folder()

    assert open_bundle(second, "embedder").card.name == "tiny-0"
    assert first != second == tmp_path / "shipped"


def test_same_bundle_can_be_installed_again(store: ModelStore, tmp_path: Path) -> None:
    """Repeating the command repairs what was damaged in between."""
    bundle = signed_bundle(tmp_path / "one", seed=1)
    store.install(bundle)
    (store.folder() / "model.tflite").write_bytes(b"TFL3")

    store.install(bundle)

    assert open_bundle(store.folder(), "embedder").card.name == "tiny-1"


def test_bundle_in_use_installed_again_and_again_leaves_the_way_back(
    store: ModelStore, tmp_path: Path
) -> None:
    """The previous bundle is another one, however often the command is repeated."""
    store.install(signed_bundle(tmp_path / "one", seed=1))
    bundle = signed_bundle(tmp_path / "two", seed=2)

    for _ in range(4):
        store.install(bundle)

    assert names(store)[:2] == [("current", "tiny-2"), ("previous", "tiny-1")]
    assert len(list((tmp_path / "root/embedder/versions").iterdir())) == 2


KILLED_AT_STEP = """
import os, sys
from pathlib import Path
from glancein.adapters import model_store

step = 0
def counted(act):
    def inner(*args, **kwargs):
        global step
        if step == int(sys.argv[1]):
            os.kill(os.getpid(), 9)
        step += 1
        return act(*args, **kwargs)
    return inner

model_store.try_out = lambda folder, kind: None
model_store._copy_file = counted(model_store._copy_file)
model_store._sync = counted(model_store._sync)
for name in ("replace", "symlink_to", "mkdir", "unlink"):
    setattr(Path, name, counted(getattr(Path, name)))
model_store.shutil.rmtree = counted(model_store.shutil.rmtree)
store = model_store.ModelStore(Path(sys.argv[2]), "embedder", shipped=Path(sys.argv[3]))
store.install(Path(sys.argv[4]))
print("done")
"""


def test_kill_at_any_step_of_install_leaves_one_working_model(store: ModelStore, tmp_path: Path) -> None:
    """Killed by SIGKILL before each step in turn, the old or the new model is there, whole."""
    store.install(signed_bundle(tmp_path / "one", seed=1))
    bundle = signed_bundle(tmp_path / "two", seed=2)
    seen, step, done = set(), 0, False

    while not done:
        root = tmp_path / f"root-{step}"
        shutil.copytree(tmp_path / "root", root, symlinks=True)
        command = [
            sys.executable,
            "-c",
            KILLED_AT_STEP,
            str(step),
            str(root),
            str(tmp_path / "shipped"),
            str(bundle),
        ]
        ended = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, check=False, env=ENVIRONMENT
        )
        done = ended.stdout == "done\n"
        assert done or ended.returncode == -9, ended.stderr
        after = ModelStore(root, "embedder", shipped=tmp_path / "shipped")
        verify(after.folder(), "embedder", trusted={"release": PUBLIC})
        seen.add(open_bundle(after.folder(), "embedder").card.name)
        step += 1

    assert seen == {"tiny-1", "tiny-2"}
    assert step > 12


ENVIRONMENT = {"PYTHONPATH": str(ROOT / "device"), "PATH": "/usr/bin:/bin"}


def test_missing_trial_result_is_an_error_of_ours(tmp_path: Path) -> None:
    """A trial of nothing ends in a sentence."""
    with pytest.raises(ModelError, match="the trial failed"):
        model_store.try_out(tmp_path, "embedder")


TRIED_IN_A_CHILD = """
import hashlib, os, random, sys
from pathlib import Path
from dataclasses import replace
from glancein.adapters.bundle_folder import open_bundle
from glancein.errors import ModelError
from glancein.model_card import read_card, write_card

folder, rng = Path(sys.argv[1]), random.Random(7)
card, sound = read_card(folder), (folder / "model.tflite").read_bytes()
ended = {}
for _ in range(300):
    content = bytearray(sound)
    for _ in range(rng.choice((1, 1, 8, 64))):
        content[rng.randrange(8, len(content))] ^= 1 << rng.randrange(8)
    match rng.randrange(3):
        case 0:
            del content[rng.randrange(8, len(content)):]
        case 1:
            at = rng.randrange(8, len(content))
            content[at : at + 4096] = bytes(len(content[at : at + 4096]))
    (folder / "model.tflite").write_bytes(content)
    write_card(folder, replace(card, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)))
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            open_bundle(folder, "embedder")
        except ModelError:
            os._exit(6)
        except BaseException:
            os._exit(99)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended[code] = ended.get(code, 0) + 1
print(ended)
"""


@pytest.mark.heavy
@pytest.mark.faults
def test_model_that_crashes_the_runtime_crashes_only_the_child(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """300 damaged models whose hashes fit: refused or dead in the child, and never a foreign error."""
    tiny_model.write_bundle(tmp_path / "bundle", seed=1)
    command = [sys.executable, "-c", TRIED_IN_A_CHILD, str(tmp_path / "bundle")]

    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=ENVIRONMENT)

    ended: dict[int, int] = ast.literal_eval(ran.stdout)
    with capsys.disabled():
        print(f"\n300 damaged models, by exit code of the child (0: golden vectors hold): {ended}")
    assert sum(ended.values()) == 300
    assert 99 not in ended
    assert ended[6] > 100
