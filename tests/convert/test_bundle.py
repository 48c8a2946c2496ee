"""What the card says of the training can be typed again."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install .[convert]")

from glancein_convert.bundle import training_command
from glancein_training.augment import Strength
from glancein_training.configuration import with_settings
from glancein_training.distill import Config


def test_training_command_gives_the_settings_back_through_a_shell() -> None:
    """Lists and the disturbances included; what follows the # is for people."""
    config = replace(
        Config(), network="glance-249", packs=("faces", "two words"), augment=Strength(rotate_deg=7.0)
    )

    words = shlex.split(training_command(asdict(config), 1234), comments=True)

    assert words[:4] == ["python", "-m", "glancein_training.distill", "RUN"]
    assert with_settings(Config(), words[5::2]) == config
