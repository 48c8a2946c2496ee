"""Verification figures against slow plain versions of themselves."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from glancein.errors import InputError
from glancein_training.evaluate.bootstrap import Estimate, estimate, person_weights
from glancein_training.evaluate.faces import Faces, Floats, read_faces, unit_rows
from glancein_training.evaluate.verification import (
    Pairs,
    all_pairs,
    area_under,
    best_threshold,
    dealt_pairs,
    equal_error_rate,
    pairs_of,
    resample_equal_error,
    resample_true_accepts,
    ten_fold,
    thresholds_at,
    true_accepts_at,
    val_far,
    verify,
)


def made_faces(people: int = 30, each: int = 4, *, noise: float = 0.6, seed: int = 0) -> Faces:
    """People as random directions, pictures as noisy copies."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(people, 16)), each, axis=0)
    vectors = unit_rows(np.asarray(centres + noise * rng.normal(size=centres.shape), np.float32))
    identity = np.repeat(np.arange(people), each)
    path = np.array([f"{person:03d}/{k}.jpg" for k, person in enumerate(identity)])
    names = tuple(f"{person:03d}" for person in range(people))
    return Faces(path, np.ones(len(path), bool), vectors, identity, names, np.full(len(path), ""))


def plain_true_accepts(genuine: list[float], impostor: list[float], rate: float) -> float:
    """The lowest limit with at most ``rate`` of the impostors above it, by trying every score."""
    allowed = int(rate * len(impostor))
    limits = [t for t in impostor if sum(s > t for s in impostor) <= allowed]
    return sum(s > min(limits) for s in genuine) / len(genuine)


def test_of_each_pair_the_later_picture_is_the_enrolled_one() -> None:
    """Looks at templates, not at looks; listed pairs and all of them alike."""
    faces = replace(made_faces(12, 3), template=made_faces(12, 3, noise=0.2, seed=3).vector)
    assert faces.template is not None

    pairs = all_pairs(faces)
    listed = pairs_of(faces, pairs.left, pairs.right)

    plain = [float(faces.vector[a] @ faces.template[b]) for a in range(36) for b in range(a + 1, 36)]
    np.testing.assert_allclose(pairs.score_cos, plain, atol=1e-6)
    np.testing.assert_allclose(listed.score_cos, plain, atol=1e-6)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.5])
def test_true_accepts_agree_with_trying_every_limit(rate: float) -> None:
    """The sorted tail gives what an exhaustive search over limits gives."""
    pairs = all_pairs(made_faces(12, 3))

    measured = true_accepts_at(pairs, (rate,))[0]

    assert measured == pytest.approx(
        plain_true_accepts(pairs.genuine().tolist(), pairs.impostor().tolist(), rate)
    )


def test_every_pair_is_counted_once() -> None:
    """N pictures give n (n - 1) / 2 pairs, and each person's pictures all their genuine ones."""
    pairs = all_pairs(made_faces(10, 4))

    assert len(pairs.score_cos) == 40 * 39 // 2
    assert pairs.same.sum() == 10 * 6


def test_picture_without_face_never_matches() -> None:
    """A missing face is a false reject of its own person and never a false accept."""
    faces = made_faces(5, 2, noise=0.01)
    faces.found[0] = False

    pairs = all_pairs(faces)

    touched = (pairs.left == 0) | (pairs.right == 0)
    assert (pairs.score_cos[touched] == -1).all()


def test_equal_error_rate_of_known_gaussians() -> None:
    """Two unit Gaussians two apart cross at the normal tail of one: 15.87 %."""
    rng = np.random.default_rng(0)
    pairs = pairs_from(rng.normal(2, 1, 100_000), rng.normal(0, 1, 100_000))

    assert equal_error_rate(pairs) == pytest.approx(0.1587, abs=0.003)


