"""Mining, curriculum, collapse watch and the sampler, by what each promises of every triplet or batch."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein.errors import InputError
from glancein_training.losses.distances import squared_distances
from glancein_training.mining.collapse import CollapseWatch, TrainingCollapsed, collapsed
from glancein_training.mining.curriculum import Curriculum
from glancein_training.mining.offline import offline_triplets
from glancein_training.mining.online import (
    anchor_positive_pairs,
    hard_triplets,
    random_triplets,
    semi_hard_triplets,
)
from glancein_training.packs import unit_rows
from glancein_training.sampling import people_sampler

LABEL = torch.tensor([0, 0, 0, 1, 1, 2, -1])


def a_batch(seed: int = 0) -> torch.Tensor:
    """Squared distances (7, 7) of random vectors."""
    return squared_distances(torch.randn(7, 4, generator=torch.Generator().manual_seed(seed)))


def seeded() -> torch.Generator:
    """The same numbers every time."""
    return torch.Generator().manual_seed(1)


def test_all_anchor_positive_pairs_are_found_once() -> None:
    """Three pictures give six ordered pairs, two give two, one gives none, unlabelled ones none."""
    pairs = {tuple(pair) for pair in anchor_positive_pairs(LABEL).tolist()}

    assert pairs == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (3, 4), (4, 3)}


def test_random_triplets_take_any_stranger() -> None:
    """Every pair gets a negative, and over many draws every stranger comes up."""
    rng = seeded()
    seen = {tuple(t) for _ in range(60) for t in random_triplets(LABEL, rng).tolist()}

    assert {n for a, _, n in seen if a == 0} == {3, 4, 5}
    assert all(LABEL[a] == LABEL[p] and LABEL[n] not in (LABEL[a], -1) for a, p, n in seen)


def test_semi_hard_negatives_lie_between_positive_and_margin() -> None:
    """Farther than the positive, nearer than positive plus margin; and every pair that has one gets one."""
    distance = a_batch()

    triplets = semi_hard_triplets(distance, LABEL, margin=0.8, rng=seeded()).tolist()

    for a, p, n in triplets:
        assert distance[a, p] < distance[a, n] < distance[a, p] + 0.8
    wanted = [
        (a, p)
        for a, p in anchor_positive_pairs(LABEL).tolist()
        if any(0 < distance[a, n] - distance[a, p] < 0.8 for n in range(6) if LABEL[n] != LABEL[a])
    ]
    assert [(a, p) for a, p, _ in triplets] == wanted


def test_hard_negatives_are_the_nearest_strangers() -> None:
    """No stranger is nearer to the anchor than the one chosen."""
    distance = a_batch()

    for a, _, n in hard_triplets(distance, LABEL).tolist():
        assert distance[a, n] == min(distance[a, k] for k in range(6) if LABEL[k] != LABEL[a])


def test_offline_triplets_hold_farthest_positive_and_near_strangers() -> None:
    """From stored embeddings: the worst positive, negatives among the hardest few, nobody unlabelled."""
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.normal(size=(40, 6)).astype(np.float32))
    label = np.repeat(np.arange(-1, 9), 4)
    scores = vectors @ vectors.T

    triplets = offline_triplets(vectors, label, hardest=3, per_anchor=2, rng=rng)

    assert len(triplets) == 36 * 2
    for a, p, n in triplets:
        own = [k for k in range(40) if label[k] == label[a] and k != a]
        strangers = sorted((scores[a, k] for k in range(40) if label[k] not in (label[a], -1)), reverse=True)
        assert scores[a, p] == min(scores[a, k] for k in own)
        assert scores[a, n] >= strangers[2]


def test_offline_triplets_of_one_person_are_none() -> None:
    """Without strangers there is nothing to push away."""
    vectors = unit_rows(np.ones((3, 2), np.float32))

    assert offline_triplets(
        vectors, np.zeros(3, np.int64), hardest=5, per_anchor=1, rng=np.random.default_rng(0)
    ).shape == (0, 3)


def test_curriculum_grows_harder_and_levels_off() -> None:
    """No hard triplets at first, then a rising share up to its most."""
    plan = Curriculum()
    shares = [plan.hard_share(p) for p in np.linspace(0, 1, 21)]

    assert shares == sorted(shares)
    assert [plan.hard_share(p) for p in (0.3, 0.55, 1.0)] == pytest.approx([0, 0.25, 0.5])


def test_curriculum_late_mixes_hard_triplets_in() -> None:
    """At the end half of the triplets are hard ones, where there are enough."""
    distance = a_batch(3)
    hard = {tuple(t) for t in hard_triplets(distance, LABEL).tolist()}

    late = Curriculum(most_hard=0.5).triplets(distance, LABEL, progress=1.0, margin=1.0, rng=seeded())

    easy = len(semi_hard_triplets(distance, LABEL, margin=1.0, rng=seeded()))
    assert sum(tuple(t) in hard for t in late.tolist()[easy:]) == min(len(hard), easy)


def test_equal_vectors_are_a_collapse_and_random_ones_are_not() -> None:
    """One direction for all and vanishing vectors count; a fresh network does not."""
    spread = torch.randn(20, 8, generator=seeded())

    assert collapsed(torch.ones(20, 8) + 1e-3 * spread)
    assert collapsed(1e-6 * spread)
    assert not collapsed(spread)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_vectors_that_are_no_numbers_end_the_run_at_once(number: str) -> None:
    """The weights are spoilt already; no patience brings them back."""
    with pytest.raises(TrainingCollapsed, match="no number any more"):
        CollapseWatch().look(torch.tensor([[1.0, 2.0], [3.0, float(number)]]))


def test_collapse_ends_the_run_only_when_it_lasts() -> None:
    """One bad step is forgiven; patience ends with advice."""
    watch = CollapseWatch(patience=3)
    same, spread = torch.ones(5, 4), torch.randn(5, 4, generator=seeded())

    watch.look(same)
    watch.look(same)
    watch.look(spread)
    watch.look(same)
    watch.look(same)

    with pytest.raises(TrainingCollapsed, match="semi-hard"):
        watch.look(same)


def test_batches_hold_the_wanted_people_and_pictures() -> None:
    """P people with K pictures each, no picture twice, everybody once an epoch."""
    label = np.repeat(np.arange(12), 5)
    sampler = people_sampler(label, people=4, each=3, seed=0)

    epoch = [sampler.batch(step) for step in range(sampler.batches)]

    for rows in epoch:
        assert np.unique(label[rows], return_counts=True)[1].tolist() == [3, 3, 3, 3]
        assert len(np.unique(rows)) == 12
    assert sorted(set(label[np.concatenate(epoch)].tolist())) == list(range(12))


def test_batch_size_stays_when_people_have_few_pictures() -> None:
    """Somebody with two pictures gives two; others fill the batch; nobody unlabelled comes in."""
    label = np.array([0, 0, 1, 1, 2, 2, 2, 3, 4, 5, -1, -1])
    sampler = people_sampler(label, people=2, each=4, seed=0)

    for step in range(6):
        rows = sampler.batch(step)
        assert len(np.unique(rows)) == 8
        assert (label[rows] >= 0).all()


def test_batch_depends_on_seed_and_step_only() -> None:
    """Any step can be made again, in any order: that is what exact resuming rests on."""
    label = np.repeat(np.arange(20), 4)

    one = people_sampler(label, people=5, each=2, seed=7)
    other = people_sampler(label, people=5, each=2, seed=7)

    assert one.batch(9).tolist() == other.batch(9).tolist()
    assert one.batch(9).tolist() != people_sampler(label, people=5, each=2, seed=8).batch(9).tolist()


def test_too_few_people_for_a_batch_are_refused() -> None:
    """The message says how many people with two pictures there are."""
    with pytest.raises(InputError, match="the data has 3"):
        people_sampler(np.repeat(np.arange(3), 4), people=8, each=4, seed=0)
