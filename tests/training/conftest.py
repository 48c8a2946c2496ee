"""What tests of training runs share: a network that trains in milliseconds and a pack of noise."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PEOPLE, EACH, TRAINED = 12, 3, 7


@pytest.fixture
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The family has a member called tiny."""
    from glancein_training.networks import FAMILY, EmbedderShape  # noqa: PLC0415  # torch may be absent

    shape = EmbedderShape("tiny", (4, 4, 8, 8), (1, 1, 1), (4, 4, 4), reduce=4, embedding=8)
    monkeypatch.setitem(FAMILY, "tiny", shape)


@pytest.fixture(scope="session")
def noise_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pack `faces`: twelve people, three pictures each, seven of them to train on.

    A person's pictures are one picture of noise with more noise over it, so that people can be learned.
    """
    folder = tmp_path_factory.mktemp("data") / "faces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    own = rng.integers(0, 256, (PEOPLE, 8, 8, 3)).repeat(16, axis=1).repeat(16, axis=2)
    rows = []
    with tarfile.open(folder / "faces-00.tar", "w") as tar:
        for k in range(PEOPLE * EACH):
            noisy = (own[k // EACH] + rng.normal(0, 30, (128, 128, 3))).clip(0, 255).astype(np.uint8)
            packed = io.BytesIO()
            Image.fromarray(noisy).save(packed, "webp")
            member = tarfile.TarInfo(f"{k // EACH}/{k}.webp")
            member.size = packed.tell()
            packed.seek(0)
            tar.addfile(member, packed)
            rows.append([member.name, "faces-00.tar", k // EACH, "train" if k // EACH < TRAINED else "val"])
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "tar", "identity", "split"], *rows])
    for letter in "ab":
        vectors = rng.integers(-127, 128, (len(rows), 12)).astype(np.int8)
        np.savez(
            folder / f"teacher_{letter}.npz", vectors=vectors, scale=np.full(len(rows), 0.01, np.float32)
        )
    return folder.parent
