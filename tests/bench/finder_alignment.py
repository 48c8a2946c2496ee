"""What this finder's landmarks cost the embedder: verification with the stored alignment and with ours.

python tests/bench/finder_alignment.py [--people choosing|judging] [--every 2]

Held-back crops of the identities are set on grey, found and aligned by the device's code, and embedded; the
stored crops, aligned with the landmarks the data came with, are embedded too. Both over the same pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from glancein.adapters.embedder_tflite import TfliteEmbedder
from glancein.adapters.finder_tflite import TfliteFaceFinder
from glancein.domain import align
from glancein.types import Crop, Floats, Pixels
from glancein_training import packs
from glancein_training.distill import tar_at

MODELS = Path(__file__).parents[2] / "device/glancein/models"
SHARED = Path(__file__).parents[3] / "shared/data"
FAR = (1e-2, 1e-3, 1e-4)
MARGIN_PX = 64  # of grey around a crop
CROP_MARGIN_PX = 8  # of the stored crop around the aligned one
CENTRED_PX = 40  # a face whose middle lies further off is a neighbour's


def main(argv: Sequence[str] | None = None) -> int:
    """Print both verification figures and how far the alignments lie apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODELS / "finder")
    parser.add_argument("--embedder", type=Path, default=MODELS / "embedder")
    parser.add_argument("--faces", type=Path, default=SHARED / "faces")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/glancein", help="decoded crops")
    parser.add_argument("--people", choices=("choosing", "judging"), default="choosing")
    parser.add_argument("--every", type=int, default=1, help="take each n-th crop")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    crops = packs.load(args.faces, cache=args.cache)
    half = crops.identity % 2 == (args.people == "judging")
    rows = np.flatnonzero(~crops.is_train & half)[:: args.every]
    finder, embedder = TfliteFaceFinder(args.model), TfliteEmbedder(args.embedder)
    print(*compare(finder, embedder, crops, rows), sep="\n")
    return 0


def compare(
    finder: TfliteFaceFinder, embedder: TfliteEmbedder, crops: packs.Crops, rows: NDArray[np.int64]
) -> list[str]:
    """The lines to print; crops in which the finder finds nobody count for neither side."""
    stored, ours, identity, apart_px = [], [], [], []
    for row in rows:
        pixels = np.asarray(crops.pixels[row])
        canvas = on_grey(pixels)
        landmarks = central(finder, canvas)
        if landmarks is None:
            continue
        inner = pixels[CROP_MARGIN_PX:-CROP_MARGIN_PX, CROP_MARGIN_PX:-CROP_MARGIN_PX]
        stored.append(embedder.embed([Crop(np.ascontiguousarray(inner), 1.0, 0.0)])[0])
        ours.append(embedder.embed([align.crop(canvas, landmarks)])[0])
        identity.append(int(crops.identity[row]))
        apart_px.append(apart(landmarks))
    people = torch.tensor(identity)
    lines = [f"{len(identity)} of {len(rows)} crops found"]
    for name, vectors in (("stored landmarks", stored), ("our landmarks", ours)):
        tars = tar_at(torch.from_numpy(np.stack(vectors)), people, FAR)
        shown = ", ".join(f"{100 * tar:.2f} at {far:g}" for tar, far in zip(tars, FAR, strict=True))
        lines.append(f"{name}: TAR % at FAR: {shown}")
    middle, high = np.percentile(apart_px, [50, 95])
    lines.append(f"the template lies {middle:.2f} px (median), {high:.2f} px (p95) from the stored one")
    return lines


def on_grey(pixels: Pixels) -> Pixels:
    """A crop with a margin of grey."""
    height, width = pixels.shape[:2]
    canvas = np.full((height + 2 * MARGIN_PX, width + 2 * MARGIN_PX, 3), 110, np.uint8)
    canvas[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = pixels
    return canvas


def central(finder: TfliteFaceFinder, canvas: Pixels) -> Floats | None:
    """Landmarks of the best face near the middle, None without one."""
    for face in finder.find(canvas):
        middle = face.box.left + face.box.width / 2, face.box.top + face.box.height / 2
        if max(abs(middle[0] - canvas.shape[1] / 2), abs(middle[1] - canvas.shape[0] / 2)) < CENTRED_PX:
            return face.landmarks
    return None


def apart(landmarks: Floats) -> float:
    """Mean distance, in crop pixels, between where the two alignments put the template's points."""
    template = np.asarray(align.TEMPLATE, np.float32)
    moved = align.transform(align.similarity(landmarks - MARGIN_PX - CROP_MARGIN_PX), template)
    return float(np.hypot(*(moved - template).T).mean())


if __name__ == "__main__":
    raise SystemExit(main())
