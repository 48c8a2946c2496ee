"""The embedding space without thresholds: nearest neighbours, clusters, smaller templates, a map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering, KMeans  # type: ignore[import-untyped]  # it ships none
from sklearn.decomposition import TruncatedSVD  # type: ignore[import-untyped]  # it ships none
from sklearn.manifold import TSNE  # type: ignore[import-untyped]  # it ships none
from sklearn.metrics import adjusted_rand_score, pair_confusion_matrix  # type: ignore[import-untyped]  # it ships none

from glancein_training.evaluate.bootstrap import (
    Estimate,
    Interval,
    Weights,
    estimate,
    half_samples,
    jackknife_percentiles,
)
from glancein_training.evaluate.faces import Bools, Faces, Floats, Ints, cosines, unit_rows
from glancein_training.evaluate.verification import all_pairs, resample_true_accepts, true_accepts_at


@dataclass(frozen=True, slots=True)
class Clustering:
    """How well clusters and people agree."""

    method: str
    clusters: int
    adjusted_rand: float
    pair_precision: float
    pair_recall: float
    pair_f: float
    adjusted_rand_interval: Interval = None
    pair_precision_interval: Interval = None
    pair_recall_interval: Interval = None
    pair_f_interval: Interval = None


def nearest_neighbours(faces: Faces, neighbours: int, *, weights: Weights) -> Estimate:
    """Share of pictures whose ``neighbours`` nearest others vote for their person; ties go to the nearer.

    Leave one out; a picture without a face counts as wrong. Of few pictures all others vote. The interval
    draws the people who are looked for.
    """
    scores = cosines(faces, faces)
    np.fill_diagonal(scores, -2)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, : min(neighbours, len(faces) - 1)]
    votes = [_vote(row) == own for row, own in zip(faces.identity[nearest], faces.identity, strict=True)]
    right = np.array(votes) & faces.found
    return estimate(float(right.mean()), [np.average(right, weights=w[faces.identity]) for w in weights])


def _vote(people: Ints) -> int:
    names, first, count = np.unique(people, return_index=True, return_counts=True)
    return int(names[np.lexsort((first, -count))[0]])


def cluster(faces: Faces, *, limit_cos: float, halves: int, seed: int) -> list[Clustering]:
    """k-means told the number of people, and average-link agglomerative clustering cut at ``limit_cos``.

    Somebody drawn twice would be two people who look exactly alike, or one whose pictures find their copies.
    So intervals come of ``halves`` random halves of the people, nobody twice, each clustered anew at the same
    limit.
    """
    seen = faces.take(faces.found)
    kept = half_samples(len(seen.people), halves, seed=seed)
    return [
        with_intervals(name, seen, by, kept)
        for name, by in (
            ("k-means", partial(by_means, seed=seed)),
            ("agglomerative", partial(by_links, limit_cos=limit_cos)),
        )
    ]


def with_intervals(method: str, faces: Faces, by: Callable[[Faces], Ints], kept: Bools) -> Clustering:
    """Agreement of all faces, with intervals from that of the people ``kept`` (halves, people) each time.

    Without intervals where a half has one person only, or no two pictures of one.
    """
    found = agreement(method, by(faces), faces.identity)
    samples = []
    for half in kept:
        some = faces.take(half[faces.identity])
        if len(some.people) < 2 or len(some.people) == len(some):
            return found
        one = agreement(method, by(some), some.identity)
        samples.append([one.adjusted_rand, one.pair_precision, one.pair_recall, one.pair_f])
    values = (found.adjusted_rand, found.pair_precision, found.pair_recall, found.pair_f)
    ends = [
        jackknife_percentiles(value, [row[k] for row in samples], len(faces.people))
        for k, value in enumerate(values)
    ]
    return replace(
        found,
        adjusted_rand_interval=ends[0],
        pair_precision_interval=ends[1],
        pair_recall_interval=ends[2],
        pair_f_interval=ends[3],
    )


def by_means(faces: Faces, *, seed: int) -> Ints:
    """(n,) a cluster for each picture, as many as there are people (k-means)."""
    means = KMeans(len(faces.people), n_init=1, random_state=seed)
    return np.asarray(means.fit_predict(faces.vector), np.int64)


def by_links(faces: Faces, *, limit_cos: float) -> Ints:
    """(n,) clusters joined while the mean cosine between them is above the limit."""
    tree = AgglomerativeClustering(None, metric="cosine", linkage="average", distance_threshold=1 - limit_cos)
    return np.asarray(tree.fit_predict(faces.vector), np.int64)


def agreement(method: str, clusters: Ints, people: Ints) -> Clustering:
    """Adjusted Rand index (Hubert and Arabie 1985) and pairwise precision, recall and F."""
    (_, false_join), (false_split, joined) = pair_confusion_matrix(people, clusters)
    precision = joined / max(joined + false_join, 1)
    recall = joined / max(joined + false_split, 1)
    return Clustering(
        method=method,
        clusters=len(np.unique(clusters)),
        adjusted_rand=float(adjusted_rand_score(people, clusters)),
        pair_precision=float(precision),
        pair_recall=float(recall),
        pair_f=float(2 * precision * recall / max(precision + recall, 1e-12)),
    )


def as_bytes(vectors: Floats) -> Floats:
    """Unit rows (n, d) after storage in d signed bytes; the scale cancels in the cosine and is not stored."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    return unit_rows(np.rint(vectors * (127 / np.maximum(largest, 1e-12))).astype(np.float32))


def smaller(vectors: Floats, width: int, *, seed: int) -> Floats:
    """Unit rows on their first ``width`` uncentred principal axes."""
    return unit_rows(np.asarray(TruncatedSVD(width, random_state=seed).fit_transform(vectors), np.float32))


def template_sizes(faces: Faces, rate: float, *, weights: Weights, seed: int) -> dict[str, Estimate]:
    """True accepts at one false accept rate for templates as floats, as bytes, and with fewer dimensions."""
    width = faces.vector.shape[1]
    both = np.concatenate([faces.vector, faces.enrolled])
    variants = {f"{width} floats": both, f"{width} bytes": as_bytes(both)}
    for fewer in (64, 32):
        if fewer < min(width, len(faces)):
            variants[f"{fewer} bytes (principal axes)"] = as_bytes(smaller(both, fewer, seed=seed))
    out = {}
    for name, vectors in variants.items():
        looks, enrolled = np.split(vectors, 2)
        pairs = all_pairs(replace(faces, vector=looks, template=enrolled))
        value = float(true_accepts_at(pairs, (rate,))[0])
        out[name] = estimate(value, resample_true_accepts(pairs, weights, (rate,))[:, 0])
    return out


def map_of(faces: Faces, *, people: int, seed: int) -> tuple[NDArray[np.float32], Ints]:
    """t-SNE (van der Maaten and Hinton 2008) of some people's pictures: positions (n, 2) and person (n,)."""
    some = faces.take(faces.found).sample(people, seed=seed)
    perplexity = min(10.0, max(2.0, (len(some) - 1) / 3))
    flat = TSNE(2, metric="cosine", init="random", perplexity=perplexity, random_state=seed)
    return np.asarray(flat.fit_transform(some.vector), np.float32), some.identity
