"""What the card says of the training can be typed again; a bundle is written whole or left alone."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")

import numpy as np
from torch import nn

import glancein
from glancein.errors import InputError, ModelError
from glancein.model_card import CARD_FILE, SIGNATURE_FILE, Finding, ModelCard, read_card
from glancein_convert import bundle, checkpoints, crops, finder, vectors
from glancein_convert.bundle import training_command, write_bundle
from glancein_convert.errors import ConversionError
from glancein_training import harmonic, train
from glancein_training.augment import Strength
from glancein_training.configuration import with_settings
from glancein_training.distill import Config

if TYPE_CHECKING:
    from glancein.adapters.tflite_runtime import Network
    from glancein_training.networks import Embedder

OWN = train.Config(data="/home/me/photos", landmarks="/home/me/faces.npz")


def trained(config: object, **origin: object) -> checkpoints.Checkpoint:
    """Weights of such a run, whatever they are."""
    network = cast("Embedder", nn.Identity())
    return checkpoints.Checkpoint(network, "none", 1234, asdict(config), origin)  # type: ignore[call-overload]  # any dataclass


def test_training_command_gives_the_settings_back_through_a_shell() -> None:
    """Lists and the disturbances included; what follows the # is for people."""
    config = replace(
        Config(), network="glance-249", packs=("faces", "two words"), augment=Strength(rotate_deg=7.0)
    )

    words = shlex.split(training_command(trained(config)), comments=True)

    assert words[:4] == ["python", "-m", "glancein_training.distill", "RUN"]
    assert with_settings(Config(), words[5::2]) == config


def test_training_command_of_a_decay_says_where_it_began() -> None:
    """Begun by hand after so many images is the run that is told so before; the start by name and hash."""
    start = {"name": "first run.pt", "sha256": "0123abcd"}

    command = training_command(trained(Config(), decay_from=640, start_from=start))

    words = shlex.split(command, comments=True)
    assert words[-2:] == ["--start-from", "first run.pt"]
    assert with_settings(Config(), words[5:-2:2]) == replace(Config(), stable_images=640)
    assert "# 0123abcd" in command


def test_training_command_of_a_blend_is_that_of_the_blend() -> None:
    """Neither end's run makes the weights between them."""
    ends = {"first": {"name": "a.pt", "sha256": "aa"}, "second": {"name": "b c.pt", "sha256": "bb"}}

    command = training_command(trained(Config(), decay_from=0, blend={**ends, "shares": [0.4, 1.0]}))

    told = ["glancein-train", "blend", "a.pt", "b c.pt", "--share", "0.4", "--share", "1.0", "--out", "FILE"]
    assert shlex.split(command, comments=True) == told
    assert "# aa and bb" in command


@pytest.mark.parametrize(
    ("config", "verb"), [(train.Config(data="/home/me/photos"), "train"), (harmonic.Config(), "harmonic")]
)
def test_training_command_is_of_the_program_that_trained(
    config: train.Config | harmonic.Config, verb: str
) -> None:
    """Own photos are learned by `train`, old vectors by `harmonic`; no folder of that machine is told."""
    words = shlex.split(training_command(trained(config)), comments=True)

    assert words[:3] == ["glancein-train", verb, "RUN"]
    fields = {field.name for field in dataclasses.fields(config)}
    assert {word.partition("=")[0].partition(".")[0] for word in words[4::2]} == fields - bundle.PLACES
    assert with_settings(type(config)(), words[4::2]) == replace(config, data=type(config)().data)


@pytest.mark.parametrize(
    ("config", "said", "unsaid"),
    [
        (Config(), ["Distilled from", "CelebA"], "random weights"),
        (OWN, ["identities alone (loss triplet) on its maker's own photos", "random weights"], "Distilled"),
        (replace(OWN, start="first.pt"), ["own photos", "another network, whose training"], "random weights"),
        (train.Config(), ["on a pack of labelled crops"], "own photos"),
        (harmonic.Config(start="new.pt"), ["older network's vectors", "another network, whose"], "Distilled"),
    ],
)
def test_data_note_says_what_was_done(
    config: Config | train.Config | harmonic.Config, said: list[str], unsaid: str
) -> None:
    """Only a distillation had teachers, and only own photos are one's own."""
    note = bundle.data_note(asdict(config))

    assert all(words in note for words in said)
    assert unsaid not in note


