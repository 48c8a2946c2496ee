"""Notices when the network answers the same for everybody, f(x) = 0, and says what to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from glancein.errors import GlanceinError

TOO_NEAR = 1e-3  # mean squared distance of two pictures' directions; 2 where nothing is learned yet
TOO_SHORT = 1e-4  # mean length of the vectors before they are normalised


class TrainingCollapsed(GlanceinError):  # noqa: N818  # what happened
    """The network gives everybody the same vector, or none; going on would waste the run."""


@dataclass(slots=True)
class CollapseWatch:
    """Counts steps in which all vectors coincide or vanish; ``patience`` of them in a row end the run."""

    patience: int = 20
    steps: int = field(default=0, init=False)

    def look(self, vectors: Tensor) -> None:
        """Look at vectors (n, d) as they leave the network.

        Raises TrainingCollapsed if it lasts, and at once where a number is not finite.
        """
        stop_unless_finite(vectors)
        self.steps = self.steps + 1 if collapsed(vectors) else 0
        if self.steps >= self.patience:
            raise TrainingCollapsed(
                f"all pictures have had the same vector for {self.steps} steps; start again with a "
                "lower rate, semi-hard instead of hard triplets, or the soft margin"
            )


def stop_unless_finite(numbers: Tensor) -> None:
    """Raise TrainingCollapsed before a loss or a vector that is no number spoils the weights."""
    if not bool(numbers.detach().isfinite().all()):
        raise TrainingCollapsed(
            "the loss is no number any more; the last checkpoint is as it was: go on with a lower rate"
        )


def collapsed(vectors: Tensor) -> bool:
    """True when the directions coincide or the vectors vanish."""
    detached = vectors.detach().float()
    length = detached.norm(dim=1)
    if float(length.mean()) < TOO_SHORT:
        return True
    unit = detached / length.clamp_min(1e-12)[:, None]
    # Mean squared distance of all couples of unit vectors: 2 - 2 * |mean vector|^2.
    return float(2 - 2 * unit.mean(dim=0).pow(2).sum()) < TOO_NEAR
