"""Milliseconds of each stage on this machine, with the networks and code that run at the door."""

from __future__ import annotations

import io
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from glancein import wiring
from glancein.domain import align
from glancein.domain.gallery import EMBEDDING_SIZE, Gallery
from glancein.types import Floats, Frame, Pixels
from glancein.wiring import Home

GALLERY_SIZES = (100, 10_000, 100_000)


@dataclass(frozen=True, slots=True)
class Timing:
    """One stage: median and 95th percentile over the repeats."""

    stage: str
    median_ms: float
    p95_ms: float


def measure(home: Home, *, repeats: int = 50) -> Iterator[Timing]:
    """Time every stage, ``repeats`` times each after one warm-up."""
    started = time.perf_counter()
    recogniser = wiring.open_recogniser(home)
    pipeline = wiring.pipeline_of(recogniser, home.settings)
    pixels = _portrait()
    limits = recogniser.limits_for(1, home.settings)
    pipeline.look(Frame(pixels, 0.0), _random_gallery(1), limits)
    yield Timing("first result, networks opened", 1000 * (time.perf_counter() - started), float("nan"))

    packed = _as_jpeg(pixels)
    faces = recogniser.finder.find(pixels)
    landmarks = faces[0].landmarks if faces else _template_in(pixels)
    crop = align.crop(pixels, landmarks)
    embedding = recogniser.embedder.embed([crop])[0]
    yield _timed("decode a 640 x 480 JPEG", lambda: _decode(packed), repeats)
    yield _timed("find", lambda: recogniser.finder.find(pixels), repeats)
    yield _timed("align", lambda: align.crop(pixels, landmarks), repeats)
    yield _timed("embed", lambda: recogniser.embedder.embed([crop]), repeats)
    for people in GALLERY_SIZES:
        gallery = _random_gallery(people)
        yield _timed(f"search {people:,} people", lambda g=gallery: g.rank(embedding), repeats)  # type: ignore[misc]  # mypy cannot infer a lambda's default
    small = _random_gallery(GALLERY_SIZES[0])
    yield _timed("whole frame", lambda: pipeline.look(Frame(pixels, 0.0), small, limits), repeats)


def peak_memory_mb() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timed(stage: str, act: Callable[[], object], repeats: int) -> Timing:
    act()
    taken_ms = []
    for _ in range(repeats):
        before = time.perf_counter()
        act()
        taken_ms.append(1000 * (time.perf_counter() - before))
    return Timing(stage, statistics.median(taken_ms), float(np.percentile(taken_ms, 95)))


def _portrait() -> Pixels:
    """A shipped portrait in a camera frame."""
    from glancein.scenes import place  # noqa: PLC0415  # loads OpenCV

    return place("collins.jpg")


def _as_jpeg(pixels: Pixels) -> bytes:
    from PIL import Image  # noqa: PLC0415  # only here

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def _decode(packed: bytes) -> Pixels:
    from PIL import Image  # noqa: PLC0415  # as above

    with Image.open(io.BytesIO(packed)) as image:
        return np.asarray(image.convert("RGB"))


def _template_in(pixels: Pixels) -> Floats:
    height, width = pixels.shape[:2]
    return np.array(align.TEMPLATE, np.float32) + np.array([width / 2 - 56, height / 2 - 56], np.float32)


def _random_gallery(people: int) -> Gallery:
    vectors = np.random.default_rng(people).normal(size=(people, EMBEDDING_SIZE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Gallery(tuple(f"E{n}" for n in range(people)), vectors)
