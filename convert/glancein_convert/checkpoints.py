"""Reading what training wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glancein.domain.align import CROP_PX
from glancein_convert.errors import ConversionError
from glancein_training.checkpoints import read_checkpoint
from glancein_training.networks import Embedder, shape_named


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained embedder in evaluation mode and how it came to be."""

    network: Embedder
    name: str
    images: int
    config: dict[str, Any]  # the run's configuration, any JSON


def load_embedder(path: Path) -> Checkpoint:
    """The averaged weights of a checkpoint.

    Raises InputError if it cannot be read, ConversionError if its weights are not those of an embedder that
    kiosks can use.
    """
    stored = read_checkpoint(path)
    name = str(stored["network"])
    network = Embedder(shape_named(name))
    try:
        network.load_state_dict(stored["average"])
    except (KeyError, RuntimeError, TypeError, AttributeError) as err:
        raise ConversionError(
            f"{path} is no checkpoint of an embedder: its weights do not fit {name}"
        ) from err
    if network.shape.input_px != CROP_PX:
        raise ConversionError(
            f"{path} looks at {network.shape.input_px} px, but kiosks cut crops of {CROP_PX} px"
        )
    refuse_diverged(network, path)
    return Checkpoint(network.eval(), name, int(stored.get("images", 0)), dict(stored.get("config", {})))


def refuse_diverged(network: nn.Module, path: Path) -> None:
    """Raise ConversionError if a weight or statistic is infinite or not a number."""
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ConversionError(f"{path} holds no numbers in {name}: the run diverged, train it again")
