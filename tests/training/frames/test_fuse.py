"""Weighing frames and counting misses against slow plain versions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

from glancein.domain.decide import decide
from glancein.domain.visit import Visit, VisitRules, add
from glancein.errors import InputError
from glancein.types import Accepted, Candidate, Limits, Reason, Rejected
from glancein_training.frames import fuse
from glancein_training.frames.spoil import Bools, Floats
from glancein_training.frames.visits import Visits

PEOPLE, VISITS, FRAMES, NUMBERS = 6, 12, 9, 8


def some_visits(*, noise: float = 0.5) -> Visits:
    """Two visits of each of six people: noisy copies of their templates, of any length."""
    rng = np.random.default_rng(0)
    template = rng.normal(size=(PEOPLE, NUMBERS))
    template /= np.linalg.norm(template, axis=1, keepdims=True)
    person = np.arange(VISITS) % PEOPLE
    raw = template[person][:, None] + noise * rng.normal(size=(VISITS, FRAMES, NUMBERS))
    flags = np.ones((VISITS, FRAMES), bool)
    return Visits(
        template=template.astype(np.float32),
        person=person,
        raw=(3 * raw).astype(np.float32),
        measures=rng.normal(size=(VISITS, FRAMES, 13)).astype(np.float32),
        overall=rng.random((VISITS, FRAMES)).astype(np.float32),
        passes=flags,
        small=np.zeros((VISITS, FRAMES, 56, 56, 3), np.uint8),
        wrong=np.zeros((VISITS, FRAMES, 7), bool),
        known=flags,
    )


def test_weighted_is_the_weighted_sum_of_unit_embeddings() -> None:
    """One frame at a time, scaled to unit length at the end; no weight, no look."""
    visits = some_visits()
    weights = np.random.default_rng(1).random((VISITS, FRAMES)).astype(np.float32)
    weights[3] = 0

    fused = fuse.weighted(visits, weights)

    for v in range(VISITS):
        total = np.zeros(NUMBERS)
        for k in range(FRAMES):
            total += weights[v, k] * visits.raw[v, k] / np.linalg.norm(visits.raw[v, k])
        wanted = total / np.linalg.norm(total) if v != 3 else np.zeros(NUMBERS)
        np.testing.assert_allclose(fused[v], wanted, atol=1e-5)


def test_weights_of_equal_scores_are_equal_and_steepness_picks_the_best() -> None:
    """Between the plain mean and the best frame."""
    scores = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]], np.float32)

    even, steep = fuse.weights_of(scores, 0.0), fuse.weights_of(scores, 50.0)

    assert np.array_equal(even, np.ones((2, 3)))
    np.testing.assert_allclose(steep, [[0, 0, 1], [1, 1, 1]], atol=1e-6)


def test_scores_by_vote_counts_frames_that_put_the_person_first() -> None:
    """The limit that so many frames have all passed; who is not enrolled is nobody's first."""
    visits = some_visits(noise=1.0)
    enrolled = np.array([0, 2, 3, 5])

    scores = fuse.scores_by_vote(visits, 2, enrolled)

    for v in range(VISITS):
        cosines = visits.unit()[v] @ visits.template.T
        for p in range(PEOPLE):
            first = [enrolled[row[enrolled].argmax()] == p for row in cosines]
            own = sorted(
                (float(row[p]) for row, is_p in zip(cosines, first, strict=True) if is_p), reverse=True
            )
            assert scores[v, p] == pytest.approx(own[1] if len(own) >= 2 else -1.0, abs=1e-6)


def test_scores_at_the_door_are_the_limits_at_which_the_kiosk_says_the_name() -> None:
    """Against the kiosk's own fold over the same frames, one person enrolled, just under and just over."""
    visits = some_visits(noise=1.0)
    rng = np.random.default_rng(3)
    visits = replace(visits, passes=rng.random(visits.passes.shape) < 0.8)
    cosines = visits.unit() @ visits.template.T

    scores = fuse.scores_at_the_door(visits, 2)

    assert (scores > -1).any()
    for v, p in np.ndindex(*scores.shape):
        highest = float(scores[v, p])
        for limit, said in ((highest - 1e-4, highest > -1), (highest + 1e-4, False)):
            assert _is_named(cosines[v, :, p], visits.passes[v], limit) == said


