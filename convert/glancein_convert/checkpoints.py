"""Reading what training wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glancein.domain.align import CROP_PX
from glancein_convert.errors import ConversionError
from glancein_training.networks import Embedder, shape_named


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained embedder in evaluation mode and how it came to be."""

    network: Embedder
    name: str
    images: int
    config: dict[str, Any]  # the run's configuration, any JSON


def load_embedder(path: Path) -> Checkpoint:
    """The averaged weights of a checkpoint. Raises ConversionError if they cannot be read or do not fit."""
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        network = Embedder(shape_named(stored["network"]))
        network.load_state_dict(stored["average"])
    except (OSError, KeyError, RuntimeError, TypeError, EOFError, ValueError) as err:
        raise ConversionError(f"{path} is no checkpoint of an embedder: {err}") from err
    if network.shape.input_px != CROP_PX:
        raise ConversionError(
            f"{path} looks at {network.shape.input_px} px, but kiosks cut crops of {CROP_PX} px"
        )
    name = stored["network"]
    return Checkpoint(network.eval(), name, int(stored.get("images", 0)), dict(stored.get("config", {})))
