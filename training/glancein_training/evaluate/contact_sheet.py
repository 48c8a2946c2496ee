"""The hardest errors as one picture: pairs that were judged wrongly by the widest margin, side by side."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from glancein.errors import InputError
from glancein_training.evaluate.faces import Faces, Ints
from glancein_training.evaluate.verification import Pairs
from glancein_training.people import as_rgb

TILE_PX = 96
CAPTION_PX = 14


def hardest(pairs: Pairs, *, genuine: bool, count: int) -> Ints:
    """Indices of the worst pairs: the lowest genuine or the highest impostor scores, worst first."""
    rows = np.flatnonzero(pairs.same if genuine else ~pairs.same)
    order = np.argsort(pairs.score_cos[rows] if genuine else -pairs.score_cos[rows], kind="stable")
    return np.asarray(rows[order[:count]], np.int64)


def write_sheet(
    path: Path, faces: Faces, pairs: Pairs, images: Path, *, count: int = 24, columns: int = 6
) -> None:
    """Write false rejects above and false accepts below. ``images``: a folder of pictures or of tar packs.

    Raises InputError if a picture cannot be found.
    """
    rows = [*hardest(pairs, genuine=True, count=count), *hardest(pairs, genuine=False, count=count)]
    wanted = sorted({str(faces.path[i]) for row in rows for i in (pairs.left[row], pairs.right[row])})
    tiles = load_tiles(images, wanted)
    lines = -(-len(rows) // columns)
    sheet = Image.new("RGB", (columns * (2 * TILE_PX + 8), lines * (TILE_PX + CAPTION_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, row in enumerate(rows):
        x, y = (k % columns) * (2 * TILE_PX + 8), (k // columns) * (TILE_PX + CAPTION_PX)
        sheet.paste(tiles[str(faces.path[pairs.left[row]])], (x, y))
        sheet.paste(tiles[str(faces.path[pairs.right[row]])], (x + TILE_PX, y))
        verdict = "same" if pairs.same[row] else "different"
        draw.text((x + 2, y + TILE_PX), f"{verdict} {pairs.score_cos[row]:.2f}", fill="black")
    sheet.save(path)


def load_tiles(images: Path, wanted: Sequence[str]) -> dict[str, Image.Image]:
    """The wanted pictures as small squares, from files or tars; one that cannot be decoded is crossed out.

    Raises InputError naming a missing one.
    """
    tiles = {}
    for name in wanted:
        file = images / name
        if file.is_file():
            tiles[name] = _tile(file.read_bytes())
    missing = set(wanted) - tiles.keys()
    for pack in sorted(images.glob("*.tar")) if missing else []:
        with tarfile.open(pack) as tar:
            for member in tar:
                data = tar.extractfile(member) if member.name in missing else None
                if data is not None:
                    tiles[member.name] = _tile(data.read())
    absent = sorted(set(wanted) - tiles.keys())
    if absent:
        raise InputError(
            f"{absent[0]} is neither in {images} nor in a tar there; give the folder that was embedded"
        )
    return tiles


def _tile(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return as_rgb(ImageOps.exif_transpose(image)).resize((TILE_PX, TILE_PX))
    # A damaged picture has no face, so its pairs are always among the hardest. SyntaxError: of a PNG.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return _crossed_out()


def _crossed_out() -> Image.Image:
    tile = Image.new("RGB", (TILE_PX, TILE_PX), "lightgrey")
    pen = ImageDraw.Draw(tile)
    pen.line((0, 0, TILE_PX, TILE_PX), fill="black")
    pen.line((0, TILE_PX, TILE_PX, 0), fill="black")
    return tile
