"""Triplet, contrastive, batch and quadruplet losses against loops over every pair and triplet."""

from __future__ import annotations

import itertools
import math

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein_training.losses.batch import batch_all, batch_hard
from glancein_training.losses.contrastive import contrastive_loss
from glancein_training.losses.distances import same_person, squared_distances
from glancein_training.losses.quadruplet import LearnedDistance, quadruplet_loss
from glancein_training.losses.triplet import triplet_loss
from glancein_training.mining.online import semi_hard_triplets

LABELS = [0, 0, 0, 1, 1, 2, 2, 3, -1]


def a_batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, list[list[float]]]:
    """Vectors, labels, and the squared distances worked out one at a time."""
    vectors = torch.randn(len(LABELS), 5, generator=torch.Generator().manual_seed(seed))
    unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in vectors.tolist()]
    plain = [[sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for b in unit] for a in unit]
    return vectors, torch.tensor(LABELS), plain


def plain_triplets() -> list[tuple[int, int, int]]:
    """Every anchor, positive and negative among the labelled."""
    rows = [k for k, name in enumerate(LABELS) if name >= 0]
    return [
        (a, p, n)
        for a, p, n in itertools.product(rows, repeat=3)
        if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]
    ]


def softplus(x: float) -> float:
    """log(1 + e^x)."""
    return math.log1p(math.exp(x))


def test_distances_are_those_of_the_directions() -> None:
    """The matrix form is the sum of squared differences of unit vectors, whatever their length."""
    vectors, _, plain = a_batch()

    assert torch.allclose(squared_distances(3 * vectors), torch.tensor(plain), atol=1e-5)


def test_unlabelled_pictures_are_nobody() -> None:
    """A picture without a label is neither the same person nor another."""
    same, other = same_person(torch.tensor(LABELS))

    assert not same[-1].any()
    assert not other[-1].any()
    assert not other[:, -1].any()


def test_opposites_are_four_apart() -> None:
    """Squared distances run from 0 over 2 at right angles to 4."""
    found = squared_distances(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-5.0, 0.0]]))

    assert found[0].tolist() == pytest.approx([0, 2, 4])


@pytest.mark.parametrize("soft", [False, True])
def test_triplet_loss_is_the_mean_over_triplets(*, soft: bool) -> None:
    """The hinge and the soft margin equal a loop over triplets; active are those within the margin."""
    vectors, _, plain = a_batch()
    triplets = plain_triplets()

    loss, active = triplet_loss(squared_distances(vectors), torch.tensor(triplets), margin=0.3, soft=soft)

    excess = [plain[a][p] - plain[a][n] for a, p, n in triplets]
    wanted = [softplus(x) if soft else max(0.0, x + 0.3) for x in excess]
    assert float(loss) == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)
    assert float(active) == pytest.approx(sum(x + 0.3 > 0 for x in excess) / len(excess))


def test_triplet_at_rest_pulls_no_more() -> None:
    """A triplet further apart than the margin gives no loss and no gradient; the soft margin still does."""
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0]], requires_grad=True)
    triplet = torch.tensor([[0, 1, 2]])

    hinge, active = triplet_loss(squared_distances(vectors), triplet)
    soft, _ = triplet_loss(squared_distances(vectors), triplet, soft=True)

    assert (hinge.item(), active.item()) == (0.0, 0.0)
    assert 0 < soft.item() < 0.1


def test_contrastive_loss_pulls_pairs_and_pushes_strangers() -> None:
    """Half the mean squared distance of pairs plus half the mean squared lack of distance of strangers."""
    vectors, label, plain = a_batch()

    loss = contrastive_loss(squared_distances(vectors), label, margin=1.4)

    couples = list(itertools.permutations(range(8), 2))
    same = [plain[a][b] for a, b in couples if LABELS[a] == LABELS[b]]
    other = [max(0.0, 1.4 - math.sqrt(plain[a][b])) ** 2 for a, b in couples if LABELS[a] != LABELS[b]]
    assert float(loss) == pytest.approx((sum(same) / len(same) + sum(other) / len(other)) / 2, rel=1e-4)


