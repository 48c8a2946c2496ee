"""Intervals of curves, ten folds, moved thresholds and clusters: as plain versions say, and wide enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install glancein[training]")

from glancein_training.evaluate.bootstrap import (
    Interval,
    half_samples,
    jackknife_percentiles,
    percentiles,
    person_weights,
)
from glancein_training.evaluate.faces import Faces, unit_rows
from glancein_training.evaluate.report import percent, with_ends
from glancein_training.evaluate.resampling import intervals_of, resample_curves
from glancein_training.evaluate.structure import by_links, cluster, with_intervals
from glancein_training.evaluate.transfer import shares_above, transfer
from glancein_training.evaluate.verification import (
    Doubles,
    Pairs,
    all_pairs,
    area_under,
    best_threshold,
    dealt_pairs,
    ten_fold,
    thresholds_at,
    true_accepts_at,
    val_far,
    verify,
)

RATES, DISTANCES = np.array([0.01, 0.1, 0.5, 1.0]), np.array([0.3, 0.8, 1.2, 1.9, 4.0])
Measured = tuple[float, Interval]


def made_faces(people: int, each: int = 3, *, noise: float = 0.8, seed: int = 0) -> Faces:
    """People as random directions, pictures as noisy copies; some are noisier than others."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(people, 16)), each, axis=0)
    own = np.repeat(noise * rng.uniform(0.5, 1.5, (people, 1)), each, axis=0)
    vectors = unit_rows(np.asarray(centres + own * rng.normal(size=centres.shape), np.float32))
    identity = np.repeat(np.arange(people), each)
    path = np.array([f"{person:03d}/{k}.jpg" for k, person in enumerate(identity)])
    names = tuple(f"{person:03d}" for person in range(people))
    return Faces(path, np.ones(len(path), bool), vectors, identity, names, np.full(len(path), ""))


def repeated(pairs: Pairs, weight: Doubles) -> Pairs:
    """Each pair copied: a genuine one for every time its person is drawn, others by the product."""
    counts = [
        int(weight[a]) if a == b else int(weight[a] * weight[b])
        for a, b in zip(pairs.first, pairs.second, strict=True)
    ]
    rows = np.repeat(np.arange(len(counts)), counts)
    fold = None if pairs.fold is None else pairs.fold[rows]
    return Pairs(
        pairs.score_cos[rows],
        pairs.first[rows],
        pairs.second[rows],
        pairs.people,
        pairs.left[rows],
        pairs.right[rows],
        fold,
    )


def test_resampled_curves_agree_with_repeating_the_pairs() -> None:
    """Area, ROC, VAL(d) and FAR(d), ties of scores included."""
    faces = made_faces(12)
    pairs = all_pairs(replace(faces, vector=np.round(faces.vector, 1)))
    weights = person_weights(12, 5, seed=1)

    sampled = resample_curves(pairs, weights, rates=RATES, distances=DISTANCES)

    for k, weight in enumerate(weights):
        plain = repeated(pairs, weight)
        val, far = val_far(plain, DISTANCES)
        assert sampled.area[k] == pytest.approx(area_under(plain))
        assert sampled.roc_true_accepts[k] == pytest.approx(true_accepts_at(plain, RATES.tolist()))
        assert sampled.val[k] == pytest.approx(val)
        assert sampled.far[k] == pytest.approx(far)


