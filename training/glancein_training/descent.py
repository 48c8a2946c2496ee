"""One step of several optimisers as if they were one, and their states out of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor
from torch.optim import Optimizer

from glancein.errors import InputError


def descend(
    optimisers: Sequence[Optimizer],
    loss: Tensor,
    *,
    rate: float,
    before_step: Callable[[], object] = lambda: None,
) -> None:
    """Update every optimiser's parameters for this loss; ``before_step`` may change the gradients."""
    for optimiser in optimisers:
        optimiser.zero_grad()
        for group in optimiser.param_groups:
            group["lr"] = rate
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    before_step()
    for optimiser in optimisers:
        optimiser.step()


def take_up(optimisers: Sequence[Optimizer], states: Sequence[Mapping[str, object]], path: Path) -> None:
    """Give the optimisers the states that ``path`` holds. Raises InputError if it was trained with others."""
    if len(states) != len(optimisers):
        raise InputError(
            f"{path} was trained with another optimiser; set that one, or --start-from it in a fresh folder"
        )
    for optimiser, state in zip(optimisers, states, strict=True):
        optimiser.load_state_dict(dict(state))
