"""Tar packs: rows keep the order of labels.csv, and the cache gives the same array."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glancein.errors import InputError
from glancein_training import packs, sources

COUNT = 6


def shade(index: int) -> packs.Pixels:
    """A flat picture that tells its number."""
    return np.full((packs.STORED_PX, packs.STORED_PX, 3), 40 * index, np.uint8)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A pack of six flat crops in two tars, stored in another order than labels.csv lists them."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for name, members in (("b.tar", (4, 2, 0)), ("a.tar", (5, 3, 1))):
        with tarfile.open(folder / name, "w") as tar:
            for index in members:
                data = io.BytesIO()
                Image.fromarray(shade(index)).save(data, "WEBP", lossless=True)
                info = tarfile.TarInfo(f"{index // 2}/{index}.webp")
                info.size = len(data.getvalue())
                data.seek(0)
                tar.addfile(info, data)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tar", "path", "identity", "split"])
        for index in range(COUNT):
            tar_name = "a.tar" if index % 2 else "b.tar"
            split = "val" if index >= 4 else "train"
            writer.writerow([tar_name, f"{index // 2}/{index}.webp", index // 2, split])
    for letter in "ab":
        steps = np.arange(1, 1 + COUNT * 4, dtype=np.int8).reshape(COUNT, 4)
        np.savez(folder / f"teacher_{letter}.npz", vectors=steps, scale=np.full(COUNT, 0.5, np.float32))
    return folder


def test_crops_come_in_the_order_of_the_labels(pack: Path, tmp_path: Path) -> None:
    """Row i of every array is line i of labels.csv."""
    crops = packs.load(pack, cache=tmp_path / "cache")

    assert len(crops) == COUNT
    assert [int(picture[0, 0, 0]) for picture in crops.pixels] == [40 * index for index in range(COUNT)]
    assert crops.identity.tolist() == [0, 0, 1, 1, 2, 2]
    assert crops.is_train.tolist() == [True] * 4 + [False] * 2


def test_teachers_are_unit_rows(pack: Path, tmp_path: Path) -> None:
    """int8 steps times scale, brought to length one: the scale itself cancels out."""
    crops = packs.load(pack, cache=tmp_path / "cache")

    first = np.array([1, 2, 3, 4]) / np.sqrt(30)
    assert len(crops.teachers) == 2
    np.testing.assert_allclose(crops.teachers[0][0], first, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(crops.teachers[1], axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("kept", ["", "b"])
def test_pack_has_as_many_teachers_as_there_are_files(pack: Path, tmp_path: Path, kept: str) -> None:
    """Whoever trains from identities or only embeds needs none."""
    whole = packs.load(pack, cache=tmp_path / "cache")
    for letter in {"a", "b"} - {kept}:
        (pack / f"teacher_{letter}.npz").unlink()

    crops = packs.load(pack, cache=tmp_path / "cache")

    assert len(crops.teachers) == len(kept)
    np.testing.assert_array_equal(crops.pixels, whole.pixels)
    assert crops.data_sha256 != whole.data_sha256


def test_second_load_needs_no_tar(pack: Path, tmp_path: Path) -> None:
    """The decoded array is kept, so training starts at once the next time."""
    first = packs.load(pack, cache=tmp_path / "cache")
    for tar in pack.glob("*.tar"):
        tar.unlink()

    again = packs.load(pack, cache=tmp_path / "cache")

    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert first.data_sha256 == again.data_sha256


def test_changed_labels_are_decoded_anew(pack: Path, tmp_path: Path) -> None:
    """The cache belongs to one labels.csv, not to a folder's name."""
    packs.load(pack, cache=tmp_path / "cache")
    lines = (pack / "labels.csv").read_text(encoding="utf-8").splitlines()
    (pack / "labels.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n", encoding="utf-8")

    crops = packs.load(pack, cache=tmp_path / "cache")

    assert int(crops.pixels[0][0, 0, 0]) == 40 * (COUNT - 1)


