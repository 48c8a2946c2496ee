"""Many picture files -> aligned embeddings in one .npz, with the device pipeline, in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from glancein.array_file import writing
from glancein.domain import align, quality
from glancein.domain.gallery import EMBEDDING_SIZE
from glancein.enrolment import template_of
from glancein.errors import PhotoError
from glancein.pipeline import has_rival
from glancein.ports import Embedder, FaceFinder
from glancein.types import Face, Floats, Pixels, Reason

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True, slots=True)
class Reader:
    """What turns one picture into one embedding."""

    read: Callable[[Path], Pixels]
    finder: FaceFinder
    embedder: Embedder
    with_templates: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """The result for one file; without a face the numbers are zero."""

    path: str
    problem: str | None  # a sentence that names the file
    reason: str | None  # its code
    embedding: Floats  # (128,)
    box: Floats  # (4,) left, top, width, height
    landmarks: Floats  # (5, 2)
    quality: float
    template: Floats | None = None  # (128,) what enrolling the picture would store, if it was asked for

    @property
    def found(self) -> bool:
        """True if a face was embedded."""
        return self.problem is None


def list_pictures(paths: Sequence[Path]) -> list[Path]:
    """Files as given, folders opened in order of name to every picture below them."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(p for p in sorted(path.rglob("*")) if p.suffix.lower() in PICTURE_SUFFIXES)
        else:
            found.append(path)
    return found


def embed_all(
    paths: Sequence[Path], *, open_reader: Callable[[], Reader], processes: int = 2
) -> Iterator[Row]:
    """Rows in the order of ``paths``. ``open_reader`` runs once in each process and must be picklable."""
    if processes == 1 or len(paths) == 1:
        reader = open_reader()
        yield from (embed_one(path, reader) for path in paths)
        return
    # Spawned, not forked: a runtime's threads do not survive a fork.
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(open_reader,)
    ) as pool:
        yield from pool.map(_embed_in_child, paths, chunksize=8)


def embed_one(path: Path, reader: Reader) -> Row:
    """Find, align and embed the main face of one file."""
    try:
        pixels, face, _ = _find(path, reader)
    except PhotoError as err:
        return _empty(path, err)
    return _embed(path, pixels, face, reader)


def embed_only_face(path: Path, reader: Reader) -> Row:
    """As embed_one, of a picture of one person. Raises PhotoError: unreadable, no face, or several."""
    pixels, face, faces = _find(path, reader)
    if has_rival(face, faces):
        raise PhotoError(
            Reason.SEVERAL_FACES, f"{path} shows several faces of like size: give a picture of one person"
        )
    return _embed(path, pixels, face, reader)


def main_face(faces: Sequence[Face], width: int, height: int) -> Face:
    """The face a picture is about: large and near the middle."""

    def weight(face: Face) -> float:
        across = face.box.left + face.box.width / 2 - width / 2
        down = face.box.top + face.box.height / 2 - height / 2
        return float(np.sqrt(face.box.width * face.box.height) - np.hypot(across, down))

    return max(faces, key=weight)


def save(rows: Sequence[Row], out: Path, *, model_sha256: str) -> None:
    """Write path, found, embedding, box, landmarks, quality and model_sha256: whole or not at all.

    Where rows have templates, ``template`` (n, 128) as well. Raises InputError.
    """
    arrays = {
        "path": np.array([row.path for row in rows]),
        "found": np.array([row.found for row in rows], np.bool_),
        "embedding": np.array([row.embedding for row in rows], np.float32).reshape(-1, EMBEDDING_SIZE),
        "box": np.array([row.box for row in rows], np.float32).reshape(-1, 4),
        "landmarks": np.array([row.landmarks for row in rows], np.float32).reshape(-1, 5, 2),
        "quality": np.array([row.quality for row in rows], np.float32),
        "model_sha256": np.array(model_sha256),
    }
    if any(row.template is not None for row in rows):
        nothing = np.zeros(EMBEDDING_SIZE, np.float32)
        arrays["template"] = np.stack([nothing if r.template is None else r.template for r in rows])
    with writing(out) as part:
        np.savez(part, allow_pickle=False, **arrays)


def _find(path: Path, reader: Reader) -> tuple[Pixels, Face, list[Face]]:
    """The picture, its main face and all its faces. Raises PhotoError."""
    pixels = reader.read(path)
    faces = reader.finder.find(pixels) or reader.finder.search(pixels)
    if not faces:
        raise PhotoError(Reason.NO_FACE, f"{path} shows no face: give a picture of a whole face")
    return pixels, main_face(faces, pixels.shape[1], pixels.shape[0]), faces


def _embed(path: Path, pixels: Pixels, face: Face, reader: Reader) -> Row:
    crop = align.crop(pixels, face.landmarks)
    box = np.array([face.box.left, face.box.top, face.box.width, face.box.height], np.float32)
    overall = quality.check(crop, face, quality.PROBE_LIMITS).overall
    template = template_of(align.softened(crop), reader.embedder) if reader.with_templates else None
    embedding = reader.embedder.embed([crop])[0]
    return Row(str(path), None, None, embedding, box, face.landmarks, overall, template)


def _empty(path: Path, problem: PhotoError) -> Row:
    nothing = np.zeros(EMBEDDING_SIZE, np.float32)
    box, landmarks = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
    return Row(str(path), str(problem), problem.reason, nothing, box, landmarks, 0.0)


_reader: Reader | None = None  # one for each child process, set by its initializer


def _start(open_reader: Callable[[], Reader]) -> None:
    global _reader  # noqa: PLW0603  # how a pool's processes keep what they opened
    _reader = open_reader()


def _embed_in_child(path: Path) -> Row:
    if _reader is None:
        raise RuntimeError("the pool's initializer did not run")
    return embed_one(path, _reader)
