"""Opening a model bundle: card, hash, runtime, and the golden vectors before anything is served."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glancein import model_card
from glancein.adapters.tflite_runtime import EDGE_TPU_SUFFIX, Int8s, Network, edge_tpu_present, open_model
from glancein.errors import ModelError
from glancein.model_card import GOLDEN_FILE, Kind, ModelCard

# Kernels of different machines round the same int8 sums differently now and then.
GOLDEN_LARGEST_STEP = 1
GOLDEN_SHARE_THAT_MAY_DIFFER = 0.01


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that has passed its golden vectors, and its card."""

    card: ModelCard
    network: Network


def open_bundle(folder: Path, kind: Kind, *, threads: int = 1) -> Bundle:
    """Open a bundle folder: nothing is returned unless the file, the card and the arithmetic agree.

    With an Edge TPU plugged in and a ``<model>_edgetpu.tflite`` listed on the card, that one is used.
    Raises ModelError.
    """
    card = model_card.read_card(folder)
    if card.kind != kind:
        raise ModelError(f"{folder} holds {_article(card.kind)}, not {_article(kind)}: choose another bundle")
    name, sha256 = _file_to_run(card)
    network = open_model(folder / name, threads=threads, expected_sha256=sha256)
    check_fit(card, network, where=str(folder))
    golden = model_card.read_file(folder, card, GOLDEN_FILE)
    check_golden(network, golden, where=str(folder))
    return Bundle(card, network)


def check_fit(card: ModelCard, network: Network, *, where: str) -> None:
    """Raise ModelError if the file's input or outputs are not those of the card."""
    size: tuple[int, ...] = (1, card.input.height_px, card.input.width_px, 3)
    said = [(size, card.input.scale, card.input.zero_point)]
    said += [(output.shape, output.scale, output.zero_point) for output in card.outputs]
    found = [(spec.shape, spec.scale, spec.zero_point) for spec in (network.input, *network.outputs)]
    if len(said) != len(found):
        raise ModelError(f"{where}: the model has {len(found) - 1} outputs, the card {len(said) - 1}")
    for mine, theirs in zip(said, found, strict=True):
        if mine[0] != theirs[0] or mine[2] != theirs[2] or not np.isclose(mine[1], theirs[1], rtol=1e-6):
            raise ModelError(f"{where}: the card says {mine}, the model {theirs}: install it again")


def check_golden(network: Network, golden: bytes, *, where: str) -> None:
    """Raise ModelError unless the stored inputs give the stored outputs.

    golden: an .npz with ``inputs`` (n, h, w, 3) int8 and ``output_0``, ``output_1``, ... (n, ...) int8. At
    most one value in a hundred of each output may be off, and that by one step.
    """
    inputs, outputs = _read_golden(golden, len(network.outputs), where)
    runs = [network.run(picture[None]) for picture in inputs]
    for index, expected in enumerate(outputs):
        found = np.concatenate([run[index] for run in runs]).astype(np.int16)
        if found.size != expected.size:
            raise ModelError(f"{where}: golden output {index} has another size than the model's")
        steps = np.abs(found.reshape(expected.shape) - expected)
        if steps.max() > GOLDEN_LARGEST_STEP or np.mean(steps > 0) > GOLDEN_SHARE_THAT_MAY_DIFFER:
            share = f"{100 * np.mean(steps > 0):.1f} % of output {index} differ, by up to {steps.max()} steps"
            raise ModelError(f"{where}: this machine computes the model wrongly ({share}): do not use it")


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind == "embedder" else f"a {kind}"


def _file_to_run(card: ModelCard) -> tuple[str, str]:
    stem = card.file.removesuffix(".tflite")
    for_edge_tpu = f"{stem}{EDGE_TPU_SUFFIX}.tflite"
    if for_edge_tpu in card.files and edge_tpu_present():
        return for_edge_tpu, card.files[for_edge_tpu]
    return card.file, card.sha256


def _read_golden(golden: bytes, outputs: int, where: str) -> tuple[Int8s, list[Int8s]]:
    try:
        with np.load(io.BytesIO(golden), allow_pickle=False) as stored:
            arrays = [stored["inputs"], *(stored[f"output_{index}"] for index in range(outputs))]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as err:
        raise ModelError(f"{where}: {GOLDEN_FILE} cannot be read: install the bundle again") from err
    if not arrays[0].size or any(a.dtype != np.int8 or len(a) != len(arrays[0]) for a in arrays):
        raise ModelError(f"{where}: {GOLDEN_FILE} does not hold int8 inputs with their outputs")
    return arrays[0], arrays[1:]
