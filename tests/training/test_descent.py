"""Several optimisers step as one, at one rate, and refuse states that are not theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein.errors import InputError
from glancein_training.descent import descend, take_up


def test_every_optimiser_steps_at_the_rate_and_after_the_gradients_were_changed() -> None:
    """Plain gradient descent by hand: w - rate * gradient, the second weight's gradient doubled."""
    weights = [torch.tensor([3.0], requires_grad=True), torch.tensor([5.0], requires_grad=True)]
    optimisers = [torch.optim.SGD([weight], lr=100.0) for weight in weights]

    def twice_as_steep() -> None:
        assert weights[1].grad is not None
        weights[1].grad *= 2

    for _ in range(2):  # old gradients are not added to
        descend(optimisers, weights[0].sum() + weights[1].sum(), rate=0.25, before_step=twice_as_steep)

    assert [weight.item() for weight in weights] == [3.0 - 2 * 0.25, 5.0 - 2 * 0.5]


def test_states_of_other_optimisers_are_refused() -> None:
    """A run continues with the optimisers it began with."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)

    take_up([optimiser], [optimiser.state_dict()], Path("run/checkpoint.pt"))
    with pytest.raises(InputError, match=r"checkpoint\.pt was trained with another optimiser"):
        take_up([optimiser], [], Path("run/checkpoint.pt"))
