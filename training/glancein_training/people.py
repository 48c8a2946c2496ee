"""A company's own photos: a folder for each person, with the landmarks that ``glancein embed`` found."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from glancein.domain.align import crop
from glancein.errors import InputError
from glancein_training.packs import STORED_PX, Crops, Pixels

DEVELOPMENT_SHARE = 10  # one person in ten is kept for development


def load_people(images: Path, landmarks: Path) -> Crops:
    """Aligned 128 px crops of every picture with a face; the person is the folder a picture lies in.

    ``landmarks``: the ``.npz`` of `glancein embed IMAGES`. People are dealt to training and development by
    their folder's name, so that the split never changes. Raises InputError if a picture cannot be read or
    nobody is left.
    """
    try:
        with np.load(landmarks) as stored:
            paths, found, points = stored["path"], stored["found"], stored["landmarks"]
    except (OSError, ValueError, KeyError) as err:
        raise InputError(
            f"{landmarks} does not hold path, found and landmarks; make it with `glancein embed`"
        ) from err
    kept = [
        (str(path).replace("\\", "/"), point)
        for path, ok, point in zip(paths, found, points, strict=True)
        if ok
    ]
    if not kept:
        raise InputError(f"no picture of {landmarks} has a face")
    names = [path.rpartition("/")[0].rpartition("/")[2] for path, _ in kept]
    people, identity = np.unique(names, return_inverse=True)
    training = np.array([zlib.crc32(name.encode()) % DEVELOPMENT_SHARE != 0 for name in people.tolist()])
    digest = hashlib.sha256(landmarks.read_bytes()).hexdigest()
    pixels = np.stack([cut(images, path, point) for path, point in kept])
    return Crops(pixels, identity.astype(np.int64), training[identity], (), digest)


def cut(images: Path, path: str, points: Pixels) -> Pixels:
    """One aligned crop with its margin. Raises InputError naming a picture that cannot be read."""
    file = images / path if (images / path).exists() else Path(path)
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        return crop(pixels, np.asarray(points, np.float32), out_px=STORED_PX).pixels
    except (OSError, UnidentifiedImageError, ValueError) as err:
        raise InputError(f"cannot use {file}: {err}") from err
