"""The threshold for a wanted false-match rate, by how many people are enrolled, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glancein_training.evaluate.bootstrap import Estimate, estimate, person_weights
from glancein_training.evaluate.faces import Bools
from glancein_training.evaluate.identification import Bench, draw_galleries, limit_at
from glancein_training.evaluate.verification import Pairs, thresholds_at

GALLERY_SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold (strict lower limit) for one gallery size and wanted rate of accepted strangers."""

    gallery: int
    rate: float
    measured_cos: Estimate
    independent_cos: float | None  # if all comparisons were independent: FMR = 1 - (1 - FPIR)^(1 / gallery)


def limits_by_gallery(
    bench: Bench,
    pairs: Pairs,
    rates: Sequence[float],
    *,
    drawings: int,
    resamples: int,
    seed: int,
    enrol: Bools | None = None,
) -> list[Limit]:
    """Thresholds for every gallery size the pictures allow, padding included.

    ``enrol`` (n,) marks the pictures that may be enrolled, else any may.
    """
    impostor = pairs.impostor()
    weights = person_weights(len(bench.faces.people), resamples, seed=seed)
    out = []
    for size in GALLERY_SIZES:
        galleries = draw_galleries(bench.faces, size, drawings, padding=bench.padding, seed=seed, enrol=enrol)
        if len(galleries[0].rows) + galleries[0].padding < size:
            break
        found = [bench.search(gallery) for gallery in galleries]
        for rate in rates:
            if rate * len(found[0].stranger_cos) < 1:
                continue
            value = float(np.mean([limit_at(s, rate) for s in found]))
            sampled = [limit_at(found[k % drawings], rate, w) for k, w in enumerate(weights)]
            single = 1 - (1 - rate) ** (1 / size)
            resolved = single * len(impostor) >= 1
            independent = float(thresholds_at(impostor, (single,))[0]) if resolved else None
            out.append(Limit(size, rate, estimate(value, sampled), independent))
    return out
