"""A folder of pictures is replayed in order, and broken files in it do not stop it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glancein.adapters.camera_folder import FolderSource, Replay
from glancein.domain.camera_word import PictureFolder
from glancein.errors import CameraError
from glancein.ports import Source
from glancein.types import Pace, Picture


def test_read_when_the_folder_holds_three(tmp_path: Path) -> None:
    """Pictures come in the order of their names, each as often as asked, at their times."""
    for name, red in (("b.png", 20), ("a.PNG", 10), ("c.bmp", 30)):
        save(tmp_path / name, red)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "d.png").mkdir()

    pictures = played(opened(tmp_path, Replay(fps=4, shows=2)))

    assert [int(picture.pixels[0, 0, 0]) for picture in pictures] == [10, 10, 20, 20, 30, 30]
    assert [picture.due_s for picture in pictures] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    assert len({id(picture.pixels) for picture in pictures}) == 6


def test_read_when_looped(tmp_path: Path) -> None:
    """After the last comes the first again, and time goes on."""
    save(tmp_path / "a.png", 10)
    save(tmp_path / "b.png", 20)
    source = opened(tmp_path, Replay(fps=1, loop=True))

    pictures = [source.read() for _ in range(5)]

    assert [picture and int(picture.pixels[0, 0, 0]) for picture in pictures] == [10, 20, 10, 20, 10]
    assert pictures[4] is not None
    assert pictures[4].due_s == 4.0


@pytest.mark.parametrize(("realtime", "pace"), [(True, Pace.RECORDED), (False, Pace.STEPPED)])
def test_facts_when_realtime_is(tmp_path: Path, pace: Pace, *, realtime: bool) -> None:
    """The pace says whether the replay has a speed of its own."""
    assert FolderSource(PictureFolder(tmp_path), Replay(realtime=realtime)).facts.pace is pace


def test_read_when_a_phone_lay_on_its_side(tmp_path: Path) -> None:
    """The EXIF orientation is applied."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)

    (picture,) = played(opened(tmp_path))

    assert picture.pixels.shape == (40, 20, 3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_read_when_the_picture_is_not_rgb(tmp_path: Path, mode: str) -> None:
    """Grey, palette, transparent and print pictures become RGB."""
    Image.new(mode, (8, 6)).save(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))

    (picture,) = played(opened(tmp_path))

    assert picture.pixels.shape == (6, 8, 3)
    assert picture.pixels.dtype == np.uint8


def test_read_when_some_files_are_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Broken, cut, empty and huge pictures are skipped, each with a warning."""
    save(tmp_path / "z.png", 10)
    whole = (tmp_path / "z.png").read_bytes()
    (tmp_path / "a.jpg").write_text("I am text")
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.png").write_bytes(b"")
    Image.new("1", (5000, 5000)).save(tmp_path / "d.png")

    with caplog.at_level(logging.WARNING):
        pictures = played(opened(tmp_path))

    assert len(pictures) == 1
    assert len(caplog.records) == 4


def test_open_when_there_is_nothing_to_show(tmp_path: Path) -> None:
    """No folder, an empty folder and a folder of rubbish each end in a CameraError, even when looped."""
    with pytest.raises(CameraError, match="cannot be read"):
        opened(tmp_path / "absent")
    with pytest.raises(CameraError, match="no picture"):
        opened(tmp_path)
    (tmp_path / "a.jpg").write_text("I am text")
    with pytest.raises(CameraError, match="none of the 1"):
        opened(tmp_path, Replay(loop=True)).read()


@pytest.mark.parametrize("numbers", [{"fps": 0.0}, {"fps": float("nan")}, {"shows": 0}])
def test_replay_when_the_numbers_are_impossible(numbers: dict[str, float]) -> None:
    """A speed of nothing is refused at once."""
    with pytest.raises(ValueError, match="fps must be"):
        Replay(**numbers)  # type: ignore[arg-type]  # that is the point


def opened(folder: Path, replay: Replay | None = None) -> Source:
    source = FolderSource(PictureFolder(folder), replay)
    source.open()
    return source


def played(source: Source) -> list[Picture]:
    pictures = []
    while (picture := source.read()) is not None:
        pictures.append(picture)
    source.close()
    return pictures


def save(path: Path, red: int) -> None:
    noise = np.random.default_rng(red).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    noise[0, 0] = (red, 0, 0)
    Image.fromarray(noise).save(path)
