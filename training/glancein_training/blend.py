"""Weights between two runs of one network, the later begun from the earlier.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3 (WiSE-FT): on the straight line
between the two lie networks that keep what the first could do and have learnt most of what the second did.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from glancein.errors import InputError
from glancein_training.checkpoints import basis_of, known_as, read_checkpoint, write_kept
from glancein_training.networks import EmbedderShape, Shape, shape_named

PARTS = (
    4  # until stride 8, at stride 8, at stride 16, and what makes the embedding of that; see EmbedderShape
)


def blend(first: Path, second: Path, shares: Sequence[float], out: Path) -> None:
    """Write the averaged weights ``shares`` of the way from ``first`` to ``second``, as kept weights.

    One share for all of the network, or one for each of its ``PARTS``. Settings and count of images are those
    of ``second``; shares, names and hashes of both files are kept. Raises InputError if there are other
    shares, one is not between 0 and 1, or the two are not one network with one space of targets.
    """
    for share in shares:
        if not 0 <= share <= 1:
            raise InputError(f"a share of {share:g} lies outside 0 to 1; 0 is {first}, 1 is {second}")
    ours, theirs = read_checkpoint(first), read_checkpoint(second)
    if ours["network"] != theirs["network"]:
        raise InputError(f"{first} is a {ours['network']}, {second} a {theirs['network']}: give one network")
    one, other = basis_of(ours, first), basis_of(theirs, second)
    if one.shape != other.shape or not np.allclose(one, other, atol=1e-3):
        raise InputError(f"{first} and {second} learnt other targets: only a run begun from the other blends")
    shape = shape_named(theirs["network"])
    weights = {
        name: torch.lerp(ours["average"][name].float(), later.float(), _share_of(name, shares, shape))
        if later.is_floating_point()
        else later
        for name, later in theirs["average"].items()
    }
    made = {"first": known_as(first), "second": known_as(second), "shares": list(shares)}
    write_kept({**theirs, "blend": made}, weights, out)


def _share_of(name: str, shares: Sequence[float], shape: Shape) -> float:
    """The share of one weight of a network, by the part it stands in."""
    if len(shares) == 1:
        return shares[0]
    if len(shares) != PARTS or not isinstance(shape, EmbedderShape):
        raise InputError(f"give one share for all of {shape.name}, or {PARTS} for a network of three stages")
    where, place, *_ = name.split(".")
    ends = accumulate(1 + blocks for blocks in shape.blocks)  # of the stages; the stem stands before them
    later = sum(int(place) > end for end in ends) if where == "body" else PARTS - 1
    return shares[later]
