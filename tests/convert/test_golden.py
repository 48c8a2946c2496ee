"""Golden vectors are the same every time and pass on the model that made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.device import tiny_model

from glancein.adapters.bundle_folder import check_golden
from glancein.adapters.tflite_runtime import open_model
from glancein_convert.golden import make_golden, synthetic_pictures


def test_golden_vectors_are_repeatable_small_and_accepted(tmp_path: Path) -> None:
    """Same model, same bytes; the device takes them."""
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_model.make_model())
    network = open_model(path)

    golden = make_golden(network)

    assert golden == make_golden(network)
    assert len(golden) < 300_000
    check_golden(network, golden, where="here")


def test_synthetic_pictures_reach_both_ends_of_int8() -> None:
    """Extremes are where arithmetic breaks first."""
    pictures = synthetic_pictures(96, 128, seed=0)

    assert pictures.shape == (32, 96, 128, 3)
    assert (pictures.min(), pictures.max()) == (-128, 127)
    assert len({picture.tobytes() for picture in pictures}) == 32
    assert np.array_equal(pictures, synthetic_pictures(96, 128, seed=0))
