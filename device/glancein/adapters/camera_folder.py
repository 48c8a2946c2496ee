"""A folder of pictures replayed as a camera, in the order of their names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from glancein.domain.camera_word import PictureFolder
from glancein.errors import CameraError
from glancein.types import Pace, Picture, Pixels, SourceFacts

_log = logging.getLogger(__name__)
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_MOST_PIXELS = 16_000_000  # 48 MB once decoded: what a Pi with 1 GB can spare


@dataclass(frozen=True, slots=True)
class Replay:
    """How a folder is played: every picture is shown ``shows`` times, ``fps`` times a second."""

    fps: float = 10.0
    shows: int = 1
    loop: bool = False
    realtime: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.fps <= 1000 and self.shows >= 1):
            raise ValueError("fps must be above 0 and at most 1000, shows at least 1")


class FolderSource:
    """Pictures of a folder; broken files are skipped with a warning, sub-folders are not entered."""

    def __init__(self, word: PictureFolder, replay: Replay | None = None) -> None:
        self._path = Path(word.path)
        self._replay = replay or Replay()
        self._facts = SourceFacts(word.name, Pace.RECORDED if self._replay.realtime else Pace.STEPPED)
        self._pictures: Iterator[Picture] | None = None

    @property
    def facts(self) -> SourceFacts:
        """Name and pace."""
        return self._facts

    def open(self) -> None:
        """List the folder. Raises CameraError if it is not one or holds no picture."""
        try:
            entries = sorted(self._path.iterdir())
        except OSError as err:
            raise CameraError(f"{self._path} cannot be read as a folder of pictures: {err.strerror}") from err
        files = [path for path in entries if path.suffix.lower() in _SUFFIXES and path.is_file()]
        if not files:
            raise CameraError(f"there is no picture in {self._path}; put JPEG, PNG, WebP or BMP files there")
        self._pictures = self._play(files)

    def read(self) -> Picture | None:
        """The next picture; None after the last. Raises CameraError if none could be read."""
        if self._pictures is None:
            raise CameraError("is not open")
        return next(self._pictures, None)

    def close(self) -> None:
        """Forget the list."""
        self._pictures = None

    def _play(self, files: list[Path]) -> Iterator[Picture]:
        shown = 0
        while True:
            shown_before = shown
            for path in files:
                pixels = _decoded(path)
                if pixels is None:
                    continue
                for _ in range(self._replay.shows):
                    yield Picture(pixels.copy(), shown / self._replay.fps)
                    shown += 1
            if shown == shown_before:
                raise CameraError(f"none of the {len(files)} pictures in {self._path} can be read")
            if not self._replay.loop:
                return


def _decoded(path: Path) -> Pixels | None:
    """One upright RGB picture, or None with a warning. The size is looked at before anything is decoded."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                _log.warning("%s is skipped: more than %s megapixels", path, _MOST_PIXELS // 1_000_000)
                return None
            return np.array(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        _log.warning("%s is skipped: it cannot be read as a picture (%s)", path, type(err).__name__)
        return None
