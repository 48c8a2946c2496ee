"""Thresholds are compared with plain counting and with tails whose truth is known."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Protocol

import numpy as np
import pytest

from glancein.types import Floats
from glancein_convert import thresholds
from glancein_convert.errors import ConversionError
from glancein_convert.figures import (
    accept_rate,
    margin_effect,
    one_shot_miss_rate,
    pair_accuracy,
    score,
    search_false_positives,
)
from glancein_convert.thresholds import Doubles, Indices


class Figure(Protocol):
    """A figure with its interval."""

    def __call__(
        self, vectors: Floats, identity: Indices, *, rounds: int = 200
    ) -> tuple[float, float, float]: ...


def people(count: int, pictures: int, *, spread: float, seed: int = 0) -> tuple[Floats, Indices]:
    """Unit vectors around one centre a person."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, 1, 16))
    rows = (centres + spread * rng.normal(size=(count, pictures, 16))).reshape(-1, 16)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(unit, np.float32), np.repeat(np.arange(count), pictures)


def plain_scores(vectors: Floats, identity: Indices) -> tuple[list[float], list[float]]:
    """Genuine and impostor scores, pair by pair."""
    genuine: list[float] = []
    impostor: list[float] = []
    for a, b in itertools.combinations(range(len(vectors)), 2):
        (genuine if identity[a] == identity[b] else impostor).append(float(vectors[a] @ vectors[b]))
    return genuine, impostor


def test_counted_thresholds_are_those_of_plain_counting() -> None:
    """With every person counted once, the quantile of all impostor pairs."""
    vectors, identity = people(60, 3, spread=0.5)
    _, impostor = plain_scores(vectors, identity)
    tail = thresholds.impostor_tail(vectors, identity, keep_rate=0.2)

    found = thresholds.thresholds(tail, np.ones(60), [1e-1, 5e-2])

    for threshold, rate in zip(found, (1e-1, 5e-2), strict=True):
        assert np.mean(np.array(impostor) > threshold) == pytest.approx(rate, abs=2 / len(impostor))


def test_with_templates_the_earlier_picture_of_a_pair_is_the_enrolled_one() -> None:
    """Scores of looks at templates, each pair of strangers counted once."""
    vectors, identity = people(60, 3, spread=0.5)
    templates, _ = people(60, 3, spread=0.5, seed=9)

    tail = thresholds.impostor_tail(vectors, identity, templates=templates, keep_rate=0.2)

    plain = sorted(
        float(templates[a] @ vectors[b])
        for a, b in itertools.combinations(range(len(vectors)), 2)
        if identity[a] != identity[b]
    )
    np.testing.assert_allclose(tail.scores, plain[: -len(tail.scores) - 1 : -1], atol=1e-6)


def test_weight_of_a_person_counts_their_pairs_that_often() -> None:
    """Resampling by weights equals repeating the pictures, without the pairs of a person with their copy."""
    vectors, identity = people(40, 2, spread=0.5)
    weight: Doubles = np.ones(40)
    weight[:10] = 2
    tail = thresholds.impostor_tail(vectors, identity, keep_rate=0.3)

    (found,) = thresholds.thresholds(tail, weight, [1e-1])

    scores = []
    for a, b in itertools.combinations(range(len(vectors)), 2):
        if identity[a] != identity[b]:
            repeats = int(weight[identity[a]] * weight[identity[b]])
            scores += [float(vectors[a] @ vectors[b])] * repeats
    assert np.mean(np.array(scores) > found) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("shape", [-0.3, -0.1, 0.0, 0.1])
def test_pareto_fit_finds_the_tail_it_was_drawn_from(shape: float) -> None:
    """Known generalised Pareto excesses give back their far quantiles."""
    rng = np.random.default_rng(1)
    uniform = rng.random(400_000)
    scale = 0.05
    excess = -scale * np.log(uniform) if shape == 0 else scale / shape * (uniform**-shape - 1)
    scores = np.sort(0.2 + excess)[::-1]
    total = len(scores) / 0.01  # these are the upper hundredth of all pairs

    fitted = thresholds.fit_pareto(scores, np.ones(len(scores)), total)

    share = 1e-6 / 0.01
    truth = 0.2 + (-scale * np.log(share) if shape == 0 else scale / shape * (share**-shape - 1))
    assert fitted.threshold(1e-6) == pytest.approx(truth, rel=0.06)


