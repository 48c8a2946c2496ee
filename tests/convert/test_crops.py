"""The crops that a conversion looks at: out of packs."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glancein_convert.crops import load_sets
from glancein_convert.errors import ConversionError
from glancein_training.packs import STORED_PX


def write_pack(folder: Path, rows: int, *, split: str) -> None:
    """A pack of grey crops, each of a person of its own."""
    folder.mkdir(parents=True)
    picture = io.BytesIO()
    Image.fromarray(np.full((STORED_PX, STORED_PX, 3), 90, np.uint8)).save(picture, "WEBP")
    with (
        tarfile.open(folder / "a.tar", "w") as tar,
        (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["path", "tar", "identity", "split"])
        for number in range(rows):
            info = tarfile.TarInfo(f"{number}.webp")
            info.size = len(picture.getvalue())
            tar.addfile(info, io.BytesIO(picture.getvalue()))
            writer.writerow([info.name, "a.tar", number, split])


def test_pack_without_training_crops_is_refused(tmp_path: Path) -> None:
    """Nothing sets the ranges."""
    write_pack(tmp_path / "faces", 150, split="val")
    write_pack(tmp_path / "unlabelled", 1, split="train")

    with pytest.raises(ConversionError, match="gives 0 training crops and 150 development people"):
        load_sets(tmp_path, tmp_path / "cache")
