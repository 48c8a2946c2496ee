"""The time of untrained networks, and int8 vectors of a pack."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")
pytest.importorskip("litert_torch", reason="needs litert-torch: pip install .[convert]")

from typer.testing import CliRunner

from glancein_convert.cli import app
from glancein_training import packs
from glancein_training.packs import STORED_PX

MODEL = Path(__file__).parents[2] / "device/glancein/models/embedder/model.tflite"


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # the converter's own dependencies warn about each other
def test_speed_is_a_line_of_json_for_each_network() -> None:
    """Depthwise layers and another input size are converted too, in one piece for the runtime."""
    result = CliRunner().invoke(app, ["speed", "glance-33-64px", "mobilefacenet-64px"])

    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.output.splitlines() if line.startswith("{")]
    assert [row["name"] for row in found] == ["glance-33-64px", "mobilefacenet-64px"]
    assert all(row["ms"] > 0 and row["xnnpack_partitions"] == 1 for row in found)


def test_unknown_network_is_one_line() -> None:
    """Exit code of bad input, and no traceback."""
    result = CliRunner().invoke(app, ["speed", "glance-1"])

    assert result.exit_code == 2
    assert "the family has" in " ".join(result.output.split())


def test_pack_is_embedded_by_the_int8_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit vectors of the drawn pictures of the split; another split is refused."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, STORED_PX, STORED_PX, 3), np.uint8)
    lines = [f"{k}.webp,a.tar,{k},{'val' if k else 'train'}" for k in range(6)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,tar,identity,split", *lines]), encoding="utf-8")
    crops = packs.Crops(pixels, np.arange(6), np.zeros(6, bool), (), "")
    monkeypatch.setattr(packs, "load", lambda *_args, **_options: crops)
    options = ["embed", str(MODEL), str(tmp_path), "--out", str(tmp_path / "e.npz")]
    options += ["--most", "3", "--templates"]

    done = CliRunner().invoke(app, [*options, "--split", "val"])
    refused = CliRunner().invoke(app, [*options, "--split", "test"])

    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "e.npz") as stored:
        assert stored["embedding"].shape == (3, 128)
        assert np.allclose(np.linalg.norm(stored["embedding"], axis=1), 1, atol=1e-5)
        assert np.allclose(np.linalg.norm(stored["template"], axis=1), 1, atol=1e-5)
        assert (np.einsum("ij,ij->i", stored["template"], stored["embedding"]) < 1 - 1e-4).all()
        assert "0.webp" not in stored["path"]
    assert refused.exit_code == 7
