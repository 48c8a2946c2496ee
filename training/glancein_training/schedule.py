"""The learning rate of a run that may go on for as long as there is time: warm-up, stable, then a decay."""

from __future__ import annotations


def share_of_rate(seen: int, *, batch: int, warm_up: int, decay: int, decay_from: int | None) -> float:
    """Share of the full rate after so many examples; the decay, once begun, ends at a hundredth.

    warm_up, decay: lengths in examples. decay_from: the count of examples at which the decay began.
    """
    warm = min(1.0, (seen + batch) / max(1, warm_up))
    if decay_from is None:
        return warm
    done = min(1.0, (seen - decay_from) / max(1, decay))
    return warm * max(0.01, 1 - done)
