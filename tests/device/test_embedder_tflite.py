"""The embedder serves only what it has proved."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glancein.adapters import bundle_folder
from glancein.adapters.bundle_folder import open_bundle
from glancein.adapters.embedder_tflite import TfliteEmbedder
from glancein.errors import ModelError
from glancein.model_card import ModelCard, OutputSpec, write_card
from glancein.types import Crop

tiny_model = pytest.importorskip("tests.device.tiny_model", reason="needs ai-edge-litert to write a model")


def crop(seed: int) -> Crop:
    """A crop of noise."""
    return Crop(np.random.default_rng(seed).integers(0, 256, (112, 112, 3)).astype(np.uint8), 1.0, 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound bundle."""
    tiny_model.write_bundle(tmp_path)
    return tmp_path


def test_rows_are_unit_vectors_in_the_order_of_the_crops(folder: Path) -> None:
    """(n, 128) float32 of length one; each row belongs to its crop."""
    embedder = TfliteEmbedder(folder)

    rows = embedder.embed([crop(1), crop(2), crop(1)])

    assert rows.shape == (3, 128)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(rows[0], rows[2])
    assert not np.allclose(rows[0], rows[1])


def test_no_crops_give_no_rows(folder: Path) -> None:
    """An empty list is a valid question."""
    assert TfliteEmbedder(folder).embed([]).shape == (0, 128)


