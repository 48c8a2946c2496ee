"""Enrolled unit vectors as one contiguous matrix; ranked search by cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glancein.types import Candidate, Floats, Template

EMBEDDING_SIZE = 128
# A template further than this from unit length was damaged on its way here.
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Gallery:
    """One row for each template; a person may have several, and counts once in a ranking."""

    person_ids: tuple[str, ...]
    matrix: Floats  # (n, 128) unit rows, C-contiguous

    def __len__(self) -> int:
        return len(self.person_ids)

    def rank(self, embedding: Floats, k: int = 2) -> list[Candidate]:
        """The k most similar people, best first, one candidate a person.

        embedding (128,) of unit length; fewer than k people give fewer candidates. Raises ValueError for a
        vector of another size or one that is not finite.
        """
        probe = np.asarray(embedding, np.float32)
        if probe.shape != (EMBEDDING_SIZE,) or not np.isfinite(probe).all():
            raise ValueError(f"a probe is {EMBEDDING_SIZE} finite numbers")
        if not self.person_ids:
            return []
        scores = self.matrix @ probe
        best: dict[str, float] = {}
        for row in _best_first(scores, k):
            best.setdefault(self.person_ids[row], float(scores[row]))
            if len(best) == k:
                return _candidates(best)
        # Several templates of few people filled the first look: rank all rows.
        for row in np.argsort(-scores, kind="stable"):
            best.setdefault(self.person_ids[row], float(scores[row]))
            if len(best) == k:
                break
        return _candidates(best)


def gather(templates: Sequence[Template]) -> Gallery:
    """Gallery of templates without those whose vector is not finite, not of unit length or of another size.

    A damaged template must neither match anybody nor stop the kiosk; ``doctor`` reports it.
    """
    sound = [t for t in templates if is_sound(t.vector)]
    matrix = np.stack([t.vector for t in sound]) if sound else np.empty((0, EMBEDDING_SIZE), np.float32)
    return Gallery(tuple(t.person_id for t in sound), np.ascontiguousarray(matrix, np.float32))


def unit(vector: Floats) -> Floats:
    """The vector at length one; all zeros stay zeros, which match nobody."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def is_sound(vector: Floats) -> bool:
    """True for a finite unit vector of 128 numbers."""
    return (
        vector.shape == (EMBEDDING_SIZE,)
        and bool(np.isfinite(vector).all())
        and abs(float(np.linalg.norm(vector)) - 1.0) < UNIT_TOLERANCE
    )


def _best_first(scores: Floats, k: int) -> list[int]:
    """Rows of the few highest scores, best first: a partial sort, so 100,000 rows cost one pass."""
    few = min(len(scores), 8 * k)
    rows = np.argpartition(-scores, few - 1)[:few] if few < len(scores) else np.arange(len(scores))
    return [int(row) for row in rows[np.argsort(-scores[rows], kind="stable")]]


def _candidates(best: dict[str, float]) -> list[Candidate]:
    return [Candidate(person_id, score) for person_id, score in best.items()]
