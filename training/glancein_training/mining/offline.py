"""Triplets from the latest checkpoint over much of the data (Schroff et al. 2015, section 3.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def offline_triplets(
    vectors: Floats, label: Ints, *, hardest: int, per_anchor: int, rng: np.random.Generator
) -> Ints:
    """(t, 3) rows of anchor, positive and negative out of embedded pictures.

    vectors (n, d) unit rows, label (n,), negative labels left out. Each picture that has a partner is an
    anchor with its farthest positive; negatives are drawn from its ``hardest`` nearest strangers,
    ``per_anchor`` of them, so that one wrongly labelled look-alike is not the whole lesson.
    """
    rows = np.flatnonzero(label >= 0)
    scores = vectors[rows] @ vectors[rows].T
    same = label[rows][:, None] == label[rows][None, :]
    np.fill_diagonal(same, val=False)
    anchors = np.flatnonzero(same.any(axis=1))
    strangers = len(rows) - 1 - same.sum(axis=1)
    keep = min(hardest, int(strangers[anchors].min())) if len(anchors) else 0
    if keep == 0:
        return np.zeros((0, 3), np.int64)
    positive = np.where(same, scores, np.inf).argmin(axis=1)
    itself = np.eye(len(rows), dtype=bool)
    nearest = np.argpartition(-np.where(same | itself, -np.inf, scores), keep - 1, axis=1)[:, :keep]
    out = []
    for anchor in anchors:
        drawn = rng.permutation(nearest[anchor])[:per_anchor]
        out.append(
            np.stack([np.full(len(drawn), anchor), np.full(len(drawn), positive[anchor]), drawn], axis=1)
        )
    return np.asarray(rows[np.concatenate(out)], np.int64)
