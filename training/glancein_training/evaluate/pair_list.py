"""LFW's ``pairs.txt``: which pictures to compare, in folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from glancein.errors import InputError
from glancein_training.evaluate.faces import Faces
from glancein_training.evaluate.verification import FOLDS, Pairs, pairs_of


@dataclass(frozen=True, slots=True)
class ListedPair:
    """Two pictures by person and number, and the fold they belong to."""

    left: tuple[str, int]
    right: tuple[str, int]
    fold: int


def read_pair_list(path: Path) -> list[ListedPair]:
    """The pairs of an LFW ``pairs.txt``; a file without folds is cut into ten as evenly as it goes.

    Raises InputError naming the line that cannot be read.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"cannot read pairs {path}: {err}") from err
    folds, per_kind, body = _header(lines)
    pairs = [_pair(words, f"{path}, pair {k + 1}") for k, words in enumerate(body)]
    if not pairs:
        raise InputError(f"{path} names no pairs")
    if per_kind and len(pairs) != 2 * per_kind * folds:
        raise InputError(f"{path} promises {folds} folds of 2 x {per_kind} pairs and has {len(pairs)}")
    if per_kind:
        return [ListedPair(a, b, k // (2 * per_kind)) for k, (a, b) in enumerate(pairs)]
    counted = {True: 0, False: 0}  # each kind dealt round, so that every fold gets both
    out = []
    for a, b in pairs:
        same = a[0] == b[0]
        out.append(ListedPair(a, b, counted[same] % FOLDS))
        counted[same] += 1
    return out


def listed_pairs(faces: Faces, listed: list[ListedPair], images: Path | None = None) -> Pairs:
    """The list's pairs scored; without folds unless there are ten and each has genuine and impostor pairs.

    Raises InputError if a picture was not embedded, or one kind of pairs lacks.
    Pictures are known by ``PERSON/PERSON_0001.ext`` at the end of their paths; ``images`` lets the error say
    whether the picture is missing from the folder or from the embeddings.
    """
    where = {_key(str(path)): row for row, path in enumerate(faces.path)}
    left: list[int] = []
    right: list[int] = []
    for pair in listed:
        for side, rows in ((pair.left, left), (pair.right, right)):
            name = f"{side[0]}/{side[0]}_{side[1]:04d}"
            if name not in where:
                raise InputError(_missing(name, images))
            rows.append(where[name])
    fold = np.array([pair.fold for pair in listed], np.int64)
    pairs = pairs_of(faces, np.array(left), np.array(right), fold=fold)
    if pairs.same.all() or not pairs.same.any():
        raise InputError("the list names no genuine or no impostor pairs; both are needed")
    dealt = [np.unique(fold[kind]).tolist() for kind in (pairs.same, ~pairs.same)]
    return pairs if dealt == [list(range(FOLDS))] * 2 else replace(pairs, fold=None)


def _header(lines: list[list[str]]) -> tuple[int, int, list[list[str]]]:
    if lines and len(lines[0]) == 2 and all(word.isdecimal() for word in lines[0]):
        return int(lines[0][0]), int(lines[0][1]), lines[1:]
    if lines and len(lines[0]) == 1 and lines[0][0].isdecimal():
        return 0, 0, lines[1:]
    return 0, 0, lines


def _pair(words: list[str], where: str) -> tuple[tuple[str, int], tuple[str, int]]:
    match words:
        case [person, a, b] if a.isdecimal() and b.isdecimal():
            return (person, int(a)), (person, int(b))
        case [first, a, second, b] if a.isdecimal() and b.isdecimal():
            return (first, int(a)), (second, int(b))
    raise InputError(f"{where}: wanted NAME N N or NAME N NAME N, got {' '.join(words)!r}")


def _key(path: str) -> str:
    parts = path.split("/")
    return "/".join([*parts[-2:-1], parts[-1].rsplit(".", 1)[0]])


def _missing(name: str, images: Path | None) -> str:
    if images is not None and not list(images.glob(f"{name}.*")):
        return f"the pair list names {name}, which is not in {images}"
    return f"the pair list names {name}, which was not embedded; embed the whole folder"
