"""The crops that a conversion looks at: out of packs, or out of a maker's own photos."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glancein.domain.align import TEMPLATE
from glancein_convert.crops import load_sets
from glancein_convert.errors import ConversionError
from glancein_training.packs import STORED_PX
from glancein_training.people import is_training, load_people

EACH = 15
NAMES = [f"person {number}" for number in range(300)]
TRAINED = [name for name in NAMES if is_training(name)]
KEPT_OUT = [name for name in NAMES if not is_training(name)]


def write_photos(folder: Path, people: list[str]) -> Path:
    """Noisy pictures of each in a folder by the name; the file of where a finder would see the faces."""
    rng = np.random.default_rng(0)
    paths = [folder / name / f"{number}.png" for name in people for number in range(EACH)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (STORED_PX, STORED_PX, 3)).astype(np.uint8)).save(path)
    landmarks = np.repeat(np.array(TEMPLATE, np.float32)[None], len(paths), axis=0)
    out = folder.with_suffix(".npz")
    np.savez(out, path=[str(p) for p in paths], found=np.ones(len(paths), bool), landmarks=landmarks)
    return out


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


def test_own_photos_give_every_set_but_strangers(tmp_path: Path) -> None:
    """Ranges are set by people who were trained on, figures come of those kept out."""
    photos = tmp_path / "photos"
    landmarks = write_photos(photos, [*TRAINED[:2], *KEPT_OUT[:10]])

    sets = load_sets(photos, tmp_path / "cache", landmarks=landmarks, tuning=7)

    whole = load_people(photos, landmarks)
    named = [whole.names[number] for number in sets.identity]
    assert sorted(named) == sorted(name for name in KEPT_OUT[:10] for _ in range(EACH))
    assert sets.development.shape == (10 * EACH, 112, 112, 3)
    assert whole.is_train[np.array(sets.note["calibration_rows"])].all()
    assert (len(sets.tuning), len(sets.cohort), sets.teachers) == (7, 0, ())


@pytest.mark.parametrize(
    ("trained", "kept_out", "told"),
    [(2, 9, "30 training crops and 135 of 9 people"), (1, 10, "15 training crops and 150 of 10 people")],
)
def test_own_photos_of_too_few_people_are_refused(
    tmp_path: Path, trained: int, kept_out: int, told: str
) -> None:
    """Before any work, with what is there and what is needed."""
    landmarks = write_photos(tmp_path / "photos", [*TRAINED[:trained], *KEPT_OUT[:kept_out]])

    with pytest.raises(ConversionError, match=rf"{told} kept out .* one person in 10 of own photos"):
        load_sets(tmp_path / "photos", tmp_path / "cache", landmarks=landmarks)


def test_pack_without_training_crops_is_refused(tmp_path: Path) -> None:
    """Nothing sets the ranges."""
    write_pack(tmp_path / "faces", 150, split="val")
    write_pack(tmp_path / "unlabelled", 1, split="train")

    with pytest.raises(ConversionError, match="gives 0 training crops and 150 of 150 people kept out"):
        load_sets(tmp_path, tmp_path / "cache")


def test_photos_without_their_landmarks_are_told_what_to_give(tmp_path: Path) -> None:
    """A folder for each person is no folder of packs."""
    write_photos(tmp_path / "photos", TRAINED[:1])

    with pytest.raises(ConversionError, match=r"or own photos and --landmarks FILE\.npz of `glancein embed`"):
        load_sets(tmp_path / "photos", tmp_path / "cache")