@pytest.mark.parametrize("soft", [False, True])
def test_batch_hard_takes_the_worst_of_each_anchor(*, soft: bool) -> None:
    """Each anchor's farthest positive and nearest stranger, by a loop; who is alone is no anchor."""
    vectors, label, plain = a_batch()

    loss, _ = batch_hard(squared_distances(vectors), label, margin=0.5, soft=soft)

    wanted = []
    for a in range(7):
        positive = max(plain[a][p] for p in range(8) if p != a and LABELS[p] == LABELS[a])
        negative = min(plain[a][n] for n in range(8) if LABELS[n] != LABELS[a])
        excess = positive - negative
        wanted.append(softplus(excess) if soft else max(0.0, excess + 0.5))
    assert float(loss) == pytest.approx(sum(wanted) / 7, rel=1e-5)


def test_batch_all_averages_over_what_still_pulls() -> None:
    """Triplets at rest do not dilute the loss."""
    vectors, label, plain = a_batch()

    loss, active = batch_all(squared_distances(vectors), label, margin=0.5)

    excess = [plain[a][p] - plain[a][n] + 0.5 for a, p, n in plain_triplets()]
    pulling = [x for x in excess if x > 0]
    assert float(loss) == pytest.approx(sum(pulling) / len(pulling), rel=1e-5)
    assert float(active) == pytest.approx(len(pulling) / len(excess))


def test_quadruplet_margins_are_the_gap_between_the_means() -> None:
    """The first margin is the mean negative less the mean positive distance, the second half of it."""
    vectors, label, plain = a_batch(4)

    found = quadruplet_loss(squared_distances(vectors), label)

    couples = list(itertools.permutations(range(8), 2))
    same = [plain[a][b] for a, b in couples if LABELS[a] == LABELS[b]]
    other = [plain[a][b] for a, b in couples if LABELS[a] != LABELS[b]]
    gap = max(0.0, sum(other) / len(other) - sum(same) / len(same))
    assert found.first_margin == pytest.approx(gap, abs=1e-5)
    assert found.second_margin == pytest.approx(gap / 2, abs=1e-5)


def test_quadruplet_loss_agrees_with_a_loop() -> None:
    """Each anchor's farthest positive against its nearest stranger and against the nearest two strangers."""
    vectors, label, plain = a_batch(4)
    found = quadruplet_loss(squared_distances(vectors), label)

    wanted = []
    for a in range(7):
        positive = max(plain[a][p] for p in range(8) if p != a and LABELS[p] == LABELS[a])
        negative = min(plain[a][n] for n in range(8) if LABELS[n] != LABELS[a])
        away = [k for k in range(8) if LABELS[k] != LABELS[a]]
        strangers = min(plain[j][k] for j in away for k in away if LABELS[j] != LABELS[k])
        near = max(0.0, positive - negative + found.first_margin)
        wanted.append(near + max(0.0, positive - strangers + found.second_margin))
    assert float(found.loss) == pytest.approx(sum(wanted) / 7, rel=1e-4)


def test_learned_distance_is_symmetric_and_can_be_learned() -> None:
    """It judges (a, b) as (b, a), between 0 and 1, and passes gradients to the vectors."""
    vectors, label, _ = a_batch()
    vectors.requires_grad_()

    distance = LearnedDistance(5)(vectors)
    quadruplet_loss(distance, label).loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    assert torch.allclose(distance, distance.T)
    assert ((distance > 0) & (distance < 1)).all()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[0, 1, 2], [5, 5, 5], [-1, -1, -1]])