def test_thresholds_rise_as_rates_fall_and_lie_in_their_intervals() -> None:
    """The table is in order, and rates beyond the data are marked."""
    vectors, identity = people(120, 3, spread=0.6)
    tail = thresholds.impostor_tail(vectors, identity, keep_rate=0.1)

    table = thresholds.calibrate(tail, rounds=40)

    cosines = [point.threshold_cos for point in table]
    assert cosines == sorted(cosines)
    assert all(p.low_cos - 0.02 <= p.threshold_cos <= p.high_cos + 0.02 for p in table)
    assert [p.extrapolated for p in table] == [p.false_match_rate < 3e-3 for p in table]


@pytest.mark.parametrize("count", [20, 40, 60])
def test_few_people_get_wide_intervals_and_no_error(count: int) -> None:
    """A resample may leave one score for the tail, or none; rates above the tail's start are counted."""
    vectors, identity = people(count, 5, spread=0.6)
    tail = thresholds.impostor_tail(vectors, identity)

    table = thresholds.calibrate(tail)

    assert all(-1 < p.low_cos <= p.high_cos <= 1 for p in table)
    _, impostor = plain_scores(vectors, identity)
    assert np.mean(np.array(impostor) > table[0].threshold_cos) == pytest.approx(1e-2, abs=2 / len(impostor))
    assert table[0].low_cos > np.quantile(impostor, 0.95)


def test_too_few_people_for_a_tail_are_refused() -> None:
    """One sentence, and no threshold that is not a number."""
    vectors, identity = people(8, 5, spread=0.6)

    with pytest.raises(ConversionError, match="40 crops of 8 people are too few"):
        thresholds.calibrate(thresholds.impostor_tail(vectors, identity))


def test_pairs_marked_as_one_person_do_not_count() -> None:
    """A wrong label does not set the threshold."""
    vectors, identity = people(50, 2, spread=0.4)
    vectors[2] = vectors[0]  # person 1 has a picture of person 0
    marked = np.zeros((100, 100), np.bool_)
    marked[0, 2] = marked[2, 0] = True

    tail = thresholds.impostor_tail(vectors, identity, keep_rate=0.2, same_person=marked)

    assert tail.excluded == 1
    assert tail.scores[0] < 0.999


def test_accept_rate_is_that_of_plain_counting() -> None:
    """Genuine pairs over the impostors' quantile, pair by pair."""
    vectors, identity = people(50, 4, spread=0.7)
    genuine, impostor = plain_scores(vectors, identity)
    threshold = np.quantile(impostor, 1 - 1e-2)

    found = accept_rate(score(vectors, identity, keep_rate=0.1), 1e-2)

    assert found == pytest.approx(np.mean(np.array(genuine) > threshold), abs=0.01)


def test_figures_tell_good_vectors_from_bad_ones() -> None:
    """Tight clusters are perfect, noise is chance."""
    good, identity = people(60, 3, spread=0.05)
    bad, _ = people(180, 1, spread=0.0, seed=5)

    accuracies = [pair_accuracy(vectors, identity, rounds=2)[0] for vectors in (good, bad)]
    missed = [one_shot_miss_rate(v, identity, enrolled=20, seeds=range(3), rounds=2)[0] for v in (good, bad)]
    assert accuracies[0] > 0.99
    assert accuracies[1] == pytest.approx(0.5, abs=0.05)
    assert missed[0] < 0.02
    assert missed[1] > 0.8


