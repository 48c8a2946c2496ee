"""Which crops a conversion looks at: for ranges, for figures, and as strangers for the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glancein.domain.align import CROP_PX
from glancein.types import Floats, Pixels
from glancein_convert.errors import ConversionError
from glancein_training import packs
from glancein_training.people import DEVELOPMENT_SHARE, load_people

MARGIN_PX = (packs.STORED_PX - CROP_PX) // 2
CALIBRATION_CROPS = 256
COHORT_CROPS = 4000
TUNING_CROPS = 6000
STRATA = 8
FEWEST_PEOPLE = 10  # development people that anything can be said of
# Crops of them: the frontal half of fewer has no 3 pairs in 1,000 to set a threshold by.
FEWEST_KEPT_OUT = 150
FEWEST_CROPS = 20  # training crops: one half sets the ranges, the other judges them


@dataclass(frozen=True, slots=True)
class CropSets:
    """Pixels are (n, 112, 112, 3) RGB; identities and teachers belong to the development crops."""

    calibration: Pixels
    development: Pixels
    identity: NDArray[np.int64]  # (n,)
    teachers: tuple[Floats, ...]  # each (n, d)
    cohort: Pixels  # of strangers, people without a label; none beside a maker's own photos
    tuning: Pixels  # of training people, for quantisation-aware fine-tuning; empty unless asked for
    note: dict[str, object]


def load_sets(  # noqa: PLR0913  # one number for each set
    data: Path,
    cache: Path,
    *,
    landmarks: Path | None = None,
    seed: int = 0,
    people: int | None = None,
    cohort: int = COHORT_CROPS,
    tuning: int = 0,
) -> CropSets:
    """Crops from ``data/faces`` and ``data/unlabelled``; of the development people all, or the first few.

    With ``landmarks``, what `glancein embed` found in ``data``, a folder for each person: crops of those
    photos and no strangers. Raises ConversionError if the folders are not there or hold too few people,
    InputError if a picture cannot be used.
    """
    faces, unlabelled = _read(data, cache, landmarks)
    rng = np.random.default_rng(seed)
    train = np.flatnonzero(faces.is_train)
    development = np.flatnonzero(~faces.is_train)
    names = np.unique(faces.identity[development])[:people]
    development = development[np.isin(faces.identity[development], names)]
    _refuse_too_few(data, faces, development)
    calibration = diverse(faces.pixels, rng.choice(train, min(len(train), 4000), replace=False), rng)
    note = {
        "calibration_rows": [int(row) for row in calibration],
        "seed": seed,
        "faces_data_sha256": faces.data_sha256,
    }
    unknown: Pixels = np.empty((0, CROP_PX, CROP_PX, 3), np.uint8)
    if unlabelled is not None:
        strangers = np.sort(rng.choice(len(unlabelled), min(cohort, len(unlabelled)), replace=False))
        unknown = centre(unlabelled.pixels, strangers)
        note["unlabelled_data_sha256"] = unlabelled.data_sha256
    return CropSets(
        calibration=centre(faces.pixels, calibration),
        development=centre(faces.pixels, development),
        identity=faces.identity[development],
        teachers=tuple(teacher[development] for teacher in faces.teachers),
        cohort=unknown,
        tuning=centre(faces.pixels, np.sort(rng.choice(train, min(tuning, len(train)), replace=False))),
        note=note,
    )


def _read(data: Path, cache: Path, landmarks: Path | None) -> tuple[packs.Crops, packs.Crops | None]:
    """People with names, and strangers; none of these beside own photos. Raises as ``load_sets`` does."""
    if landmarks is not None:
        return load_people(data, landmarks), None
    try:
        return packs.load(data / "faces", cache=cache), packs.load(data / "unlabelled", cache=cache)
    except FileNotFoundError as err:
        raise ConversionError(
            f"no crops in {data}: give --data a folder with faces/ and unlabelled/, or own photos and "
            f"--landmarks FILE.npz of `glancein embed`"
        ) from err


def _refuse_too_few(data: Path, faces: packs.Crops, development: NDArray[np.int64]) -> None:
    """Raise ConversionError, before any work, where no range or no threshold could be set in the end."""
    train, people = int(faces.is_train.sum()), len(np.unique(faces.identity[development]))
    if train < FEWEST_CROPS or people < FEWEST_PEOPLE or len(development) < FEWEST_KEPT_OUT:
        raise ConversionError(
            f"{data} gives {train} training crops and {len(development)} of {people} people kept out (split "
            f"val of a pack, one person in {DEVELOPMENT_SHARE} of own photos); the least are "
            f"{FEWEST_CROPS} and {FEWEST_KEPT_OUT} of {FEWEST_PEOPLE} people"
        )


def centre(pixels: Pixels, rows: NDArray[np.int64]) -> Pixels:
    """The network's part of stored crops, without their margin."""
    inner = slice(MARGIN_PX, MARGIN_PX + CROP_PX)
    return np.stack([pixels[row, inner, inner] for row in rows]) if len(rows) else pixels[:0, inner, inner]


def diverse(pixels: Pixels, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows spread evenly over brightness, contrast and left-right difference (for turned heads)."""
    small = pixels[np.sort(rows)][:, ::8, ::8].astype(np.float32).mean(3)
    measures = np.stack(
        [small.mean((1, 2)), small.std((1, 2)), np.abs(small - small[:, :, ::-1]).mean((1, 2))]
    )
    rows = np.sort(rows)
    stratum = np.zeros(len(rows), np.int64)
    for values in measures:
        edges = np.quantile(values, np.linspace(0, 1, STRATA + 1)[1:-1])
        stratum = stratum * STRATA + np.searchsorted(edges, values)
    order = rng.permutation(len(rows))
    _, first = np.unique(stratum[order], return_index=True)
    picked = order[rng.permutation(first)][:CALIBRATION_CROPS]
    return np.asarray(np.sort(rows[picked]), np.int64)
