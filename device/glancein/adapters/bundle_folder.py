"""Opening a model bundle: card, hash, runtime, and the golden vectors before anything is served."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from glancein import model_card
from glancein.adapters.tflite_runtime import EDGE_TPU_SUFFIX, Int8s, Network, edge_tpu_present, open_model
from glancein.errors import ModelError
from glancein.model_card import GOLDEN_FILE, Kind, ModelCard

# Kernels of different machines round the same int8 sums differently now and then.
GOLDEN_LARGEST_STEP = 1
GOLDEN_SHARE_THAT_MAY_DIFFER = 0.01
GOLDEN_FAMILIES = ("output", "plain")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that has passed its golden vectors, its card, and what else runs beside it, by file name."""

    card: ModelCard
    network: Network
    companions: Mapping[str, Network] = field(default_factory=dict)


def open_bundle(folder: Path, kind: Kind, *, threads: int = 1) -> Bundle:
    """Open a bundle folder: nothing is returned unless the file, the card and the arithmetic agree.

    With an Edge TPU plugged in and a ``<model>_edgetpu.tflite`` listed on the card, that one is used if it
    passes; the processor's otherwise. Other .tflite files are companions, proved like the model by golden
    vectors of their own (``golden_of``). Raises ModelError.
    """
    card = model_card.read_card(folder)
    if card.kind != kind:
        raise ModelError(f"{folder} holds {_article(card.kind)}, not {_article(kind)}: choose another bundle")
    network = _open_on_edge_tpu(folder, card) or _open_proved(folder, card, card.file, threads=threads)
    check_fit(card, network, where=str(folder))
    companions = {
        name: _open_proved(folder, card, name, threads=threads) for name in card.files if _is_companion(name)
    }
    return Bundle(card, network, companions)


def golden_of(card: ModelCard, name: str) -> str:
    """The file with the golden vectors of one of the bundle's models."""
    return GOLDEN_FILE if name == card.file else f"{name.removesuffix('.tflite')}.{GOLDEN_FILE}"


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

    golden: an .npz with ``inputs`` (n, h, w, 3) int8, ``output_0``, ``output_1``, ... (n, ...) int8 by
    XNNPACK's kernels and ``plain_0``, ... by TFLite's own, which round otherwise (docs/conversion.md). One of
    the families must be met: at most one value in a hundred of each output may be off, and that by one step.
    """
    inputs, families = _read_golden(golden, len(network.outputs), where)
    runs = [network.run(picture[None]) for picture in inputs]
    found = [np.concatenate([run[index] for run in runs]) for index in range(len(network.outputs))]
    complaints = [_complaint(found, expected) for expected in families]
    if all(complaints):
        raise ModelError(f"{where}: this machine computes the model wrongly ({complaints[0]}): do not use it")


def _complaint(found: list[Int8s], expected: list[Int8s]) -> str:
    """What differs too much; empty if nothing does."""
    for index, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        if mine.size != theirs.size:
            return f"output {index} has another size"
        steps = np.abs(mine.astype(np.int16) - theirs.reshape(mine.shape))
        share = float(np.mean(steps > 0))
        if steps.max() > GOLDEN_LARGEST_STEP or share > GOLDEN_SHARE_THAT_MAY_DIFFER:
            return f"{100 * share:.1f} % of output {index} differ, by up to {steps.max()} steps"
    return ""


def _article(kind: Kind) -> str:
    return f"an {kind}" if kind == "embedder" else f"a {kind}"


def _is_companion(name: str) -> bool:
    return name.endswith(".tflite") and not name.endswith(f"{EDGE_TPU_SUFFIX}.tflite")


def _open_proved(folder: Path, card: ModelCard, name: str, *, threads: int) -> Network:
    sha256 = card.sha256 if name == card.file else card.files[name]
    network = open_model(folder / name, threads=threads, expected_sha256=sha256)
    golden = model_card.read_file(folder, card, golden_of(card, name))
    check_golden(network, golden, where=str(folder if name == card.file else folder / name))
    return network


def _open_on_edge_tpu(folder: Path, card: ModelCard) -> Network | None:
    """The model on the accelerator; None without one, without a file for it, or if it fails its test."""
    name = f"{card.file.removesuffix('.tflite')}{EDGE_TPU_SUFFIX}.tflite"
    if name not in card.files or not edge_tpu_present():
        return None
    try:
        network = open_model(folder / name, expected_sha256=card.files[name])
        check_fit(card, network, where=str(folder / name))
        golden = model_card.read_file(folder, card, GOLDEN_FILE)
        check_golden(network, golden, where=str(folder / name))
    except ModelError as err:
        log.warning("the Edge TPU is not used: %s", err)
        return None
    return network


def _read_golden(golden: bytes, outputs: int, where: str) -> tuple[Int8s, list[list[Int8s]]]:
    """The inputs, and the outputs of each family of kernels that is stored."""
    try:
        with np.load(io.BytesIO(golden), allow_pickle=False) as stored:
            inputs = stored["inputs"]
            names = [name for name in GOLDEN_FAMILIES if f"{name}_0" in stored]
            families = [[stored[f"{name}_{index}"] for index in range(outputs)] for name in names]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as err:
        raise ModelError(f"{where}: {GOLDEN_FILE} cannot be read: install the bundle again") from err
    arrays = [inputs, *(array for family in families for array in family)]
    if not families or not inputs.size or any(a.dtype != np.int8 or len(a) != len(inputs) for a in arrays):
        raise ModelError(f"{where}: {GOLDEN_FILE} does not hold int8 inputs with their outputs")
    return inputs, families
