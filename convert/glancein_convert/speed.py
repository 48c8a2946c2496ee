"""How long a member of the family takes in int8 on this machine, before anybody has trained it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from glancein.adapters.tflite_runtime import open_model
from glancein_convert import layers
from glancein_convert.export import export_int8
from glancein_convert.fold import head_as_convolution
from glancein_training.networks import Embedder, shape_named

CALIBRATION_PICTURES = 2  # the ranges do not change the time
RUNS = 50


@dataclass(frozen=True, slots=True)
class Speed:
    """One network's int8 file on one thread of this machine."""

    name: str
    size_bytes: int
    ms: float  # the processor's own time, median: other work on the machine does not count
    xnnpack_partitions: int


def measure(name: str) -> Speed:
    """Convert the network with random weights and time one picture at a time.

    Raises InputError for an unknown name, ConversionError if it cannot be converted.
    """
    torch.manual_seed(0)
    network = Embedder(shape_named(name)).eval()
    awaken(network)
    px = network.shape.input_px
    pictures = np.random.default_rng(0).integers(0, 256, (CALIBRATION_PICTURES, px, px, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        export_int8(head_as_convolution(network), (1, 3, px, px), [pictures], path, ["embedding"])
        took_ms = processor_ms(path)
        partitions = layers.delegate_partitions(path)
        size = path.stat().st_size
    return Speed(name, size, took_ms, partitions)


def processor_ms(path: Path) -> float:
    """Median processor time of one picture on one thread, after a warm-up."""
    network = open_model(path, threads=1)
    picture = np.zeros(network.input.shape, np.int8)
    network.run(picture)
    took = []
    for _ in range(RUNS):
        started = time.process_time()
        network.run(picture)
        took.append(1000 * (time.process_time() - started))
    return round(float(np.median(took)), 3)


def awaken(network: Embedder) -> None:
    """Make residual blocks do something: they begin as zeros, which int8 cannot scale."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
