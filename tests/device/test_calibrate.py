"""The limit follows the gallery."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glancein.domain import calibrate
from glancein.errors import ModelError
from glancein.model_card import InputSpec, Matching, ModelCard, OutputSpec, ThresholdPoint

RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
THRESHOLDS = (0.20, 0.30, 0.38, 0.44, 0.48)
POINTS = tuple(
    ThresholdPoint(rate, cosine, cosine - 0.01, cosine + 0.01, extrapolated=rate < 1e-5)
    for rate, cosine in zip(RATES, THRESHOLDS, strict=True)
)
CARD = ModelCard(
    kind="embedder",
    name="glance-test",
    file="model.tflite",
    sha256="0" * 64,
    size_bytes=1,
    input=InputSpec(112, 112, 1 / 128, 0),
    outputs=(OutputSpec("embedding", (1, 128), 0.05, 0),),
    licence="none",
    data_note="none",
    training_command="",
    git_commit="",
    embedding_dimension=128,
    matching=Matching(POINTS, "cohort.npz", 0.07),
)


@pytest.mark.parametrize(("rate", "threshold"), list(zip(RATES, THRESHOLDS, strict=True)))
def test_threshold_at_a_calibrated_rate_is_the_calibrated_one(rate: float, threshold: float) -> None:
    """The points themselves are met."""
    assert calibrate.threshold_at(POINTS, rate) == pytest.approx(threshold)


def test_threshold_between_two_rates_is_linear_in_the_logarithm() -> None:
    """Half-way between 1e-3 and 1e-4 on the logarithm is half-way between their thresholds."""
    assert calibrate.threshold_at(POINTS, 10**-3.5) == pytest.approx(0.34)


def test_threshold_beyond_the_last_rate_goes_on_and_stops_below_one() -> None:
    """A rate nobody could count still raises the threshold, never to a value that refuses everyone."""
    assert calibrate.threshold_at(POINTS, 1e-7) == pytest.approx(0.52)
    assert calibrate.threshold_at(POINTS, 1e-300) == calibrate.HIGHEST_THRESHOLD_COS


@given(size=st.integers(1, 10**6), rate=st.floats(1e-4, 0.5))
def test_limit_never_falls_when_the_gallery_grows(size: int, rate: float) -> None:
    """More people, stricter or equal limit; the margin stays."""
    small = calibrate.limits_for(CARD, size, rate)
    large = calibrate.limits_for(CARD, size * 2, rate)

    assert large.accept_cos >= small.accept_cos
    assert large.margin_cos == 0.07


@given(size=st.integers(1, 10**7), rate=st.floats(1e-6, 0.9))
def test_search_rate_undoes_the_rate_of_one_comparison(size: int, rate: float) -> None:
    """FPIR -> FMR -> FPIR is the identity."""
    single = calibrate.false_match_rate(size, rate)

    assert calibrate.search_rate(size, single) == pytest.approx(rate, rel=1e-6)


def test_search_rate_is_what_independent_comparisons_give() -> None:
    """Counted on simulated searches."""
    rng = np.random.default_rng(3)
    hit = (rng.random((20_000, 50)) < 0.002).any(axis=1)

    assert hit.mean() == pytest.approx(calibrate.search_rate(50, 0.002), abs=0.006)


@given(threshold=st.floats(0.20, 0.48))
def test_rate_at_a_threshold_is_the_inverse(threshold: float) -> None:
    """Threshold to rate to threshold."""
    rate = calibrate.rate_at(POINTS, threshold)

    assert calibrate.threshold_at(POINTS, rate) == pytest.approx(threshold, abs=1e-6)


@pytest.mark.parametrize(("size", "rate"), [(-1, 0.01), (1, 0.0), (1, 1.0), (1, float("nan"))])
def test_impossible_question_is_refused(size: int, rate: float) -> None:
    """Sizes and rates that cannot be are told apart from those that can."""
    with pytest.raises(ValueError, match="gallery size"):
        calibrate.limits_for(CARD, size, rate)


def test_empty_gallery_has_the_limit_of_one_person() -> None:
    """Nobody enrolled is no reason to divide by zero."""
    assert calibrate.limits_for(CARD, 0, 0.01) == calibrate.limits_for(CARD, 1, 0.01)


def test_finder_card_has_no_limits() -> None:
    """Asking a finder for thresholds is an error of ours, in words."""
    with pytest.raises(ModelError, match="not an embedder"):
        calibrate.limits_for(replace(CARD, kind="finder", matching=None), 1, 0.01)
