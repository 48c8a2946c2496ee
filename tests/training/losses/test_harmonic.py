"""The harmonic loss against a slow plain re-derivation, and by what it may and may not move."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows

from glancein_training.losses.distances import squared_distances
from glancein_training.losses.harmonic import harmonic_loss, harmonic_triplets

LABEL = torch.tensor([0, 0, 1, 1, 2])


def two_views(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Five pictures as a new and as an old network sees them."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(5, 4, generator=rng), torch.randn(5, 4, generator=rng)


def allowed_by_hand(new: torch.Tensor, old: torch.Tensor, margin: float) -> dict[tuple[int, int], set[int]]:
    """Semi-hard negatives of every mixed anchor and positive, pair by pair."""
    pool = [F.normalize(vector, dim=0) for vector in (*new, *old)]
    who = [*LABEL.tolist(), *LABEL.tolist()]
    out: dict[tuple[int, int], set[int]] = {}
    for a, p in itertools.permutations(range(10), 2):
        if who[a] == who[p]:
            near = float((pool[a] - pool[p]).pow(2).sum())
            far = {n: float((pool[a] - pool[n]).pow(2).sum()) for n in range(10) if who[n] != who[a]}
            fits = {n for n, d in far.items() if near < d < near + margin and min(a, p, n) < 5}
            if fits:
                out[a, p] = fits
    return out


@pytest.mark.parametrize("seed", range(5))
def test_triplets_are_the_mixed_semi_hard_ones(seed: int) -> None:
    """Each anchor and positive of the doubled pool once, with a negative inside the margin, never all old."""
    new, old = two_views(seed)
    wanted = allowed_by_hand(new, old, 0.4)
    distance = squared_distances(torch.cat([new, old]))
    rng = torch.Generator().manual_seed(seed)

    found = harmonic_triplets(distance, torch.cat([LABEL, LABEL]), margin=0.4, rng=rng)

    for anchor, positive, negative in found.tolist():
        assert negative in wanted[anchor, positive]
    # A pair of old vectors may have drawn an old negative, which is left out.
    certain = {pair for pair in wanted if min(pair) < 5}
    assert certain <= {(a, p) for a, p, _ in found.tolist()}


def test_loss_is_the_mean_over_its_triplets() -> None:
    """Distances of unit vectors, hinge, mean."""
    new, old = two_views(1)
    both = F.normalize(torch.cat([new, old]))
    triplets = harmonic_triplets(
        squared_distances(both), torch.cat([LABEL, LABEL]), margin=0.4, rng=torch.Generator().manual_seed(3)
    )
    plain = [
        max(0.0, float((both[a] - both[p]).pow(2).sum() - (both[a] - both[n]).pow(2).sum()) + 0.4)
        for a, p, n in triplets.tolist()
    ]

    loss, active = harmonic_loss(new, old, LABEL, margin=0.4, rng=torch.Generator().manual_seed(3))

    assert loss.item() == pytest.approx(sum(plain) / len(plain), abs=1e-5)
    assert active.item() == pytest.approx(1.0)


def test_old_vectors_get_no_gradient() -> None:
    """The old network is what it is; the new vectors are pulled."""
    new, old = two_views(2)
    new.requires_grad_()
    old.requires_grad_()

    loss, _ = harmonic_loss(new, old, LABEL, margin=1.0, rng=torch.Generator().manual_seed(0))
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    assert new.grad is not None
    assert new.grad.abs().sum() > 0
    assert old.grad is None
