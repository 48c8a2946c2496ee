"""From the finder's weights to its bundle: both int8 models, golden vectors of both, card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from glancein.adapters.tflite_runtime import Network, open_model
from glancein.domain.landmarks import LOOK_PX
from glancein.model_card import GOLDEN_FILE, SIGNATURE_FILE, Finding, ModelCard, read_card, write_card
from glancein.types import Pixels
from glancein_convert import finder_parity, layers
from glancein_convert.bundle import (
    MODEL_FILE,
    Say,
    check_places,
    compiled_for_edge_tpu,
    complaints,
    judge,
    make_card,
    refuse_folders,
    write_bundle,
)
from glancein_convert.checkpoints import refuse_diverged
from glancein_convert.errors import ConversionError
from glancein_convert.export import export_int8
from glancein_convert.golden import make_golden
from glancein_convert.preflight import check
from glancein_convert.ranges import Method
from glancein_training.finder import data, predict
from glancein_training.finder.disturb import Strength, disturb
from glancein_training.finder.evaluate import load_weights
from glancein_training.finder.landmarks import load_network
from glancein_training.finder.looks import Choice as LookChoice
from glancein_training.finder.looks import Looks, sources_of
from glancein_training.finder.network import OUTPUTS, Finder
from glancein_training.finder.scenes import Choice, compose

LICENCE = "Code and form: Apache-2.0. Weights: research use only, because of their training images."
DATA_NOTE = (
    "Trained on 2,600 CelebA pictures (non-commercial research) with the boxes and landmarks of a reference "
    "finder. Retrain on licensed data for other uses."
)
LANDMARKS_FILE = "landmarks.tflite"
LANDMARKS_GOLDEN_FILE = "landmarks.golden.npz"
CALIBRATION_PICTURES = 256


@dataclass(frozen=True, slots=True)
class CardWords:
    """What the card says that the models do not."""

    finding: Finding
    figures: dict[str, object]
    training_command: str


@dataclass(frozen=True, slots=True)
class FinderRequest:
    """What to convert, with what data, and how strict to be."""

    weights: Path
    landmarks: Path
    out: Path
    data: Path
    report: Path
    card: CardWords
    method: Method = "minmax"
    force: bool = False


def export_finder(request: FinderRequest, *, say: Say = print) -> ModelCard:
    """Convert the averaged weights of finder and landmarks, measure, judge, and only then write the bundle.

    Raises InputError for other weights or places that cannot be written, ConversionError if the gate fails or
    the data are not there.
    """
    torch.set_num_threads(1)
    check_places("finder", request.out, request.report)
    network, points = load_weights(request.weights), load_network(request.landmarks).eval()
    refuse_diverged(network, request.weights)
    refuse_diverged(points, request.landmarks)
    held_back = _pictures(request.data, "val")
    request.report.mkdir(parents=True, exist_ok=True)
    paths = _export_both(request, network, points)
    opened = [open_model(path) for path in paths]
    say(f"looking at {len(held_back)} held-back pictures, in float and in int8")
    found = finder_parity.compare((network, points), (opened[0], opened[1]), held_back)
    checked = [check(path) for path in paths]
    figures = {
        "macs": checked[0].macs,
        "landmarks_size_bytes": paths[1].stat().st_size,
        "edge_tpu_preflight_maps_everything": all(one.maps_everything for one in checked),
        "xnnpack_partitions": [layers.delegate_partitions(path) for path in paths],
        "range_method": request.method,
        "parity": found.figures,
        **request.card.figures,
    }
    _write_report(request.report, paths, figures, found.failures)
    failures = [*found.failures, *(sentence for one in checked for sentence in complaints(one))]
    judge(failures, force=request.force, say=say)
    card = _write(request, network.shape.name, paths[0], opened, figures, say)
    say(
        f"wrote {request.out}: {card.sha256[:16]}, {card.size_bytes / 1e3:.0f} kB; report in {request.report}"
    )
    return card


def _export_both(request: FinderRequest, network: Finder, points: nn.Module) -> list[Path]:
    pictures, looks = calibration_pictures(request.data, network), calibration_looks(request.data)
    first, second = request.report / MODEL_FILE, request.report / LANDMARKS_FILE
    shape = (1, 3, network.shape.height_px, network.shape.width_px)
    look_shape = (1, 3, LOOK_PX, LOOK_PX)
    export_int8(points, look_shape, [looks], second, ["weights", "offsets"], method=request.method)
    export_int8(network, shape, [pictures], first, list(OUTPUTS), method=request.method)
    return [first, second]


def _write(  # noqa: PLR0913, PLR0917  # what a card is made of
    request: FinderRequest,
    name: str,
    model: Path,
    opened: Sequence[Network],
    figures: dict[str, object],
    say: Say,
) -> ModelCard:
    files = {
        GOLDEN_FILE: make_golden(opened[0]),
        LANDMARKS_FILE: opened[1].content,
        LANDMARKS_GOLDEN_FILE: make_golden(opened[1]),
        **compiled_for_edge_tpu(model, request.report, say=say),
    }
    card = make_card(
        "finder",
        name,
        opened[0].content,
        opened[0],
        figures=figures,
        training_command=request.card.training_command,
        files=files,
        finding=request.card.finding,
        licence=LICENCE,
        data_note=DATA_NOTE,
    )
    write_bundle(request.out, opened[0].content, card, files)
    return card


def _write_report(
    folder: Path, paths: Sequence[Path], figures: dict[str, object], failures: Sequence[str]
) -> None:
    document = {
        "figures": figures,
        "failures": list(failures),
        "milliseconds_here": {path.name: layers.milliseconds(path, threads=(1, 2, 4)) for path in paths},
    }
    (folder / "report.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def recard(out: Path, words: CardWords) -> Path:
    """Give a bundle's card another threshold and more figures; a signature of the old card goes.

    Raises ConversionError if it is no finder's, ModelError if there is no bundle, or the new card would be
    none.
    """
    card = read_card(out)
    if card.kind != "finder":
        raise ConversionError(f"{out} is the bundle of an {card.kind}: --recard changes that of a finder")
    refuse_folders(out)
    changed = replace(card, finding=words.finding, figures={**card.figures, **words.figures})
    path = write_card(out, changed)
    (out / SIGNATURE_FILE).unlink(missing_ok=True)
    return path


def _pictures(folder: Path, split: str) -> list[data.Picture]:
    try:
        return data.load(folder, split)
    except FileNotFoundError as err:
        raise ConversionError(
            f"no labelled pictures in {folder}: give --data a folder with labels.jsonl"
        ) from err


def calibration_pictures(folder: Path, network: Finder, *, count: int = CALIBRATION_PICTURES) -> Pixels:
    """(count, h, w, 3): half training pictures as they are, half disturbed scenes; always the same."""
    width, height = network.shape.width_px, network.shape.height_px
    pictures = _pictures(folder, "train")
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(pictures), count // 2, replace=False)
    plain = [predict.letterbox(pictures[index].pixels, width, height)[0] for index in chosen]
    scenes = [
        compose(pictures, rng, Choice(), width=width, height=height).pixels for _ in range(count - count // 2)
    ]
    return np.stack([*plain, *(disturb(scene, rng, Strength(noise=0.0)) for scene in scenes)])


def calibration_looks(folder: Path, *, count: int = CALIBRATION_PICTURES) -> Pixels:
    """(count, 88, 88, 3): faces of training pictures, as the second network sees them in training."""
    faces = sources_of(_pictures(folder, "train"))
    nothing = (np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64))
    looks = Looks((faces, []), nothing, LookChoice())
    rng = np.random.default_rng(0)
    return np.stack([looks.one(rng, looks.draw(rng))[0] for _ in range(count)])
