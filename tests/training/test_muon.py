"""Muon: its steps against the singular value decomposition they approximate."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the laboratory is not installed: pip install -e '.[training]'")

from glancein_training.muon import ADAMW_STEP, Muon, orthogonal  # noqa: E402


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_orthogonal_of_a_random_matrix(shape: tuple[int, int]) -> None:
    """The singular vectors stay, the singular values come near one."""
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    rotated = u.T @ orthogonal(matrix) @ v.T
    values = torch.diagonal(rotated)
    assert 0.6 < values.min() <= values.max() < 1.25
    assert (rotated - torch.diag(values)).abs().max() < 1e-3


def test_a_step_has_the_length_of_an_adamw_step() -> None:
    """The root mean square of the change is near 0.2 of the rate, whatever the shape and the gradient."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(32, 16, 3, 3))
    before = weight.detach().clone()
    weight.grad = 1e-4 * torch.randn_like(weight)
    Muon([weight], lr=0.01).step()
    change = (weight.detach() - before).pow(2).mean().sqrt()
    assert 0.6 * ADAMW_STEP * 0.01 < change < 1.25 * ADAMW_STEP * 0.01


def test_least_squares_is_solved() -> None:
    """A linear map is recovered from its examples as the rate falls."""
    torch.manual_seed(0)
    truth, weight = torch.randn(6, 10), torch.nn.Parameter(torch.zeros(6, 10))
    inputs = torch.randn(256, 10)
    optimiser = Muon([weight], lr=0.3)
    for step in range(200):
        optimiser.param_groups[0]["lr"] = 0.3 * (1 - step / 200)
        optimiser.zero_grad()
        (inputs @ (weight - truth).T).pow(2).mean().backward()
        optimiser.step()
    assert (weight - truth).abs().max() < 0.05
