"""The whole way from a module to an int8 file, where the converter is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")
pytest.importorskip("litert_torch", reason="needs litert-torch: pip install .[convert]")

import torch

from glancein.adapters.tflite_runtime import open_model
from glancein_convert import candidates, layers, preflight, tuning, vectors
from glancein_convert.export import export_float, export_int8
from glancein_convert.fold import head_as_convolution
from glancein_training.networks import FAMILY, Embedder

pytestmark = [
    pytest.mark.heavy,
    # The converter's own dependencies warn about each other.
    pytest.mark.filterwarnings("ignore"),
]


class TwoHeads(torch.nn.Module):
    """A network with a map and a vector, as a finder has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU())
        self.scores = torch.nn.Conv2d(8, 2, 1)
        self.boxes = torch.nn.Conv2d(8, 4, 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(pixels)
        return self.scores(features), self.boxes(features)


def test_embedder_is_near_its_float_form_maps_and_repeats(tmp_path: Path) -> None:
    """Cosine at least 0.995, one XNNPACK piece, every operator mappable, the same bytes twice."""
    torch.manual_seed(0)
    network = Embedder(FAMILY["glance-33"]).eval()
    for layer in network.modules():
        if isinstance(
            layer, torch.nn.BatchNorm2d
        ):  # fresh ones are zero in places, and XNNPACK takes no scale of 0
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    pictures = np.random.default_rng(0).integers(0, 256, (16, 112, 112, 3)).astype(np.uint8)
    module = head_as_convolution(network)

    first = export_int8(module, (1, 3, 112, 112), [pictures], tmp_path / "a.tflite", ["embedding"])
    second = export_int8(module, (1, 3, 112, 112), [pictures], tmp_path / "b.tflite", ["embedding"])

    exact = vectors.by_float(network, pictures).single
    rough = vectors.by_int8(open_model(first.int8_path), pictures).single
    assert np.einsum("ij,ij->i", exact, rough).mean() >= 0.995
    assert layers.delegate_partitions(first.int8_path) == 1
    assert preflight.check(first.int8_path).maps_everything
    assert first.sha256 == second.sha256


def test_outputs_keep_order_and_names_and_come_out_channel_last(tmp_path: Path) -> None:
    """Two maps of different depth, in the order in which the module returns them."""
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3)).astype(np.uint8)

    done = export_int8(
        TwoHeads().eval(), (1, 3, 32, 48), [pictures], tmp_path / "m.tflite", ["scores", "boxes"]
    )

    outputs = open_model(done.int8_path).outputs
    assert [(o.name, o.shape) for o in outputs] == [("scores", (1, 16, 24, 2)), ("boxes", (1, 16, 24, 4))]


def test_best_of_all_candidates_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of two kinds and all three improvements are tried; the nearest to the float vectors wins."""
    torch.manual_seed(0)
    network = Embedder(FAMILY["glance-33"]).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    pictures = np.random.default_rng(0).integers(0, 256, (12, 112, 112, 3)).astype(np.uint8)
    export_float(head_as_convolution(network), (1, 3, 112, 112), tmp_path / "model.float.tflite")
    exact = vectors.by_float(network, pictures[6:]).single
    material = candidates.Material(tmp_path, pictures[:6], pictures[6:], exact, pictures[:6])
    short = tuning.FineTuning(images=8, batch=4)
    monkeypatch.setattr(tuning, "FineTuning", lambda: short)

    best, tried = candidates.choose(
        tmp_path / "model.float.tflite",
        material,
        methods=("minmax", "mse"),
        improvements=candidates.IMPROVEMENTS,
        say=lambda _line: None,
    )

    assert list(tried) == ["minmax", "mse", "equalised", "corrected", "tuned"]
    assert tried[best.name] == max(tried.values()) >= 0.99
    assert preflight.check(best.int8_path).maps_everything
