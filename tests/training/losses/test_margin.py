"""Margin softmax against a plain version of equation 4 of CosFace."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows

from glancein_training.losses.margin import MarginSoftmax


def head_and_batch(seed: int) -> tuple[MarginSoftmax, torch.Tensor]:
    """Four identities in five dimensions, and six vectors of any length."""
    torch.manual_seed(seed)
    return MarginSoftmax(5, 4, scale=16.0, margin=0.3), torch.randn(6, 5) * 2


@pytest.mark.parametrize("seed", range(3))
def test_margin_softmax_agrees_with_a_plain_version(seed: int) -> None:
    """-log of exp(s (cos y - m)) over itself plus the others' exp(s cos)."""
    head, vectors = head_and_batch(seed)
    label = [0, 1, 2, 3, 1, 0]

    got = head(vectors, torch.tensor(label)).item()

    cosine = (F.normalize(vectors) @ F.normalize(head.centres).T).tolist()
    total = 0.0
    for row, right in zip(cosine, label, strict=True):
        own = math.exp(16 * (row[right] - 0.3))
        others = sum(math.exp(16 * value) for k, value in enumerate(row) if k != right)
        total -= math.log(own / (own + others))
    assert got == pytest.approx(total / len(label), rel=1e-4)


def test_pictures_without_identity_are_left_out() -> None:
    """A negative label neither adds to the loss nor waters the mean down."""
    head, vectors = head_and_batch(4)

    some = head(vectors, torch.tensor([0, -1, 2, -1, 1, -1]))

    torch.testing.assert_close(some, head(vectors[[0, 2, 4]], torch.tensor([0, 2, 1])))


def test_batch_without_identities_costs_nothing_and_keeps_the_graph() -> None:
    """The loss is zero and can still be taken backwards."""
    head, vectors = head_and_batch(5)
    vectors.requires_grad_()

    loss = head(vectors, torch.full((6,), -1))
    (gradient,) = torch.autograd.grad(loss, vectors)

    assert loss.item() == 0.0
    assert gradient.abs().max() == 0.0


def test_margin_makes_the_same_vectors_cost_more() -> None:
    """The right class has to win by the margin."""
    head, vectors = head_and_batch(6)
    label = torch.tensor([0, 1, 2, 3, 0, 1])
    with_margin = head(vectors, label).item()
    head.margin = 0.0

    assert head(vectors, label).item() < with_margin
