"""The whole command, twice: the same checkpoint, code and data give the same signed bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")
pytest.importorskip("litert_torch", reason="needs litert-torch: pip install .[convert]")

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "training/weights"


def convert(*arguments: str | Path) -> None:
    """Run glancein-convert as a user does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "glancein_convert", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a bundle."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.heavy
@pytest.mark.data
def test_two_exports_of_the_embedder_are_equal_to_the_byte(data_dir: Path, tmp_path: Path) -> None:
    """Model, card, cohort, golden vectors and signature; with a few people, so that it takes minutes."""
    convert("new-key", tmp_path / "release.pem")
    quick = ("--people", "40", "--method", "minmax", "--force", "--data", data_dir)
    cache = ("--cache", os.environ.get("GLANCEIN_CACHE", str(tmp_path / "cache")))

    for name in ("one", "two"):
        places = ("--out", tmp_path / name, "--report", tmp_path / f"{name}-report")
        convert("export", WEIGHTS / "embedder.pt", *places, *quick, *cache, "--key", tmp_path / "release.pem")

    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert set(hashes(tmp_path / "one")) == {
        "card.json",
        "card.sig",
        "cohort.npz",
        "golden.npz",
        "model.tflite",
    }


@pytest.mark.heavy
@pytest.mark.data
def test_two_exports_of_the_finder_are_equal_to_the_byte(data_dir: Path, tmp_path: Path) -> None:
    """Both models and the golden vectors of both."""
    for name in ("one", "two"):
        places = ("--out", tmp_path / name, "--report", tmp_path / f"{name}-report")
        weights = (WEIGHTS / "finder.pt", WEIGHTS / "landmarks.pt")
        convert("export-finder", *weights, *places, "--data", data_dir / "finder")

    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert "landmarks.golden.npz" in hashes(tmp_path / "one")