def repaint(
    pack: Path,
    tar_name: str,
    *,
    size: tuple[int, int] = (packs.STORED_PX, packs.STORED_PX),
    kept: int | None = None,
) -> None:
    """Every picture of one tar replaced by a white one, or its first bytes, under the same name."""
    with tarfile.open(pack / tar_name) as tar:
        names = tar.getnames()
    data = io.BytesIO()
    Image.new("RGB", size, "white").save(data, "WEBP", lossless=True)
    with tarfile.open(pack / tar_name, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(data.getvalue()[:kept])
            data.seek(0)
            tar.addfile(info, data)


def test_changed_tar_is_decoded_anew(pack: Path, tmp_path: Path) -> None:
    """New pictures under old labels are neither missed nor recorded as the old ones."""
    before = packs.load(pack, cache=tmp_path / "cache")
    repaint(pack, "b.tar")

    crops = packs.load(pack, cache=tmp_path / "cache")

    assert [int(picture[0, 0, 0]) for picture in crops.pixels] == [255, 40, 255, 120, 255, 200]
    assert crops.data_sha256 != before.data_sha256
    assert int(before.pixels[0][0, 0, 0]) == 0  # a run that has the old array open keeps it


def test_changed_teacher_changes_the_hash_alone(pack: Path, tmp_path: Path) -> None:
    """Nothing is decoded for it: the tars may be gone."""
    before = packs.load(pack, cache=tmp_path / "cache")
    for tar in pack.glob("*.tar"):
        tar.unlink()
    np.savez(pack / "teacher_b.npz", vectors=np.ones((COUNT, 4), np.int8), scale=np.ones(COUNT, np.float32))

    assert packs.load(pack, cache=tmp_path / "cache").data_sha256 != before.data_sha256


def test_array_of_an_earlier_release_is_taken_as_it_is(pack: Path, tmp_path: Path) -> None:
    """A cache of gigabytes without a note of its sources is not decoded again."""
    packs.load(pack, cache=tmp_path / "cache")
    (array,) = (tmp_path / "cache").glob("*.npy")
    array.with_suffix(".json").unlink()
    decoded = array.stat().st_mtime_ns

    crops = packs.load(pack, cache=tmp_path / "cache")

    assert array.stat().st_mtime_ns == decoded
    assert crops.data_sha256 == packs.load(pack, cache=tmp_path / "cache").data_sha256


def test_unchanged_file_is_not_read_again(pack: Path) -> None:
    """Size and time of change are enough to know a tar by, at every start."""
    first = sources.look(pack, ["a.tar"], {})
    known: sources.Sources = {"a.tar": {**first["a.tar"], "sha256": "of before"}}

    assert sources.look(pack, ["a.tar"], known)["a.tar"]["sha256"] == "of before"
    (pack / "a.tar").write_bytes(b"other")
    assert sources.look(pack, ["a.tar"], known)["a.tar"]["sha256"] != "of before"


def test_half_written_note_is_as_none(tmp_path: Path) -> None:
    """After a power cut the files are hashed once more."""
    (tmp_path / "faces.json").write_text('{"a.tar": {"si', encoding="utf-8")

    assert sources.load_sources(tmp_path / "faces.json") == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("a.tar,9/9.webp,9,train", r"a\.tar lacks 9/9\.webp"),
        ("a.tar,0/1.webp,0,train", "names 0/1.webp twice"),
        ("a.tar,0/1.webp,anna,train", "calls a person 'anna'"),
    ],
)
def test_labels_that_do_not_fit_the_pictures_are_refused(
    pack: Path, tmp_path: Path, change: str, said: str
) -> None:
    """Never pixels that no picture has, and nothing is kept for the next run."""
    with (pack / "labels.csv").open("a", encoding="utf-8") as file:
        file.write(f"{change}\n")

    with pytest.raises(InputError, match=said):
        packs.load(pack, cache=tmp_path / "cache")

    assert not list((tmp_path / "cache").glob("*.npy"))