@pytest.mark.parametrize("figure", [pair_accuracy, one_shot_miss_rate])
def test_interval_holds_the_figure_and_is_wider_for_few_people(figure: Figure) -> None:
    """Sixteen times the people: a quarter as wide, though as many pairs and galleries are drawn."""
    few, many = (figure(*people(count, 8, spread=1.1)) for count in (40, 640))

    assert few[1] <= few[0] <= few[2]
    assert many[1] <= many[0] <= many[2]
    assert few[2] - few[1] > 2.5 * (many[2] - many[1])


@pytest.mark.parametrize(
    ("figure", "once"),
    [(pair_accuracy, pair_accuracy), (one_shot_miss_rate, partial(one_shot_miss_rate, seeds=[0]))],
)
def test_interval_is_as_wide_as_the_figure_varies_with_other_people(figure: Figure, once: Figure) -> None:
    """Sixty people each time, all of them others, and enrolled once as at a kiosk: what it foretells."""
    sets = [people(60, 8, spread=1.1, seed=seed) for seed in range(30)]

    varied = np.std([once(vectors, identity, rounds=1)[0] for vectors, identity in sets])
    ends = [figure(vectors, identity, rounds=80)[1:] for vectors, identity in sets[:5]]

    assert 0.7 < np.median(np.diff(ends)) / (2 * 1.96 * varied) < 1.5


def test_interval_of_a_handful_of_people_is_of_resamples_that_tell_something() -> None:
    """One that draws nobody but one person, or no stranger, has no figure."""
    vectors, identity = people(4, 6, spread=0.6)

    for figure in (pair_accuracy, one_shot_miss_rate):
        value, low, high = figure(vectors, identity, rounds=50)
        assert 0 <= low <= value <= high <= 1


def test_searches_of_strangers_are_counted_as_the_rate_of_one_comparison_foretells() -> None:
    """Independent random people: FPIR = 1 - (1 - FMR)^N holds."""
    vectors, identity = people(1500, 1, spread=0.0, seed=8)
    upper = np.triu_indices(1500, 1)
    threshold = float(np.quantile((vectors @ vectors.T)[upper], 1 - 1e-3))

    counted = search_false_positives(vectors, identity, enrolled=100, threshold=threshold, seeds=range(5))

    assert counted == pytest.approx(1 - (1 - 1e-3) ** 100, abs=0.02)


def test_figures_enrol_the_templates_and_look_with_the_vectors() -> None:
    """Templates without spread are never missed by looks that are; alike templates change nothing."""
    vectors, identity = people(80, 4, spread=0.7)
    templates, _ = people(80, 4, spread=0.0)

    plain = one_shot_miss_rate(vectors, identity, enrolled=40, rounds=5)
    better = one_shot_miss_rate(vectors, identity, enrolled=40, rounds=5, templates=templates)
    same = one_shot_miss_rate(vectors, identity, enrolled=40, rounds=5, templates=vectors)

    assert same == plain
    assert better[0] < plain[0]
    scored = score(vectors, identity, templates=templates)
    by_hand = [
        float(templates[a] @ vectors[b])
        for a, b in itertools.combinations(range(len(vectors)), 2)
        if identity[a] == identity[b]
    ]
    np.testing.assert_allclose(sorted(scored.genuine), sorted(by_hand), atol=1e-6)
    nobody = np.zeros_like(vectors)
    wrong = search_false_positives(vectors, identity, templates=nobody, seeds=[0], enrolled=40, threshold=0.3)
    refused = margin_effect(vectors, identity, templates=nobody, margin=0.1, enrolled=40, threshold=0.3)
    assert (wrong, refused) == (0, (0, 0))


def test_wider_margin_refuses_more() -> None:
    """Nothing at zero, everything at two, more in between."""
    vectors, identity = people(80, 3, spread=0.6)
    shares = [
        margin_effect(vectors, identity, enrolled=40, threshold=0.3, margin=margin)
        for margin in (0.0, 0.05, 0.2, 2.0)
    ]

    assert shares[0] == (0.0, 0.0)
    assert shares[-1] == (1.0, 1.0)
    assert sorted(shares) == shares