def test_resampled_curves_of_part_of_the_strangers_are_those_of_all() -> None:
    """Half of the impostor pairs say the same of everybody and vary as much."""
    pairs = all_pairs(made_faces(40))
    weights = np.vstack([np.ones(40), person_weights(40, 60, seed=1)])
    count = int((~pairs.same).sum())

    part = resample_curves(pairs, weights, rates=RATES, distances=DISTANCES, most=count // 2)

    whole = resample_curves(pairs, weights, rates=RATES, distances=DISTANCES)
    assert part.area[0] == pytest.approx(whole.area[0], abs=1e-4)
    assert part.far[0] == pytest.approx(whole.far[0], abs=1e-3)
    assert np.std(part.area) == pytest.approx(np.std(whole.area), rel=0.1)
    np.testing.assert_array_equal(part.val, whole.val)


def test_resample_without_strangers_leaves_curves_without_intervals() -> None:
    """One person drawn for all has nobody to be taken for."""
    pairs = all_pairs(made_faces(3))
    weights = np.array([[3.0, 0, 0], [1, 1, 1]])

    sampled = resample_curves(pairs, weights, rates=RATES, distances=DISTANCES)

    assert np.isnan(sampled.area).tolist() == [True, False]
    assert intervals_of(sampled.val) == [None] * 5


def test_verification_tells_an_interval_of_every_figure() -> None:
    """Each lies around its figure; the curves have one for each point."""
    faces = made_faces(60)
    found = verify(all_pairs(faces), (1e-2,), folded=dealt_pairs(faces), resamples=40, seed=0)

    assert found.ten_fold is not None
    assert found.area_interval is not None
    assert found.ten_fold.accuracy_interval is not None
    assert found.area_interval[0] < found.area < found.area_interval[1]
    low, high = found.ten_fold.accuracy_interval
    assert low < found.ten_fold.accuracy < high
    curves = found.curves
    assert (
        len(curves.val_interval) == len(curves.far_interval) == len(curves.roc_true_accepts_interval) == 200
    )
    ends = np.array(curves.val_interval, np.float64)
    assert (ends[:, 0] <= np.array(curves.val) + 1e-9).all()
    assert (ends[:, 1] >= np.array(curves.val) - 1e-9).all()


def plain_fold(pairs: Pairs, fold: int) -> tuple[float, float]:
    """Accuracy and VAL of one fold at the other nine's limits."""
    assert pairs.fold is not None
    inside = pairs.fold == fold
    limit = best_threshold(pairs.score_cos[~inside], pairs.same[~inside])
    strict = thresholds_at(pairs.score_cos[~inside & ~pairs.same], (1e-3,))[0]
    right = np.mean((pairs.score_cos[inside] > limit) == pairs.same[inside])
    return float(right), float(np.mean(pairs.score_cos[inside & pairs.same] > strict))


def test_ten_fold_intervals_agree_with_repeating_the_pairs() -> None:
    """Folds without a kind of pairs are left out of a resample's mean."""
    pairs = dealt_pairs(made_faces(50))
    weights = person_weights(50, 12, seed=2)
    plain, left_out = [], 0
    for weight in weights:
        copies = repeated(pairs, weight)
        assert copies.fold is not None
        told = [k for k in range(10) if len(set(copies.same[copies.fold == k].tolist())) == 2]
        left_out += 10 - len(told)
        plain.append(np.mean([plain_fold(copies, k) for k in told], axis=0))

    found = ten_fold(pairs, weights)

    assert left_out > 0
    assert found.accuracy_interval == pytest.approx(percentiles([a for a, _ in plain]))
    assert replace(found, accuracy_interval=None, threshold_cos_interval=None) == ten_fold(pairs)


def test_val_on_ten_folds_has_an_interval_where_its_rate_is_resolved() -> None:
    """FAR 1e-3 needs a thousand impostor pairs in every nine folds."""
    few, many = (ten_fold(dealt_pairs(made_faces(60, each)), np.ones((3, 60))) for each in (3, 9))

    assert few.val_at_far_1e_3_interval is None
    assert many.val_at_far_1e_3_interval == pytest.approx((many.val_at_far_1e_3,) * 2)


def test_moved_threshold_s_intervals_agree_with_repeating_the_pairs() -> None:
    """Limits of the resampled even people, shares of the resampled odd ones."""
    faces = made_faces(30)
    choosing, judging = all_pairs(faces.half(0)), all_pairs(faces.half(1))
    chosen, judged = (person_weights(15, 8, seed=3 + k) for k in range(2))
    limits, false, true = [], [], []
    for one, other in zip(chosen, judged, strict=True):
        limit = thresholds_at(repeated(choosing, one).impostor(), (0.05,))[0]
        copies = repeated(judging, other)
        limits.append(float(limit))
        false.append(float(np.mean(copies.impostor() > limit)))
        true.append(float(np.mean(copies.genuine() > limit)))

    (row,) = transfer(faces, (0.05, 1e-5), resamples=8, seed=3)

    assert row.threshold_cos_interval == pytest.approx(percentiles(limits))
    assert row.realised_far_interval == pytest.approx(percentiles(false))
    assert row.true_accepts_interval == pytest.approx(percentiles(true))
    assert percent(with_ends(row.true_accepts, row.true_accepts_interval)).endswith(")")


def test_shares_without_a_limit_or_a_pair_are_no_numbers() -> None:
    """A resample of one person has no strangers to count."""
    pairs = all_pairs(made_faces(3))

    false, true = shares_above(pairs, np.array([[3.0, 0, 0], [1, 1, 1]]), np.array([[0.3], [np.nan]]))

    assert np.isnan(false).all()
    assert np.isnan(true).tolist() == [[False], [True]]


def test_cluster_intervals_are_those_of_halves_clustered_anew() -> None:
    """Nobody is in a half twice; deviations from the halves' mean are put about the figure."""
    faces = made_faces(21)
    kept = half_samples(21, 15, seed=4)
    rands = []
    for half in kept:
        some = faces.take(np.isin(faces.identity, np.flatnonzero(half)))
        assert len(some.people) == 10
        rands.append(with_intervals("", some, partial(by_links, limit_cos=0.5), kept[:0]).adjusted_rand)

    found = with_intervals("", faces, partial(by_links, limit_cos=0.5), kept)

    spread = [(rand - sum(rands) / 15) * (10 / 11) ** 0.5 for rand in rands]
    assert found.adjusted_rand_interval == pytest.approx(
        percentiles([found.adjusted_rand + s for s in spread])
    )


def test_perfect_clusters_stay_perfect_and_few_people_tell_nothing() -> None:
    """People far apart have an interval of one point; a half of three is one person."""
    told = cluster(made_faces(12, noise=0.01), limit_cos=0.95, halves=5, seed=0)
    few = cluster(made_faces(3, noise=0.01), limit_cos=0.5, halves=5, seed=0)

    assert [told[1].adjusted_rand_interval, told[1].pair_f_interval] == [(1, 1), (1, 1)]
    assert few[1].adjusted_rand_interval is None


def test_half_of_nobody_has_no_interval() -> None:
    """One person cannot be halved."""
    assert jackknife_percentiles(0.5, [0.5, 0.5], 1) is None


def area(seed: int) -> Measured:
    """Of forty people."""
    pairs = all_pairs(made_faces(40, seed=seed))
    sampled = resample_curves(pairs, person_weights(40, 60, seed=seed), rates=RATES, distances=DISTANCES)
    return area_under(pairs), percentiles(sampled.area)


def val(seed: int) -> Measured:
    """At a squared distance of 0.8."""
    pairs = all_pairs(made_faces(40, seed=seed))
    sampled = resample_curves(pairs, person_weights(40, 60, seed=seed), rates=RATES, distances=DISTANCES)
    return float(val_far(pairs, DISTANCES)[0][1]), intervals_of(sampled.val)[1]


def accuracy(seed: int) -> Measured:
    """On ten folds of sixty people."""
    found = ten_fold(dealt_pairs(made_faces(60, seed=seed)), person_weights(60, 20, seed=seed))
    return found.accuracy, found.accuracy_interval


def realised(seed: int) -> Measured:
    """True accepts at the other half's threshold."""
    (row,) = transfer(made_faces(40, seed=seed), (0.05,), resamples=60, seed=seed)
    return row.true_accepts, row.true_accepts_interval


def rand_index(seed: int) -> Measured:
    """Of average-link clusters."""
    by = partial(by_links, limit_cos=0.5)
    found = with_intervals("", made_faces(40, seed=seed), by, half_samples(40, 20, seed=seed))
    return found.adjusted_rand, found.adjusted_rand_interval


@pytest.mark.parametrize("measured", [area, val, accuracy, realised, rand_index])
def test_interval_covers_what_other_people_give(measured: Callable[[int], Measured]) -> None:
    """Most of 25 drawings of people hold the mean, and intervals are less than twice too wide."""
    values, ends = zip(*(measured(seed) for seed in range(25)), strict=True)

    told = both(ends)
    truth = np.mean(values)
    assert np.mean((told[:, 0] <= truth) & (truth <= told[:, 1])) >= 0.8
    assert np.mean(told[:, 1] - told[:, 0]) < 2 * 3.92 * np.std(values)


def both(ends: Sequence[Interval]) -> Doubles:
    """(n, 2) of intervals that are all told."""
    assert None not in ends
    return np.array(ends, np.float64)