def test_tar_cut_short_is_refused(pack: Path, tmp_path: Path) -> None:
    """A copy that was broken off is named, and nothing is kept for the next run."""
    whole = (pack / "b.tar").read_bytes()
    (pack / "b.tar").write_bytes(whole[:600])

    with pytest.raises(InputError, match=r"cannot read .*b\.tar: .*copy the pack again"):
        packs.load(pack, cache=tmp_path / "cache")

    assert not list((tmp_path / "cache").glob("*.npy"))


def test_labels_of_fewer_rows_than_the_teachers_are_refused(pack: Path, tmp_path: Path) -> None:
    """Each row of a teacher's file is a line of labels.csv."""
    lines = (pack / "labels.csv").read_text(encoding="utf-8").splitlines()
    (pack / "labels.csv").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")

    with pytest.raises(InputError, match=r"teacher_a\.npz has 6 rows, labels\.csv 5"):
        packs.load(pack, cache=tmp_path / "cache")


def test_picture_of_another_size_is_refused(pack: Path, tmp_path: Path) -> None:
    """One row of pixels would fill a whole crop."""
    repaint(pack, "b.tar", size=(packs.STORED_PX, 1))

    with pytest.raises(InputError, match="has 128 x 1 px"):
        packs.load(pack, cache=tmp_path / "cache")


def test_damaged_teacher_is_refused(pack: Path, tmp_path: Path) -> None:
    """Cut short, without vectors, or of one number for each picture: the file is named."""
    whole = (pack / "teacher_b.npz").read_bytes()

    (pack / "teacher_b.npz").write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"cannot read .*teacher_b\.npz as \.npz"):
        packs.load(pack, cache=tmp_path / "cache")
    np.savez(pack / "teacher_b.npz", scale=np.ones(COUNT, np.float32))
    with pytest.raises(InputError, match=r"teacher_b\.npz has no array 'vectors'"):
        packs.load(pack, cache=tmp_path / "cache")
    np.savez(pack / "teacher_b.npz", vectors=np.ones(COUNT, np.int8), scale=np.ones(COUNT, np.float32))
    with pytest.raises(InputError, match=r"'vectors' of .*teacher_b\.npz is 6 int8"):
        packs.load(pack, cache=tmp_path / "cache")


def test_labels_in_another_encoding_are_refused(pack: Path, tmp_path: Path) -> None:
    """As a spreadsheet saves them that was asked for nothing else."""
    text = (pack / "labels.csv").read_text(encoding="utf-8").replace("val", "välj")
    (pack / "labels.csv").write_text(text, encoding="latin-1")

    with pytest.raises(InputError, match=r"cannot read labels .*labels\.csv: .*save it as CSV in UTF-8"):
        packs.load(pack, cache=tmp_path / "cache")


@pytest.mark.parametrize("kept", [0, 30], ids=["nothing", "cut"])
def test_damaged_picture_is_refused(pack: Path, tmp_path: Path, kept: int) -> None:
    """It and its tar are named, and nothing is kept for the next run."""
    repaint(pack, "b.tar", kept=kept)

    with pytest.raises(
        InputError, match=r"cannot decode 2/4\.webp in .*b\.tar: no picture, or a damaged one"
    ):
        packs.load(pack, cache=tmp_path / "cache")

    assert not list((tmp_path / "cache").glob("*.npy"))


def test_folder_without_labels_is_refused(tmp_path: Path) -> None:
    """A folder that is no pack is named in the error."""
    with pytest.raises(FileNotFoundError, match=r"labels\.csv"):
        packs.load(tmp_path, cache=tmp_path / "cache")


def test_zero_row_stays_zero() -> None:
    """A vector without direction is not turned into noise or NaN."""
    rows = packs.unit_rows(np.array([[0.0, 0.0], [3.0, 4.0]], np.float32))

    np.testing.assert_allclose(rows, [[0.0, 0.0], [0.6, 0.8]], atol=1e-6)
