"""The labelled pictures of ``finder/``, decoded once and kept in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glancein.errors import InputError
from glancein_training import packs, sources

LABELS = "labels.jsonl"
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


@dataclass(frozen=True, slots=True)
class Row:
    """What ``labels.jsonl`` says of one picture."""

    path: str
    tar: str
    split: str
    labels: Labels


def load(folder: Path, split: str) -> list[Picture]:
    """The pictures of one split, ``train`` or ``val``.

    Raises FileNotFoundError without ``labels.jsonl`` or a tar, InputError if one of them has another form, a
    picture is lacking or damaged, or there is none of that split.
    """
    rows = [row for row in read_rows(folder / LABELS) if row.split == split]
    if not rows:
        raise InputError(f"{folder / LABELS} has no pictures of split {split!r}: there are train and val")
    pixels: dict[tuple[str, str], Pixels] = {}
    for tar in sorted({row.tar for row in rows}):
        named = {row.path for row in rows if row.tar == tar}
        for path, content in packs.members_of(folder / tar, named):
            pixels[tar, path] = packs.decode(content, f"{path} in {folder / tar}")
        lacking = named - {path for name, path in pixels if name == tar}
        if lacking:
            raise InputError(
                f"{folder / tar} lacks {min(lacking)}, which {LABELS} names: copy the pack again"
            )
    return [Picture(row.path, pixels[row.tar, row.path], row.labels) for row in rows]


def sha256_of(folder: Path) -> str:
    """One hash over the labels and every tar that they name, whichever split it is of."""
    tars = {row.tar for row in read_rows(folder / LABELS)}
    return sources.sha256_of(sources.look(folder, {LABELS, *tars}, {}))


def read_rows(path: Path) -> list[Row]:
    """Every line of ``labels.jsonl``. Raises InputError naming the first of another form."""
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(row_of(json.loads(line)))
            except (ValueError, KeyError, TypeError) as err:
                raise InputError(
                    f"line {number} of {path} is not one JSON object with path, tar, split and faces, "
                    f"each of box (4 numbers), landmarks (5 points) and score"
                ) from err
    return rows


def row_of(plain: dict[str, Any]) -> Row:
    """One line; Any: text or faces."""
    path, tar, split = (str(plain[name]) for name in ("path", "tar", "split"))
    return Row(path, tar, split, labels_of(plain["faces"]))


def labels_of(faces: Sequence[dict[str, Any]]) -> Labels:
    """The faces of one line; Any: a list of numbers or one number.

    Raises ValueError for other shapes, and for a box without width or height.
    """
    boxes = np.array([face["box"] for face in faces], np.float32).reshape(len(faces), 4)
    if not (boxes[:, 2:] > 0).all():
        raise ValueError("a box has no width or no height")
    return Labels(
        boxes,
        np.array([face["landmarks"] for face in faces], np.float32).reshape(len(faces), 5, 2),
        np.array([face["score"] for face in faces], np.float32).reshape(len(faces)),
    )
