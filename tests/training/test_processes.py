"""Several processes of one run: each has its own pictures, all have the same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch

from glancein_training import packs
from glancein_training.augment import Strength
from glancein_training.lessons import Batches, prepare
from glancein_training.processes import Place, all_say, first_says, share_gradients

TWO = """
import sys
from pathlib import Path

import torch

from glancein_training.muon import Muon
from glancein_training.networks import FAMILY, EmbedderShape
from glancein_training.processes import first_says, join, share_gradients

place = join()
torch.manual_seed(place.rank)
parameters = [torch.nn.Parameter(torch.zeros(4, 6)), torch.nn.Parameter(torch.zeros(3, 5))]
own = [torch.randn_like(p) for p in parameters]
for parameter, gradient in zip(parameters, own):
    parameter.grad = gradient.clone()
share_gradients(parameters)
shared = [p.grad.clone() for p in parameters]
Muon(parameters, lr=0.1, place=place).step()
moved = [p.detach().clone() for p in parameters]
for parameter in parameters:
    parameter.data.zero_()
Muon(parameters, lr=0.1).step()
told = first_says(word=place.rank == 0)
torch.save(
    {"own": own, "shared": shared, "moved": moved, "alone": [p.detach() for p in parameters], "told": told},
    f"{sys.argv[1]}/rank-{place.rank}.pt",
)

from glancein_training.configuration import with_settings
from glancein_training.distill import Config, run

FAMILY["tiny"] = EmbedderShape("tiny", (4, 4, 8, 8), (1, 1, 1), (4, 4, 4), reduce=4, embedding=8)
out, cache = Path(sys.argv[1]) / "run", Path(sys.argv[1]) / "cache"
run(with_settings(Config(), sys.argv[2:]), out, cache, compiled=False, stop_at_images=37)
"""


def test_batches_of_two_processes_are_those_of_one(noise_data: Path, tmp_path: Path) -> None:
    """What two processes see in a step, one after the other, is what one process sees in two steps."""
    crops = [packs.load(noise_data / "faces", cache=tmp_path)]
    lessons, _ = prepare(crops, None, 8)
    alone = Batches(lessons, 1, 8, Strength(), 64)
    pair = [Batches(lessons, 1, 8, Strength(), 64, place=Place(rank, 2)) for rank in (0, 1)]

    steps = list(islice(pair[0].steps(0), 3))

    seen = [batches[start] for start in steps for batches in pair]
    expected = [alone[start] for start in islice(alone.beginnings(0), 6)]
    assert all(torch.equal(a.pictures, b.pictures) for a, b in zip(seen, expected, strict=True))
    assert [batch.images for batch in seen[::2]] == [batch.images for batch in expected[1::2]]
    assert [batch.images for batch in seen[::2]] == [batch.images for batch in seen[1::2]]


def test_alone_nothing_is_shared() -> None:
    """Without torchrun gradients stay as they are and one's own word counts."""
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)

    share_gradients([weight])

    assert weight.grad.tolist() == [1, 1]
    assert first_says(word=True)
    assert all_say(7) == [7]


@pytest.mark.heavy
def test_two_processes_take_the_mean_step(noise_data: Path, tmp_path: Path) -> None:
    """Gradients are averaged, Muon's shared work is as by one, a run counts both's pictures."""
    program = tmp_path / "two.py"
    program.write_text(TWO, encoding="utf-8")
    settings = ["network=tiny", f"data={noise_data}", 'packs=["faces"]', "batch=8", "threads=1", "workers=0"]

    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        str(program),
        str(tmp_path),
    ]
    subprocess.run(
        [*words, *settings],
        check=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )

    one, other = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    for mine, yours, mean in zip(one["own"], other["own"], one["shared"], strict=True):
        torch.testing.assert_close(mean, (mine + yours) / 2)
    for pair in (one, other):
        torch.testing.assert_close(pair["moved"], pair["alone"])
        assert pair["told"]
    stored = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert stored["images"] == 16 + 21  # 16 in the first step, then the next epoch's first 16