def _is_named(cosines: Floats, passes: Bools, limit: float) -> bool:
    """Whether the kiosk's visit accepts somebody whose frames have these cosines."""
    rules = VisitRules(agree_n=2, window_s=100.0, patience_s=100.0, gone_s=100.0)
    visit = Visit()
    for number, (cos, good) in enumerate(zip(cosines, passes, strict=True)):
        decision = decide([Candidate("ada", float(cos))], Limits(float(limit), 0.0))
        visit, verdict = add(visit, decision if good else Rejected(Reason.BLURRED), number, rules)
        if isinstance(verdict, Accepted):
            return True
    return False


def test_search_finds_own_best_other_and_strangers_best() -> None:
    """One visit at a time."""
    visits = some_visits()
    scores = visits.unit()[:, 0] @ visits.template.T
    enrolled = np.array([0, 2, 5])

    found = fuse.search(scores, visits.person, enrolled)

    mated = [v for v in range(VISITS) if visits.person[v] in enrolled]
    strangers = [v for v in range(VISITS) if visits.person[v] not in enrolled]
    assert found.own_cos.tolist() == [scores[v, visits.person[v]] for v in mated]
    assert found.other_cos.tolist() == [
        max(scores[v, p] for p in enrolled if p != visits.person[v]) for v in mated
    ]
    assert found.stranger_cos.tolist() == [max(scores[v, p] for p in enrolled) for v in strangers]


def test_equal_scores_find_nobody_first() -> None:
    """A tie counts against the person, as at the kiosk."""
    found = fuse.search(
        np.ones((VISITS, PEOPLE), np.float32), np.arange(VISITS) % PEOPLE, np.array([0, 2, 5])
    )

    assert found.rank.tolist() == [2] * len(found.rank)


def test_judge_tells_the_better_scores_and_by_how_much() -> None:
    """Perfect scores miss nobody; the difference has the sign of what is saved."""
    visits = some_visits(noise=1.5)
    mean = fuse.weighted(visits, np.ones((VISITS, FRAMES), np.float32)) @ visits.template.T
    perfect = np.where(np.arange(PEOPLE) == visits.person[:, None], 1.0, 0.0).astype(np.float32)
    ways = {"mean": fuse.whatever_gallery(mean), "perfect": fuse.whatever_gallery(perfect)}

    first, second = fuse.judge(
        ways, visits.person, people=PEOPLE, enrolled=3, rates=(0.1, 0.2), drawings=4, resamples=10
    )

    assert first.misses["0.2"].value > 0
    assert second.misses["0.2"].value == 0
    assert second.differences["0.2"].value == pytest.approx(-first.misses["0.2"].value)
    assert list(first.misses) == list(first.differences) == ["0.2"]  # six looks of strangers tell no tenth


@pytest.mark.parametrize(
    ("strangers", "told"), [(10, [0.1]), (99, [0.1]), (100, [0.01, 0.1])], ids=["10", "99", "100"]
)
def test_rates_are_told_when_one_stranger_may_pass(strangers: int, told: list[float]) -> None:
    """Below one look the limit is the strangers' best score, at whatever rate."""
    assert fuse.told_rates(strangers) == told


def test_too_few_strangers_for_any_rate_are_refused() -> None:
    """In one line that says what to plan more of."""
    with pytest.raises(InputError, match="9 looks of strangers tell nothing at an FPIR of 10 %: plan more"):
        fuse.told_rates(9)


def test_steepest_that_helps_finds_the_use_of_the_truth() -> None:
    """Weights by the true worth are taken; weights by the opposite are not."""
    visits = some_visits(noise=1.2)

    with_truth = fuse.steepest_that_helps(visits, visits.genuine(), enrolled=3, rate=0.2)
    with_lies = fuse.steepest_that_helps(visits, -visits.genuine(), enrolled=3, rate=0.2)

    assert with_truth > 0
    assert with_lies == 0
