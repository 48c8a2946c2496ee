"""The labelled pictures of ``finder/``, decoded once and kept in memory."""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glancein.errors import InputError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Labels:
    """The faces of one picture, in its pixels."""

    boxes: Floats  # (n, 4) left, top, width, height
    landmarks: Floats  # (n, 5, 2)
    scores: Floats  # (n,) how sure the labelling finder was

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture."""

    name: str
    pixels: Pixels  # (h, w, 3) RGB
    labels: Labels


def load(folder: Path, split: str) -> list[Picture]:
    """The pictures of one split, ``train`` or ``val``.

    Raises FileNotFoundError without ``labels.jsonl``, InputError if it has another form or not that split.
    """
    path = folder / "labels.jsonl"
    try:
        with path.open(encoding="utf-8") as file:
            rows = [row for row in map(json.loads, file) if row["split"] == split]
    except (ValueError, KeyError, TypeError) as err:
        raise InputError(f"{path} is not one JSON object with path, tar, split and faces per line") from err
    if not rows:
        raise InputError(f"{path} has no pictures of split {split!r}: there are train and val")
    names = sorted({row["tar"] for row in rows})
    with ExitStack() as stack:
        packs = {name: stack.enter_context(tarfile.open(folder / name)) for name in names}
        return [
            Picture(row["path"], decode(packs[row["tar"]], row["path"]), labels_of(row["faces"]))
            for row in rows
        ]


def labels_of(faces: list[dict[str, list[float]]]) -> Labels:
    """The faces of one row of ``labels.jsonl``."""
    return Labels(
        np.array([face["box"] for face in faces], np.float32).reshape(-1, 4),
        np.array([face["landmarks"] for face in faces], np.float32).reshape(-1, 5, 2),
        np.array([face["score"] for face in faces], np.float32),
    )


def decode(pack: tarfile.TarFile, name: str) -> Pixels:
    """One member of a pack as RGB pixels."""
    try:
        file = pack.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise InputError(f"{pack.name!s} lacks {name}, which labels.jsonl names: copy the pack again")
    with Image.open(io.BytesIO(file.read())) as image:
        return np.asarray(image.convert("RGB"))
