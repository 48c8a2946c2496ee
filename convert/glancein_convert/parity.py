"""What int8 cost: float and int8 vectors of the same development crops, measured in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glancein.types import Floats
from glancein_convert.figures import (
    Scored,
    accept_interval,
    accept_rate,
    loss_interval,
    one_shot_miss_rate,
    pair_accuracy,
    score,
)
from glancein_convert.vectors import Vectors

RATES = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True, slots=True)
class Gate:
    """The least that the int8 file must reach; points are percentage points."""

    mean_cosine: float = 0.995
    low_cosine: float = 0.98
    accept_rate_loss_points: float = 0.2  # at a false match rate of 1e-3
    accuracy_loss_points: float = 0.1


@dataclass(frozen=True, slots=True)
class Parity:
    """Figures as JSON values, the scores behind them, and what the gate says."""

    figures: dict[str, Any]  # any JSON
    float_scores: Scored
    int8_scores: Scored
    cosines: NDArray[np.float32]  # (n,)
    failures: tuple[str, ...]


def compare(
    exact: Vectors, rough: Vectors, identity: NDArray[np.int64], *, gate: Gate | None = None
) -> Parity:
    """Compare float (``exact``) with int8 (``rough``) vectors of the same crops (n rows)."""
    cosines = np.einsum("ij,ij->i", exact.single, rough.single)
    before, after = (score(v.summed, identity) for v in (exact, rough))
    lost, low, high = loss_interval(before, after, 1e-3)
    figures: dict[str, Any] = {
        "cosine_float_int8": {
            "mean": _round(cosines.mean()),
            "first_percentile": _round(np.percentile(cosines, 1)),
            "least": _round(cosines.min()),
        },
        "float": _figures(exact.summed, before, identity),
        "int8": _figures(rough.summed, after, identity),
        "int8_without_mirror": _figures(rough.single, score(rough.single, identity), identity),
        "accept_rate_loss_points_at_1e-3": {
            "value": round(100 * lost, 2),
            "low": round(100 * low, 2),
            "high": round(100 * high, 2),
        },
        "crops": len(identity),
        "people": len(np.unique(identity)),
    }
    figures["score_shift_cos"] = {
        name: _round(figures["int8"][name] - figures["float"][name])
        for name in ("genuine_mean_cos", "impostor_cos_at_1e-3")
    }
    return Parity(figures, before, after, cosines, _judge(figures, gate or Gate()))


def of_templates(looks: Floats, templates: Floats, identity: NDArray[np.int64]) -> dict[str, Any]:
    """Figures of int8 looks (n, d) at templates (n, d) of the same pictures: what a kiosk compares."""
    return _shares(looks, score(looks, identity, templates=templates), identity, templates=templates)


def _figures(rows: Floats, scored: Scored, identity: NDArray[np.int64]) -> dict[str, Any]:
    figures = _shares(rows, scored, identity)
    accuracy, *ends = pair_accuracy(rows, identity)
    figures["intervals_95"]["pair_accuracy_percent"] = [_percent(end) for end in ends]
    return figures | {
        "pair_accuracy_percent": _percent(accuracy),
        "genuine_mean_cos": _round(scored.genuine.mean()),
        "impostor_cos_at_1e-3": _round(scored.tail.scores[int(1e-3 * _pairs(scored))]),
    }


def _shares(
    looks: Floats, scored: Scored, identity: NDArray[np.int64], *, templates: Floats | None = None
) -> dict[str, Any]:
    """Accept and miss rates, with their intervals."""
    missed, *ends = one_shot_miss_rate(looks, identity, templates=templates)
    intervals = {
        **{f"accept_rate_percent_at_{rate:g}": accept_interval(scored, rate) for rate in RATES},
        "one_shot_400_miss_rate_percent_at_1_percent": ends,
    }
    return {
        "accept_rate_percent": {f"{rate:g}": _percent(accept_rate(scored, rate)) for rate in RATES},
        "one_shot_400_miss_rate_percent_at_1_percent": _percent(missed),
        "intervals_95": {name: [_percent(end) for end in ends] for name, ends in intervals.items()},
    }


def _judge(figures: dict[str, Any], gate: Gate) -> tuple[str, ...]:
    cosine = figures["cosine_float_int8"]
    accuracy = figures["float"]["pair_accuracy_percent"] - figures["int8"]["pair_accuracy_percent"]
    lost = figures["accept_rate_loss_points_at_1e-3"]["value"]
    # Asked for what must hold: a figure that is no number holds nothing.
    checks = [
        (cosine["mean"] >= gate.mean_cosine, f"mean cosine {cosine['mean']} is under {gate.mean_cosine}"),
        (
            cosine["first_percentile"] >= gate.low_cosine,
            f"the worst per cent has cosine {cosine['first_percentile']}, under {gate.low_cosine}",
        ),
        (
            lost <= gate.accept_rate_loss_points,
            f"{lost} points of accept rate at 1e-3 lost, more than {gate.accept_rate_loss_points}",
        ),
        (
            accuracy <= gate.accuracy_loss_points,
            f"{accuracy:.2f} points of pair accuracy lost, more than {gate.accuracy_loss_points}",
        ),
    ]
    return tuple(sentence for holds, sentence in checks if not holds)


def _pairs(scored: Scored) -> float:
    pictures = scored.tail.pictures
    return float((pictures.sum() ** 2 - (pictures**2).sum()) / 2)


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