def test_area_is_the_share_of_ordered_couples() -> None:
    """The area under the curve counts couples in which the genuine pair wins, ties half."""
    genuine, impostor = [0.9, 0.5, 0.4], [0.5, 0.3, 0.1, 0.6]
    wins = sum((g > i) + 0.5 * (g == i) for g in genuine for i in impostor)

    assert area_under(pairs_from(np.array(genuine), np.array(impostor))) == pytest.approx(wins / 12)


def test_val_and_far_count_pairs_within_the_distance() -> None:
    """VAL(d) and FAR(d) are the shares of pairs at squared L2 distance d or less."""
    faces = made_faces(8, 3)
    pairs = all_pairs(faces)
    distance = np.array([0.4, 1.1, 1.9])

    val, far = val_far(pairs, distance)

    squared = [
        float(np.sum((faces.vector[a] - faces.vector[b]) ** 2))
        for a, b in zip(pairs.left, pairs.right, strict=True)
    ]
    for k, d in enumerate(distance):
        near = np.array(squared) <= d
        assert val[k] == pytest.approx(near[pairs.same].mean())
        assert far[k] == pytest.approx(near[~pairs.same].mean())


@given(
    st.lists(st.tuples(st.sampled_from([-0.5, 0.0, 0.1, 0.2, 0.7]), st.booleans()), min_size=1, max_size=12),
)
def test_best_threshold_is_not_beaten_by_any_other(scored: list[tuple[float, bool]]) -> None:
    """No limit anywhere makes fewer errors than the one chosen."""
    scores = np.array([s for s, _ in scored], np.float32)
    same = np.array([g for _, g in scored])

    limit = best_threshold(scores, same)

    tried = [np.sum((scores > t) != same) for t in np.linspace(-1, 1, 81)]
    assert np.sum((scores > limit) != same) == min(tried)


def test_ten_fold_is_perfect_when_people_are_far_apart() -> None:
    """Separable people are told apart in every fold."""
    found = ten_fold(dealt_pairs(made_faces(60, 3, noise=0.05)))

    assert (found.accuracy, found.standard_error, found.val_at_far_1e_3) == (1.0, 0.0, 1.0)


def test_dealt_pairs_keep_people_in_one_fold_and_kinds_level() -> None:
    """No person stands in two folds, and impostor pairs are as many as genuine ones."""
    pairs = dealt_pairs(made_faces(60, 3))
    assert pairs.fold is not None

    for person in range(60):
        assert len(np.unique(pairs.fold[(pairs.first == person) | (pairs.second == person)])) == 1
    assert pairs.same.sum() == (~pairs.same).sum()


def test_resample_with_equal_weights_is_the_plain_figure() -> None:
    """Drawing everybody exactly once changes nothing."""
    pairs = all_pairs(made_faces())

    sampled = resample_true_accepts(pairs, np.ones((1, 30)), (1e-2, 1e-1))

    assert sampled[0] == pytest.approx(true_accepts_at(pairs, (1e-2, 1e-1)))


def test_resample_agrees_with_repeating_the_pairs() -> None:
    """Integer weights do what copying pairs would: once a draw for genuine, by the product for impostors."""
    pairs = all_pairs(made_faces(10, 3))
    weight = person_weights(10, 1, seed=3)

    sampled = resample_true_accepts(pairs, weight, (0.05,))[0, 0]

    copies = np.where(
        pairs.same, weight[0][pairs.first], weight[0][pairs.first] * weight[0][pairs.second]
    ).astype(int)
    genuine = np.repeat(pairs.score_cos[pairs.same], copies[pairs.same])
    impostor = np.repeat(pairs.score_cos[~pairs.same], copies[~pairs.same])
    assert sampled == pytest.approx(np.mean(genuine > thresholds_at(impostor, (0.05,))[0]))


@pytest.mark.parametrize("weight", [[3, 0, 0, 0], [0, 2, 2, 0]])
def test_resample_without_a_kind_of_pairs_tells_nothing(weight: list[float]) -> None:
    """Somebody drawn again and again has no impostor pair; people of one picture have no genuine one."""
    pairs = all_pairs(made_faces(4, 2).take(np.array([0, 1, 2, 4, 6])))
    weights = np.array([weight, [1, 1, 1, 1]], np.float64)

    sampled = resample_true_accepts(pairs, weights, (0.2, 0.5))
    errors = resample_equal_error(pairs, weights, about=equal_error_rate(pairs))

    assert np.isnan(sampled).tolist() == [[True, True], [False, False]]
    assert np.isnan(errors).tolist() == [True, False]
    assert estimate(0.5, sampled[:, 0]) == Estimate(0.5)