def test_mirrored_crop_has_the_same_vector(folder: Path) -> None:
    """Crop and mirror image summed do not know left from right, and are of unit length."""
    one = crop(1)
    other = replace(one, pixels=np.ascontiguousarray(one.pixels[:, ::-1]))

    vectors = TfliteEmbedder(folder).embed([one, other])

    assert np.allclose(vectors[0], vectors[1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_hash_and_card_are_those_of_the_bundle(folder: Path) -> None:
    """Templates are stamped with the hash of the file that made them."""
    card = tiny_model.write_bundle(folder)

    embedder = TfliteEmbedder(folder)

    assert embedder.model_sha256 == card.sha256
    assert embedder.card == card


def test_model_that_computes_differently_is_refused(folder: Path) -> None:
    """Golden vectors of another model stand for a machine that gets its sums wrong."""
    card = tiny_model.write_bundle(folder)
    other = folder / "other"
    other_card = tiny_model.write_bundle(other, seed=5)
    (folder / "golden.npz").write_bytes((other / "golden.npz").read_bytes())
    write_card(folder, replace(card, files=card.files | {"golden.npz": other_card.files["golden.npz"]}))

    with pytest.raises(ModelError, match="computes the model wrongly"):
        TfliteEmbedder(folder)


def change_golden(folder: Path, **arrays: np.ndarray[Any, np.dtype[np.int8]]) -> None:
    """Write other golden vectors, and a card that lists them."""
    card = tiny_model.write_bundle(folder)
    with np.load(folder / "golden.npz") as stored:
        both = {**stored, **arrays}
    file = io.BytesIO()
    np.savez_compressed(file, **both)
    (folder / "golden.npz").write_bytes(file.getvalue())
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    write_card(folder, replace(card, files=card.files | {"golden.npz": digest}))


def moved(folder: Path, *, steps: int, share: float) -> np.ndarray[Any, np.dtype[np.int8]]:
    """The golden outputs with some of them off."""
    with np.load(folder / "golden.npz") as stored:
        outputs = np.array(stored["output_0"])
    changed = outputs.reshape(-1)[: int(outputs.size * share)]
    changed[:] = np.where(changed > 0, changed - steps, changed + steps)
    return outputs


def test_rounding_of_other_kernels_passes(folder: Path) -> None:
    """One step in fewer than a hundredth of the values is no fault."""
    change_golden(folder, output_0=moved(folder, steps=1, share=0.005))

    assert TfliteEmbedder(folder).embed([]).shape == (0, 128)


@pytest.mark.parametrize(("steps", "share"), [(1, 0.05), (2, 0.005)])
def test_anything_more_than_rounding_is_refused(folder: Path, steps: int, share: float) -> None:
    """One step in many values, or two steps in a few, is a fault."""
    change_golden(folder, output_0=moved(folder, steps=steps, share=share))

    with pytest.raises(ModelError, match="computes the model wrongly"):
        TfliteEmbedder(folder)


def test_either_family_of_kernels_may_be_met(folder: Path) -> None:
    """XNNPACK and TFLite's own kernels round differently; each machine has one of them."""
    with np.load(folder / "golden.npz") as stored:
        right = np.array(stored["output_0"])

    change_golden(folder, output_0=moved(folder, steps=3, share=0.5), plain_0=right)

    assert TfliteEmbedder(folder).embed([]).shape == (0, 128)


def test_golden_vectors_without_outputs_are_refused(folder: Path) -> None:
    """Inputs alone prove nothing."""
    card = tiny_model.write_bundle(folder)
    file = io.BytesIO()
    np.savez_compressed(file, inputs=np.zeros((1, 112, 112, 3), np.int8))
    (folder / "golden.npz").write_bytes(file.getvalue())
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    write_card(folder, replace(card, files=card.files | {"golden.npz": digest}))

    with pytest.raises(ModelError, match="does not hold"):
        TfliteEmbedder(folder)


@pytest.mark.parametrize("name", ["model.tflite", "golden.npz", "card.json"])
def test_bundle_without_one_of_its_files_is_refused(folder: Path, name: str) -> None:
    """Nothing is served from half a bundle."""
    (folder / name).unlink()

    with pytest.raises(ModelError, match=name):
        TfliteEmbedder(folder)


@pytest.mark.parametrize("name", ["model.tflite", "golden.npz"])
def test_file_changed_by_one_bit_is_refused(folder: Path, name: str) -> None:
    """The hashes on the card hold."""
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)

    with pytest.raises(ModelError, match="damaged"):
        TfliteEmbedder(folder)


def test_card_that_promises_other_scales_is_refused(folder: Path) -> None:
    """Card and model must describe the same numbers."""
    card = tiny_model.write_bundle(folder)
    write_card(folder, replace(card, outputs=(OutputSpec("embedding", (1, 128), 0.5, 3),)))

    with pytest.raises(ModelError, match="the card"):
        TfliteEmbedder(folder)


def test_bundle_of_the_other_kind_is_refused(folder: Path) -> None:
    """An embedder is not opened as a finder."""
    with pytest.raises(ModelError, match="holds an embedder, not a finder"):
        open_bundle(folder, "finder")


def test_crop_of_another_size_is_refused(folder: Path) -> None:
    """Only the aligner's crops are taken."""
    small = Crop(np.zeros((96, 96, 3), np.uint8), 1.0, 0.0)

    with pytest.raises(ModelError, match="the model takes"):
        TfliteEmbedder(folder).embed([small])


def with_files(folder: Path, card: ModelCard, **files: bytes) -> None:
    """Write more files (a dot in a name as two underscores), and a card that lists them."""
    named = {name.replace("__", "."): content for name, content in files.items()}
    for name, content in named.items():
        (folder / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in named.items()}
    write_card(folder, replace(card, files=card.files | hashes))


def test_second_model_of_a_bundle_is_proved_by_vectors_of_its_own(folder: Path) -> None:
    """Opened under its name once its own golden vectors come out."""
    card = tiny_model.write_bundle(folder)
    second, golden = (folder / "model.tflite").read_bytes(), (folder / "golden.npz").read_bytes()

    with_files(folder, card, second__tflite=second, second__golden__npz=golden)

    assert open_bundle(folder, "embedder").companions["second.tflite"].content == second


def test_second_model_that_computes_differently_is_refused(folder: Path) -> None:
    """A bundle is as sound as the least of its models."""
    card = tiny_model.write_bundle(folder)
    golden = (folder / "golden.npz").read_bytes()

    with_files(folder, card, second__tflite=tiny_model.make_model(seed=5), second__golden__npz=golden)

    with pytest.raises(ModelError, match=r"second\.tflite.*computes the model wrongly"):
        open_bundle(folder, "embedder")


def test_second_model_without_golden_vectors_is_refused(folder: Path) -> None:
    """What cannot be proved is not run."""
    card = tiny_model.write_bundle(folder)

    with_files(folder, card, second__tflite=(folder / "model.tflite").read_bytes())

    with pytest.raises(ModelError, match=r"does not list second\.golden\.npz"):
        open_bundle(folder, "embedder")


def test_processor_takes_over_when_the_edge_tpu_fails_its_test(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stick that is plugged in without its library does not stop the kiosk."""
    card = tiny_model.write_bundle(folder)
    with_files(folder, card, model_edgetpu__tflite=tiny_model.make_model(seed=5))
    monkeypatch.setattr(bundle_folder, "edge_tpu_present", lambda: True)

    bundle = open_bundle(folder, "embedder")

    assert bundle.network.delegate_name == "cpu"
    assert "the Edge TPU is not used: cannot load libedgetpu" in caplog.text
