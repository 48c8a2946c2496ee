"""The gates: what is no number passes none."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")

from glancein_convert import finder_parity, parity


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_embedder_that_answers_with_no_numbers_fails_every_gate(value: float) -> None:
    """As one does whose cosines are 0; a loss of nothing alone passes."""
    cosine = {"mean": value, "first_percentile": value}
    lost = {"value": 1.0 if value == 0 else value}
    one, other = {"pair_accuracy_percent": 90.0}, {"pair_accuracy_percent": value}
    figures = {
        "cosine_float_int8": cosine,
        "float": one,
        "int8": other,
        "accept_rate_loss_points_at_1e-3": lost,
    }

    assert len(parity._judge(figures, parity.Gate())) == 4


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_finder_that_answers_with_no_numbers_fails_every_gate(value: float) -> None:
    """Recall and landmarks as well as cosines."""
    recall, error = "recall_percent_at_0.1_false_faces", "refined_landmark_error_percent_median"
    figures = {
        "cosine_float_int8": {"mean": value, "first_percentile": value},
        "float": {recall: 97.0, error: 6.0},
        "int8": {recall: value, error: 9.0 if value == 0 else value},
    }

    assert len(finder_parity._judge(figures, finder_parity.FinderGate())) == 4
