"""Checkpoints: written whole or not at all, and read with an error that says what is wrong."""

from __future__ import annotations

import hashlib
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from glancein.errors import InputError
from glancein_training.networks import Embedder, shape_named

# How weights came to be beside their settings: what they were begun from, after how many images the rate
# fell, and the ends and shares of a blend.
ORIGIN = ("start_from", "decay_from", "blend")

# What torch says of files that are none of its own: it takes their bytes for a program that builds objects.
UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, RuntimeError, EOFError, AssertionError),
    *(ValueError, LookupError, TypeError, AttributeError),
)


def write_checkpoint(content: Mapping[str, object], path: Path) -> None:
    """Replace the checkpoint in one move, so that a cut never leaves half of one.

    Raises InputError if it cannot be written; what was there before stays.
    """
    part = path.with_suffix(".part")
    try:
        torch.save(dict(content), part)
        part.replace(path)
    except (OSError, RuntimeError) as err:  # torch's own writer says RuntimeError of a full disk
        part.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}, is the disk full? What was there before is kept") from err


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a run wrote, states of several kinds. Raises InputError if the file cannot be read."""
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as err:
        raise InputError(f"cannot read checkpoint {path}: {err.strerror}") from err
    except UNREADABLE as err:
        raise InputError(f"cannot read checkpoint {path}: it is damaged or something else") from err
    if not isinstance(stored, dict) or "network" not in stored:
        raise InputError(f"{path} is no checkpoint of this laboratory; give checkpoint.pt of a run")
    return stored


def refuse_others(stored: Mapping[str, Any], config: object, path: Path, *, same: Sequence[str]) -> None:
    """Raise InputError naming the first of these settings that a run is not gone on with as it began."""
    before = stored.get("config", {})
    for name in same:
        now = getattr(config, name)
        if before.get(name) != now:
            raise InputError(
                f"{path} was trained with {name}={before.get(name)}, not {now}; take a fresh folder"
            )


def refuse_other_data(stored: Mapping[str, Any], data_sha256: str, path: Path, *, data: str) -> None:
    """Raise InputError if a run began with other data than ``data`` holds; earlier checkpoints do not say."""
    if stored.get("data_sha256", data_sha256) != data_sha256:
        raise InputError(f"{path} was trained on other data than {data} now is; take a fresh folder")


def without_places(config: Mapping[str, object]) -> dict[str, object]:
    """A run's configuration without the folders and files of the machine that ran it."""
    return {name: value for name, value in config.items() if name not in {"data", "finder"}}


def halved(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as float16 for the repository; running statistics stay, float16 may not hold a variance."""
    return {
        name: tensor.half() if tensor.is_floating_point() and "running" not in name else tensor
        for name, tensor in weights.items()
    }


def known_as(path: Path) -> dict[str, str]:
    """By what a file is known again wherever it lies: its name and its hash."""
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def origin_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of ORIGIN; those of earlier releases say nothing."""
    return {name: stored[name] for name in ORIGIN if stored.get(name) is not None}


def write_kept(stored: Mapping[str, Any], average: Mapping[str, torch.Tensor], out: Path) -> None:
    """Write what is worth going on from: these averaged weights as float16 and the target's axes.

    ``stored``: the checkpoint that says network, images, settings, axes and what ORIGIN names.
    """
    kept = {
        "network": stored["network"],
        "images": stored["images"],
        "config": without_places(stored["config"]),
        **origin_of(stored),
    }
    write_checkpoint({**kept, "average": halved(average), "basis": stored["basis"].half()}, out)


def load_head(head: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Give a loss its weights out of ``path``. Raises InputError if they are of another number of people."""
    try:
        head.load_state_dict(weights)
    except RuntimeError as err:
        raise InputError(f"{path} was trained on another number of people; take a fresh folder") from err


def basis_of(stored: Mapping[str, Any], path: Path) -> NDArray[np.float32]:
    """The target's axes (k, d) of a distillation. Raises InputError if ``path`` is of another training."""
    if "basis" not in stored:
        raise InputError(f"{path} was not distilled: give checkpoint.pt or kept weights of a distillation")
    return np.asarray(stored["basis"].float().numpy(), np.float32)


def load_network(path: Path) -> Embedder:
    """The averaged weights of a run, ready to embed. Raises InputError if they do not fit the family."""
    return network_in(read_checkpoint(path), path)


def network_in(stored: Mapping[str, Any], path: Path) -> Embedder:
    """The averaged weights in a checkpoint that was read from ``path``, as ``load_network`` gives them."""
    name = str(stored["network"])
    network = Embedder(shape_named(name))
    try:
        network.load_state_dict(stored["average"])
    except (KeyError, RuntimeError, TypeError, AttributeError) as err:
        raise InputError(f"{path} is no checkpoint of an embedder: its weights do not fit {name}") from err
    return network.eval()
