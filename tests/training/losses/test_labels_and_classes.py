"""Ranking losses and margin softmaxes against slow plain versions, and by geometry."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein_training.losses.adaface import AdaptiveMarginSoftmax
from glancein_training.losses.arcface import AngularMarginSoftmax, turn
from glancein_training.losses.margin import MarginSoftmax
from glancein_training.losses.ranking import ranking_hinge, ranking_log_sum_exp

APPLIES = [[True, False, True, False], [False, False, False, True], [True] * 4, [False] * 4]


def a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (4, 4) and the labels that apply; the last two pictures have nothing to rank."""
    return torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(APPLIES)


def couples(row: int) -> list[tuple[int, int]]:
    """Every applying label with every one that does not."""
    return [(u, v) for u in range(4) for v in range(4) if APPLIES[row][u] and not APPLIES[row][v]]


def plain_softmax_loss(logits: list[float], right: int) -> float:
    """Cross-entropy of one picture."""
    return math.log(sum(math.exp(x - logits[right]) for x in logits))


def plain_cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Cosine of two vectors, one sum at a time."""
    dot: float = sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return dot / math.sqrt(sum(x * x for x in a.tolist()) * sum(y * y for y in b.tolist()))


def test_ranking_hinge_sums_over_couples() -> None:
    """Each couple of labels out of order, or too near, costs what it lacks."""
    scores, applies = a_batch()

    loss = ranking_hinge(scores, applies, margin=0.7)

    values = scores.tolist()
    wanted = sum(max(0.0, 0.7 + values[k][v] - values[k][u]) for k in range(4) for u, v in couples(k)) / 4
    assert loss.item() == pytest.approx(wanted, rel=1e-5)


def test_ranking_log_sum_exp_sums_inside_the_logarithm() -> None:
    """The product of two sums equals the double sum over couples."""
    scores, applies = a_batch()

    loss = ranking_log_sum_exp(scores, applies)

    values = scores.tolist()
    wanted = sum(
        math.log1p(sum(math.exp(values[k][v] - values[k][u]) for u, v in couples(k))) for k in range(4)
    )
    assert loss.item() == pytest.approx(wanted / 4, rel=1e-5)


def test_ranking_survives_extreme_scores() -> None:
    """Scores far out give large finite losses and finite gradients."""
    scores = torch.tensor([[500.0, -500.0], [-500.0, 500.0], [1.0, 2.0]], requires_grad=True)
    applies = torch.tensor([[True, False], [True, False], [True, True]])

    loss = ranking_log_sum_exp(scores, applies)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    assert loss.item() == pytest.approx(1000 / 3)
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_turning_adds_the_margin_to_the_angle() -> None:
    """cos(angle) becomes cos(angle + margin), and never rises again beyond pi."""
    angles = torch.linspace(0.01, 3.1, 200)

    turned = turn(angles.cos(), 0.5)

    before = angles < math.pi - 0.5
    assert torch.allclose(turned[before], (angles[before] + 0.5).cos(), atol=1e-5)
    assert (turned[1:] < turned[:-1]).all()


def test_arcface_agrees_with_the_plain_softmax() -> None:
    """The mean cross-entropy with the right person's angle turned; unlabelled pictures are left out."""
    torch.manual_seed(0)
    head = AngularMarginSoftmax(6, 5, scale=8.0, margin=0.4)
    vectors, label = torch.randn(4, 6), torch.tensor([2, 0, -1, 4])

    loss = head(vectors, label)

    wanted = []
    for row, right in enumerate(label.tolist()):
        if right < 0:
            continue
        logits = [8 * plain_cosine(vectors[row], centre) for centre in head.centres.detach()]
        logits[right] = 8 * math.cos(math.acos(logits[right] / 8) + 0.4)
        wanted.append(plain_softmax_loss(logits, right))
    assert loss.item() == pytest.approx(sum(wanted) / 3, rel=1e-4)


def test_arcface_agrees_with_the_reference_library() -> None:
    """pytorch-metric-learning gives the same loss from the same centres."""
    pytest.importorskip("pytorch_metric_learning", reason="pip install pytorch-metric-learning")
    from pytorch_metric_learning import losses  # type: ignore[import-untyped]  # noqa: PLC0415  # may be absent

    torch.manual_seed(1)
    head = AngularMarginSoftmax(6, 5, scale=8.0, margin=math.radians(20))
    reference = losses.ArcFaceLoss(num_classes=5, embedding_size=6, margin=20, scale=8)
    reference.W.data = head.centres.detach().T.clone()
    vectors, label = torch.randn(7, 6), torch.tensor([2, 0, 1, 4, 3, 3, 0])

    assert head(vectors, label).item() == pytest.approx(reference(vectors, label).item(), rel=1e-4)