def test_batch_without_triplets_costs_nothing(labels: list[int]) -> None:
    """No pairs, or no strangers, is a loss of zero with a gradient of zero, never a not-a-number."""
    vectors = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    label = torch.tensor(labels)
    distance = squared_distances(vectors)

    losses = [
        batch_hard(distance, label)[0],
        batch_all(distance, label)[0],
        quadruplet_loss(distance, label).loss,
    ]
    sum(losses, torch.zeros(())).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    assert [loss.item() for loss in losses] == [0, 0, 0]
    assert vectors.grad is not None
    assert (vectors.grad == 0).all()


def test_gradient_stays_finite_when_two_pictures_coincide() -> None:
    """Equal vectors are where a root or a norm breaks."""
    vectors = torch.ones(4, 3, requires_grad=True)
    label = torch.tensor([0, 0, 1, 1])
    distance = squared_distances(vectors)

    (contrastive_loss(distance, label) + batch_all(distance, label)[0]).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_reference_library_agrees() -> None:
    """pytorch-metric-learning gives the same triplet, batch-hard and batch-all losses."""
    reference = pytest.importorskip("pytorch_metric_learning", reason="pip install pytorch-metric-learning")
    from pytorch_metric_learning import (  # type: ignore[import-untyped]  # noqa: PLC0415  # may be absent
        distances,
        losses,
        miners,
        reducers,
    )

    assert reference.__version__
    vectors, label, _ = a_batch(2)
    vectors, label = vectors[:8], label[:8]
    squared = distances.LpDistance(normalize_embeddings=True, p=2, power=2)
    every = losses.TripletMarginLoss(margin=0.2, distance=squared, reducer=reducers.AvgNonZeroReducer())
    mean = losses.TripletMarginLoss(margin=0.2, distance=squared, reducer=reducers.MeanReducer())
    hard = miners.BatchHardMiner(distance=squared)(vectors, label)

    ours = squared_distances(vectors)

    assert float(batch_all(ours, label)[0]) == pytest.approx(float(every(vectors, label)), rel=1e-4)
    assert float(batch_hard(ours, label)[0]) == pytest.approx(float(mean(vectors, label, hard)), rel=1e-4)


def test_contrastive_loss_agrees_with_the_reference_library() -> None:
    """pytorch-metric-learning has the same terms, pair by pair, before they are squared and averaged."""
    losses = pytest.importorskip(
        "pytorch_metric_learning.losses", reason="pip install pytorch-metric-learning"
    )
    from pytorch_metric_learning import distances, reducers  # noqa: PLC0415  # may be absent

    vectors, label, _ = a_batch(2)
    vectors, label = vectors[:8], label[:8]
    reference = losses.ContrastiveLoss(
        pos_margin=0, neg_margin=1.4, distance=distances.LpDistance(), reducer=reducers.DoNothingReducer()
    )

    parts = reference(vectors, label)

    wanted = sum(parts[kind]["losses"].pow(2).mean() / 2 for kind in ("pos_loss", "neg_loss"))
    found = contrastive_loss(squared_distances(vectors), label, margin=1.4)
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)


def test_semi_hard_triplets_are_the_reference_librarys() -> None:
    """Each pair with semi-hard negatives by pytorch-metric-learning has one of them, no other pair any."""
    miners = pytest.importorskip(
        "pytorch_metric_learning.miners", reason="pip install pytorch-metric-learning"
    )
    from pytorch_metric_learning import distances  # noqa: PLC0415  # may be absent

    vectors, label, _ = a_batch(2)
    vectors, label = vectors[:8], label[:8]
    squared = distances.LpDistance(normalize_embeddings=True, p=2, power=2)
    reference = miners.TripletMarginMiner(margin=0.8, type_of_triplets="semihard", distance=squared)

    every = {tuple(row) for row in torch.stack(reference(vectors, label), dim=1).tolist()}
    rng = torch.Generator().manual_seed(1)
    found = semi_hard_triplets(squared_distances(vectors), label, margin=0.8, rng=rng).tolist()

    assert {tuple(row) for row in found} <= every
    assert sorted((a, p) for a, p, _ in found) == sorted({(a, p) for a, p, _ in every})
