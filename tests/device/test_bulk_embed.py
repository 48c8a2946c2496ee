"""Embedding many files keeps their order, their misses and nothing half-written."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glancein import bulk_embed
from glancein.domain import align
from glancein.domain.align import TEMPLATE
from glancein.enrolment import template_of
from glancein.errors import InputError, PhotoError
from glancein.ports import FaceFinder
from glancein.types import Box, Crop, Face, Floats, Pixels, Reason


def face_at(x: float, y: float, size: float) -> Face:
    landmarks = np.asarray(TEMPLATE, np.float32) * np.float32(size / 112) + np.asarray([x, y], np.float32)
    return Face(Box(x, y, size, size), landmarks, 0.9)


class OneFace:
    """A finder that sees one face unless the picture is black."""

    def find(self, pixels: Pixels) -> list[Face]:
        return [face_at(10, 10, 100)] if pixels.any() else []

    def find_near(self, pixels: Pixels, box: Box) -> list[Face]:
        raise AssertionError((pixels.shape, box))

    def search(self, pixels: Pixels) -> list[Face]:
        return self.find(pixels)


class BrightnessEmbedder:
    """Embeds how bright a crop is."""

    model_sha256 = "cd" * 32

    def embed(self, crops: Sequence[Crop]) -> Floats:
        rows = np.zeros((len(crops), 128), np.float32)
        rows[:, 0] = [np.cos(crop.pixels.mean() / 255) for crop in crops]
        rows[:, 1] = [np.sin(crop.pixels.mean() / 255) for crop in crops]
        return rows


def read(path: Path) -> Pixels:
    if path.name == "broken.jpg":
        raise PhotoError("unreadable", f"{path.name} is not a picture")
    return np.full((128, 128, 3), 0 if path.name == "dark.jpg" else 120, np.uint8)


def reader(finder: FaceFinder | None = None) -> bulk_embed.Reader:
    return bulk_embed.Reader(read, finder or OneFace(), BrightnessEmbedder())


class TwoFaces(OneFace):
    """A finder that sees a second face of a given size beside the first."""

    def __init__(self, second_px: float) -> None:
        self.second_px = second_px

    def find(self, pixels: Pixels) -> list[Face]:
        return [*super().find(pixels), face_at(0, 0, self.second_px)]


def test_embed_all_when_some_files_have_no_face(tmp_path: Path) -> None:
    """Every file has its row, in order; those without a face say why and hold zeros."""
    names = [Path("a.jpg"), Path("dark.jpg"), Path("broken.jpg"), Path("b.jpg")]

    rows = list(bulk_embed.embed_all(names, open_reader=reader, processes=1))
    bulk_embed.save(rows, tmp_path / "out.npz", model_sha256="cd" * 32)

    with np.load(tmp_path / "out.npz") as stored:
        assert stored["path"].tolist() == [str(name) for name in names]
        assert stored["found"].tolist() == [True, False, False, True]
        assert stored["embedding"].shape == (4, 128)
        assert stored["box"].shape == (4, 4)
        assert stored["landmarks"].shape == (4, 5, 2)
        assert np.linalg.norm(stored["embedding"], axis=1) == pytest.approx([1, 0, 0, 1], abs=1e-6)
    assert rows[1].problem == "dark.jpg shows no face: give a picture of a whole face"
    assert rows[2].problem == "broken.jpg is not a picture"
    assert [file.name for file in tmp_path.iterdir()] == ["out.npz"]


def test_templates_are_those_of_enrolment_where_they_are_asked_for(tmp_path: Path) -> None:
    """Softened and looked at nine times; a picture without a face has zeros."""
    wanted = replace(reader(), with_templates=True)

    rows = list(
        bulk_embed.embed_all([Path("a.jpg"), Path("dark.jpg")], open_reader=lambda: wanted, processes=1)
    )
    bulk_embed.save(rows, tmp_path / "out.npz", model_sha256="cd" * 32)

    crop = align.softened(align.crop(read(Path("a.jpg")), face_at(10, 10, 100).landmarks))
    with np.load(tmp_path / "out.npz") as stored:
        np.testing.assert_array_equal(stored["template"][0], template_of(crop, BrightnessEmbedder()))
        assert not stored["template"][1].any()


def test_main_face_when_a_larger_one_stands_aside() -> None:
    """The face a picture is about is large and near the middle."""
    middle, corner, small = face_at(200, 200, 100), face_at(0, 0, 130), face_at(240, 240, 20)

    assert bulk_embed.main_face([small, corner, middle], 500, 500) is middle


def test_list_pictures_when_given_folders_and_files(tmp_path: Path) -> None:
    """Folders give every picture below them by name; a named file stays whatever its suffix."""
    (tmp_path / "b").mkdir()
    for name in ("z.jpg", "a.PNG", "note.txt", "b/c.webp"):
        (tmp_path / name).touch()

    listed = bulk_embed.list_pictures([tmp_path, Path("other.dat")])

    assert [p.name for p in listed] == ["a.PNG", "c.webp", "z.jpg", "other.dat"]


def test_embed_only_face_when_a_second_one_is_as_large() -> None:
    """Two people are refused with the file's name and a reason; somebody far behind disturbs nobody."""
    with pytest.raises(PhotoError, match=r"a\.jpg shows several faces") as refused:
        bulk_embed.embed_only_face(Path("a.jpg"), reader(TwoFaces(90)))

    assert refused.value.reason == Reason.SEVERAL_FACES
    assert bulk_embed.embed_only_face(Path("a.jpg"), reader(TwoFaces(30))).found


def test_save_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, no half-written file, and the one from before stays."""

    def fill(part: Path, **_: object) -> None:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "e.npz").write_bytes(b"before")
    monkeypatch.setattr("numpy.savez", fill)

    with pytest.raises(InputError, match="No space left on device; name another place with --out"):
        bulk_embed.save([], tmp_path / "e.npz", model_sha256="cd" * 32)

    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("e.npz", b"before")]
