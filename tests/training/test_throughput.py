"""Where a training step spends the processor."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the laboratory needs torch: pip install .[training]")

import torch
from typer.testing import CliRunner

from glancein_training import augment
from glancein_training.cli import app
from glancein_training.throughput import Clock

pytestmark = pytest.mark.usefixtures("tiny_network")


def test_every_part_of_a_step_is_told() -> None:
    """Reading, each disturbance, both passes and the update, and images a second."""
    result = CliRunner().invoke(app, ["throughput", "tiny", "--batch", "2", "--steps", "1"])

    assert result.exit_code == 0, result.output
    for part in ("read", "pose", "print and scan", "JPEG", "forward", "backward", "optimiser", "images/s"):
        assert part in result.output


def test_timed_disturbances_are_those_of_training() -> None:
    """The same seed gives the same pictures, timed or not."""
    stored = torch.randint(0, 256, (4, 3, 128, 128), generator=torch.Generator().manual_seed(0)).byte()

    timed = Clock().disturbed(stored, torch.Generator().manual_seed(1), 112)
    plain = augment.augment(stored, torch.Generator().manual_seed(1), augment.Strength(), out_px=112)

    torch.testing.assert_close(timed, plain, atol=0.0, rtol=0.0)
