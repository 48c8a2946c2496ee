"""From the model card's calibration to the limits that a gallery of this size needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from glancein.errors import ModelError
from glancein.model_card import ModelCard, ThresholdPoint
from glancein.types import Limits

HIGHEST_THRESHOLD_COS = 0.99


def limits_for(card: ModelCard, gallery_size: int, false_positive_identification_rate: float) -> Limits:
    """Limits at which a stranger is taken for one of ``gallery_size`` people at most this often per look.

    Recompute when the gallery grows. Raises ModelError if the card is not an embedder's, ValueError if the
    size is negative or the rate not between 0 and 1.
    """
    if card.matching is None:
        raise ModelError(f"{card.name} has no calibration: it is a {card.kind}, not an embedder")
    rate = false_match_rate(gallery_size, false_positive_identification_rate)
    return Limits(accept_cos=threshold_at(card.matching.points, rate), margin_cos=card.matching.margin_cos)


def false_match_rate(gallery_size: int, false_positive_identification_rate: float) -> float:
    """Rate of one comparison that gives the wanted rate of a search: 1 - (1 - FPIR)^(1 / N).

    It takes the N comparisons of a search as independent; ``docs/models/embedder.md`` has the check on data.
    An empty gallery counts as one person.
    """
    if gallery_size < 0 or not 0 < false_positive_identification_rate < 1:
        raise ValueError("the gallery size must not be negative, and the rate lies between 0 and 1")
    return -math.expm1(math.log1p(-false_positive_identification_rate) / max(1, gallery_size))


def search_rate(gallery_size: int, rate: float) -> float:
    """The rate of a search at this false match rate of one comparison: 1 - (1 - FMR)^N."""
    return -math.expm1(gallery_size * math.log1p(-rate))


def threshold_at(points: Sequence[ThresholdPoint], rate: float) -> float:
    """Cosine threshold at a false match rate, linear in the rate's logarithm between the points.

    Below the lowest rate the last slope goes on, up to 0.99; above the highest the first threshold stays.
    """
    logs = np.array([-math.log10(point.false_match_rate) for point in points])  # rising
    thresholds = np.array([point.threshold_cos for point in points])
    wanted = -math.log10(rate)
    if wanted <= logs[-1]:
        return float(np.interp(wanted, logs, thresholds))
    slope = (thresholds[-1] - thresholds[-2]) / (logs[-1] - logs[-2])
    return float(min(HIGHEST_THRESHOLD_COS, thresholds[-1] + slope * (wanted - logs[-1])))


def rate_at(points: Sequence[ThresholdPoint], threshold_cos: float) -> float:
    """False match rate of one comparison at a threshold; never outside the rates of the points."""
    logs = [-math.log10(point.false_match_rate) for point in points]
    return float(10 ** -np.interp(threshold_cos, [point.threshold_cos for point in points], logs))
