"""A pack's crops as picture files, each on a grey sheet, so that the device's finder has to find them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.evaluate.faces import parity_of, read_table
from glancein_training.evaluate.robustness import disturbances
from glancein_training.outputs import check_folder

CLEAN = "clean"  # folder of the pictures as they are, beside those made worse
GREY = 128
SHEET_PX = 256  # two crops wide: a face as large as at arm's length
HALVES = {"all": (0, 1), "even": (0,), "odd": (1,)}


def unpack(  # a pack, and which part of it, as every command names them
    pack: Path,
    out: Path,
    *,
    split: str = "",
    half: str = "all",
    people: int = 0,
    worse: bool = False,
    cache: Path,
) -> int:
    """Write the chosen pictures under ``out`` by their paths in the labels, lossless; returns their number.

    people: draw so many of them, 0 for all. worse: under ``clean/``, and beside it made worse in every way
    that ``robustness`` measures. Raises InputError if the pack has no labels, or no pictures of that split
    and half.
    """
    labels = pack / "labels.csv"
    if half not in HALVES:
        raise InputError(f"--half is {', '.join(HALVES)}, not {half!r}")
    if not labels.exists():
        raise InputError(f"{pack} is no pack of crops: it has no labels.csv")
    rows = read_table(labels)
    wanted = [
        k
        for k, row in enumerate(rows)
        if (not split or row.get("split") == split)
        and parity_of(row.get("identity") or row["path"]) in HALVES[half]
    ]
    if people:
        names = sorted({rows[k].get("identity") or rows[k]["path"] for k in wanted})
        drawn = {names[k] for k in np.random.default_rng(0).permutation(len(names))[:people]}
        wanted = [k for k in wanted if (rows[k].get("identity") or rows[k]["path"]) in drawn]
    if not wanted:
        raise InputError(f"{labels} has no pictures of split {split!r}, half {half}")
    check_folder(out, "--out")
    crops = packs.load(pack, cache=cache)
    written = 0
    for k in wanted:
        for folder, pixels in _versions(crops.pixels[k]) if worse else [("", crops.pixels[k])]:
            path = out / folder / rows[k]["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(on_sheet(pixels)).save(path, lossless=True, method=0)
            written += 1
    return written


def _versions(crop: packs.Pixels) -> Iterator[tuple[str, packs.Pixels]]:
    yield CLEAN, crop
    for kind in disturbances():
        yield from ((kind.folder(value), kind.apply(np.asarray(crop), value)) for value in kind.values)


def on_sheet(crop: packs.Pixels) -> packs.Pixels:
    """The crop (h, w, 3) in the middle of a grey square of ``SHEET_PX``."""
    sheet = np.full((SHEET_PX, SHEET_PX, 3), GREY, np.uint8)
    top, left = ((SHEET_PX - n) // 2 for n in crop.shape[:2])
    sheet[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return sheet