def test_only_a_network_of_own_photos_alone_is_its_makers() -> None:
    """Whatever else it began with or saw has terms of its own."""
    others = (Config(), train.Config(), replace(OWN, start="first.pt"), harmonic.Config())

    assert "their maker's" in bundle.licence(asdict(OWN))
    assert {bundle.licence(asdict(config)) for config in others} == {bundle.LICENCE}


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the shipped finder's bundle, signed."""
    folder = tmp_path / "bundle"
    shutil.copytree(Path(glancein.__file__).parent / "models" / "finder", folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"finding": Finding(2.0, 0.1)}, ModelError),
        ({"figures": {"recall": float("nan")}}, ConversionError),
    ],
)
def test_bundle_stays_when_its_new_card_would_be_none(
    shipped: Path, changes: dict[str, Finding | dict[str, float]], error: type[Exception]
) -> None:
    """The card is looked at before the old one goes."""
    before = {path.name: path.read_bytes() for path in shipped.iterdir()}
    card: ModelCard = replace(read_card(shipped), **changes)  # type: ignore[arg-type]  # fields by name

    with pytest.raises(error):
        write_bundle(shipped, b"other", card, {})

    assert {path.name: path.read_bytes() for path in shipped.iterdir()} == before


def test_bundle_of_the_other_kind_is_not_written_over(shipped: Path, tmp_path: Path) -> None:
    """The two lie side by side; one of its own kind, a damaged one or none may be there."""
    with pytest.raises(InputError, match="of kind finder, this is of kind embedder: name another"):
        bundle.check_places("embedder", shipped, tmp_path)

    bundle.check_places("finder", shipped, tmp_path)
    (shipped / CARD_FILE).write_text("no card", encoding="utf-8")
    bundle.check_places("embedder", shipped, tmp_path)
    bundle.check_places("embedder", tmp_path / "new", tmp_path)


def test_recarded_bundle_keeps_no_signature_of_the_old_card(shipped: Path) -> None:
    """A kiosk that takes unsigned bundles takes it; a signature that does not fit it would refuse."""
    finder.recard(shipped, finder.CardWords(Finding(0.45, 0.02), {}, ""))

    assert read_card(shipped).finding == Finding(0.45, 0.02)
    assert (shipped / CARD_FILE).exists()
    assert not (shipped / SIGNATURE_FILE).exists()


def test_vectors_that_were_half_written_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up leaves nothing that the next run takes for whole."""
    (tmp_path / "model.tflite").write_bytes(b"model")
    one = vectors.Vectors(*(np.ones((2, 3), np.float32) for _ in vectors.FIELDS))
    monkeypatch.setattr(vectors, "by_float", lambda *_: one)
    monkeypatch.setattr(vectors, "by_int8", lambda *_: one)
    monkeypatch.setattr(vectors, "templates_by_int8", lambda *_: 2 * one.summed)
    pixels = np.zeros((2, 112, 112, 3), np.uint8)
    sets = crops.CropSets(pixels, pixels, np.arange(2), (), pixels, pixels, {})
    trained = checkpoints.Checkpoint(cast("Embedder", nn.Identity()), "none", 0, {})
    network = cast("Network", None)

    def full(path: Path, **_arrays: object) -> None:
        path.write_bytes(b"PK half of it")
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        with pytest.raises(OSError, match="no space"):
            bundle._embed_all(tmp_path, trained, network, tmp_path / "model.tflite", sets)
        assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]

    found = bundle._embed_all(tmp_path, trained, network, tmp_path / "model.tflite", sets)

    np.testing.assert_array_equal(found.exact.single, one.single)
    np.testing.assert_array_equal(found.templates, 2 * one.summed)
