"""Weights between two runs of one network, the later begun from the earlier.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3 (WiSE-FT): on the straight line
between the two lie networks that keep what the first could do and have learnt most of what the second did.
"""

from __future__ import annotations

from pathlib import Path

import torch

from glancein.errors import InputError
from glancein_training.checkpoints import read_checkpoint, write_kept


def blend(first: Path, second: Path, share: float, out: Path) -> None:
    """Write the averaged weights ``share`` of the way from ``first`` to ``second``, as kept weights.

    Settings and count of images are those of ``second``. Raises InputError if the share is not between 0 and
    1, or the two are not one network with one space of targets.
    """
    if not 0 <= share <= 1:
        raise InputError(f"a share of {share:g} lies outside 0 to 1; 0 is {first}, 1 is {second}")
    ours, theirs = read_checkpoint(first), read_checkpoint(second)
    if ours["network"] != theirs["network"]:
        raise InputError(f"{first} is a {ours['network']}, {second} a {theirs['network']}: give one network")
    one, other = (stored["basis"].float() for stored in (ours, theirs))
    if one.shape != other.shape or not torch.allclose(one, other, atol=1e-3):
        raise InputError(f"{first} and {second} learnt other targets: only a run begun from the other blends")
    weights = {
        name: torch.lerp(ours["average"][name].float(), later.float(), share)
        if later.is_floating_point()
        else later
        for name, later in theirs["average"].items()
    }
    write_kept(theirs, weights, out)
