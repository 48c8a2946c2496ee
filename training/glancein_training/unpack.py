"""A pack's crops as picture files, each on a grey sheet, so that the device's finder has to find them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.evaluate.faces import parity_of

GREY = 128
SHEET_PX = 256  # two crops wide: a face as large as at arm's length
HALVES = {"all": (0, 1), "even": (0,), "odd": (1,)}


def unpack(pack: Path, out: Path, *, split: str = "", half: str = "all", cache: Path) -> int:
    """Write the chosen pictures under ``out`` by their paths in the labels, lossless; returns their number.

    Raises InputError if the pack has no labels, or no pictures of that split and half.
    """
    labels = pack / "labels.csv"
    if half not in HALVES:
        raise InputError(f"--half is {', '.join(HALVES)}, not {half!r}")
    if not labels.exists():
        raise InputError(f"{pack} is no pack of crops: it has no labels.csv")
    with labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [
        k
        for k, row in enumerate(rows)
        if (not split or row.get("split") == split)
        and parity_of(row.get("identity") or row["path"]) in HALVES[half]
    ]
    if not wanted:
        raise InputError(f"{labels} has no pictures of split {split!r}, half {half}")
    crops = packs.load(pack, cache=cache)
    for k in wanted:
        path = out / rows[k]["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(on_sheet(crops.pixels[k])).save(path, lossless=True, method=0)
    return len(wanted)


def on_sheet(crop: packs.Pixels) -> packs.Pixels:
    """The crop (h, w, 3) in the middle of a grey square of ``SHEET_PX``."""
    sheet = np.full((SHEET_PX, SHEET_PX, 3), GREY, np.uint8)
    top, left = ((SHEET_PX - n) // 2 for n in crop.shape[:2])
    sheet[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return sheet
