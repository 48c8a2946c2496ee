"""From the finder's weights to its bundle: both int8 models, golden vectors, card."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from glancein.adapters.tflite_runtime import open_model
from glancein.domain.landmarks import LOOK_PX
from glancein.errors import GlanceinError
from glancein.model_card import GOLDEN_FILE, Finding, ModelCard, read_card, write_card
from glancein.types import Pixels
from glancein_convert.bundle import MODEL_FILE, make_card
from glancein_convert.export import export_int8
from glancein_convert.golden import make_golden
from glancein_convert.preflight import check
from glancein_convert.ranges import METHODS, Method
from glancein_training.finder import data, predict
from glancein_training.finder.disturb import Strength, disturb
from glancein_training.finder.evaluate import load_weights
from glancein_training.finder.landmarks import Config, Looks, load_network, sources_of
from glancein_training.finder.network import OUTPUTS, Finder
from glancein_training.finder.scenes import Choice, compose

LICENCE = "Code and form: Apache-2.0. Weights: research use only, because of their training images."
DATA_NOTE = (
    "Trained on 2,600 CelebA pictures (non-commercial research) with the boxes and landmarks of a reference "
    "finder. Retrain on licensed data for other uses."
)
LANDMARKS_FILE = "landmarks.tflite"
CALIBRATION_PICTURES = 256


@dataclass(frozen=True, slots=True)
class CardWords:
    """What the card says that the model does not."""

    finding: Finding
    figures: dict[str, object]
    training_command: str


def main(argv: Sequence[str] | None = None) -> int:
    """Write a bundle, or say in one line why not."""
    parser = argparse.ArgumentParser(prog="python -m glancein_convert.finder", description=__doc__)
    parser.add_argument("weights", type=Path, help="weights/finder.pt or a checkpoint of a run")
    parser.add_argument("landmarks", type=Path, help="weights/landmarks.pt")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/finder"))
    parser.add_argument("--method", choices=METHODS, default="minmax", help="how int8 ranges are chosen")
    parser.add_argument("--threshold", type=float, default=0.5, help="score from which on a box is a face")
    parser.add_argument("--false-faces", type=float, default=1.0, help="per picture, at that threshold")
    parser.add_argument("--figures", type=Path, help="JSON of measured figures for the card")
    parser.add_argument(
        "--recard", action="store_true", help="keep the models of OUT and change only threshold and figures"
    )
    parser.add_argument("--training-command", default="sh training/runs/finder.sh")
    args = parser.parse_args(argv)
    figures = json.loads(args.figures.read_text(encoding="utf-8")) if args.figures else {}
    words = CardWords(Finding(args.threshold, args.false_faces), figures, args.training_command)
    try:
        if args.recard:
            return recard(args.out, words)
        card = export_finder(
            (args.weights, args.landmarks),
            args.out,
            folder=args.data,
            method=args.method,
            card=words,
        )
    except GlanceinError as err:
        parser.exit(err.exit_code, f"glancein_convert.finder: {err}\n")
    print(f"wrote {args.out}: {card.sha256[:16]}, {card.size_bytes / 1e3:.0f} kB")
    return 0


def export_finder(
    weights: tuple[Path, Path],
    out: Path,
    *,
    folder: Path,
    method: Method,
    card: CardWords,
) -> ModelCard:
    """Convert the averaged weights of finder and landmarks and write the bundle, the card last.

    folder: the labelled pictures; some of them set the int8 ranges. Raises ConversionError.
    """
    network, points = load_weights(weights[0]), load_network(weights[1])
    pictures, looks = calibration_pictures(folder, network), calibration_looks(folder)
    shape = (1, 3, network.shape.height_px, network.shape.width_px)
    with tempfile.TemporaryDirectory() as scratch:
        second_path = Path(scratch) / LANDMARKS_FILE
        export_int8(points, (1, 3, LOOK_PX, LOOK_PX), [looks], second_path, ["landmarks"], method=method)
        second = second_path.read_bytes()
        path = Path(scratch) / MODEL_FILE
        export_int8(network, shape, [pictures], path, list(OUTPUTS), method=method)
        checked = check(path)
        opened = open_model(path)
        golden = make_golden(opened)
        model = path.read_bytes()
    written = make_card(
        "finder",
        network.shape.name,
        model,
        opened,
        figures={
            "macs": checked.macs,
            "landmarks_size_bytes": len(second),
            "edge_tpu_preflight_maps_everything": checked.maps_everything,
            "range_method": method,
            **card.figures,
        },
        training_command=card.training_command,
        files={GOLDEN_FILE: golden, LANDMARKS_FILE: second},
        finding=card.finding,
        licence=LICENCE,
        data_note=DATA_NOTE,
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "card.json").unlink(missing_ok=True)
    (out / MODEL_FILE).write_bytes(model)
    (out / GOLDEN_FILE).write_bytes(golden)
    (out / LANDMARKS_FILE).write_bytes(second)
    write_card(out, written)
    return written


def recard(out: Path, words: CardWords) -> int:
    """Give a bundle's card another threshold and more figures. Raises ModelError if there is no bundle."""
    card = read_card(out)
    changed = replace(card, finding=words.finding, figures={**card.figures, **words.figures})
    print(f"rewrote {write_card(out, changed)}")
    return 0


def calibration_pictures(folder: Path, network: Finder, *, count: int = CALIBRATION_PICTURES) -> Pixels:
    """(count, h, w, 3): half training pictures as they are, half disturbed scenes; always the same."""
    width, height = network.shape.width_px, network.shape.height_px
    pictures = data.load(folder, "train")
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(pictures), count // 2, replace=False)
    plain = [predict.letterbox(pictures[index].pixels, width, height)[0] for index in chosen]
    scenes = [
        compose(pictures, rng, Choice(), width=width, height=height).pixels for _ in range(count - count // 2)
    ]
    return np.stack([*plain, *(disturb(scene, rng, Strength(noise=0.0)) for scene in scenes)])


def calibration_looks(folder: Path, *, count: int = CALIBRATION_PICTURES) -> Pixels:
    """(count, 80, 80, 3): faces of training pictures, as the second network sees them in training."""
    faces = sources_of(data.load(folder, "train"), Config())
    looks = Looks(faces, np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64), Config())
    rng = np.random.default_rng(0)
    return np.stack([looks.one(rng, from_crops=False)[0] for _ in range(count)])


if __name__ == "__main__":
    raise SystemExit(main())
