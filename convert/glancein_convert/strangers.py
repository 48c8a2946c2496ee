"""The threshold of a bundle: impostor scores of development people, the cohort, the check of searches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glancein.domain.calibrate import false_match_rate, search_rate, threshold_at
from glancein.model_card import ThresholdPoint
from glancein.types import Floats
from glancein_convert import thresholds
from glancein_convert.figures import margin_effect, search_false_positives
from glancein_convert.vectors import Vectors

COHORT_VECTORS = 2000
# Both teachers, trained apart, find the two pictures this alike: one person under two labels.
SAME_PERSON_COS = 0.6
# The half of the crops whose mirror image is nearest to them looks straight ahead, as badge photos do.
FRONTAL_SHARE = 0.5
GALLERIES = (50, 100, 200, 400)
MARGINS_COS = (0.02, 0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Strangers:
    """Calibration points for the card, cohort bytes for the bundle, and what was measured on the way."""

    points: tuple[ThresholdPoint, ...]
    cohort: bytes
    figures: dict[str, Any]  # any JSON


def calibrate(  # noqa: PLR0913  # what the thresholds are of
    development: Vectors,
    templates: Floats,
    identity: NDArray[np.int64],
    teachers: Sequence[Floats],
    cohort: Vectors,
    *,
    seed: int = 0,
) -> Strangers:
    """Thresholds on int8 vectors: for each rate the stricter of all development crops and frontal ones.

    Scores are of a look at one person and the template (n, d) of another, as the kiosk compares them. Without
    strangers (no rows in ``cohort``) there is no figure of them, and the cohort's file holds nobody.
    """
    same = same_person(teachers, len(identity))
    everyone = thresholds.impostor_tail(development.summed, identity, templates=templates, same_person=same)
    frontal = np.flatnonzero(development.symmetry >= np.quantile(development.symmetry, 1 - FRONTAL_SHARE))
    ahead = thresholds.impostor_tail(
        development.summed[frontal],
        identity[frontal],
        templates=templates[frontal],
        same_person=same[np.ix_(frontal, frontal)],
    )
    tables = {
        "all_crops": thresholds.calibrate(everyone, seed=seed),
        "frontal_half": thresholds.calibrate(ahead, seed=seed),
    }
    points = tuple(max(pair, key=lambda p: p.threshold_cos) for pair in zip(*tables.values(), strict=True))
    figures: dict[str, Any] = {
        "thresholds_cos": {
            name: {f"{p.false_match_rate:g}": p.threshold_cos for p in table}
            for name, table in tables.items()
        },
        "pairs_thought_to_be_one_person": everyone.excluded,
        "against_cohort": against_cohort(templates, cohort, points),
        "search_false_positives": check_searches(development.summed, templates, identity, points),
        "margins": check_margins(development.summed, templates, identity, points),
    }
    return Strangers(points, pack_cohort(cohort, development, seed=seed), figures)


def same_person(teachers: Sequence[Floats], crops: int) -> NDArray[np.bool_]:
    """(crops, crops): the pairs that every teacher believes to show one person, none without a teacher."""
    out = np.full((crops, crops), bool(teachers))
    for vectors in teachers:
        out &= (vectors @ vectors.T) > SAME_PERSON_COS
    return out


def check_searches(
    vectors: Floats, templates: Floats, identity: NDArray[np.int64], points: Sequence[ThresholdPoint]
) -> list[dict[str, float]]:
    """FPIR as 1 - (1 - FMR)^N foretells it beside FPIR as counted, for several galleries and rates."""
    rows = []
    for gallery in (n for n in GALLERIES if n <= len(np.unique(identity)) // 2):
        for rate in (1e-3, 1e-4, 1e-5):
            threshold = threshold_at(points, rate)
            counted = search_false_positives(
                vectors,
                identity,
                templates=templates,
                enrolled=gallery,
                threshold=threshold,
                seeds=range(10),
            )
            foretold = search_rate(gallery, rate)
            rows.append(
                {
                    "gallery": gallery,
                    "false_match_rate": rate,
                    "foretold": round(foretold, 5),
                    "counted": round(counted, 5),
                }
            )
    return rows


def check_margins(
    vectors: Floats, templates: Floats, identity: NDArray[np.int64], points: Sequence[ThresholdPoint]
) -> list[dict[str, float]]:
    """For a gallery of 400 (or half of the people) at an FPIR of 1 %: what each margin refuses."""
    enrolled = min(400, len(np.unique(identity)) // 2)
    threshold = threshold_at(points, false_match_rate(enrolled, 0.01))
    rows = []
    for margin in MARGINS_COS:
        right, strangers = margin_effect(
            vectors, identity, templates=templates, enrolled=enrolled, threshold=threshold, margin=margin
        )
        refused = {"right_ones_refused": round(right, 4), "strangers_refused": round(strangers, 4)}
        rows.append({"margin_cos": margin, **refused})
    return rows


def against_cohort(
    templates: Floats, cohort: Vectors, points: Sequence[ThresholdPoint]
) -> dict[str, dict[str, float]]:
    """Share of template x cohort pairs (different sources, so different people) over each threshold."""
    if len(cohort.summed) == 0:
        return {}
    scores = templates @ cohort.summed.T
    return {
        f"{point.false_match_rate:g}": {
            "share_over_threshold": round(float(np.mean(scores > point.threshold_cos)), 8)
        }
        for point in points
    }


def pack_cohort(cohort: Vectors, development: Vectors, *, seed: int) -> bytes:
    """An .npz: ``vectors`` (2000, 128) int8 and ``scale`` (2000,) float32, unit vector = vectors * scale.

    Without strangers it holds nobody: development people are then its maker's own, their vectors templates.
    """
    rows = np.concatenate([cohort.summed, development.summed]) if len(cohort.summed) else cohort.summed
    picked = np.sort(
        np.random.default_rng(seed).choice(len(rows), min(COHORT_VECTORS, len(rows)), replace=False)
    )
    scale = np.abs(rows[picked]).max(1) / 127
    steps = np.rint(rows[picked] / scale[:, None]).astype(np.int8)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, vectors=steps, scale=scale.astype(np.float32))
    return file.getvalue()
