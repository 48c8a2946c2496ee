"""Reading what training wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glancein.domain.align import CROP_PX
from glancein_convert.errors import ConversionError
from glancein_training.checkpoints import network_in, origin_of, read_checkpoint
from glancein_training.networks import Embedder


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained embedder in evaluation mode and how it came to be."""

    network: Embedder
    name: str
    images: int
    config: dict[str, Any]  # the run's configuration, any JSON
    origin: dict[str, Any] = field(default_factory=dict)  # what glancein_training.checkpoints.ORIGIN names


def load_embedder(path: Path) -> Checkpoint:
    """The averaged weights of a checkpoint.

    Raises InputError if it cannot be read or is of no embedder, ConversionError if kiosks cannot use it.
    """
    stored = read_checkpoint(path)
    network = network_in(stored, path)
    if network.shape.input_px != CROP_PX:
        raise ConversionError(
            f"{path} looks at {network.shape.input_px} px, but kiosks cut crops of {CROP_PX} px"
        )
    refuse_diverged(network, path)
    name = str(stored["network"])
    images, config = int(stored.get("images", 0)), dict(stored.get("config", {}))
    return Checkpoint(network, name, images, config, origin_of(stored))


def refuse_diverged(network: nn.Module, path: Path) -> None:
    """Raise ConversionError if a weight or statistic is infinite or not a number."""
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ConversionError(f"{path} holds no numbers in {name}: the run diverged, train it again")