def test_cosface_agrees_with_the_reference_library() -> None:
    """As for ArcFace: the margin on the cosine instead of the angle."""
    losses = pytest.importorskip(
        "pytorch_metric_learning.losses", reason="pip install pytorch-metric-learning"
    )
    torch.manual_seed(1)
    head = MarginSoftmax(6, 5, scale=8.0, margin=0.3)
    reference = losses.CosFaceLoss(num_classes=5, embedding_size=6, margin=0.3, scale=8)
    reference.W.data = head.centres.detach().T.clone()
    vectors, label = torch.randn(7, 6), torch.tensor([2, 0, 1, 4, 3, 3, 0])

    assert head(vectors, label).item() == pytest.approx(reference(vectors, label).item(), rel=1e-4)


def test_adaface_agrees_with_the_plain_softmax() -> None:
    """Angle less margin times quality, then margin times quality plus one taken off."""
    torch.manual_seed(0)
    head = AdaptiveMarginSoftmax(6, 5, scale=8.0, margin=0.4).eval()
    head.mean.fill_(2.0)
    head.deviation.fill_(0.5)
    vectors, label = torch.randn(4, 6), torch.tensor([2, 0, -1, 4])

    loss = head(vectors, label)

    wanted = []
    for row, right in enumerate(label.tolist()):
        if right < 0:
            continue
        length = math.sqrt(sum(x * x for x in vectors[row].tolist()))
        quality = max(-1.0, min(1.0, (length - 2.0) / 0.501 * 0.333))
        logits = [8 * plain_cosine(vectors[row], centre) for centre in head.centres.detach()]
        logits[right] = 8 * (math.cos(math.acos(logits[right] / 8) - 0.4 * quality) - 0.4 * (quality + 1))
        wanted.append(plain_softmax_loss(logits, right))
    assert loss.item() == pytest.approx(sum(wanted) / 3, rel=1e-4)


def test_adaface_quality_is_length_clipped_to_one_on_either_side() -> None:
    """Longer vectors are of better pictures."""
    head = AdaptiveMarginSoftmax(3, 2).eval()
    head.mean.fill_(10.0)
    head.deviation.fill_(1.0)

    quality = head.quality(torch.tensor([[30.0, 0, 0], [10.0, 0, 0], [0.1, 0, 0]]))

    assert quality.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        (0.1, math.cos(1.0 + 0.4)),  # quality -1: ArcFace's
        (10.0, math.cos(1.0) - 0.4),  # quality 0: CosFace's
        (30.0, math.cos(1.0 - 0.4) - 2 * 0.4),  # quality 1: the angle eased, twice the margin off the cosine
    ],
)
def test_adaface_margin_turns_from_the_angle_to_the_cosine_with_quality(length: float, wanted: float) -> None:
    """The right person's logit at an angle of one radian, read back from the loss."""
    head = AdaptiveMarginSoftmax(2, 2, scale=1.0, margin=0.4).eval()
    head.mean.fill_(10.0)
    head.deviation.fill_(1.0)
    head.centres.data = torch.tensor([[math.cos(1.0), math.sin(1.0)], [0.0, 1.0]])

    loss = head(torch.tensor([[length, 0.0]]), torch.tensor([0])).item()

    # The other person's logit is 0: loss = log(1 + exp(-right)).
    assert -math.log(math.exp(loss) - 1) == pytest.approx(wanted, abs=1e-3)


def test_adaface_statistics_move_in_training_only() -> None:
    """The running mean follows the batch while training and rests in evaluation."""
    head = AdaptiveMarginSoftmax(3, 2, memory=0.9)
    vectors = torch.full((4, 3), 1.0)

    head.eval().quality(vectors)
    resting = float(head.mean)
    head.train().quality(vectors)

    assert resting == 20.0
    assert float(head.mean) == pytest.approx(0.9 * 20 + 0.1 * math.sqrt(3))


@pytest.mark.parametrize("kind", [AngularMarginSoftmax, AdaptiveMarginSoftmax])
def test_margin_softmax_without_labels_costs_nothing(kind: type[torch.nn.Module]) -> None:
    """A batch of nobody's pictures leaves the network alone."""
    vectors = torch.randn(3, 6, requires_grad=True)

    loss = kind(6, 5)(vectors, torch.tensor([-1, -1, -1]))
    loss.backward()

    assert loss.item() == 0
    assert vectors.grad is not None
    assert (vectors.grad == 0).all()
