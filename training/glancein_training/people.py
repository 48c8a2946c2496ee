"""A company's own photos: a folder for each person, with the landmarks that ``glancein embed`` found."""

from __future__ import annotations

import csv
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from glancein.domain.align import crop
from glancein.errors import InputError
from glancein_training.evaluate.faces import numbers, read_arrays
from glancein_training.packs import STORED_PX, Crops, Floats, Pixels

DEVELOPMENT_SHARE = 10  # one person in ten is kept for development


def load_people(images: Path, landmarks: Path) -> Crops:
    """Aligned 128 px crops of every picture with a face; the person is the folder a picture lies in.

    ``landmarks``: the ``.npz`` of `glancein embed IMAGES`. People are dealt to training and development by
    their folder's name, so that the split never changes. Raises InputError if a picture cannot be read or
    lies in nobody's folder, or nobody is left.
    """
    kept, points = faces_in(landmarks)
    refuse_loose(images, kept)
    names, identity = np.unique([person_of(path) for path in kept], return_inverse=True)
    training = np.array([is_training(person_of(path)) for path in kept])
    pixels = cut_all(images, kept, points)
    digest = hashlib.sha256(landmarks.read_bytes())
    digest.update(pixels.data)
    numbers = identity.astype(np.int64)
    return Crops(pixels, numbers, training, (), digest.hexdigest(), tuple(names.tolist()))


def faces_in(landmarks: Path) -> tuple[list[str], Floats]:
    """Path and landmarks (n, 5, 2) of every picture with a face. Raises InputError if there is none."""
    paths, found, points = read_landmarks(landmarks)
    if not found.any():
        raise InputError(f"no picture of {landmarks} has a face")
    return [path for path, ok in zip(paths, found, strict=True) if ok], points[found]


def cut_all(images: Path, paths: Sequence[str], points: Floats) -> Pixels:
    """Aligned crops (n, 128, 128, 3) of pictures with their landmarks. Raises InputError naming a bad one."""
    return np.stack([cut(images, path, point) for path, point in zip(paths, points, strict=True)])


def refuse_loose(images: Path, paths: Sequence[str]) -> None:
    """Raise InputError for a picture beside the people's folders: all such would count as one person."""
    root = images.resolve()
    for path in paths:
        if file_of(images, path).resolve().parent == root:
            raise InputError(
                f"{path} lies in no person's folder: move it into one of {images}, or away, and embed again"
            )


def write_labels(landmarks: Path, out: Path) -> None:
    """Path, person and split of every picture, for `evaluate` and `compare` on the people kept out.

    Pictures without a face are in too: there they count as misses.
    """
    paths, _, _ = read_landmarks(landmarks)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "identity", "split"])
        for path in paths:
            writer.writerow([path, person_of(path), "train" if is_training(person_of(path)) else "val"])


def read_landmarks(path: Path) -> tuple[list[str], NDArray[np.bool_], Floats]:
    """Paths, whether each has a face, and landmarks (n, 5, 2). Raises InputError if the file holds others."""
    stored = read_arrays(path)
    if not {"path", "found", "landmarks"} <= stored.keys():
        raise InputError(f"{path} does not hold path, found and landmarks; make it with `glancein embed`")
    names = [str(name).replace("\\", "/") for name in stored["path"].ravel()]
    found = numbers(stored, "found", (len(names),), path)
    points = numbers(stored, "landmarks", (len(names), 5, 2), path)
    return names, found.astype(bool), points.astype(np.float32)


def person_of(path: str) -> str:
    """The folder that a picture lies in."""
    return path.rpartition("/")[0].rpartition("/")[2]


def is_training(person: str) -> bool:
    """True but for one person in ten, the same ones for ever."""
    return zlib.crc32(person.encode()) % DEVELOPMENT_SHARE != 0


def cut(images: Path, path: str, points: Floats) -> Pixels:
    """One aligned crop with its margin. Raises InputError naming a picture that cannot be read."""
    file = file_of(images, path)
    try:
        with Image.open(file) as image:
            # `glancein embed` turns a picture upright by its EXIF first: the landmarks are of that one.
            pixels = np.asarray(as_rgb(ImageOps.exif_transpose(image)))
        return crop(pixels, points, out_px=STORED_PX).pixels
    except (OSError, UnidentifiedImageError, ValueError) as err:
        raise InputError(f"cannot use {file}: {err}") from err


def file_of(images: Path, path: str) -> Path:
    """Where a picture lies: under the folder, or where it was when it was embedded."""
    return images / path if (images / path).exists() else Path(path)


def as_rgb(image: Image.Image) -> Image.Image:
    """The colours that the kiosk sees: transparent parts on white paper, 16-bit grey in its whole range."""
    if image.mode.startswith("I") or image.mode == "F":  # Pillow's own conversion clips at 255
        return image.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    paper = Image.new("RGB", clear.size, "white")
    paper.paste(clear, mask=clear.getchannel("A"))
    return paper
