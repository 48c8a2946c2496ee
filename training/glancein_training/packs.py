"""The tar packs of aligned crops: read once, kept as one uint8 array with the teachers' vectors beside it."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glancein.errors import InputError
from glancein_training.evaluate.faces import parity_of, read_arrays, read_table, teacher_vectors
from glancein_training.sources import differ, keep_sources, load_sources, look, sha256_of

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

STORED_PX = 128  # 8 px of margin on every side of the 112 px crop, for shift, scale and rotation
NO_IDENTITY = -1
TEACHERS = "teacher_*.npz"  # as many as there are; only a distillation needs one


@dataclass(frozen=True, slots=True)
class Crops:
    """Aligned crops in the order of ``labels.csv``."""

    pixels: Pixels  # (n, 128, 128, 3) RGB
    identity: NDArray[np.int64]  # (n,), NO_IDENTITY where there is none
    is_train: NDArray[np.bool_]  # (n,)
    teachers: tuple[Floats, ...]  # each (n, d), unit rows; by the names of their files, or none
    data_sha256: str  # of all that was read: labels, pictures, teachers
    names: tuple[str, ...] = ()  # by identity, where people have names beside their numbers

    def __len__(self) -> int:
        return len(self.pixels)

    def is_choosing(self) -> NDArray[np.bool_]:
        """(n,) True for pictures of the development people to choose on, those of ``parity_of`` 0."""
        even = self.identity % 2 == 0
        if self.names:
            even = np.array([parity_of(name) == 0 for name in self.names])[self.identity]
        return np.asarray(~self.is_train & (self.identity >= 0) & even, np.bool_)


def load(folder: Path, *, cache: Path) -> Crops:
    """Every crop of one pack folder, decoded; the decoded array is kept in ``cache`` for the next run.

    A ``.json`` beside the array says which files it was decoded from: a changed tar is decoded anew. An array
    without one, from before there were such files, is taken as it is. Raises FileNotFoundError if the folder
    has no ``labels.csv`` or lacks a file that was never read, InputError if labels, pictures and teachers do
    not fit.
    """
    rows = read_table(folder / "labels.csv")
    if not rows or not {"path", "tar"} <= rows[0].keys():
        raise InputError(f"{folder / 'labels.csv'} needs a header with path and tar, and at least one row")
    identity = [identity_of(row, folder) for row in rows]
    tars = {row["tar"] for row in rows}
    digest = hashlib.sha256((folder / "labels.csv").read_bytes()).hexdigest()
    array_path = cache / f"{folder.name}-{digest[:16]}.npy"
    before = load_sources(array_path.with_suffix(".json"))
    teachers = sorted(path.name for path in folder.glob(TEACHERS))
    sources = look(folder, {"labels.csv", *tars, *teachers}, before)
    cache.mkdir(parents=True, exist_ok=True)
    if not array_path.exists() or differ(before, sources, tars):
        unfinished = array_path.with_suffix(f".{os.getpid()}.part.npy")
        np.save(unfinished, decode_all(folder, rows))
        unfinished.replace(array_path)
    if sources != before:
        keep_sources(sources, array_path.with_suffix(".json"))
    return Crops(
        pixels=np.load(array_path, mmap_mode="r"),
        identity=np.array(identity, np.int64),
        is_train=np.array([row.get("split", "train") == "train" for row in rows]),
        teachers=tuple(read_teacher(folder / name, len(rows)) for name in teachers),
        data_sha256=sha256_of(sources),
    )


def identity_of(row: dict[str, str], folder: Path) -> int:
    """The person's number, NO_IDENTITY where the labels tell none. Raises InputError for anything else."""
    told = row.get("identity") or str(NO_IDENTITY)
    try:
        return int(told)
    except ValueError as err:
        raise InputError(
            f"{folder / 'labels.csv'} calls a person {told!r}: a pack numbers its people"
        ) from err


def decode_all(folder: Path, rows: list[dict[str, str]]) -> Pixels:
    """Decode the pack's pictures into one (n, 128, 128, 3) array.

    Raises InputError if a picture is not in its tar, is named twice or is no crop of 128 px.
    """
    wanted: dict[str, dict[str, int]] = {}
    for index, row in enumerate(rows):
        if wanted.setdefault(row["tar"], {}).setdefault(row["path"], index) != index:
            raise InputError(f"{folder / 'labels.csv'} names {row['path']} twice: leave one line of it")
    out = np.empty((len(rows), STORED_PX, STORED_PX, 3), np.uint8)
    for name, members in wanted.items():
        for member, pixels in decode_tar(folder / name, members.keys()):
            out[members[member]] = pixels
    return out


def decode_tar(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, Pixels]]:
    """Name and pixels of the wanted members of one tar. Raises InputError as ``decode_all`` does."""
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            (name, pool.submit(decode, data, f"{name} in {path}")) for name, data in members_of(path, wanted)
        ]
        lacking = set(wanted) - {name for name, _ in jobs}
        if lacking:
            raise InputError(f"{path} lacks {min(lacking)}, which labels.csv names: copy the pack again")
        for name, job in jobs:
            pixels = job.result()
            if pixels.shape[:2] != (STORED_PX, STORED_PX):
                told = f"{pixels.shape[1]} x {pixels.shape[0]}"
                raise InputError(f"{name} in {path} has {told} px, a pack's crops {STORED_PX} x {STORED_PX}")
            yield name, pixels


def members_of(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted files in one tar. Raises InputError if it is cut short or no tar."""
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None and member.name in wanted:
                    yield member.name, file.read()
    except (tarfile.TarError, EOFError, zlib.error) as err:
        raise InputError(f"cannot read {path}: {err}; copy the pack again") from err


def decode(data: bytes, where: str) -> Pixels:
    """One stored picture as RGB pixels. Raises InputError saying ``where`` it lies if it is none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as err:  # SyntaxError: Pillow's word for a damaged PNG
        raise InputError(f"cannot decode {where}: no picture, or a damaged one; copy the pack again") from err


def read_teacher(path: Path, rows: int) -> Floats:
    """A teacher's vectors, dequantised and of unit length, (n, d).

    Raises InputError if the file is damaged or another one, or n is not ``rows``.
    """
    vectors = teacher_vectors(read_arrays(path), path)
    if len(vectors) != rows:
        raise InputError(f"{path} has {len(vectors)} rows, labels.csv {rows}: copy the pack again")
    return unit_rows(vectors)


def unit_rows(vectors: Floats) -> Floats:
    """Rows scaled to unit length; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
