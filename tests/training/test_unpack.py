"""Crops as picture files for the device's pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")
pytest.importorskip("matplotlib", reason="the laboratory needs matplotlib: pip install .[training]")

from PIL import Image
from typer.testing import CliRunner

from glancein.errors import InputError
from glancein_training import packs
from glancein_training.cli import app
from glancein_training.unpack import GREY, SHEET_PX, unpack


def test_half_of_a_split_is_written_as_it_is_stored(noise_data: Path, tmp_path: Path) -> None:
    """Only odd development people; each crop unchanged in the middle of grey, under its own path."""
    pack, cache = noise_data / "faces", tmp_path / "cache"
    words = ["unpack", str(pack), "--split", "val", "--half", "odd", "--cache", str(cache)]

    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    written = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.webp"))
    assert {path.parts[0] for path in written} == {"7", "9", "11"}
    with Image.open(tmp_path / "out" / written[0]) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    row = int(written[0].stem)
    start = (SHEET_PX - packs.STORED_PX) // 2
    middle = pixels[start : start + packs.STORED_PX, start : start + packs.STORED_PX]
    assert np.array_equal(middle, packs.load(pack, cache=cache).pixels[row])
    assert (pixels[:start] == GREY).all()


@pytest.mark.parametrize(
    ("split", "half", "said"), [("test", "all", "no pictures of split"), ("val", "third", "--half is")]
)
def test_nothing_to_write_is_said(noise_data: Path, tmp_path: Path, split: str, half: str, said: str) -> None:
    """An unknown split or half ends before a folder is made."""
    with pytest.raises(InputError, match=said):
        unpack(noise_data / "faces", tmp_path / "out", split=split, half=half, cache=tmp_path / "cache")

    assert not (tmp_path / "out").exists()