def test_resampled_equal_error_agrees_with_repeating_the_pairs() -> None:
    """Two of twenty people are known badly: without them there is no error, drawn thrice they double it."""
    faces = made_faces(20, 3, noise=0.3)
    faces.vector[:6] = made_faces(2, 3, noise=4).vector
    pairs = all_pairs(faces)
    weights = person_weights(20, 40, seed=1)
    copies = np.where(
        pairs.same, weights[:, pairs.first], weights[:, pairs.first] * weights[:, pairs.second]
    ).astype(int)
    scores, kinds = pairs.score_cos.astype(np.float64), (pairs.same, ~pairs.same)
    repeated = [[np.repeat(scores[kind], row[kind]) for kind in kinds] for row in copies]
    about = equal_error_rate(pairs)

    sampled = resample_equal_error(pairs, weights, about=about)

    plain = [equal_error_rate(pairs_from(genuine, impostor)) for genuine, impostor in repeated]
    assert min(plain) < about / 3
    assert max(plain) > 2 * about
    np.testing.assert_allclose(sampled, plain, atol=1 / 20)  # a person's pairs are one step of both curves


def test_interval_holds_the_figure_and_shrinks_with_people() -> None:
    """Intervals lie around their figures; four times the people halve them, roughly."""
    few = verify(all_pairs(made_faces(25, seed=1)), (1e-1,), folded=None, resamples=100, seed=0).true_accepts[
        "1e-01"
    ]
    many = verify(
        all_pairs(made_faces(100, seed=1)), (1e-1,), folded=None, resamples=100, seed=0
    ).true_accepts["1e-01"]

    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.low <= few.value <= few.high
    assert many.high - many.low < 0.8 * (few.high - few.low)


def test_rate_too_low_for_the_pairs_is_left_out() -> None:
    """A rate of less than one impostor pair is not reported rather than made up."""
    found = verify(all_pairs(made_faces(5, 2)), (1e-1, 1e-5), folded=None, resamples=10, seed=0)

    assert set(found.true_accepts) == {"1e-01"}


def test_pictures_of_one_person_only_are_refused() -> None:
    """Without impostor pairs there is nothing to verify."""
    with pytest.raises(InputError, match="no genuine or no impostor"):
        all_pairs(made_faces(1, 5))


@pytest.mark.data
@pytest.mark.heavy
def test_teacher_figures_of_the_data_come_out(data_dir: Path) -> None:
    """The first teacher's true accept rates on the development people are those its readme prints."""
    faces = read_faces(data_dir / "faces" / "teacher_a.npz", labels=data_dir / "faces" / "labels.csv")
    pairs = all_pairs(faces.take(faces.split == "val"))

    rates = 100 * true_accepts_at(pairs, (1e-2, 1e-3, 1e-4, 1e-5))

    assert rates == pytest.approx([94.9, 91.8, 86.1, 77.3], abs=0.06)
    with (data_dir / "faces" / "labels.csv").open(encoding="utf-8", newline="") as file:
        people = {row["identity"] for row in csv.DictReader(file) if row["split"] == "val"}
    assert pairs.people == len(people)


def pairs_from(genuine: NDArray[np.float64], impostor: NDArray[np.float64]) -> Pairs:
    """Pairs with these scores; person 0 with themselves, 0 with 1."""
    scores: Floats = np.concatenate([genuine, impostor]).astype(np.float32)
    first = np.zeros(len(scores), np.int64)
    second = np.concatenate([np.zeros(len(genuine), np.int64), np.ones(len(impostor), np.int64)])
    return Pairs(scores, first, second, 2, first, second)
