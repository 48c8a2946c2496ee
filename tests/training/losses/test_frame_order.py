"""The loss that orders frames against a slow plain version, and at its corners."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch  # only where it is there

from glancein_training.losses.frame_order import frame_order  # as above


def slow_frame_order(
    scores: list[list[float]], worth: list[list[float]], margin: float, alike: float
) -> float:
    """One pair at a time."""
    costs = []
    for score, truth in zip(scores, worth, strict=True):
        for a in range(len(score)):
            for b in range(a + 1, len(score)):
                better, worse = (a, b) if truth[a] >= truth[b] else (b, a)
                if truth[better] - truth[worse] > alike:
                    costs.append(max(0.0, margin - (score[better] - score[worse])))
                else:
                    costs.append(max(0.0, abs(score[a] - score[b]) - margin))
    return sum(costs) / len(costs)


def test_frame_order_is_the_mean_over_pairs() -> None:
    """Pairs that differ are ordered by a margin, pairs that do not are held together."""
    rng = torch.Generator().manual_seed(0)
    scores, worth = torch.randn(5, 4, generator=rng) * 2, torch.rand(5, 4, generator=rng)

    loss = frame_order(scores, worth, margin=0.8, alike=0.2)

    assert loss.item() == pytest.approx(slow_frame_order(scores.tolist(), worth.tolist(), 0.8, 0.2), rel=1e-5)


def test_frame_order_of_scores_that_lead_by_the_margin_is_zero() -> None:
    """The truth itself, stretched, costs nothing; turned round it costs the whole way back."""
    worth = torch.tensor([[0.1, 0.5, 0.9]])

    assert frame_order(worth * 10, worth, margin=1.0).item() == 0
    assert frame_order(-worth * 10, worth, margin=1.0).item() == pytest.approx((5 + 9 + 5) / 3)


def test_frame_order_of_single_frames_is_zero_and_can_be_descended() -> None:
    """A visit of one frame has no pair."""
    scores = torch.randn(3, 1, requires_grad=True)

    frame_order(scores, torch.rand(3, 1)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    assert scores.grad is not None
    assert not scores.grad.any()
