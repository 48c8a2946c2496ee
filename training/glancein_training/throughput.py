"""Where a training step spends the processor: other work on the machine does not count."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows

from glancein_training import augment
from glancein_training.averaging import follow
from glancein_training.losses.distillation import cosine_distillation
from glancein_training.muon import Muon
from glancein_training.networks import Embedder, shape_named, to_network_floats
from glancein_training.packs import STORED_PX, Pixels

CROPS = 512  # to draw a batch from, 25 MB
Spent = dict[str, float]  # milliseconds of one picture, by part of the step


def measure(name: str, *, batch: int, px: int, steps: int, seed: int = 0) -> Spent:
    """Milliseconds that a picture of ``px`` costs in each part of a distillation step, on one thread.

    The pictures are noise, the disturbances those of `distill`. Raises InputError for an unknown network.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    student, average = Embedder(shape_named(name)), Embedder(shape_named(name))
    layout = torch.channels_last
    student.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
    optimiser = Muon([p for p in student.parameters() if p.ndim > 1], lr=1e-4)
    rng = torch.Generator().manual_seed(seed)
    draw = np.random.default_rng(seed)
    crops = mapped(draw.integers(0, 256, (max(batch, CROPS), STORED_PX, STORED_PX, 3), np.uint8))
    target = F.normalize(torch.randn(batch, student.shape.embedding))
    clock = Clock()
    for step in range(steps + 1):
        if step == 1:
            clock.spent.clear()  # the first step warms caches up
        with clock.part("read"):
            stored = np.stack([crops[k] for k in draw.choice(len(crops), batch, replace=False)])
        pictures = clock.disturbed(torch.from_numpy(stored).permute(0, 3, 1, 2), rng, px)
        with clock.part("forward"):
            vectors = student(to_network_floats(pictures).contiguous(memory_format=layout))
            loss = cosine_distillation(vectors, target)
        with clock.part("backward"):
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        with clock.part("optimiser and average"):
            optimiser.step()
            follow(average, student, 0.999)
    return {part: spent / (steps * batch) for part, spent in clock.spent.items()}


def mapped(crops: Pixels) -> Pixels:
    """The same crops as ``packs.load`` gives them: mapped from a file that the system has read before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crops.npy"
        np.save(path, crops)
        return np.asarray(np.load(path, mmap_mode="r"))  # the map outlives its name


class Clock:
    """Adds up milliseconds of processor time by part."""

    def __init__(self) -> None:
        self.spent: Spent = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        started = time.process_time()
        yield
        self.spent[name] = self.spent.get(name, 0.0) + 1000 * (time.process_time() - started)

    def disturbed(self, images: torch.Tensor, rng: torch.Generator, px: int) -> torch.Tensor:
        """What `augment` does, each disturbance timed."""
        strength = augment.Strength()
        steps: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "pose": lambda i: augment.jitter_pose(i, rng, strength, out_px=px),
            "low resolution": lambda i: augment.lower_resolution(i, rng, strength.low_resolution),
            "print and scan": lambda i: augment.print_and_scan(i, rng, strength.print_and_scan),
            "blur": lambda i: augment.blur(i, rng, strength.blur),
            "light": lambda i: augment.change_light(i, rng, strength),
            "noise": lambda i: augment.add_noise(i, rng, strength.noise),
            "JPEG": lambda i: augment.compress(i, rng, strength.jpeg),
            "occlusion": lambda i: augment.occlude(i, rng, strength.occlude),
        }
        for name, disturb in steps.items():
            with self.part(name):
                images = disturb(images)
        return images
