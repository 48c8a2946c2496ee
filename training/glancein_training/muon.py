"""Muon: momentum whose direction is made orthogonal, for the convolutions; AdamW keeps the rest.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; a step is made as long as
AdamW's, as in Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2, so that one rate fits both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from glancein_training.processes import ALONE, Place, add_up

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic of Jordan et al.: fast to about 1, not exact
NEWTON_SCHULZ_STEPS = 5
ADAMW_STEP = 0.2  # root mean square of an AdamW step as a share of its rate (Liu et al. 2025)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix (rows, columns), about: singular values end between 0.7 and 1.2."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(torch.optim.Optimizer):
    """Steps parameters of two or more dimensions; a convolution is its (out, in * height * width) matrix."""

    def __init__(  # an optimiser's settings
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        precision: torch.dtype = torch.float32,
        place: Place = ALONE,
    ) -> None:
        """``precision``: of the orthogonalising alone; bfloat16 halves its time where the processor has it.

        ``place``: each process of a run orthogonalises its share of the matrices and sends it to the others.
        """
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.precision, self.place = precision, place

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient. ``closure`` is not called."""
        del closure
        for group in self.param_groups:
            moved = [weight for weight in group["params"] if weight.grad is not None]
            updates = [self._ahead(weight, group["momentum"]) for weight in moved]
            for number, update in enumerate(updates):
                if number % self.place.size == self.place.rank:
                    update.copy_(orthogonal(update.to(self.precision)))
                else:
                    update.zero_()
            if self.place.size > 1:
                add_up(updates)
            for weight, update in zip(moved, updates, strict=True):
                length = ADAMW_STEP * max(update.shape) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.view_as(weight), alpha=-group["lr"] * length)

    def _ahead(self, weight: Tensor, share: float) -> Tensor:
        """Nesterov's momentum of a weight after this gradient, as a matrix (rows, columns)."""
        gradient, state = weight.grad, self.state[weight]
        assert gradient is not None  # noqa: S101  # only weights with a gradient are moved
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - share)
        return gradient.lerp(momentum, share).reshape(len(weight), -1)
