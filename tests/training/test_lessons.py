"""Targets move towards the person's mean, but not those of pictures that show somebody else."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows

from glancein_training.lessons import towards_people
from glancein_training.packs import NO_IDENTITY


def test_targets_move_towards_their_person_as_far_as_they_resemble_it() -> None:
    """Against a loop over people; what has no name stays, what looks away from its person does too."""
    rng = torch.Generator().manual_seed(5)
    identity = np.array([7, 7, 7, 3, NO_IDENTITY, 3, 7])
    target = F.normalize(torch.randn(7, 16, generator=rng))
    target[6] = -F.normalize(target[:3].sum(0), dim=0)  # somebody else's face under the name of 7

    moved = towards_people(target, identity, 0.5)

    for row, person in enumerate(identity):
        expected = target[row]
        if person != NO_IDENTITY:
            mean = F.normalize(target[torch.from_numpy(identity == person)].sum(0), dim=0)
            expected = F.normalize(expected + 0.5 * max(0.0, float(expected @ mean)) * mean, dim=0)
        torch.testing.assert_close(moved[row], expected)
    assert torch.equal(moved[4], target[4])
    assert torch.equal(moved[6], target[6])


def test_no_share_moves_nothing() -> None:
    """The plain distillation is the case of no share."""
    target = F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)))

    torch.testing.assert_close(towards_people(target, np.array([1, 1, 2, 2, 2, -1]), 0.0), target)
